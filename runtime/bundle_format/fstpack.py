"""The container of grammars: automata, the tokenizer's trie, stored masks; layout and checks of docs/fstpack.md."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from chimerac.runtime.bundle_format.atomic import write_atomically
from chimerac.runtime.bundle_format.constants import KIND_GRAMMARS
from chimerac.runtime.bundle_format.container import Container, Section, container_bytes
from chimerac.runtime.bundle_format.hashing import hash_words
from chimerac.runtime.errors import BundleError

KIND: Final = KIND_GRAMMARS
KEY_TOKENIZER: Final = "chimera.tokenizer_sha256"

REJECT: Final = 0xFFFFFFFF
RETURN: Final = 0xFFFE  #: low half of a cell that leaves the frame
END, CHECK, COUNT, PUSH, POP, SPACE, LIMIT = range(7)  #: kinds of actions
STACK_FRAMES: Final = 64
UNLIMITED: Final = 65535  #: of counts

FLAG_PROSE: Final = 1
FLAG_DEFAULT: Final = 2
FLAG_RHYTHM: Final = 1 << 8
FLAG_PARAGRAPH: Final = 1 << 9
FLAG_REPETITION: Final = 1 << 10

#: Slots: texts that are known when a generation begins only. Each kind is one byte of the tables that no text has.
SLOT_KINDS: Final = ("request", "names", "areas", "floors")
SLOT_MARKS: Final = {kind: 0xFF - number for number, kind in enumerate(SLOT_KINDS)}
LOWEST_MARK: Final = min(SLOT_MARKS.values())
SLOT_BYTES: Final = 64  #: what a slot counts in closing
FLAG_JSON_SLOTS: Final = 4
FLAG_SLOTS: Final = {kind: 1 << 16 + number for number, kind in enumerate(SLOT_KINDS)}

MAX_GRAMMARS: Final = 64
NO_TOP: Final = 0xFFFF  #: top of an entry for the empty stack
STORE_ACCEPTED, STORE_REJECTED, STORE_BITMAP = range(3)
ENTRY_ANY_SPACE: Final = 1  #: flag of an entry that holds whatever whitespace came before

U8 = NDArray[np.uint8]
U16 = NDArray[np.uint16]
U32 = NDArray[np.uint32]

_NAME = re.compile(r"[a-z0-9_.-]{1,63}")
_RECORD = 16


@dataclass(frozen=True)
class StoredMasks:
    """Masks of a grammar: ``first`` [S+1], ``entry`` [E, 8], ``data`` [D], as in docs/fstpack.md."""

    first: U32
    entry: U32
    data: U32


@dataclass(frozen=True)
class Automaton:
    """One grammar: ``classes`` [256], ``delta`` [S, C], ``op`` [O], ``state`` [S, 4], ``loop`` [L, 4]."""

    name: str
    classes: U8
    delta: U32
    op: U32
    state: U16
    loop: U16
    start: int
    space_cap: int = 8
    flags: int = 0
    machines: int = 1
    source: str = ""
    masks: StoredMasks | None = field(default=None, repr=False)

    @property
    def states(self) -> int:
        """Number of states."""
        return len(self.delta)

    @property
    def slots(self) -> tuple[str, ...]:
        """The kinds of slots that it has."""
        return tuple(kind for kind, flag in FLAG_SLOTS.items() if self.flags & flag)

    @property
    def closing(self) -> int:
        """Fewest bytes of a whole text."""
        close, _, loop, _ = self.state[self.start].tolist()
        minimum, _, unit, _ = self.loop[loop].tolist()
        return int(close + unit * minimum)

    @property
    def bytes(self) -> int:
        """Size of the tables."""
        return int(sum(table.nbytes for table in self.tables().values()))

    @property
    def identity(self) -> int:
        """64 bits that tell the tables from others: what a place in a text of the grammar is tied to."""
        sums = (zlib.crc32(table.tobytes()) for table in self.tables().values())
        return hash_words(b"".join(number.to_bytes(8, "little") for number in sums)) | 1  # 0 is no grammar

    def tables(self) -> dict[str, NDArray[Any]]:
        """The tables by the end of their sections' names, in the order of a container."""
        tables: dict[str, NDArray[Any]] = {
            "class": self.classes,
            "delta": self.delta,
            "op": self.op,
            "state": self.state,
            "loop": self.loop,
        }
        if self.masks is not None and len(self.masks.entry):
            tables |= {"mask.first": self.masks.first, "mask.entry": self.masks.entry, "mask.data": self.masks.data}
        return tables


