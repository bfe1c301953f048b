"""Trees of tokens: random ones, and their paths as the C runtime hands them to a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chimerac.compiler.ir.trees import SLOTS, depths


@dataclass(frozen=True)
class Tree:
    """Tokens and parents of the nodes, in the order of a walk that takes the smallest subtree first, and a path."""

    tokens: tuple[int, ...]
    parents: tuple[int, ...]
    path: tuple[int, ...]

    @property
    def span(self) -> int:
        return max(depths(self.parents)) + 1

    def paths(self) -> list[tuple[int, int, int, int, int]]:
        """(begin, count, depth, source, slot) of each path that does not branch."""
        found: list[tuple[int, int, int, int, int]] = []

        def visit(node: int, depth: int, source: int, slot: int) -> None:
            assert 0 <= slot < SLOTS
            begin, below = node, _children(self.parents, node)
            while below == [node + 1]:
                node += 1
                below = _children(self.parents, node)
            count = node - begin + 1
            found.append((begin, count, depth, source, slot))
            for child in below:
                visit(child, depth + count, slot, slot if child == below[-1] else slot + 1)

        visit(0, 0, -1, 0)
        return found

    def chosen(self) -> list[tuple[int, int, int, int, int]]:
        """The path as runs of neighbours."""
        runs: list[list[int]] = []
        for depth, node in enumerate(self.path):
            if runs and runs[-1][0] + runs[-1][1] == node:
                runs[-1][1] += 1
            else:
                runs.append([node, 1, depth])
        return [(begin, count, depth, 0, 0) for begin, count, depth in runs]


def _children(parents: Sequence[int], node: int) -> list[int]:
    return [i for i, parent in enumerate(parents) if parent == node]


def random_tree(rng: np.random.Generator, vocabulary: int, nodes: int, room: int) -> Tree:
    """A tree of at most so many nodes and levels."""
    parents, levels = [-1], [0]
    while len(parents) < nodes and min(levels[-1], *levels) + 1 < room:
        parent = len(parents) - 1 if rng.random() < 0.6 else int(rng.integers(len(parents)))
        if levels[parent] + 1 < room:
            parents.append(parent)
            levels.append(levels[parent] + 1)
    order: list[int] = []

    def size(node: int) -> int:
        return 1 + sum(map(size, _children(parents, node)))

    def visit(node: int) -> None:
        order.append(node)
        for child in sorted(_children(parents, node), key=size):
            visit(child)

    visit(0)
    parents = [-1, *(order.index(parents[node]) for node in order[1:])]
    path = [0]
    while (below := _children(parents, path[-1])) and rng.random() < 0.8:
        path.append(int(rng.choice(below)))
    return Tree(tuple(rng.integers(0, vocabulary, len(parents)).tolist()), tuple(parents), tuple(path))
