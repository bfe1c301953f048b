"""Deterministic automata over characters: what keys and strings of schemas need beyond plain expressions.

Intersection and difference of regular expressions; the result becomes a ``Graph``, which can be bounded in length.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.grammar import NOTHING, Expression, Graph
from chimerac.compiler.ir.ranges import cut
from chimerac.frontends.grammar.budget import Budget
from chimerac.frontends.grammar.characters import CharSet, char_set, intersection, inverted, utf8
from chimerac.frontends.grammar.regex_tree import Chars, Either, Join, Regex, Times

MAX_DFA_STATES: Final = 20_000
#: Nodes and edges that are looked at to make one of a pattern.
MAX_DFA_WORK: Final = 600_000
State = TypeVar("State", bound=Hashable)


@dataclass(frozen=True)
class CharacterDfa:
    """``moves[s]``: (first, last, target) with ascending ranges apart; ``final[s]``; state 0 is the start."""

    moves: tuple[tuple[tuple[int, int, int], ...], ...]
    final: tuple[bool, ...]

    def accepts(self, text: str) -> bool:
        """Whether a text is in the language."""
        state = 0
        for c in map(ord, text):
            found = next((target for first, last, target in self.moves[state] if first <= c <= last), None)
            if found is None:
                return False
            state = found
        return self.final[state]

    @property
    def empty(self) -> bool:
        """Whether no text is in the language; states without a way to the end are always left out."""
        return not self.moves[0] and not self.final[0]


def explore(
    start: State, moves: Callable[[State], Sequence[tuple[int, int, State]]], final: Callable[[State], bool]
) -> CharacterDfa:
    """The automaton of what is reached from a state, without dead ends; raises UserError CHM282 over MAX_DFA_STATES."""
    number: dict[State, int] = {start: 0}
    order = [start]
    table: list[list[tuple[int, int, int]]] = []
    for state in order:
        row: list[tuple[int, int, int]] = []
        for first, last, goal in moves(state):
            if goal not in number:
                if len(order) >= MAX_DFA_STATES:
                    raise UserError("CHM282", f"a pattern needs more than {MAX_DFA_STATES:,} states")
                number[goal] = len(order)
                order.append(goal)
            row.append((first, last, number[goal]))
        table.append(row)
    ends = [final(state) for state in order]
    sources: list[list[int]] = [[] for _ in order]
    for index, row in enumerate(table):
        for _, _, target in row:
            sources[target].append(index)
    live = list(ends)
    queue = [index for index, end in enumerate(ends) if end]
    while queue:
        for source in sources[queue.pop()]:
            if not live[source]:
                live[source] = True
                queue.append(source)
    keep = [index for index in range(len(order)) if live[index] or index == 0]
    renumbered = {index: position for position, index in enumerate(keep)}
    rows = (tuple((f, n, renumbered[t]) for f, n, t in table[index] if live[t]) for index in keep)
    return CharacterDfa(tuple(rows), tuple(ends[index] for index in keep))


def of_regex(tree: Regex, after: CharacterDfa | None = None) -> CharacterDfa:
    """The automaton of a tree without anchors, and of what comes after it."""
    nfa = _Nfa()
    last = nfa.node()
    begin = nfa.build(tree, last if after is None else nfa.embed(after, last))

    def moves(state: frozenset[int]) -> list[tuple[int, int, frozenset[int]]]:
        listed = [(first, end, target) for n in state for chars, target in nfa.edges[n] for first, end in chars]
        nfa.budget.spend(len(listed))
        return [(first, end, frozenset().union(*map(nfa.closure, targets))) for first, end, targets in cut(listed)]

    return explore(nfa.closure(begin), moves, lambda state: last in state)


class _Nfa:
    """An automaton with edges that take no character; nodes are numbers."""

    def __init__(self) -> None:
        self.epsilon: list[list[int]] = []
        self.edges: list[list[tuple[CharSet, int]]] = []
        self.budget = Budget("a pattern", work=MAX_DFA_WORK)
        self._closures: dict[int, frozenset[int]] = {}

    def node(self) -> int:
        """A new node."""
        self.budget.spend()
        self.epsilon.append([])
        self.edges.append([])
        return len(self.edges) - 1

    def build(self, item: Regex, exit: int) -> int:
        """The entry of a tree that goes on at ``exit``."""
        match item:
            case Chars(chars):
                entry = self.node()
                self.edges[entry].append((chars, exit))
                return entry
            case Join(parts):
                for part in reversed(parts):
                    exit = self.build(part, exit)
                return exit
            case Either(options):
                entry = self.node()
                self.epsilon[entry] = [self.build(option, exit) for option in options]
                return entry
            case Times():
                return self._times(item, exit)
        raise AssertionError(item)

    def _times(self, item: Times, exit: int) -> int:
        if item.maximum is None:
            loop = self.node()
            self.epsilon[loop] = _preferred(item, self.build(item.item, loop), exit)
            exit = loop
        else:
            end = exit
            for _ in range(item.maximum - item.minimum):
                entry = self.node()
                self.epsilon[entry] = _preferred(item, self.build(item.item, exit), end)
                exit = entry
        for _ in range(item.minimum):
            exit = self.build(item.item, exit)
        return exit

    def embed(self, dfa: CharacterDfa, exit: int) -> int:
        """The entry of a copy of an automaton that goes on at ``exit``."""
        entries = [self.node() for _ in dfa.moves]
        for entry, row, final in zip(entries, dfa.moves, dfa.final, strict=True):
            targets: dict[int, list[tuple[int, int]]] = {}
            for first, last, target in row:
                targets.setdefault(target, []).append((first, last))
            self.edges[entry] = [(tuple(ranges), entries[target]) for target, ranges in targets.items()]
            self.epsilon[entry] = [exit] if final else []
        return entries[0]

    def closure(self, at: int) -> frozenset[int]:
        """The nodes reached without a character that have edges or are the last one."""
        if at not in self._closures:
            self._closures[at] = frozenset(self.ordered(at))
        return self._closures[at]

    def ordered(self, at: int) -> list[int]:
        """The same, what is preferred first."""
        found: list[int] = []
        seen: set[int] = set()
        stack = [at]
        while stack:
            node = stack.pop()
            if node not in seen:
                seen.add(node)
                if self.edges[node] or not node:
                    found.append(node)
                stack += reversed(self.epsilon[node])
        self.budget.spend(len(seen))
        return found


def _preferred(times: Times, more: int, end: int) -> list[int]:
    """The two ways to go on in a repetition, the preferred one first."""
    return [end, more] if times.lazy else [more, end]


def of_matches(tree: Regex) -> CharacterDfa | None:
    """The texts that Python's ``re`` matches as a whole when it looks for a match at their begin.

    It takes the first alternative that leads to a match, not the longest: ``a|ab`` never matches ``ab``. None if these
    are all texts of the tree.
    """
    nfa = _Nfa()
    begin = nfa.build(tree, nfa.node())
    shortened = False

    def until_match(nodes: Iterable[int]) -> tuple[int, ...]:
        nonlocal shortened
        found: dict[int, None] = {}
        for node in nodes:
            if 0 in found:
                shortened = shortened or bool(node not in found and nfa.edges[node])
            else:
                found[node] = None
        return tuple(found)

    def moves(state: tuple[int, ...]) -> list[tuple[int, int, tuple[int, ...]]]:
        targets: list[int] = []
        listed: list[tuple[int, int, int]] = []
        for node in state:
            for chars, target in nfa.edges[node]:
                listed += [(first, last, len(targets)) for first, last in chars]
                targets.append(target)
        nfa.budget.spend(len(listed))
        return [
            (first, last, until_match(node for index in sorted(which) for node in nfa.ordered(targets[index])))
            for first, last, which in cut(listed)
        ]

    dfa = explore(until_match(nfa.ordered(begin)), moves, lambda state: 0 in state)
    return dfa if shortened else None


def starting(dfa: CharacterDfa, chars: CharSet) -> CharacterDfa:
    """The texts of a language that begin with one of some characters."""

    def moves(state: tuple[bool, int]) -> list[tuple[int, int, tuple[bool, int]]]:
        begun, at = state
        row = dfa.moves[at]
        if begun:
            return [(first, last, (True, target)) for first, last, target in row]
        return [(a, b, (True, target)) for first, last, target in row for a, b in intersection(((first, last),), chars)]

    return explore((False, 0), moves, lambda state: state[0] and dfa.final[state[1]])


def both(left: CharacterDfa, right: CharacterDfa) -> CharacterDfa:
    """The texts in both languages."""

    def moves(state: tuple[int, int]) -> list[tuple[int, int, tuple[int, int]]]:
        a, b, i, j = left.moves[state[0]], right.moves[state[1]], 0, 0
        found = []
        while i < len(a) and j < len(b):
            first, last = max(a[i][0], b[j][0]), min(a[i][1], b[j][1])
            if first <= last:
                found.append((first, last, (a[i][2], b[j][2])))
            if a[i][1] < b[j][1]:
                i += 1
            else:
                j += 1
        return found

    return explore((0, 0), moves, lambda state: left.final[state[0]] and right.final[state[1]])


def either(left: CharacterDfa, right: CharacterDfa) -> CharacterDfa:
    """The texts in one of the languages, or in both."""
    return complement(both(complement(left), complement(right)))


def without(left: CharacterDfa, right: CharacterDfa) -> CharacterDfa:
    """The texts of the left language that are not in the right one."""
    return both(left, complement(right))


def complement(dfa: CharacterDfa) -> CharacterDfa:
    """All other texts."""

    def moves(state: int) -> list[tuple[int, int, int]]:
        if state < 0:
            return [(0, 0xD7FF, -1), (0xE000, 0x10FFFF, -1)]
        row = dfa.moves[state]
        covered = char_set((first, last) for first, last, _ in row)
        return sorted([*row, *((first, last, -1) for first, last in inverted(covered))])

    return explore(0, moves, lambda state: state < 0 or not dfa.final[state])


def of_texts(texts: Sequence[str]) -> CharacterDfa:
    """Some fixed texts."""
    children: list[dict[str, int]] = [{}]
    final = [False]
    for text in texts:
        at = 0
        for sign in text:
            if sign not in children[at]:
                children[at][sign] = len(children)
                children.append({})
                final.append(False)
            at = children[at][sign]
        final[at] = True

    def moves(at: int) -> list[tuple[int, int, int]]:
        return [(ord(sign), ord(sign), target) for sign, target in sorted(children[at].items())]

    return explore(0, moves, lambda at: final[at])


def graph_of(
    dfa: CharacterDfa,
    encode: Callable[[CharSet], Expression] = utf8,
    minimum: int = 0,
    maximum: int | None = None,
) -> Expression:
    """The texts of a language that have ``minimum`` to ``maximum`` characters, each spelled as ``encode`` says."""
    if dfa.empty:
        return NOTHING
    steps: list[tuple[tuple[Expression, int], ...]] = []
    for row in dfa.moves:
        targets: dict[int, list[tuple[int, int]]] = {}
        for first, last, target in row:
            targets.setdefault(target, []).append((first, last))
        steps.append(tuple((encode(char_set(ranges)), target) for target, ranges in targets.items()))
    return Graph(tuple(steps), dfa.final, minimum, maximum)
