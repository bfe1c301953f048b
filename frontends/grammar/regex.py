"""Regular expressions: their text → a tree over characters, and the grammar of one.

Two dialects: "python" (``re``: ``\\d``, ``\\w``, ``\\s`` are Unicode) and "ecma" (JSON Schema; only ``\\s`` is). What
is accepted means what it means there; look-behind, references to groups, word boundaries, possessive repetitions and
atomic groups are refused with their place.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir import grammar as ir
from chimerac.compiler.ir.grammar import MAX_REPETITIONS
from chimerac.frontends.grammar import characters as ch
from chimerac.frontends.grammar.budget import Budget, shown
from chimerac.frontends.grammar.character_dfa import graph_of
from chimerac.frontends.grammar.regex_escapes import Dialect, Escapes
from chimerac.frontends.grammar.regex_language import language
from chimerac.frontends.grammar.regex_tree import (
    Anchor,
    Chars,
    Either,
    Join,
    Look,
    Regex,
    Times,
    to_expression,
)

#: Bytes of one expression, and parts of its tree.
MAX_BYTES: Final = 1 << 16
MAX_PARTS: Final = 40_000
#: What a backslash stands before ends no comment.
_COMMENT: Final = re.compile(r"(?:\\.|[^\\)])*\)", re.DOTALL)
_VERBOSE_COMMENT: Final = re.compile(r"#(?:\\.|[^\\\n])*\n?", re.DOTALL)
_BOUNDS: Final = re.compile(r"\{([0-9]*)(?:(,)([0-9]*))?\}")


def parse(text: str, dialect: Dialect = "python", flags: str = "") -> Regex:
    """The tree of a regular expression.

    Args:
        flags: letters of Python's inline flags that hold from the start: i, m, s, x, a.

    Raises UserError CHM280 for what isn't one or isn't supported, with the place, CHM282 for a limit.
    """
    budget = Budget("a regular expression", bytes=MAX_BYTES, work=MAX_PARTS)
    budget.source(text)
    with ir.deep_recursion():
        return _Parser(text, dialect, flags, budget).whole()


@dataclass
class _Parser(Escapes):
    depth: int = 0
    names: set[str] = field(default_factory=set)

    def whole(self) -> Regex:
        found = self.either(outermost=True)
        if self.position < len(self.text):
            raise self.error("there is no '(' for this ')'")
        if self.dialect == "ecma" and self.loose >= 0 <= self.strict:
            column = self.span(self.loose).column
            message = f"in column {column} stands what ECMAScript takes only without its flag u, where this means else"
            hint = f"leave out the backslash of column {column}, or put one there"
            raise self.error(message, self.strict, hint)
        return found

    def either(self, *, outermost: bool = False) -> Regex:
        options = [self.join(first=outermost)]
        while self.take("|"):
            options.append(self.join())
        return options[0] if len(options) == 1 else Either(tuple(options))

    def join(self, *, first: bool = False) -> Regex:
        """Up to a ``|`` or ``)``; flags for the whole expression may stand at the begin of the ``first``."""
        parts: list[Regex] = []
        repeated = False  # whether the last part has a repetition already
        while (sign := self.peek()) and sign not in "|)":
            if "x" in self.flags and self.blank():
                continue
            self.budget.spend()
            at = self.position
            bounds = self.repetition()
            if bounds is not None:
                if not parts:
                    raise self.error("there is nothing to repeat", at)
                parts[-1] = self.times(parts[-1], bounds, at, again=repeated)
                repeated = True
                continue
            item = self.atom(first=first and not parts)
            if item is not None:
                parts.append(item)
                repeated = False
        return parts[0] if len(parts) == 1 else Join(tuple(parts))

    def blank(self) -> bool:
        """Go behind a blank or a comment of a verbose expression."""
        if self.peek() == "#":
            self.position = _VERBOSE_COMMENT.match(self.text, self.position).end()  # type: ignore[union-attr]
            return True
        return any(self.take(sign) for sign in " \t\n\r\v\f")

    # -- repetitions

    def repetition(self) -> tuple[int, int | None] | None:
        """The bounds that stand at the position, which moves behind them; None if there are none."""
        sign = self.peek()
        if sign in "*+?":
            self.position += 1
            return {"*": (0, None), "+": (1, None), "?": (0, 1)}[sign]
        found = _BOUNDS.match(self.text, self.position)
        if found is None or found[0] == "{}" or (not found[1] and self.dialect == "ecma"):
            return None
        low = _number(found[1])
        high = low if not found[2] else _number(found[3]) if found[3] else None
        if max(low, high or 0) > MAX_REPETITIONS:
            raise UserError(
                "CHM282", f"a repetition of {shown(found[0])[2:-2]} is over the limit of {MAX_REPETITIONS:,}"
            )
        if high is not None and low > high:
            raise self.error("the bounds of a repetition are the wrong way round")
        self.position = found.end()
        return low, high

    def times(self, item: Regex, bounds: tuple[int, int | None], at: int, *, again: bool) -> Regex:
        """An item with the repetition that ends at the position."""
        if isinstance(item, Anchor | Look):
            raise self.error("an anchor cannot be repeated", at)
        if again:
            raise self.error("a repetition cannot be repeated", at, "put the first one in brackets: (?:…)")
        if self.dialect == "python" and self.peek() == "+":
            raise self.error("possessive repetition is not supported", hint="leave the last + out")
        return Times(item, *bounds, self.take("?"))

    # -- atoms

    def atom(self, *, first: bool) -> Regex | None:
        sign, at = self.peek(), self.position
        if sign == "(":
            return self.group(first=first)
        if sign == "[":
            return Chars(self.char_class())
        if sign == "\\":
            found = self.escape()
            return found if isinstance(found, Anchor) else Chars(found)
        if sign == ".":
            self.position += 1
            return Chars(ch.ALL if "s" in self.flags else ch.inverted(self.line_ends()))
        if sign in "^$":
            if "m" in self.flags:
                raise self.error("anchors of lines are not supported")
            self.position += 1
            return Anchor("n" if sign == "$" and self.dialect == "python" else sign, self.span(at))
        if sign in "]{}":
            self.loose = at
        return Chars(self.fold(self.literal()))

    def line_ends(self) -> ch.CharSet:
        return ch.single("\n") if self.dialect == "python" else ch.single("\n\r\u2028\u2029")

    def group(self, *, first: bool) -> Regex | None:
        at = self.position
        self.depth += 1
        self.budget.enter(self.depth)
        self.position += 1
        before = self.flags
        look: bool | None = None  # whether it is a negative look-ahead, a positive one, or none
        if self.take("?"):
            if self.dialect == "python" and self.take("#"):
                self.comment(at)
                return None
            if self.peek() in ("=", "!"):
                look = self.peek() == "!"
                self.position += 1
            elif not self.take(":") and not self.name(at) and self.inline_flags(at, first=first):
                self.depth -= 1
                return None
        found = self.either()
        if not self.take(")"):
            raise self.error("this '(' is never closed", at)
        self.flags = before
        self.depth -= 1
        return found if look is None else Look(found, look, self.span(at))

    def comment(self, at: int) -> None:
        found = _COMMENT.match(self.text, self.position)
        if found is None:
            raise self.error("a comment has no end", at)
        self.position = found.end()
        self.depth -= 1

    def name(self, at: int) -> bool:
        """Whether it is a group with a name, which is read; raises for what is no group at all."""
        if self.text.startswith(("<=", "<!"), self.position):
            raise self.error("look-behind is not supported", at, "say what the text is, not what it is not")
        if self.take("P=") or self.take("("):
            raise self.error("references to groups are not supported", at)
        if self.take(">"):
            raise self.error("atomic groups are not supported", at)
        if not self.take("P<") and not (self.dialect == "ecma" and self.take("<")):
            return False
        end = self.text.find(">", self.position)
        name = self.text[self.position : end] if end >= 0 else ""
        if not name.isidentifier():
            raise self.error("a group's name has no end" if end < 0 else f"{shown(name)} is no name of a group", at)
        if name in self.names:
            raise self.error(f"there are two groups {shown(name)}", at)
        self.names.add(name)
        self.position = end + 1
        return True

    def inline_flags(self, at: int, *, first: bool) -> bool:
        """Read ``i)``, ``i:``, ``-i:``; True if the flags hold for the rest of the expression."""
        known = "aimsxu" if self.dialect == "python" else "is"
        found = re.compile(rf"([{known}]*)(?:-([{known}]+))?([:)])").match(self.text, self.position)
        if found is None or not (found[1] or found[2]):
            raise self.error(f"unknown extension ?{shown(self.peek())[1:-1]}", at)
        on, off, end = found[1], found[2] or "", found[3]
        if set(on) & set(off) or set(off) & set("au") or {"a", "u"} <= set(on) or (off and end == ")"):
            raise self.error("these flags do not go together", at)
        if end == ")" and (not first or ("u" in on and "a" in self.flags) or ("a" in on and "u" in self.flags)):
            raise self.error("flags for the whole expression stand at its begin", at, "write (?i:…) for a part of it")
        self.position = found.end()
        kept = set(self.flags) - set(off) - (set("au") if set(on) & set("au") else set())
        self.flags = "".join(sorted(kept | set(on)))
        return end == ")"


def _number(digits: str) -> int:
    return int(digits.lstrip("0")[:9] or "0")


def regex_grammar(pattern: str, name: str = "regex") -> ir.Grammar:
    """The grammar of the texts that a regular expression of Python matches as a whole.

    Raises UserError CHM280 for what isn't one or isn't supported, with the place, CHM282 for a limit, CHM420 for what
    isn't a text.
    """
    if not isinstance(pattern, str):
        raise UserError("CHM420", f"a regular expression is a str, not {type(pattern).__name__}")
    with ir.deep_recursion():
        found = language(parse(pattern), search=False)
        start = to_expression(found) if isinstance(found, Regex) else graph_of(found)
    return ir.Grammar(name, {"start": start}, source=pattern)
