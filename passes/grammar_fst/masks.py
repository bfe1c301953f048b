"""Token masks ahead of time: for each state and top of the stack, tokens accepted, rejected, or left to run time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from chimerac.runtime.bundle_format.fstpack import (
    CHECK,
    COUNT,
    ENTRY_ANY_SPACE,
    LIMIT,
    NO_TOP,
    POP,
    PUSH,
    REJECT,
    RETURN,
    SPACE,
    STACK_FRAMES,
    STORE_ACCEPTED,
    STORE_BITMAP,
    STORE_REJECTED,
    Automaton,
    StoredMasks,
    Vocabulary,
)
from chimerac.runtime.bundle_format.grammar_trie import TrieShape

#: Entries with more uncertain tokens than this aren't stored: a walk is no slower.
MOST_UNCERTAIN: Final = 4096
#: Most that an entry can say of how much an accepted token makes closing longer.
MOST_RISE: Final = 65_535
#: States with more possible tops than this get no masks.
MOST_TOPS: Final = 16

#: state, whitespace so far, frames opened since the start, innermost last; the known top is frame 0 if it's there.
_At = tuple[int, int, tuple[int, ...]]
_UNCERTAIN: Final[_At] = (-1, 0, ())


@dataclass(frozen=True)
class Classified:
    """Tokens of one state under one top: ids ascending, and the entry's ``peak``, ``rise``, and flags."""

    accepted: NDArray[np.int64]
    uncertain: NDArray[np.int64]
    peak: int
    rise: int
    flags: int