@dataclass(frozen=True)
class Vocabulary:
    """What grammars need of a tokenizer: ``trie`` [N, 2], ``chars`` [V], ``rest`` [M, 2], ``soft`` [V]; end tokens."""

    trie: U32
    chars: U8
    rest: U32
    soft: U8

    @property
    def size(self) -> int:
        """Number of tokens, specials and holes included."""
        return len(self.chars)


@dataclass(frozen=True)
class Pack:
    """A whole container: grammars, and the vocabulary that their stored masks are for, or None."""

    grammars: tuple[Automaton, ...]
    vocabulary: Vocabulary | None = None
    tokenizer_sha256: str = ""

    def grammar(self, name: str) -> Automaton | None:
        """The grammar of a name."""
        return next((g for g in self.grammars if g.name == name), None)


def pack_sections(pack: Pack) -> list[Section]:
    """The sections of a pack."""
    if not 1 <= len(pack.grammars) <= MAX_GRAMMARS or len({g.name for g in pack.grammars}) != len(pack.grammars):
        raise ValueError(f"a pack holds 1 to {MAX_GRAMMARS} grammars of different names")
    directory = np.zeros((len(pack.grammars), _RECORD), np.uint32)
    names = b""
    sections: list[Section] = []
    for index, g in enumerate(pack.grammars):
        if not _NAME.fullmatch(g.name):
            raise ValueError(f"{g.name!r} is not a name of a grammar")
        stored = 0 if g.masks is None else len(g.masks.entry)
        directory[index, :11] = [
            len(names), g.states, g.delta.shape[1], g.start, g.space_cap, g.flags, stored, len(g.op), len(g.loop),
            g.machines, g.closing,
        ]  # fmt: skip
        names += g.name.encode() + b"\0"
        sections += [_section(f"g{index}.{key}", table) for key, table in g.tables().items()]
        text = g.source.encode()
        sections.append(Section(f"g{index}.source", "U8", (len(text),), text))
    shared = [_section("directory", directory), Section("names", "U8", (len(names),), names)]
    if pack.vocabulary is not None:
        v = pack.vocabulary
        shapes: dict[str, NDArray[Any]] = {
            "trie": v.trie,
            "slice.chars": v.chars,
            "slice.trie": v.rest,
            "soft.class": v.soft,
        }
        shared += [_section(key, table) for key, table in shapes.items()]
    return shared + sections


_DTYPES = {"u1": "U8", "u2": "U16", "u4": "U32"}


def _section(name: str, table: NDArray[Any]) -> Section:
    return Section(name, _DTYPES[table.dtype.str[1:]], tuple(table.shape), table)


def pack_bytes(pack: Pack, config_sha256: str = "") -> bytes:
    """The container of a pack."""
    metadata = {KEY_TOKENIZER: pack.tokenizer_sha256, "chimera.config_sha256": config_sha256}
    return container_bytes(KIND, pack_sections(pack), metadata)


def write_pack(path: str | Path, pack: Pack, config_sha256: str = "") -> None:
    """Write a pack; raises BundleError CHM400."""
    write_atomically(path, pack_bytes(pack, config_sha256))


