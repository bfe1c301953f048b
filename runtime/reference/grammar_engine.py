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
    FLAG_JSON_SLOTS,
    LIMIT,
    LOWEST_MARK,
    POP,
    PUSH,
    REJECT,
    RETURN,
    SLOT_KINDS,
    SLOT_MARKS,
    SPACE,
    STACK_FRAMES,
    UNLIMITED,
    Automaton,
    Vocabulary,
)
from chimerac.runtime.bundle_format.grammar_trie import TrieShape
from chimerac.runtime.bundle_format.hashing import hash_words
from chimerac.runtime.errors import BundleError
from chimerac.runtime.reference.heard import heard, hint
from chimerac.runtime.reference.slots import Words, of_list, of_request

MAX_FORCED_BYTES: Final = 256

Frame = tuple[int, int]  #: return state, count


@dataclass(frozen=True, slots=True)
class GrammarState:
    """A configuration: state, counter, optional whitespace so far, and the frames, outermost first."""

    state: int
    count: int = 0
    space: int = 0
    frames: tuple[Frame, ...] = ()

    def kept_in(self, after: GrammarState) -> int:
        """How many of the frames are still there after some bytes; one that was opened anew is another one."""
        pairs = list(zip(self.frames, after.frames, strict=False))
        return next((k for k, (old, new) in enumerate(pairs) if old is not new), len(pairs))


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
    _slots: dict[str, Words] = field(init=False, repr=False, default_factory=dict)
    _given: dict[str, bytes] = field(init=False, repr=False, default_factory=dict)

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

    def kinds(self, at: GrammarState) -> list[int]:
        """What is open: the kinds of the frames, outermost first."""
        return [self._info[state][3] for state, _ in at.frames]

    # -- slots

    def set_words(self, kind: str, text: bytes | None) -> None:
        """Say what may stand in slots of a kind: the request, or a list of names, one a line; None: no list.

        The request is to be as the tokenizer has it; where it says names of a list, only these may stand there.
        Raises BundleError CHM420 for what is too long, or no list.
        """
        json = bool(self.automaton.flags & FLAG_JSON_SLOTS)
        given = {one: said for one, said in self._given.items() if one != kind}
        if text is not None:
            if kind != "request":
                of_list(text, json=json)
            given[kind] = text
        lists = {one: said for one, said in given.items() if one != "request"}
        said = heard(given["request"], lists) if "request" in given else lists
        made = {one: of_list(names, json=json) for one, names in said.items()}
        if "request" in given:
            made["request"] = of_request(given["request"], json=json)
        if self.automaton.states + sum(len(words.entries) for words in made.values()) > UNLIMITED:
            raise BundleError("CHM420", "the grammar, the request and the lists are too large together")
        self._slots, self._given = made, given

    def check_slots(self) -> None:
        """Raise BundleError CHM421 or CHM420 where it is not known what may stand in a slot, or nothing may."""
        for kind in self.automaton.slots:
            words = self._slots.get(kind, self._slots.get("request"))
            if words is None:
                raise BundleError("CHM421", "the grammar copies words of the request, and none was given")
            if not words.entries and not self.automaton.flags & FLAG_JSON_SLOTS:
                raise BundleError("CHM420", "the grammar copies words of the request, and it has none")

    @property
    def hint(self) -> bytes | None:
        """What a prompt is told of the names that the request says; None without a request or without lists."""
        lists = {kind: text for kind, text in self._given.items() if kind != "request"}
        return hint(self._given["request"], lists) if lists and "request" in self._given else None

    @property
    def identity(self) -> int:
        """64 bits that tell the tables, and what the slots may be, from others."""
        tables = self.automaton.identity
        if not self.automaton.slots:
            return tables
        hashes = [self._slots[kind].hash if kind in self._slots else 0 for kind in SLOT_KINDS]
        return hash_words(struct.pack(f"<{1 + len(hashes)}Q", tables, *hashes)) | 1

    def _first_of(self, kind: str) -> int:
        """The state that stands for the first entry of a kind."""
        before = SLOT_KINDS[: SLOT_KINDS.index(kind)]
        return self.automaton.states + sum(len(self._slots[k].entries) for k in before if k in self._slots)

    def _words_at(self, state: int) -> tuple[Words, int, int] | None:
        """Of a state that stands for an entry: the words, the entry, and the state of entry 0."""
        for kind, words in self._slots.items() if state >= self.automaton.states else ():
            first = self._first_of(kind)
            if 0 <= state - first < len(words.entries):
                return words, state - first, first
        return None

    def _entered(self, at: GrammarState, byte: int) -> GrammarState | None:
        """The configuration after a byte that begins what may stand in a slot."""
        for kind in self.automaton.slots:
            after = self._table_step(at, SLOT_MARKS[kind])
            if after is None:
                continue
            own = kind if kind in self._slots else "request"
            words = self._slots.get(own, Words((), b""))
            if not words.entries:
                return self._table_step(after, byte)
            entry = words.step(0, 0, byte)
            if entry is None or len(after.frames) == STACK_FRAMES:
                continue
            return GrammarState(self._first_of(own) + entry, 1, 0, (*after.frames, (after.state, after.count)))
        return None

    def _left(self, at: GrammarState) -> GrammarState | None:
        """Of a place in a slot that may end there: the place after the slot."""
        found = self._words_at(at.state)
        if found is None or not at.frames or found[0].closing(found[1], at.count):
            return None
        return GrammarState(*at.frames[-1], at.space, at.frames[:-1])

    # -- bytes

    def step(self, at: GrammarState, byte: int) -> GrammarState | None:
        """The configuration after a byte, or None where the grammar does not allow it."""
        if not self.automaton.slots:
            return self._table_step(at, byte)
        if byte >= LOWEST_MARK:
            return None
        found = self._words_at(at.state)
        if found is None:
            return self._table_step(at, byte) or self._entered(at, byte)
        left = self._left(at)
        after = None if left is None else self._table_step(left, byte) or self._entered(left, byte)
        if after is not None:
            return after
        words, entry, first = found
        following = words.step(entry, at.count, byte)
        return None if following is None else GrammarState(first + following, at.count + 1, 0, at.frames)

    def _table_step(self, at: GrammarState, byte: int) -> GrammarState | None:  # noqa: C901  a case for each kind of transition, as the C code has it
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
        if at.state >= self.automaton.states:
            left = self._left(at)
            return left is not None and self.complete(left)
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
        found = self._words_at(state)
        if found is not None:
            return found[0].closing(found[1], count)
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