class Classifier:
    """Splits the tokens for states of one automaton."""

    def __init__(self, automaton: Automaton, vocabulary: Vocabulary, shape: TrieShape | None = None) -> None:
        self.automaton, self.vocabulary = automaton, vocabulary
        self.shape = shape or TrieShape(vocabulary.trie)
        self._rows = automaton.delta.tolist()
        self._class = automaton.classes.tolist()
        self._op = automaton.op.tolist()
        self._close = automaton.state[:, 0].tolist()
        self._room = (automaton.state[:, 1] & 0xFF).tolist()
        loops = automaton.loop.astype(np.int64)
        self._loop = automaton.state[:, 2].tolist()
        self._extra = (loops[:, 0] * loops[:, 2])[automaton.state[:, 2]].tolist()
        self._tokens = (vocabulary.trie[:, 0] & 0xFFFFFF).astype(np.int64) - 1
        self._nodes = np.zeros(0, np.int64)
        self._peak = 0
        self._depth = 0
        self._base: tuple[int, ...] = ()  #: the known top, and the state at the start
        self._blind = False

    def classify(self, state: int, top: int | None) -> Classified:
        """The split under a known top of the stack; NO_TOP for an empty stack, None where nothing is known."""
        known = () if top is None or top == NO_TOP else (top,)
        self._depth = len(known)
        self._base = (*known, state)
        self._blind = top != NO_TOP
        self._peak = 0
        start: _At = (state, 0, known)
        before = self._closing(start)
        accepted, uncertain, rise, flags = [], [], 0, ENTRY_ANY_SPACE
        for level, (nodes, index, listed) in enumerate(self.shape.walk(start, self._step)):
            if level == 0 and any(at[1] for at in listed):
                flags = 0
            tokens = self._tokens[nodes]
            unsure = np.array([at is _UNCERTAIN for at in listed], bool)[index]
            accepted.append(tokens[(tokens >= 0) & ~unsure])
            uncertain.append(tokens[(tokens >= 0) & unsure])
            present = np.unique(index[(tokens >= 0) & ~unsure])
            rise = max([rise, *(self._closing(listed[i]) - before for i in present.tolist())])
        both = [np.sort(np.concatenate(part)) if part else np.zeros(0, np.int64) for part in (accepted, uncertain)]
        return Classified(both[0], both[1], min(self._peak, 255), rise, flags)

    def refined(self, blind: Classified, state: int, top: int) -> Classified:
        """``classify(state, top)`` from the split where nothing is known: its uncertain tokens are walked again."""
        known = () if top == NO_TOP else (top,)
        self._depth = len(known)
        self._base = (*known, state)
        self._blind = top != NO_TOP
        self._peak = blind.peak
        start: _At = (state, 0, known)
        before = self._closing(start)
        accepted, uncertain, rise, flags = [], [], blind.rise, blind.flags
        for token in blind.uncertain.tolist():
            spelling = self._spelling(token)
            first = self._step(start, spelling[0])
            if first is not None and first[1]:
                flags = 0
            at = self._walk(start, spelling)
            if at is _UNCERTAIN:
                uncertain.append(token)
            elif at is not None:
                accepted.append(token)
                rise = max(rise, self._closing(at) - before)
        both = np.sort(np.concatenate([blind.accepted, np.array(accepted, np.int64)]))
        unsure = np.array(uncertain, np.int64)
        return Classified(both, unsure, min(self._peak, 255), rise, flags)

    def _walk(self, at: _At, data: bytes) -> _At | None:
        for byte in data:
            following = self._step(at, byte)
            if following is None or following is _UNCERTAIN:
                return following
            at = following
        return at

    def _spelling(self, token: int) -> bytes:
        """The bytes of a token, read up from its node."""
        if not len(self._nodes):
            ends = np.flatnonzero(self._tokens >= 0)
            self._nodes = np.zeros(self.vocabulary.size, np.int64)
            self._nodes[self._tokens[ends]] = ends
        node, found = int(self._nodes[token]), bytearray()
        while node:
            found.append(int(self.shape.bytes[node]))
            node = int(self.shape.parents[node])
        return bytes(reversed(found))

    def _closing(self, at: _At) -> int:
        """Bytes to the end of what is known, less what the counters of frames that were open before are worth there.

        Tokens that count are uncertain, so those are worth the same afterwards, or as much as they can be where another
        state of the frame counts otherwise.
        """
        state, _, frames = at
        total = 0
        for depth, place in enumerate((*frames, state)):
            total += self._close[place]
            if depth > self._depth or self._loop[place] != self._loop[self._base[depth]]:
                total += self._extra[place]
        return total

    def _step(self, at: _At, byte: int) -> _At | None:  # noqa: C901  a case for each kind of edge; the innermost loop of compiling
        state, before, frames = at
        if state < 0:
            return _UNCERTAIN
        column = self._class[byte]
        cell = self._rows[state][column]
        while cell != REJECT and cell & 0xFFFF == RETURN:
            if self._op[cell >> 16]:
                return _UNCERTAIN
            if not frames:
                return _UNCERTAIN if self._blind else None
            state, frames = frames[-1], frames[:-1]
            cell = self._rows[state][column]
        if cell == REJECT:
            return None
        state, space, offset = cell & 0xFFFF, 0, cell >> 16
        highest = len(frames)
        while kind := self._op[offset] & 0xFF:
            argument = self._op[offset] >> 16
            offset += 1
            if kind in (CHECK, COUNT, LIMIT):
                return _UNCERTAIN
            if kind == PUSH:
                highest = max(highest, len(frames) + max(1, self._room[argument]))
                frames = (*frames, argument)
                if len(frames) > STACK_FRAMES:
                    return None
            elif kind == POP:
                if not frames:
                    return _UNCERTAIN if self._blind else None
                state, frames = frames[-1], frames[:-1]
            elif kind == SPACE:
                space = before + 1
                if space > self.automaton.space_cap:
                    return None
        highest = max(highest, len(frames) + self._room[state])
        self._peak = max(self._peak, highest - self._depth)
        return state, space, frames


def tops(automaton: Automaton) -> list[set[int]]:
    """For each state the return states that can be on top of the stack in it; NO_TOP for an empty stack."""
    found: list[set[int]] = [set() for _ in range(automaton.states)]
    found[automaton.start].add(NO_TOP)
    flows: list[set[int]] = [set() for _ in found]  #: what holds in a state holds in these too
    op = automaton.op.tolist()
    for state, row in enumerate(automaton.delta.tolist()):
        for cell in set(row):
            if cell == REJECT or cell & 0xFFFF == RETURN:
                continue
            offset, pushed, pops = cell >> 16, [], False
            while op[offset] & 0xFF:
                if op[offset] & 0xFF == PUSH:
                    pushed.append(op[offset] >> 16)
                pops |= op[offset] & 0xFF == POP
                offset += 1
            chain = [*pushed, *([] if pops else [cell & 0xFFFF])]
            if chain:
                flows[state].add(chain[0])
            for outer, inner in zip(pushed, chain[1:], strict=False):
                found[inner].add(outer)
    queue = [state for state, held in enumerate(found) if held]
    while queue:
        state = queue.pop()
        for goal in flows[state]:
            if found[state] - found[goal]:
                found[goal] |= found[state]
                queue.append(goal)
    return found