def pack_of_container(container: Container) -> Pack:
    """The pack in an opened container, every index in it checked.

    Raises BundleError CHM405 for another kind of container, CHM403 for too many grammars, CHM431 for tables that no
    grammar has.
    """
    if container.kind != KIND:
        raise BundleError("CHM405", f"a container of kind {container.kind!r}, not {KIND!r}")
    try:
        directory = _table(container, "directory", "U32", 2)
        if directory.shape[1] != _RECORD or not len(directory):
            raise _BadPack("the directory has the wrong shape")
        if len(directory) > MAX_GRAMMARS:
            raise BundleError("CHM403", f"{len(directory)} grammars are over the limit of {MAX_GRAMMARS}")
        names = bytes(container.raw("names")) if "names" in container.sections else b""
        vocabulary = _vocabulary(container)
        grammars = tuple(_grammar(container, i, record, names, vocabulary) for i, record in enumerate(directory))
        if len({g.name for g in grammars}) != len(grammars):
            raise _BadPack("two grammars have the same name")
        if sum(bool(g.flags & FLAG_DEFAULT) for g in grammars) > 1:
            raise _BadPack("two grammars are the default")
    except _BadPack as error:
        raise BundleError("CHM431", f"grammars: {error}") from None
    return Pack(grammars, vocabulary, container.metadata.get(KEY_TOKENIZER, ""))


class _BadPack(Exception):
    """Tables that can't be used."""


def _table(container: Container, name: str, dtype: str, dimensions: int) -> NDArray[np.uint32]:
    view = container.sections.get(name)
    if view is None or view.dtype != dtype or len(view.shape) != dimensions:
        raise _BadPack(f"section {name} is missing or has another type")
    return container.array(name)


def _vocabulary(container: Container) -> Vocabulary | None:
    if "trie" not in container.sections:
        return None
    trie, rest = _table(container, "trie", "U32", 2), _table(container, "slice.trie", "U32", 2)
    chars, soft = _table(container, "slice.chars", "U8", 1), _table(container, "soft.class", "U8", 1)
    if len(chars) != len(soft):
        raise _BadPack("the classes of tokens are not as many as the tokens")
    for nodes in (trie, rest):
        _check_trie(nodes, len(chars))
    return Vocabulary(trie, chars.astype(np.uint8, copy=False), rest, soft.astype(np.uint8, copy=False))


def _check_trie(nodes: U32, vocabulary: int) -> None:
    if nodes.ndim != 2 or nodes.shape[1] != 2 or not len(nodes):
        raise _BadPack("a trie has the wrong shape")
    size, depth = nodes[:, 1] & 0xFFFFFF, nodes[:, 1] >> 24
    end = np.arange(len(nodes)) + size
    tokens = nodes[:, 0] & 0xFFFFFF
    inner = np.flatnonzero(depth[1:].astype(np.int64) > depth[:-1]) + 1
    consistent = (
        size.min() >= 1
        and size[0] == len(nodes)
        and depth[0] == 0
        and (len(nodes) == 1 or depth[1:].min() >= 1)
        and bool((depth[inner] == depth[inner - 1] + 1).all())
        and int(tokens.max(initial=0)) <= vocabulary
    )
    if not consistent or not _ends_match(end, depth):
        raise _BadPack("a trie is not consistent")


def _ends_match(end: NDArray[np.int64], depth: NDArray[Any]) -> bool:
    """Whether each subtree ends exactly where the next node of its depth or above comes."""
    stack: list[int] = []
    expected = np.empty(len(end), np.int64)
    depths = depth.tolist()
    for index, level in enumerate(depths):
        while len(stack) > level:
            expected[stack.pop()] = index
        stack.append(index)
    for index in stack:
        expected[index] = len(depths)
    return bool((expected == end).all())


def _grammar(
    container: Container, index: int, record: NDArray[np.uint32], names: bytes, vocabulary: Vocabulary | None
) -> Automaton:
    where, states, classes_, start, cap, flags, stored, words, loops, machines, _ = record[:11].tolist()
    end = names.find(b"\0", where)
    name = names[where:end].decode("latin-1") if 0 <= where < end else ""
    if not _NAME.fullmatch(name):
        raise _BadPack("a grammar has no valid name")
    prefix = f"g{index}."
    classes = _table(container, prefix + "class", "U8", 1)
    delta, op = _table(container, prefix + "delta", "U32", 2), _table(container, prefix + "op", "U32", 1)
    state, loop = _table(container, prefix + "state", "U16", 2), _table(container, prefix + "loop", "U16", 2)
    shapes = (classes.shape, delta.shape, op.shape, state.shape, loop.shape)
    if shapes != ((256,), (states, classes_), (words,), (states, 4), (loops, 4)):
        raise _BadPack(f"{name}: tables have other sizes than the directory says")
    if not (1 <= states <= 65_000 and 2 <= classes_ <= 257 and start < states and cap <= 255 and loops and words):
        raise _BadPack(f"{name}: a size is out of range")
    _check_cells(name, classes, delta, op, state, loop)
    masks = _masks(container, prefix, name, stored, states, vocabulary) if stored else None
    source = (
        bytes(container.raw(prefix + "source")).decode("utf-8", "replace")
        if prefix + "source" in container.sections
        else ""
    )
    return Automaton(
        name, classes.astype(np.uint8, copy=False), delta, op, state.astype(np.uint16, copy=False),
        loop.astype(np.uint16, copy=False), start, cap, flags, machines, source, masks,
    )  # fmt: skip


