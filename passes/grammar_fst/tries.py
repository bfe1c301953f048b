"""Fixed texts in a nondeterministic automaton: many as one automaton of words, tries joined node by node."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence

from chimerac.compiler.ir.ranges import cut

_Edge = tuple[int, int, int, tuple[int, int]]
_NO_ACTION = (0, 0)


class Tries:
    """What ``Nfa`` does with texts. ``plain`` are nodes with edges only, of bytes apart, ascending, without an action.

    Args:
        node: makes a new node.
        epsilon: edges of the automaton without a byte, changed.
        edges: its other edges, changed.
    """

    def __init__(self, node: Callable[[], int], epsilon: dict[int, list[int]], edges: dict[int, list[_Edge]]) -> None:
        self._node, self._epsilon, self._edges = node, epsilon, edges
        self.plain: set[int] = set()
        self._joined: dict[tuple[int, int], int] = {}
        self._mixed: dict[int, tuple[int, tuple[int, ...]]] = {}

    def of_words(self, words: Iterable[bytes], exit: int) -> int:
        """The entry of an automaton of some texts that goes on at ``exit``; what texts end with alike is built once.

        Daciuk and others, Incremental construction of minimal acyclic finite-state automata (2000).
        """
        known: dict[tuple[bool, tuple[tuple[int, int], ...]], int] = {}
        open_: list[list[tuple[int, int]]] = [[]]
        ends = [False]
        last = b""

        def close(depth: int) -> None:
            while len(open_) > depth + 1:
                edges, end = open_.pop(), ends.pop()
                key = (end, tuple(edges))
                found = known.get(key)
                if found is None:
                    found = known[key] = self._word(end, edges, exit)
                open_[-1].append((last[len(open_) - 1], found))

        for word in sorted(set(words)):
            shared = 0
            for one, other in zip(last, word, strict=False):
                if one != other:
                    break
                shared += 1
            close(shared)
            for _ in word[shared:]:
                open_.append([])
                ends.append(False)
            ends[-1] = True
            last = word
        close(0)
        return self._word(ends[0], open_[0], exit)

    def _word(self, end: bool, edges: list[tuple[int, int]], exit: int) -> int:
        node = self._node()
        if edges:
            self._edges[node] = [(byte, byte, target, _NO_ACTION) for byte, target in edges]
        if end:
            self._epsilon[node].append(exit)
        else:
            self.plain.add(node)
        return node

    def joined(self, nodes: frozenset[int]) -> frozenset[int]:
        """The nodes with all plain ones among them joined to one that stands for them."""
        plain = nodes & self.plain
        return nodes - plain | {self.join(sorted(plain))} if len(plain) > 1 else nodes

    def join(self, nodes: Sequence[int]) -> int:
        """A node that stands for some plain ones."""
        return functools.reduce(self._join, nodes)

    def _join(self, one: int, other: int) -> int:
        """A node that stands for two."""
        if one == other:
            return one
        key = (min(one, other), max(one, other))
        found = self._joined.get(key)
        if found is not None:
            return found
        (text, others), (more, rest) = self._parts(one), self._parts(other)
        if others or rest:
            kept = tuple(dict.fromkeys((*others, *rest)))
            joined = self._join(text, more) if min(text, more) >= 0 else max(text, more)
            found = self._joined[key] = self._node()
            self._mixed[found] = joined, kept
            self._epsilon[found] = [joined, *kept] if joined >= 0 else [*kept]
            return found
        found = self._joined[key] = self._node()
        edges: list[_Edge] = []
        for first, last, targets in cut((*_targets(self._edges[one]), *_targets(self._edges[other]))):
            target = targets[0] if len(targets) == 1 else self._join(*targets)
            if edges and edges[-1][1] == first - 1 and edges[-1][2] == target:
                edges[-1] = (edges[-1][0], last, target, _NO_ACTION)
            else:
                edges.append((first, last, target, _NO_ACTION))
        self._edges[found] = edges
        self.plain.add(found)
        return found

    def _parts(self, node: int) -> tuple[int, tuple[int, ...]]:
        """The plain node in what a node stands for, or -1, and the others."""
        return (node, ()) if node in self.plain else self._mixed.get(node, (-1, (node,)))


def _targets(edges: Iterable[_Edge]) -> Iterator[tuple[int, int, int]]:
    return ((first, last, target) for first, last, target, _ in edges)
