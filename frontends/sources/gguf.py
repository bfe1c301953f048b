"""GGUF files of llama.cpp and its relatives: metadata, and where each tensor lies. Versions 2 and 3, little-endian."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from chimerac.compiler.errors import UserError
from chimerac.frontends.encodings.encoding import Encoding
from chimerac.frontends.encodings.i2_s import I2_S, TAIL
from chimerac.frontends.encodings.registry import NAMED, READ
from chimerac.frontends.sources.gguf_metadata import SHOWN, Cursor, Metadata, read_metadata
from chimerac.frontends.sources.mapped import mapped_file
from chimerac.frontends.sources.recognised import MAGIC
from chimerac.frontends.sources.tensor import StoredTensor

VERSIONS: Final = (2, 3)
MAX_TENSORS: Final = 1 << 16
MAX_NAME_BYTES: Final = 1024
MAX_DIMENSIONS: Final = 4
MAX_ALIGNMENT: Final = 1 << 20
#: Types of whose number there are two: how long a tensor is tells them apart, so it must be exactly right.
_LENGTH_TELLS: Final = (36, 42)


@dataclass(frozen=True)
class GgufFile:
    """What a GGUF file holds.

    Attributes:
        tensors: by name, in the order of the file's list.
    """

    path: Path
    version: int
    metadata: Metadata
    tensors: Mapping[str, StoredTensor]

    @property
    def architecture(self) -> str:
        """What the file says that it is; raises UserError CHM231 if it does not."""
        return self.metadata.need("general.architecture", str)


@dataclass(frozen=True)
class _Entry:
    """A line of the list of tensors. ``offset``: from where the data begins."""

    name: str
    shape: tuple[int, ...]
    type: int
    offset: int

    @property
    def type_name(self) -> str:
        one = READ[self.type][0] if self.type in READ else NAMED[self.type]
        return one.name

    def sizes(self) -> tuple[int, ...]:
        """How many bytes it may have: one number, or one for each encoding of its type."""
        kinds = READ.get(self.type) or (NAMED[self.type],)
        rows, columns = math.prod(self.shape[:-1]), self.shape[-1]
        tail = TAIL if kinds[0] is I2_S else 0
        return tuple(rows * (columns // k.weights) * k.size + tail if columns % k.weights == 0 else 0 for k in kinds)


def open_gguf(path: str | os.PathLike[str]) -> GgufFile:
    """Read a file's metadata and its list of tensors; of its numbers nothing is read.

    Raises:
        UserError: CHM230, it can't be read, is no GGUF file or one part of several; CHM231, its metadata are not valid;
            CHM232, tensors that are not where the file says; CHM233, a type that is unknown or cannot be told.
    """
    file = Path(path)
    buffer = mapped_file(file)
    cursor = Cursor(file, buffer)
    version = _version(file, buffer, cursor)
    tensors, keys = cursor.u64("the number of tensors"), cursor.u64("the number of keys")
    if tensors > MAX_TENSORS:
        cursor.fail(f"it claims {tensors} tensors, the most is {MAX_TENSORS}")
    metadata = read_metadata(cursor, keys)
    alignment = _alignment(cursor, metadata)
    entries = [_entry(cursor, number, alignment) for number in range(tensors)]
    _refuse_parts(metadata)
    start = -(-cursor.at // alignment) * alignment
    return GgufFile(file, version, metadata, _placed(file, entries, start, len(buffer), alignment))


def _version(file: Path, buffer: memoryview, cursor: Cursor) -> int:
    if bytes(buffer[:4]) != MAGIC:
        raise UserError("CHM230", f"{file} is no GGUF file: it does not begin with {MAGIC.decode()}")
    cursor.at = 4
    version = cursor.u32("the version")
    if version in VERSIONS:
        return version
    if version and version & 0xFFFF == 0:
        cursor.fail("it is big-endian", "convert it for a little-endian machine")
    cursor.fail(f"it is of version {version}; chimerac reads 2 and 3", "convert the model again with a newer llama.cpp")


def _alignment(cursor: Cursor, metadata: Metadata) -> int:
    value = metadata.get("general.alignment", int)
    alignment = 32 if value is None else value
    if not 8 <= alignment <= MAX_ALIGNMENT or alignment & (alignment - 1):
        cursor.fail(f"general.alignment is {alignment}, not a power of two from 8 to {MAX_ALIGNMENT}")
    return alignment


def _entry(cursor: Cursor, number: int, alignment: int) -> _Entry:
    name = cursor.string(f"the name of tensor {number}", MAX_NAME_BYTES)
    shown = name if len(name) <= SHOWN else name[:SHOWN] + "…"
    if not name:
        cursor.fail(f"tensor {number} has no name")
    dimensions = cursor.u32(f"the number of dimensions of {shown}")
    if not 1 <= dimensions <= MAX_DIMENSIONS:
        cursor.fail(f"{shown} has {dimensions} dimensions, not 1 to {MAX_DIMENSIONS}")
    shape = tuple(cursor.u64(f"the shape of {shown}") for _ in range(dimensions))[::-1]
    if not all(shape) or math.prod(shape) >= 1 << 60:
        cursor.fail(f"{shown} has the shape {list(shape)}")
    kind, offset = cursor.u32(f"the type of {shown}"), cursor.u64(f"the place of {shown}")
    if kind not in READ and kind not in NAMED:
        message = f"{cursor.file}: {shown} is of type {kind}, which chimerac does not know"
        raise UserError("CHM233", message, hint="docs/sources.md lists the types that are read; convert it to one")
    if offset % alignment:
        message = f"{cursor.file}: {shown} begins at byte {offset} of the data, not at a multiple of {alignment}"
        raise UserError("CHM232", message)
    entry = _Entry(name, shape, kind, offset)
    if not any(entry.sizes()):
        message = f"{cursor.file}: {shown} has rows of {shape[-1]}, {entry.type_name} has blocks of {_blocks(kind)}"
        hint = "Arm builds of BitNet write blocks of 64: convert the model on x86" if kind == 36 else None
        raise UserError("CHM232", message, hint=hint)
    return entry


def _blocks(kind: int) -> str:
    return " or ".join(str(one.weights) for one in READ.get(kind) or (NAMED[kind],))


def _refuse_parts(metadata: Metadata) -> None:
    parts = metadata.get("split.count", int)
    if parts is not None and parts > 1:
        message = f"{metadata.file} is one of {parts} parts of a model"
        raise UserError("CHM230", message, hint="join them: llama-gguf-split --merge FIRST-PART whole.gguf")


def _placed(
    file: Path, entries: Sequence[_Entry], start: int, file_bytes: int, alignment: int
) -> dict[str, StoredTensor]:
    """Where the tensors lie, which must be distinct and inside of the file."""
    ordered = sorted(range(len(entries)), key=lambda i: entries[i].offset)
    rooms = [0] * len(entries)  # bytes from where a tensor begins to the next one, or to the end
    for place, index in enumerate(ordered):
        after = ordered[place + 1] if place + 1 < len(ordered) else None
        end = file_bytes - start if after is None else entries[after].offset
        rooms[index] = end - entries[index].offset
        smallest = min(size for size in entries[index].sizes() if size)
        if smallest > rooms[index]:
            raise _misplaced(file, entries[index], smallest, rooms[index], None if after is None else entries[after])
    chosen = _choices(file, entries, rooms, alignment)
    found: dict[str, StoredTensor] = {}
    for entry, (encoding, size) in zip(entries, chosen, strict=True):
        if entry.name in found:
            raise UserError("CHM232", f"{file} has two tensors {entry.name[:SHOWN]}")
        place = start + entry.offset
        name = entry.type_name if encoding is None else encoding.name
        tensor = StoredTensor(entry.name, entry.shape, name, encoding, file, place, size)
        if encoding is I2_S:
            tensor = replace(tensor, size=size - TAIL, scale_offset=place + size - TAIL)
        found[entry.name] = tensor
    return found


def _misplaced(file: Path, entry: _Entry, size: int, room: int, after: _Entry | None) -> UserError:
    name = entry.name[:SHOWN]
    if after is None:
        message = f"{file} is cut short: {name} has {size} bytes, and {max(0, room)} are there"
        return UserError("CHM232", message, hint="download or copy it again")
    return UserError("CHM232", f"{file}: {name} has {size} bytes, and {after.name[:SHOWN]} begins after {room}")


def _choices(
    file: Path, entries: Sequence[_Entry], rooms: Sequence[int], alignment: int
) -> Iterator[tuple[Encoding | None, int]]:
    """The encoding and size of each tensor."""
    lengths = _told(file, entries, rooms, alignment)
    for entry in entries:
        kinds, sizes = READ.get(entry.type), entry.sizes()
        if kinds is None:
            yield None, sizes[0]
            continue
        index = lengths.get(entry.type, 0)
        if not sizes[index]:
            message = f"{file}: {entry.name[:SHOWN]} has rows of {entry.shape[-1]}, which {kinds[index].name} has not"
            raise UserError("CHM233", message)
        yield kinds[index], sizes[index]


def _told(file: Path, entries: Sequence[_Entry], rooms: Sequence[int], alignment: int) -> dict[int, int]:
    """Which encoding of a type with several a file has: the one that the lengths of all its tensors fit."""
    left: dict[int, set[int]] = {}
    for entry, room in zip(entries, rooms, strict=True):
        if entry.type not in _LENGTH_TELLS:
            continue
        fits = {i for i, size in enumerate(entry.sizes()) if size and size <= room <= -(-size // alignment) * alignment}
        left[entry.type] = left.get(entry.type, fits) & fits
        if not left[entry.type]:
            names = " or ".join(one.name for one in READ[entry.type])
            message = f"{file}: {entry.name[:SHOWN]} {list(entry.shape)} takes {room} bytes, which is not {names}"
            hint = f"type {entry.type} has been given to several formats; convert the model with a newer llama.cpp"
            raise UserError("CHM233", message, hint=hint)
    for kind, indices in left.items():
        if len(indices) > 1:
            names = " or ".join(READ[kind][i].name for i in sorted(indices))
            message = f"{file} has type {kind}, {names}: its tensors are too small to tell which"
            raise UserError("CHM233", message, hint="a file with a matrix of a few thousand weights tells")
    return {kind: next(iter(indices)) for kind, indices in left.items()}
