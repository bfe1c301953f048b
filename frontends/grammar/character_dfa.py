"""Deterministic automata over characters: what keys and strings of schemas need beyond plain expressions.

Intersection and difference of regular expressions; the result becomes a ``Graph``, which can be bounded in length.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.grammar import NOTHING, Expression, Graph
from chimerac.compiler.ir.ranges import cut
from chimerac.frontends.grammar.characters import CharSet, char_set, utf8
from chimerac.frontends.grammar.regex import Chars, Either, Join, Regex, Times

MAX_DFA_STATES: Final = 20_000
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


def of_regex(tree: Regex) -> CharacterDfa:  # noqa: C901  a case for each kind of expression
    """The automaton of a tree without anchors."""
    epsilon: list[list[int]] = []
    edges: list[list[tuple[CharSet, int]]] = []

    def node() -> int:
        if len(edges) > 20 * MAX_DFA_STATES:
            raise UserError("CHM282", "a pattern is too large")
        epsilon.append([])
        edges.append([])
        return len(edges) - 1

    def build(item: Regex, exit: int) -> int:
        match item:
            case Chars(chars):
                entry = node()
                edges[entry].append((chars, exit))
                return entry
            case Join(parts):
                for part in reversed(parts):
                    exit = build(part, exit)
                return exit
            case Either(options):
                entry = node()
                epsilon[entry] = [build(option, exit) for option in options]
                return entry
            case Times(inner, minimum, maximum):
                if maximum is None:
                    loop = node()
                    epsilon[loop] = [build(inner, loop), exit]
                    exit = loop
                else:
                    end = exit
                    for _ in range(maximum - minimum):
                        entry = node()
                        epsilon[entry] = [build(inner, exit), end]
                        exit = entry
                for _ in range(minimum):
                    exit = build(inner, exit)
                return exit
        raise AssertionError(item)

    last = node()
    begin = build(tree, last)
    closures: dict[int, frozenset[int]] = {}

    def closure(at: int) -> frozenset[int]:
        if at not in closures:
            seen, stack = {at}, [at]
            while stack:
                for target in epsilon[stack.pop()]:
                    if target not in seen:
                        seen.add(target)
                        stack.append(target)
            closures[at] = frozenset(n for n in seen if edges[n] or n == last)
        return closures[at]

    def moves(state: frozenset[int]) -> list[tuple[int, int, frozenset[int]]]:
        listed = [(first, end, target) for n in state for chars, target in edges[n] for first, end in chars]
        return [(first, end, frozenset().union(*map(closure, targets))) for first, end, targets in cut(listed)]

    return explore(closure(begin), moves, lambda state: last in state)


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
        from chimerac.frontends.grammar.characters import inverted

        return sorted([*row, *((first, last, -1) for first, last in inverted(covered))])

    return explore(0, moves, lambda state: state < 0 or not dfa.final[state])


def of_texts(texts: Sequence[str]) -> CharacterDfa:
    """Some fixed texts."""

    def moves(prefix: str) -> list[tuple[int, int, str]]:
        following = sorted({text[len(prefix)] for text in texts if text.startswith(prefix) and len(text) > len(prefix)})
        return [(ord(c), ord(c), prefix + c) for c in following]

    return explore("", moves, lambda prefix: prefix in texts)


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
