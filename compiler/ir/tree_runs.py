"""A tree of tokens in the interpreter: each node has states of its own, copies of its parent's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from chimerac.compiler.ir.module import Region
from chimerac.compiler.ir.trees import Replay, Walk, depths


class _Holder(Protocol):
    """What has the states of the sequence: name → copies of the iterations."""

    states: dict[str, np.ndarray]


class _RunRegion(Protocol):
    def __call__(self, region: Region, arguments: Sequence[np.ndarray], iteration: int) -> Sequence[np.ndarray]: ...


class TreeRun:
    """What is known of the nodes of a tree between ``verify`` and ``commit``.

    Args:
        parents: of each node one before it; -1 of node 0.
        most: nodes at most.

    Attributes:
        path: what is committed.
    """

    def __init__(self, parents: Sequence[int], most: int) -> None:
        if not 1 <= len(parents) <= most:
            raise ValueError(f"a tree of {len(parents)} nodes; 1 to {most} are possible")
        self.parents, self.depths = list(parents), depths(parents)
        self.path: list[int] = []
        self._states: list[dict[str, np.ndarray]] = [{} for _ in parents]  # of each node those that it has touched
        self._kept: dict[tuple[int, int], Sequence[np.ndarray]] = {}  # (walk, iteration) → its sequences

    def is_path(self, path: Sequence[int]) -> bool:
        """Whether these nodes are each the parent of the next one, from node 0 on."""
        known = all(0 <= node < len(self.parents) for node in path)
        return known and [self.parents[node] for node in path] == [-1, *path[:-1]]

    def walk(
        self,
        holder: _Holder,
        walk: Walk,
        sequences: Sequence[np.ndarray],
        position: int,
        iteration: int,
        run: _RunRegion,
    ) -> Sequence[np.ndarray]:
        """Run the region of a walk for each node by itself; the rows of its results."""
        axes = [v.type.shape.index("T") for v in walk.sequences]
        self._kept[walk.number, iteration] = [np.array(s) for s in sequences]
        names = dict.fromkeys(op.text("name") for op in walk.region.ops if op.name == "state.read")
        committed, made = holder.states, list[Sequence[np.ndarray]]()
        for node, depth in enumerate(self.depths):
            above = self._states[self.parents[node]] if node else {}
            for name in names:
                self._states[node][name] = self._state(node, name, above.get(name, committed[name]), iteration)
            holder.states = committed | self._states[node]
            rows = [s.take([node], axis=axis) for s, axis in zip(sequences, axes, strict=True)]
            numbers = (np.array(position + depth, np.int32), np.array(depth, np.int32))
            made.append(run(walk.region, (*numbers, *rows), iteration))
            self._states[node] |= {name: holder.states[name] for name in names}
            holder.states = committed
        ends = [v.type.shape.index("T") for v in walk.results]
        return [np.concatenate(rows, axis=axis) for rows, axis in zip(zip(*made, strict=True), ends, strict=True)]

    def _state(self, node: int, name: str, above: np.ndarray, iteration: int) -> np.ndarray:
        """The copies of a state that a node begins an iteration with: its parent's of this, its own of others.

        A state with one copy for all iterations is only written in the first.
        """
        own = self._states[node].get(name)
        if own is None:
            return above.copy()
        if iteration < len(own):
            own[iteration] = above[iteration]
        return own

    def replay(self, replay: Replay, position: int, iteration: int, run: _RunRegion) -> None:
        """Run the region of a replay for the path."""
        axes = [v.type.shape.index("T") for v in replay.rows]
        kept = self._kept[replay.number, iteration]
        rows = [sequence.take(self.path, axis=axis) for sequence, axis in zip(kept, axes, strict=True)]
        numbers = (np.array(position, np.int32), np.array(int(iteration == 0), np.int32))
        run(replay.region, (*numbers, *rows), iteration)
