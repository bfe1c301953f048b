"""Which rules need stack frames: left recursion becomes loops, bracketed constructs become rules that are called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.grammar import (
    EMPTY,
    MAX_RULES,
    NOTHING,
    WORK,
    Budget,
    Call,
    Choice,
    Concat,
    Counted,
    Expression,
    Grammar,
    Literal,
    Ordered,
    Repeat,
    Space,
    children,
    choice,
    sequence,
    star,
)
from chimerac.passes.grammar_fst.components import components
from chimerac.passes.grammar_fst.lengths import called_rules, calling, min_length, rule_lengths

_RULE_WORK: Final = 8  #: for a rule whenever circles are looked for
#: Kinds of frames by their first byte; 0 for others.
KINDS = {ord("("): 1, ord("["): 2, ord("{"): 3, ord('"'): 4, ord("'"): 5, ord("`"): 6, ord("$"): 13}


def prepare(grammar: Grammar, budget: Budget) -> tuple[Grammar, frozenset[str], dict[str, int]]:
    """The grammar without left recursion, the rules that are called with a frame of their own, and rules' lengths.

    Raises UserError CHM282 for too many rules or too much work, CHM284 for left recursion that can't be removed.
    """
    if len(grammar.rules) > MAX_RULES:
        raise UserError("CHM282", f"{len(grammar.rules):,} rules are over the limit of {MAX_RULES:,}")
    rules = _reachable(grammar.rules, grammar.start)
    rules, lengths = _without_left_recursion(grammar, rules)
    kinds = dict(grammar.kinds)
    called = set(grammar.shared & rules.keys())
    edges = {name: list(_calls(expression, True)) for name, expression in rules.items()}
    names = set(rules)
    while names:
        # what is called with a frame of its own ends a circle, and only circles of these names are left
        budget.use(WORK, _RULE_WORK * len(names))
        graph = {n: [rule for rule, _ in edges[n] if rule in names and rule not in called] for n in sorted(names)}
        names = set()
        for group in components(graph):
            inner = ((rule, tail) for name in group for rule, tail in edges[name])
            if all(tail or rule not in group or rule in called for rule, tail in inner):
                continue
            names |= group
            changed = _give_frame(group, rules, called, kinds, lengths)
            if changed is None:
                inside = {n: sum(not tail and r == n for m in group for r, tail in edges[m]) for n in group}
                called.add(max(sorted(group), key=lambda n: inside[n]))
                continue
            for name in changed:
                edges[name] = list(_calls(rules[name], True))
                lengths.setdefault(name, min_length(rules[name], lengths))
            names.update(changed)
        if len(rules) > 2 * MAX_RULES:
            raise UserError("CHM282", f"the grammar {grammar.name} has too many nested constructs")
    return replace(grammar, rules=rules, kinds=kinds), frozenset(called), lengths


def _give_frame(
    group: set[str], rules: dict[str, Expression], called: set[str], kinds: dict[str, int], lengths: dict[str, int]
) -> list[str] | None:
    """Make rules of the bracketed parts of one rule of a group; the names of those and of it, None if it has none.

    Rules that are bracketed as a whole come first: what they settle needs no more frames.
    """
    for whole in (True, False):
        for name in sorted(group):
            if _bracketed(rules[name], group, lengths) is not whole:
                continue
            before = len(rules)
            rules[name] = _hoist(rules[name], name, group, rules, called, kinds, lengths)
            if len(rules) > before:
                return [*list(rules)[before:], name]
    return None


def _reachable(rules: Mapping[str, Expression], start: str) -> dict[str, Expression]:
    found: dict[str, Expression] = {}
    queue = [start]
    while queue:
        name = queue.pop()
        if name not in found:
            found[name] = rules[name]
            queue += sorted(called_rules(rules[name]), reverse=True)
    return found


def _calls(expression: Expression, tail: bool) -> Iterator[tuple[str, bool]]:
    """The calls in an expression, each with whether it is the last thing of the rule."""
    relevant = calling(expression)
    stack = [(expression, tail)]
    while stack:
        item, last = stack.pop()
        if id(item) not in relevant:
            continue
        match item:
            case Call(rule):
                yield rule, last
            case Concat(parts):
                stack += [(part, False) for part in parts[:-1]]
                stack.append((parts[-1], last))
            case Choice(options):
                stack += [(option, last) for option in options]
            case Repeat(inner, _, maximum):
                stack.append((inner, last and maximum == 1))
            case Space(inner):
                stack.append((inner, last))
            case Ordered():
                stack += [(part, False) for part in children(item)]
            case Counted(opening, inner, separator, closing):
                # a counted part is a machine of its own: what it calls isn't copied into this rule
                stack += [(part, True) for part in (opening, inner, separator, closing)]


def _hoist(
    expression: Expression,
    name: str,
    group: set[str],
    rules: dict[str, Expression],
    called: set[str],
    kinds: dict[str, int],
    lengths: dict[str, int],
) -> Expression:
    """Make each part `guard … recursion … guard` of an expression a rule of its own that is called."""

    def visit(item: Expression) -> Expression:
        match item:
            case Concat(parts):
                spans = _spans([_role(part, group, lengths) for part in parts])
                if not spans:
                    return Concat(tuple(visit(part) for part in parts))
                made: list[Expression] = []
                position = 0
                for first, last in spans:
                    made += parts[position:first]
                    new = f"{name}~{len(rules)}"
                    opening = parts[first]
                    data = opening.data if isinstance(opening, Literal) else b""
                    if len(data) > 1:  # the frame opens with the last byte: those before may be shared with others
                        made.append(Literal(data[:-1]))
                        opening = Literal(data[-1:])
                    rules[new] = Concat((opening, *parts[first + 1 : last + 1]))
                    called.add(new)
                    kinds[new] = KINDS.get(data[-1], 0) if data else 0
                    made.append(Call(new))
                    position = last + 1
                return sequence(*made, *parts[position:])
            case Choice(options):
                return Choice(tuple(visit(option) for option in options))
            case Repeat(inner, minimum, maximum):
                return Repeat(visit(inner), minimum, maximum)
        return item

    return visit(expression)


def _bracketed(expression: Expression, group: set[str], lengths: dict[str, int]) -> bool:
    """Whether each way through an expression that recurs has guards as its first and last part."""
    if isinstance(expression, Choice):
        return all(_bracketed(option, group, lengths) for option in expression.options)
    if not isinstance(expression, Concat):
        return not called_rules(expression) & group
    roles = [_role(part, group, lengths) for part in expression.parts]
    return "recursive" not in roles or _spans(roles) == [(0, len(roles) - 1)]


def _role(part: Expression, group: set[str], lengths: dict[str, int]) -> str:
    if called_rules(part) & group:
        return "recursive"
    return "guard" if min_length(part, lengths) > 0 else "empty"


def _spans(roles: list[str]) -> list[tuple[int, int]]:
    """From the guard before to the guard after each recursive part that has both; overlapping ones joined."""
    spans: list[tuple[int, int]] = []
    for index, role in enumerate(roles):
        if role != "recursive":
            continue
        before = next((k for k in range(index - 1, -1, -1) if roles[k] == "guard"), None)
        after = next((k for k in range(index + 1, len(roles)) if roles[k] == "guard"), None)
        if before is None or after is None:
            continue
        if spans and before <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(after, spans[-1][1]))
        else:
            spans.append((before, after))
    return spans


# -- left recursion


def _without_left_recursion(
    grammar: Grammar, rules: dict[str, Expression]
) -> tuple[dict[str, Expression], dict[str, int]]:
    """Rules without left recursion, and the fewest bytes of each."""
    lengths = rule_lengths(replace(grammar, rules=rules))
    changed = False
    nullable = {name for name, length in lengths.items() if length == 0}
    graph = {name: sorted(_left_calls(expression, nullable, lengths)) for name, expression in rules.items()}
    for group in components(graph):
        if len(group) == 1 and not any(name in graph[name] for name in group):
            continue
        order = sorted(group)
        changed = True
        for index, name in enumerate(order):
            for earlier in order[:index]:
                tails, rest = _split(rules[name], earlier, lengths, name)
                if tails:
                    rules[name] = choice([rest, *(sequence(rules[earlier], tail) for tail in tails)])
            tails, rest = _split(rules[name], name, lengths, name)
            tails = [tail for tail in tails if tail != EMPTY]
            rules[name] = sequence(rest, star(choice(tails))) if tails else rest
    return rules, rule_lengths(replace(grammar, rules=rules)) if changed else lengths


def _left_calls(expression: Expression, nullable: set[str], lengths: dict[str, int]) -> set[str]:
    match expression:
        case Call(rule):
            return {rule}
        case Concat(parts):
            found: set[str] = set()
            for part in parts:
                found |= _left_calls(part, nullable, lengths)
                if min_length(part, lengths) > 0:
                    break
            return found
        case Choice(options):
            return set().union(*(_left_calls(option, nullable, lengths) for option in options))
        case Repeat(item) | Space(item):
            return _left_calls(item, nullable, lengths)
        case Counted(opening, item):
            return _left_calls(Concat((opening, item)), nullable, lengths)
    return set()


def _split(
    expression: Expression, rule: str, lengths: dict[str, int], name: str
) -> tuple[list[Expression], Expression]:
    """An expression as ``rule tail₁ | rule tail₂ | … | rest``, where the rest doesn't start with the rule."""
    match expression:
        case Call(called) if called == rule:
            return [EMPTY], NOTHING
        case Choice(options):
            tails: list[Expression] = []
            rests: list[Expression] = []
            for option in options:
                found, rest = _split(option, rule, lengths, name)
                tails += found
                rests.append(rest)
            return (tails, choice([r for r in rests if r != NOTHING])) if tails else ([], expression)
        case Concat(parts):
            tail = sequence(*parts[1:])
            found, rest = _split(parts[0], rule, lengths, name)
            hidden = min_length(parts[0], lengths) == 0 and rule in _left_calls(tail, set(), lengths)
            if hidden:
                message = f"the rule {name} can start with {rule} again after something that may be empty"
                raise UserError("CHM284", message, hint="write the recursion on the right, or as a repetition")
            if not found:
                return [], expression
            remains = NOTHING if rest == NOTHING else sequence(rest, tail)
            return [sequence(one, tail) for one in found], remains
        case Repeat(item, minimum, maximum):
            if rule not in _left_calls(item, set(), lengths):
                return [], expression
            fewer = None if maximum is None else maximum - 1
            more = Repeat(item, max(0, minimum - 1), fewer) if fewer != 0 else EMPTY
            found, rest = _split(sequence(item, more), rule, lengths, name)
            return found, choice([rest, EMPTY]) if minimum == 0 else rest
    return [], expression
