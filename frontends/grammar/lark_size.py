"""How large a grammar in Lark's notation becomes: asked before Lark reads it, which writes out every alternative."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from chimerac.compiler.errors import UserError
from chimerac.frontends.grammar.budget import Budget

#: Bytes of a file; alternatives of all its rules when each choice inside them is written out; characters of all its
#: terminals when each is put in where it is named; rules that templates make of templates.
MAX_BYTES: Final = 1 << 15
MAX_ALTERNATIVES: Final = 4_000
MAX_TERMINALS: Final = 1 << 18
MAX_INSTANCES: Final = 1_000
#: From so many repetitions on, Lark makes rules of them instead of alternatives.
_WRITTEN_OUT: Final = 50
_MOST: Final = 1 << 40
_TOKENS: Final = re.compile(
    r'"(?:[^"\\\n]|\\.)*"i?|/(?!/)(?:[^/\\\n]|\\.)+/[a-z]*|//[^\n]*|~\s*[0-9]+(?:\s*\.\.\s*[0-9]+)?|->\s*\w+'
    r"|%[a-z]+[^\n]*|\.-?[0-9]+|[A-Za-z_][A-Za-z_0-9]*|[(){}\[\]|:,?*+]"
)
_NAME: Final = re.compile("[A-Za-z_]")


@dataclass
class _Definition:
    """A rule or a terminal: its name, how many parameters it has, and the tokens that it is defined by."""

    name: str
    parameters: int = 0
    tokens: list[str] = field(default_factory=list)

    @property
    def terminal(self) -> bool:
        return self.name.lstrip("_")[:1].isupper()


def check_size(text: str, file: str) -> None:
    """Raise UserError CHM282 for a grammar whose reading would take too much time or memory."""
    budget = Budget(file, bytes=MAX_BYTES)
    budget.source(text)
    definitions = _definitions(text, budget)
    rules = [one for one in definitions if not one.terminal]
    _check(sum(_alternatives(one.tokens) for one in rules), MAX_ALTERNATIVES, "alternatives", file)
    _check(_expanded([one for one in definitions if one.terminal]), MAX_TERMINALS, "characters of terminals", file)
    _check(_instances(rules), MAX_INSTANCES, "rules made by templates in templates", file)


def _check(found: int, limit: int, what: str, file: str) -> None:
    if found > limit:
        hint = "make a rule of each choice that stands inside of others, and take templates out of templates"
        raise UserError("CHM282", f"{file} is over the limit of {limit:,} {what} when all is written out", hint=hint)


def _definitions(text: str, budget: Budget) -> list[_Definition]:
    """What a text defines, in order. A definition ends where the next name with a colon stands."""
    found = [_Definition("")]
    tokens = [match[0] for match in _TOKENS.finditer(text) if match[0][:2] not in ("//", "->") and match[0][0] != "%"]
    depth = 0
    for token in tokens:
        budget.spend()
        depth += (token in ("(", "[")) - (token in (")", "]"))
        budget.enter(depth)
        if token == ":" and depth == 0:
            header = _header(found[-1].tokens)
            found.append(header)
        elif token[0] != ".":
            found[-1].tokens.append(token)
    return found[1:]


def _header(tokens: list[str]) -> _Definition:
    """Take the name before a colon, with its parameters in braces, off the end of what was read."""
    parameters = 0
    if tokens and tokens[-1] == "}":
        begin = len(tokens) - 1 - tokens[::-1].index("{") if "{" in tokens else 0
        parameters = sum(token not in "{}," for token in tokens[begin:])
        del tokens[begin:]
    return _Definition(tokens.pop() if tokens else "", parameters)


def _alternatives(tokens: Sequence[str]) -> int:
    """The number of alternatives of a rule in which no choice stands inside of another."""
    levels = [_Level("")]
    for token in tokens:
        if token in ("(", "["):
            levels.append(_Level(token))
        elif token in (")", "]") and len(levels) > 1:
            inner = levels.pop()
            levels[-1].item(inner.done + inner.current + (inner.opening == "["))
        else:
            levels[-1].sign(token)
    return levels[0].done + levels[0].current


@dataclass
class _Level:
    """Alternatives so far of what is in brackets, and of the one that is being read."""

    opening: str
    done: int = 0
    current: int = 1
    last: int = 1  #: of the item before, which a repetition is of

    def sign(self, token: str) -> None:
        """Account for what is no bracket."""
        if token == "|":
            self.done, self.current, self.last = min(self.done + self.current, _MOST), 1, 1
        elif token == "?":
            self.again(self.last + 1)
        elif token in ("*", "+"):
            self.again(2 if token == "*" else 1)
        elif token[0] == "~":
            counts = [int(number[:6]) for number in re.findall("[0-9]+", token)]
            if counts[-1] < _WRITTEN_OUT:
                self.again(sum(self.last**count for count in range(counts[0], counts[-1] + 1)))
        elif token not in ("{", "}", ","):
            self.item(1)

    def item(self, ways: int) -> None:
        """Account for an item that can be written in so many ways."""
        self.current, self.last = min(self.current * ways, _MOST), ways

    def again(self, ways: int) -> None:
        """Account for a repetition of the item before."""
        self.current = min(self.current // max(1, self.last) * ways, _MOST)
        self.last = min(ways, _MOST)


def _expanded(terminals: Iterable[_Definition]) -> int:
    """The characters of all terminals when each is put in where it is named."""
    by_name = {one.name: one for one in terminals}
    sizes: dict[str, int] = {}
    stack = [(name, False) for name in by_name]
    entered: set[str] = set()
    while stack:
        name, inner_known = stack.pop()
        tokens = by_name[name].tokens
        if inner_known:
            sizes[name] = min(_MOST, sum(sizes.get(token, 0 if token in by_name else len(token)) for token in tokens))
        elif name not in entered:
            entered.add(name)
            stack.append((name, True))
            stack += [(token, False) for token in dict.fromkeys(tokens) if token in by_name]
    return min(_MOST, sum(sizes.values()))


def _instances(rules: Sequence[_Definition]) -> int:
    """At most so many rules come of templates that are used in templates."""
    parameters = {one.name: one.parameters for one in rules if one.parameters}
    arguments: set[str] = set()
    used = 0
    for one in rules:
        depth, template = 0, ""
        for before, token in zip(["", *one.tokens], one.tokens, strict=False):
            if token == "{":
                depth, template = depth + 1, before
                if one.parameters and depth > 1:
                    return _MOST  # an argument that grows with each use has no end
                used = max(used, parameters.get(template, 0)) if one.parameters else used
            elif token == "}":
                depth -= 1
            elif depth and token != ",":
                arguments.add(token)
    return int(min(_MOST, len(arguments) ** used)) if used else 0
