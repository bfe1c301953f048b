"""How long rules are at least, and which rules they name."""

from __future__ import annotations

from typing import Final

from chimerac.compiler.ir.grammar import (
    Bytes,
    Call,
    Choice,
    Concat,
    Counted,
    Expression,
    Grammar,
    Graph,
    Literal,
    Ordered,
    Repeat,
    Space,
    children,
)
from chimerac.passes.grammar_fst import graphs
from chimerac.passes.grammar_fst.components import components

#: Length of what can't be matched at all.
ENDLESS: Final = 1 << 40


def min_length(expression: Expression, lengths: dict[str, int]) -> int:
    """Fewest bytes of an expression, given those of the rules. Parts that occur more than once are measured once."""
    known: dict[int, int] = {}

    def of(item: Expression) -> int:
        if isinstance(item, Literal | Bytes | Call):
            return _plain(item, lengths)
        found = known.get(id(item))
        if found is None:
            found = known[id(item)] = min(ENDLESS, whole(item))
        return found

    def whole(item: Expression) -> int:
        match item:
            case Concat(parts):
                return sum(map(of, parts))
            case Choice(options):
                return min(map(of, options), default=ENDLESS)
            case Repeat(inner, minimum, _):
                return minimum * of(inner) if minimum else 0
            case Space(inner):
                return of(inner)
            case Counted(opening, inner, separator, closing, minimum, _):
                edges = of(opening) + of(closing)
                return edges + minimum * of(inner) + (minimum - 1) * of(separator) if minimum else edges
            case Graph():
                return graphs.min_length(item, of)
            case Ordered(entries, required, other, separator):
                each = [len(key) + of(rest) for key, rest in entries]
                needed = [length for length, must in zip(each, required, strict=True) if must]
                return sum(needed) + (len(needed) - 1) * of(separator) if needed else min(*each, of(other))
        raise AssertionError(item)

    return of(expression)


def _plain(item: Literal | Bytes | Call, lengths: dict[str, int]) -> int:
    match item:
        case Literal(data):
            return len(data)
        case Bytes(ranges):
            return 1 if ranges else ENDLESS
        case Call(rule):
            return lengths[rule]


def rule_lengths(grammar: Grammar) -> dict[str, int]:
    """Fewest bytes of every rule; ENDLESS for one that never ends."""
    lengths = dict.fromkeys(grammar.rules, ENDLESS)
    calls = {name: called_rules(expression) for name, expression in grammar.rules.items()}
    for group in components(calls):  # each after those that it calls
        users: dict[str, list[str]] = {name: [] for name in group}
        for name in sorted(group):
            for rule in calls[name] & group:
                users[rule].append(name)
        queue = dict.fromkeys(sorted(group))
        while queue:
            name = next(iter(queue))
            del queue[name]
            found = min_length(grammar.rules[name], lengths)
            if found < lengths[name]:
                lengths[name] = found
                queue |= dict.fromkeys(users[name])
    return lengths


def called_rules(expression: Expression) -> set[str]:
    """The rules that an expression names."""
    found: set[str] = set()
    seen: set[int] = set()
    stack = [expression]
    while stack:
        item = stack.pop()
        if isinstance(item, Call):
            found.add(item.rule)
        elif id(item) not in seen:  # parts may occur more than once
            inner = children(item)
            if inner:
                seen.add(id(item))
                stack += inner
    return found


def calling(expression: Expression) -> set[int]:
    """The ids of all parts of an expression, itself among them, that name a rule."""
    found: set[int] = set()
    seen: set[int] = set()
    stack: list[tuple[Expression, bool]] = [(expression, False)]
    while stack:
        item, done = stack.pop()
        if isinstance(item, Call) or (done and any(id(inner) in found for inner in children(item))):
            found.add(id(item))
        elif not done and id(item) not in seen:
            inner = children(item)
            if inner:
                seen.add(id(item))
                stack.append((item, True))
                stack += [(part, False) for part in inner]
    return found
