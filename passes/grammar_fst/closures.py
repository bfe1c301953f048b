"""Which nodes of a nondeterministic automaton are reached without a byte."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any, Final

from chimerac.compiler.ir.grammar import BYTES, WORK, Budget
from chimerac.passes.grammar_fst.tries import Tries

#: So many nodes that are reached without a byte are put together of parts.
_MANY: Final = 64
_MEMBER_BYTES: Final = 40  #: of a node in what is kept, about


class Closures:
    """The nodes that are reached from each node, found once.

    Args:
        epsilon: the edges without a byte.
        ends: other edges, calls, finals, and choices among entries in order: nodes that have one of them are what is
            looked for.
        entries: nodes where copies of rules begin; what is reached from them is kept.
    """

    def __init__(
        self,
        epsilon: Mapping[int, list[int]],
        ends: tuple[Mapping[int, Sequence[Any]], Mapping[int, Sequence[Any]], Container[int], Container[int]],
        entries: Container[int],
        tries: Tries,
        budget: Budget,
    ) -> None:
        self._epsilon, self._ends, self._entries = epsilon, ends, entries
        self._tries, self._budget = tries, budget
        self._known: dict[int, frozenset[int]] = {}

    def of(self, node: int) -> frozenset[int]:
        """The nodes reached without a byte that have edges, calls or an end."""
        found = self._known.get(node)
        if found is None:
            order = self._reached(node, _MANY) if node in self._epsilon else [node]
            found = self._known[node] = self._condensed(node) if order is None else self._members(order)
            self._budget.use(BYTES, _MEMBER_BYTES * len(found))
        return found

    def _reached(self, node: int, most: int) -> list[int] | None:
        """The nodes reached without a byte; None if there are more than ``most``."""
        epsilon = self._epsilon.get
        seen = {node}
        order = [node]
        work = 0
        for member in order:
            following = epsilon(member)
            if following:
                work += len(following)
                order += [target for target in dict.fromkeys(following) if target not in seen]
                seen.update(following)
                if len(order) > most:
                    break
        self._budget.use(WORK, work)
        return None if len(order) > most else order

    def _members(self, order: Iterable[int]) -> frozenset[int]:
        edges, calls, finals, menus = self._ends
        return frozenset([n for n in order if edges.get(n) or calls.get(n) or n in finals or n in menus])

    def _condensed(self, root: int) -> frozenset[int]:
        """The same for many nodes: those of copied rules are put together from each other, texts as one trie."""
        stack = [root]
        open_ = {root}
        while stack:
            node = stack[-1]
            waiting: list[int] = []
            known: set[int] = set()
            order, seen = [node], {node}
            for member in order:
                following = self._epsilon.get(member, ())
                self._budget.use(WORK, len(following))
                for target in following:
                    if target in seen:
                        continue
                    seen.add(target)
                    if target in self._known:
                        known |= self._known[target]
                    elif target in self._entries and target not in open_:
                        waiting.append(target)
                    else:
                        order.append(target)
            if waiting:
                open_.update(waiting)
                stack += waiting
                continue
            stack.pop()
            members = self._members(order) | known
            self._budget.use(WORK, len(members))
            self._known[node] = self._tries.joined(members)
        return self._known[root]