def stored_masks(
    automaton: Automaton,
    vocabulary: Vocabulary,
    *,
    shape: TrieShape | None = None,
    progress: Callable[[int, int], None] = lambda done, all_: None,
) -> StoredMasks:
    """Masks for all states and all tops that occur."""
    classifier = Classifier(automaton, vocabulary, shape)
    words = (vocabulary.size + 31) // 32
    ids = (vocabulary.trie[:, 0] & 0xFFFFFF).astype(np.int64)
    everything = np.zeros(vocabulary.size, bool)
    everything[ids[ids > 0] - 1] = True
    tokens = int(everything.sum())
    first, rows = [0], []
    blocks: list[NDArray[np.uint32]] = []
    places: dict[bytes, int] = {}
    size = 0

    def place(block: NDArray[np.uint32]) -> int:
        nonlocal size
        key = block.tobytes()
        if key not in places:
            places[key] = size
            blocks.append(block)
            size += len(block)
        return places[key]

    possible = tops(automaton)
    for state, held in enumerate(possible):
        progress(state, len(possible))
        if len(held) <= MOST_TOPS:
            blind = classifier.classify(state, None) if len(held) > 1 else None
            for top in sorted(held):
                found = classifier.classify(state, top) if blind is None else classifier.refined(blind, state, top)
                if len(found.uncertain) > MOST_UNCERTAIN or found.rise > MOST_RISE:
                    continue
                n_rejected = tokens - len(found.accepted) - len(found.uncertain)
                if min(len(found.accepted), n_rejected) >= words:
                    bits = np.zeros(words * 32, np.uint8)
                    bits[found.accepted] = 1
                    store, block = STORE_BITMAP, np.packbits(bits, bitorder="little").view("<u4")
                elif len(found.accepted) <= n_rejected:
                    store, block = STORE_ACCEPTED, found.accepted.astype(np.uint32)
                else:
                    rejected = everything.copy()
                    rejected[found.accepted] = rejected[found.uncertain] = False
                    store, block = STORE_REJECTED, np.flatnonzero(rejected).astype(np.uint32)
                unsure = found.uncertain.astype(np.uint32)
                last = found.peak | found.flags << 8 | found.rise << 16
                rows.append([top, store, len(block), place(block), len(unsure), place(unsure), last, 0])
        first.append(len(rows))
    data = np.concatenate([*blocks, np.zeros(0, np.uint32)])
    return StoredMasks(np.array(first, np.uint32), np.array(rows, np.uint32).reshape(-1, 8), data)


def with_masks(automaton: Automaton, vocabulary: Vocabulary, shape: TrieShape | None = None) -> Automaton:
    """The automaton with masks for a vocabulary; without, where slots make them depend on the request."""
    if automaton.slots:
        return automaton
    return replace(automaton, masks=stored_masks(automaton, vocabulary, shape=shape))


def expand(
    masks: StoredMasks, row: NDArray[np.uint32], vocabulary: Vocabulary
) -> tuple[NDArray[np.bool_], NDArray[np.uint32]]:
    """(accepted bool[V], uncertain ids) of an entry."""
    _, store, count, offset, unsure, at, _, _ = row.tolist()
    block, uncertain = masks.data[offset : offset + count], masks.data[at : at + unsure]
    if store == STORE_BITMAP:
        bits = np.unpackbits(block.view(np.uint8), bitorder="little")[: vocabulary.size]
        return bits.astype(bool), uncertain
    accepted = np.zeros(vocabulary.size, bool)
    if store == STORE_ACCEPTED:
        accepted[block] = True
    else:
        accepted[(vocabulary.trie[:, 0] & 0xFFFFFF)[vocabulary.trie[:, 0] & 0xFFFFFF > 0] - 1] = True
        accepted[block] = False
        accepted[uncertain] = False
    return accepted, uncertain
