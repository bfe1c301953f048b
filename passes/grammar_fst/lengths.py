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
    Repeat,
    Space,
    children,
)
from chimerac.passes.grammar_fst import graphs
from chimerac.passes.grammar_fst.components import components

#: Length of what can't be matched at all.
ENDLESS: Final = 1 << 40


def min_length(expression: Expression, lengths: dict[str, int]) -> int:
    """Fewest bytes of an expression, given those of the rules."""
    match expression:
        case Literal(data):
            return len(data)
        case Bytes(ranges):
            return 1 if ranges else ENDLESS
        case Concat(parts):
            return min(ENDLESS, sum(min_length(part, lengths) for part in parts))
        case Choice(options):
            return min((min_length(option, lengths) for option in options), default=ENDLESS)
        case Repeat(item, minimum, _):
            return min(ENDLESS, minimum * min_length(item, lengths)) if minimum else 0
        case Space(item):
            return min_length(item, lengths)
        case Counted(opening, item, separator, closing, minimum, _):
            edges = min_length(opening, lengths) + min_length(closing, lengths)
            if not minimum:
                return min(ENDLESS, edges)
            inner = minimum * min_length(item, lengths) + (minimum - 1) * min_length(separator, lengths)
            return min(ENDLESS, edges + inner)
        case Graph():
            return graphs.min_length(expression, lambda item: min_length(item, lengths))
        case Call(rule):
            return lengths[rule]
    raise AssertionError(expression)


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
    stack = [expression]
    while stack:
        item = stack.pop()
        if isinstance(item, Call):
            found.add(item.rule)
        else:
            stack += children(item)
    return found
