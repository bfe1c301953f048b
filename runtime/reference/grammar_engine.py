"""The meaning of compiled grammars: configurations, steps and masks of docs/fstpack.md, slow and plain.

The engines in C are compared with this one. ``GrammarState`` is a configuration that cannot change: a copy
costs nothing, and going back is keeping an old one.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from chimerac.runtime.bundle_format.constants import GRAMMAR_PLACE_BYTES
from chimerac.runtime.bundle_format.fstpack import (
    CHECK,
    COUNT,
    LIMIT,
    POP,
    PUSH,
    REJECT,
    RETURN,
    SPACE,
    STACK_FRAMES,
    UNLIMITED,
    Automaton,
    Vocabulary,
)
from chimerac.runtime.bundle_format.grammar_trie import TrieShape
from chimerac.runtime.errors import BundleError

MAX_FORCED_BYTES: Final = 256

Frame = tuple[int, int]  #: return state, count


@dataclass(frozen=True, slots=True)
class GrammarState:
    """A configuration: state, counter, optional whitespace so far, and the frames, outermost first."""

    state: int
    count: int = 0
    space: int = 0
    frames: tuple[Frame, ...] = ()


@dataclass
class GrammarEngine:
    """Runs one grammar over one vocabulary.

    Args:
        automaton: the grammar.
        vocabulary: tries and classes of the tokenizer.
        tokens: bytes of each token, b"" for specials and holes.
        ends: tokens that end a text.
        space_cap: most optional whitespace in a row; the grammar's own when None.
    """

    automaton: Automaton
    vocabulary: Vocabulary
    tokens: Sequence[bytes]
    ends: tuple[int, ...] = ()
    space_cap: int | None = None
    _rows: list[list[int]] = field(init=False, repr=False)
    _info: list[list[int]] = field(init=False, repr=False)
    _loops: list[list[int]] = field(init=False, repr=False)
    _op: list[int] = field(init=False, repr=False)
    _class: list[int] = field(init=False, repr=False)
    _cap: int = field(init=False, repr=False)
    _trie: TrieShape | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        self._rows = self.automaton.delta.tolist()
        self._info = self.automaton.state.tolist()
        self._loops = self.automaton.loop.tolist()
        self._op = self.automaton.op.tolist()
        self._class = self.automaton.classes.tolist()
        self._cap = self.automaton.space_cap if self.space_cap is None else self.space_cap
        if not 0 <= self._cap <= 255:
            raise BundleError("CHM420", f"a whitespace cap of {self._cap} is not in 0..255")

    def start(self) -> GrammarState:
        """The configuration before the first token."""
        return GrammarState(self.automaton.start)

    def stored(self, at: GrammarState, *, finished: bool = False) -> bytes:
        """A configuration as the C engine keeps it; ``finished``: an end token was accepted."""
        frames = (struct.pack("<HHB11x", state, count, self._info[state][3]) for state, count in at.frames)
        head = struct.pack("<HHBB?x", at.state, at.count, at.space, len(at.frames), finished)
        return b"".join((head, *frames)).ljust(GRAMMAR_PLACE_BYTES, b"\0")

    # -- bytes

    def step(self, at: GrammarState, byte: int) -> GrammarState | None:  # noqa: C901  a case for each kind of transition, as the C code has it
        """The configuration after a byte, or None where the grammar does not allow it."""
        state, count, frames = at.state, at.count, at.frames
        column = self._class[byte]
        cell = self._rows[state][column]
        while cell != REJECT and cell & 0xFFFF == RETURN:
            if not self._checks(cell >> 16, count) or not frames:
                return None
            (state, count), frames = frames[-1], frames[:-1]
            cell = self._rows[state][column]
        if cell == REJECT:
            return None
        state, space = cell & 0xFFFF, 0
        offset = cell >> 16
        while kind := self._op[offset] & 0xFF:
            argument = self._op[offset] >> 16
            offset += 1
            if kind == CHECK:
                if count < argument:
                    return None
            elif kind == LIMIT:
                if count > argument:
                    return None
            elif kind == COUNT:
                if argument != UNLIMITED and count >= argument:
                    return None
                count = min(count + 1, UNLIMITED)
            elif kind == PUSH:
                if len(frames) + max(1, self._room(argument)) > STACK_FRAMES:
                    return None
                frames, count = (*frames, (argument, count)), 0
            elif kind == POP:
                if not frames:
                    return None
                (state, count), frames = frames[-1], frames[:-1]
            elif kind == SPACE:
                if at.space >= self._cap:
                    return None
                space = at.space + 1
        if len(frames) + self._room(state) > STACK_FRAMES:
            return None
        return GrammarState(state, count, space, frames)

    def complete(self, at: GrammarState) -> bool:
        """Whether the text so far is a whole one."""
        state, count, frames = at.state, at.count, at.frames
        while True:
            cell = self._rows[state][-1]
            if cell == REJECT or not self._checks(cell >> 16, count):
                return False
            if not frames:
                return True
            (state, count), frames = frames[-1], frames[:-1]

    def closing(self, at: GrammarState) -> int:
        """Bytes that surely bring the text to an end; where a counter needs items, fewer may do."""
        return self._close(at.state, at.count) + sum(self._close(*frame) for frame in at.frames)

    def _close(self, state: int, count: int) -> int:
        minimum, _, unit, _ = self._loops[self._info[state][2]]
        return self._info[state][0] + unit * max(0, minimum - count)

    def _room(self, state: int) -> int:
        return self._info[state][1] & 0xFF

    def _checks(self, offset: int, count: int) -> bool:
        while self._op[offset] & 0xFF:
            if count < self._op[offset] >> 16:
                return False
            offset += 1
        return True

    # -- tokens

    def feed(self, at: GrammarState, data: bytes) -> GrammarState | None:
        """The configuration after some bytes."""
        found: GrammarState | None = at
        for byte in data:
            found = self.step(found, byte) if found is not None else None
        return found

    def accept(self, at: GrammarState, token: int) -> GrammarState | None:
        """The configuration after a token, or None where it is not allowed; specials and holes never are."""
        data = self.tokens[token] if 0 <= token < len(self.tokens) else b""
        return self.feed(at, data) if data else None

    def forced(self, at: GrammarState) -> bytes:
        """The bytes that must come next: as long as there is one choice only, and the text is not whole."""
        found = bytearray()
        while len(found) < MAX_FORCED_BYTES and not self.complete(at):
            choices = [(byte, after) for byte in range(256) if (after := self.step(at, byte)) is not None]
            if len(choices) != 1:
                break
            found.append(choices[0][0])
            at = choices[0][1]
        return bytes(found)

    # -- masks

    def mask(self, at: GrammarState, left: int | None = None) -> NDArray[np.bool_]:
        """bool[V]: which tokens may come, with at most ``left`` more tokens if that is given."""
        allowed = np.zeros(self.vocabulary.size, bool)
        limit = None if left is None else max(left - 1, self.closing(at) - 1)
        trie = self.vocabulary.trie
        for nodes, index, configurations in self._shape().walk(at, self.step):
            tokens = trie[nodes, 0].astype(np.int64) % (1 << 24) - 1
            ends = tokens >= 0
            if limit is not None:
                ends &= np.array([self.closing(c) <= limit for c in configurations], bool)[index]
            allowed[tokens[ends]] = True
        if self.complete(at):
            allowed[list(self.ends)] = True
        return allowed

    def _shape(self) -> TrieShape:
        if self._trie is None:
            self._trie = TrieShape(self.vocabulary.trie)
        return self._trie
