"""A scan over a text before it is parsed: its size, how deep brackets nest, and the first one that has no partner."""

from __future__ import annotations

import re

from chimerac.compiler.errors import UserError
from chimerac.frontends.config.source import Source

MAX_DEPTH = 64  #: deepest accepted nesting of objects and lists
MAX_MARKS = 40_000  #: most brackets, commas, colons, strings and comments, which the parser takes one by one

#: Possessive, so that no place is remembered for each sign of a long string.
_TOKEN = re.compile(r'"(?:[^"\\\n]++|\\.)*+"?|(?://|#)[^\n]*|/\*(?:[^*]++|\*(?!/))*+(?:\*/)?|[\[\]{},:]')
_PARTNER = {"}": "{", "]": "["}


def scan(source: Source) -> tuple[int, UserError] | None:
    """The first structural mistake as (offset where a parser would notice it, error), or None.

    The scan is one pass with an explicit stack, so a text of brackets only can't exhaust the interpreter's stack.

    Raises:
        UserError: CHM101 at once for nesting over ``MAX_DEPTH``, or over ``MAX_MARKS``.
    """
    opened: list[tuple[str, int]] = []
    mistake: tuple[int, UserError] | None = None
    for number, match in enumerate(_TOKEN.finditer(source.text)):
        token, at = match.group(), match.start()
        if number == MAX_MARKS:
            message = f"the config has more than {MAX_MARKS:,} brackets, commas, colons, strings and comments"
            hint = "a config holds settings; weights and corpora are files of their own"
            raise UserError("CHM101", message, span=source.span(at), hint=hint)
        if token.startswith("/*") and not (len(token) >= 4 and token.endswith("*/")):
            error = UserError("CHM102", "this comment is never closed", span=source.span(at, at + 2), hint="add '*/'")
            return mistake or (at, error)
        if token in ("{", "["):
            opened.append((token, at))
            if len(opened) > MAX_DEPTH:
                raise UserError(
                    "CHM101", f"objects and lists are nested deeper than {MAX_DEPTH} levels", span=source.span(at)
                )
        elif token in _PARTNER:
            if opened and opened[-1][0] == _PARTNER[token]:
                opened.pop()
            elif mistake is None:
                mistake = (at, _unmatched(source, token, at, opened))
    if mistake is None and opened:
        bracket, at = opened[-1]
        closing = "}" if bracket == "{" else "]"
        text = f"this '{bracket}' is never closed"
        mistake = (len(source.text), UserError("CHM102", text, span=source.span(at), hint=f"add '{closing}'"))
    return mistake


def _unmatched(source: Source, token: str, at: int, opened: list[tuple[str, int]]) -> UserError:
    if not opened:
        return UserError("CHM102", f"this '{token}' closes nothing", span=source.span(at), hint="remove it")
    bracket, place = opened[-1]
    closing = "}" if bracket == "{" else "]"
    start = source.span(place)
    return UserError(
        "CHM102",
        f"'{token}' can't close the '{bracket}' of line {start.line}, column {start.column}",
        span=source.span(at),
        hint=f"put '{closing}' here, or close the '{bracket}' before",
    )
