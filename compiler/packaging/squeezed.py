"""Scripts of the web without the spaces and line ends that only readers need."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from chimerac.compiler.errors import InternalError

_SKIPPED: Final = re.compile(r"(?:\s+|//[^\n]*|/\*.*?\*/)+", re.DOTALL)
_WORD: Final = re.compile(r"[\w$#]+")
_STRING: Final = re.compile(r'"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\'')
_REGEX: Final = re.compile(r"/(?:[^/\\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+/\w*")
_TEMPLATE_TEXT: Final = re.compile(r"(?:[^`\\$]|\\.|\$(?!\{))*", re.DOTALL)
#: Words after which a value begins, so that a slash begins a regular expression.
_BEFORE_VALUE: Final = frozenset({"return", "typeof", "case", "in", "of", "yield", "await", "delete", "void", "else"})
#: A line that ends or begins with one of these goes on, or has ended its statement, without the line's end.
_ENDS: Final = frozenset(";,{}([=+-*/%&|^!~?:<>.")
_BEGINS: Final = frozenset(";,)]}=*%&|^?:<>.")


def squeezed(text: str) -> str:
    """A script with the same tokens; line ends stay where neither side says that they mean nothing.

    For scripts of ours: a statement that ends in a brace without a semicolon must need none.

    Raises:
        InternalError: a text or a template has no end.
    """
    made: list[str] = []
    last, gap = "", ""
    for kind, token in _tokens(text, 0):
        if kind == "skipped":
            gap = "\n" if "\n" in token else " "
            continue
        if gap and last:
            made.append(_between(last, token, gap))
        made.append(token)
        last, gap = token, ""
    return "".join(made) + "\n"


def _between(last: str, token: str, gap: str) -> str:
    """What two tokens need between them that had a space, or a line's end, there."""
    if gap == "\n" and last[-1] not in _ENDS and token[0] not in _BEGINS:
        return "\n"
    words = bool(_WORD.match(last[-1]) and _WORD.match(token[0]))
    number = last.isdigit() and token == "."
    same = last[-1] == token[0] and token[0] in "+-"
    return " " if words or number or same or (last[-1] == "/" and token[0] in "/*") else ""


def _tokens(text: str, at: int) -> Iterator[tuple[str, str]]:
    """Kinds and texts of tokens: "skipped", "value" (after which a slash divides) and "other"."""
    before = "other"
    while at < len(text):
        kind, end = _next(text, at, before)
        yield kind, text[at:end]
        before = before if kind == "skipped" else kind
        at = end


def _next(text: str, at: int, before: str) -> tuple[str, int]:
    """The kind of the token at a place, and where it ends."""
    if found := _SKIPPED.match(text, at):
        return "skipped", found.end()
    if found := _WORD.match(text, at):
        return ("other" if found[0] in _BEFORE_VALUE else "value"), found.end()
    if text[at] in "\"'":
        if found := _STRING.match(text, at):
            return "value", found.end()
        raise InternalError(f"a text has no end: {text[at : at + 40]}")
    if text[at] == "`":
        return "value", _template_end(text, at)
    if text[at] == "/" and before == "other" and (found := _REGEX.match(text, at)):
        return "value", found.end()
    return ("value" if text[at] in ")]}" else "other"), at + 1


def _template_end(text: str, at: int) -> int:
    """Where the template ends that begins at a place; what is between its texts may hold others."""
    at += 1
    while at < len(text):
        found = _TEMPLATE_TEXT.match(text, at)
        at = found.end() if found else at
        if text[at : at + 1] == "`":
            return at + 1
        at, depth, before = at + 2, 1, "other"
        while depth and at < len(text):
            kind, end = _next(text, at, before)
            depth += {"{": 1, "}": -1}.get(text[at:end], 0)
            before = before if kind == "skipped" else kind
            at = end
    raise InternalError("a template has no end")