def _check_cells(
    name: str, classes: NDArray[np.generic], delta: U32, op: U32, state: NDArray[np.generic], loop: NDArray[np.generic]
) -> None:
    states, columns = delta.shape
    kinds, arguments = op & 0xFF, op >> 16
    pushes = kinds == PUSH
    pops = np.flatnonzero(kinds == POP)
    goal, actions = delta & 0xFFFF, delta >> 16
    shift = (delta != REJECT) & (goal != RETURN)
    returns = (delta != REJECT) & (goal == RETURN)
    problems = {
        "a class is out of range": int(np.max(classes)) >= columns - 1,
        "the actions do not end": kinds[-1] != END or kinds[0] != END,
        "an action is unknown": bool((kinds > LIMIT).any()),
        "an action pushes an unknown state": bool((arguments[pushes] >= states).any()),
        "something comes after a pop": bool((kinds[pops + 1] != END).any())
        if len(pops) and pops[-1] + 1 < len(op)
        else False,
        "a next state is out of range": bool((goal[shift] >= states).any()),
        "actions are out of range": bool((actions[shift | returns] >= len(op)).any()),
        "the end of the text is a byte": bool(shift[:, -1].any()),
        "a loop is out of range": bool((state[:, 2].astype(np.int64) >= len(loop)).any()),
        "loop 0 counts": loop[0].tolist() != [0, UNLIMITED, 0, 0],
    }
    for problem, present in problems.items():
        if present:
            raise _BadPack(f"{name}: {problem}")
    for offset in np.unique(actions[returns]).tolist():
        while op[offset] & 0xFF:
            if op[offset] & 0xFF != CHECK:
                raise _BadPack(f"{name}: a return does more than check")
            offset += 1


def _masks(
    container: Container, prefix: str, name: str, stored: int, states: int, vocabulary: Vocabulary | None
) -> StoredMasks:
    if vocabulary is None:
        raise _BadPack(f"{name}: stored masks without a trie")
    first = _table(container, prefix + "mask.first", "U32", 1)
    entry = _table(container, prefix + "mask.entry", "U32", 2)
    data = _table(container, prefix + "mask.data", "U32", 1)
    if first.shape != (states + 1,) or entry.shape != (stored, 8) or first[-1] != stored or first[0] != 0:
        raise _BadPack(f"{name}: stored masks have other sizes than the directory says")
    if (np.diff(first.astype(np.int64)) < 0).any():
        raise _BadPack(f"{name}: stored masks are not in order")
    words = (vocabulary.size + 31) // 32
    for top, store, count, offset, uncertain, at, _, _ in entry.tolist():
        known = top == NO_TOP or top < states
        bitmap_fits = store != STORE_BITMAP or count == words
        if not known or store > STORE_BITMAP or not bitmap_fits or max(offset + count, at + uncertain) > len(data):
            raise _BadPack(f"{name}: a stored mask is out of range")
        lists = [data[at : at + uncertain]] + ([] if store == STORE_BITMAP else [data[offset : offset + count]])
        for ids in lists:
            if len(ids) and (int(ids[-1]) >= vocabulary.size or bool((ids[1:] <= ids[:-1]).any())):
                raise _BadPack(f"{name}: a list of tokens is not ascending")
    return StoredMasks(first, entry, data)
