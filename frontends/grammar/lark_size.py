"""How large a grammar in Lark's notation becomes: asked before Lark reads it, which writes out every alternative."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from chimerac.compiler.errors import UserError
from chimerac.frontends.grammar.budget import Budget

#: Bytes of a file, and alternatives of all its rules when each choice inside them is written out.
MAX_BYTES: Final = 1 << 16
MAX_ALTERNATIVES: Final = 20_000
#: From so many repetitions on, Lark makes rules of them instead of alternatives.
_WRITTEN_OUT: Final = 50
_TOKENS: Final = re.compile(
    r'"(?:[^"\\\n]|\\.)*"i?|/(?!/)(?:[^/\\\n]|\\.)+/[a-z]*|//[^\n]*|~\s*[0-9]+(?:\s*\.\.\s*[0-9]+)?'
    r"|%[a-z]+|[A-Za-z_][A-Za-z_0-9]*|[()\[\]|:?*+]|\n"
)


def check_size(text: str, file: str) -> None:
    """Raise UserError CHM282 for a grammar whose reading would take too much time or memory."""
    budget = Budget(file, bytes=MAX_BYTES)
    budget.source(text)
    total = 0
    for rule in _Counter(text, budget).rules():
        total += rule
        if total > MAX_ALTERNATIVES:
            hint = "make a rule of each choice that stands inside of others"
            message = f"{file} is over the limit of {MAX_ALTERNATIVES:,} alternatives when each choice is written out"
            raise UserError("CHM282", message, hint=hint)


@dataclass
class _Level:
    """Alternatives so far of what is in brackets, and of the one that is being read."""

    opening: str
    done: int = 0
    current: int = 1
    last: int = 1  #: of the item before, which a repetition is of


class _Counter:
    """Counts alternatives, rule by rule."""

    def __init__(self, text: str, budget: Budget) -> None:
        self.text, self.budget = text, budget

    def rules(self) -> Iterator[int]:
        """The number of alternatives of each rule; of terminals, which Lark keeps as one expression, 1."""
        levels = [_Level("")]
        for match in _TOKENS.finditer(self.text):
            self.budget.spend()
            sign = match[0]
            if sign == ":" and len(levels) == 1:
                yield levels[0].done + levels[0].current
                levels = [_Level("")]
            elif sign in "([":
                levels.append(_Level(sign))
                self.budget.enter(len(levels) - 1)
            elif sign in ")]" and len(levels) > 1:
                inner = levels.pop()
                self._item(levels[-1], inner.done + inner.current + (inner.opening == "["))
            else:
                self._sign(levels[-1], sign)
        yield levels[0].done + levels[0].current

    def _sign(self, level: _Level, sign: str) -> None:
        if sign == "|":
            level.done, level.current, level.last = min(level.done + level.current, 1 << 40), 1, 1
        elif sign == "?":
            self._again(level, level.last + 1)
        elif sign in "*+":
            self._again(level, 2 if sign == "*" else 1)
        elif sign[0] == "~":
            counts = [int(number[:6]) for number in re.findall("[0-9]+", sign)]
            most = counts[-1]
            if most < _WRITTEN_OUT:
                ways = sum(level.last**count for count in range(min(counts), most + 1))
                self._again(level, ways)
        elif sign not in ("\n", ":"):
            self._item(level, 1)

    @staticmethod
    def _item(level: _Level, ways: int) -> None:
        level.current = min(level.current * ways, 1 << 40)
        level.last = ways

    @staticmethod
    def _again(level: _Level, ways: int) -> None:
        level.current = min(level.current // max(1, level.last) * ways, 1 << 40)
        level.last = min(ways, 1 << 40)
