"""Many entries in their order, each at most once, in a nondeterministic automaton: a node for each place in the order.

After an entry only those behind it can come. Written out as choices that are as many texts as half the square of
their number; here a node stands for the choice from one entry on, which ``ordered.py`` makes deterministic at once.
Only where something else may stand at the same place is the choice spelled out as texts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from chimerac.compiler.ir.grammar import NOTHING, Expression, Literal, Ordered

_Edge = tuple[int, int, int, tuple[int, int]]
_NO_ACTION = (0, 0)


@dataclass(frozen=True, eq=False, slots=True)
class Menu:
    """The entries of an ``Ordered``, their keys without the first byte.

    Args:
        afters: the node after each key.
        enters: the node where the choice from each entry on begins, after the first byte of its key.
        other: the node after the first byte of another key; -1 where there is none.
    """

    words: tuple[bytes, ...]
    required: tuple[bool, ...]
    afters: tuple[int, ...]
    enters: tuple[int, ...]
    other: int

    def others_from(self, index: int) -> bool:
        """Whether another key may come in place of an entry: none that is required is left."""
        return self.other >= 0 and True not in self.required[index:]


class Menus:
    """What ``Nfa`` does with entries in order.

    Args:
        node: makes a new node.
        epsilon: edges of the automaton without a byte, changed.
        edges: its other edges, changed.
    """

    def __init__(self, node: Callable[[], int], epsilon: dict[int, list[int]], edges: dict[int, list[_Edge]]) -> None:
        self._node, self._epsilon, self._edges = node, epsilon, edges
        self.at: dict[int, tuple[Menu, int]] = {}  #: node → the choice from an entry on
        self._spelled: dict[int, int] = {}

    def build(
        self,
        ordered: Ordered,
        exit: int,
        build: Callable[[Expression, int], int],
        closure: Callable[[int], frozenset[int]],
    ) -> int:
        """The entry node of entries in order that go on at ``exit``."""
        size = len(ordered.entries)
        first = ordered.entries[0][0][0]
        after = [self._node() for _ in range(size + 1)]
        choices = [self._node() for _ in range(size + 1)]
        other = -1
        if ordered.other != NOTHING:
            other = self._node()
            members = closure(build(ordered.other, after[size]))
            self._epsilon[other] = [edge[2] for member in members for edge in self._edges.get(member, ())]
            self._edges[choices[size]] = [(first, first, other, _NO_ACTION)]
        enters = tuple(self._node() for _ in range(size))
        afters = tuple(build(rest, after[index]) for index, (_, rest) in enumerate(ordered.entries, 1))
        menu = Menu(tuple(key[1:] for key, _ in ordered.entries), ordered.required, afters, enters, other)
        needed = False
        for index in range(size, -1, -1):
            if index < size:
                self.at[enters[index]] = menu, index
                self._edges[choices[index]] = [(first, first, enters[index], _NO_ACTION)]
                needed |= ordered.required[index]
            more = [build(ordered.separator, choices[index])] if index < size or other >= 0 else []
            self._epsilon[after[index]] = [*more, *([] if needed else [exit])]
        return choices[0]

    def spelled_out(
        self,
        nodes: frozenset[int],
        build: Callable[[Expression, int], int],
        join: Callable[[list[int]], int],
        closure: Callable[[int], frozenset[int]],
    ) -> frozenset[int]:
        """Nodes without those that stand for a choice: the texts of its entries in their place."""
        found = frozenset(nodes - self.at.keys())
        for node in sorted(nodes - found):
            if node not in self._spelled:
                menu, index = self.at[node]
                last = next((i for i in range(index, len(menu.words)) if menu.required[i]), len(menu.words) - 1)
                texts = [build(Literal(menu.words[i]), menu.afters[i]) for i in range(index, last + 1)]
                self._spelled[node] = self._node()
                self._epsilon[self._spelled[node]] = [join(texts)] + [menu.other] * menu.others_from(index)
            found |= closure(self._spelled[node])
        return found
