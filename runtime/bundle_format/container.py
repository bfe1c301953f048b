"""The container of all data files: written byte for byte reproducibly, read without trusting a single byte.

Layout: u64 header length, JSON header padded with spaces, data. It is a valid safetensors file; docs/bundle.md has the
rules that it keeps on top, and the C reader ``native/chm_container.c`` checks the same ones.
"""

from __future__ import annotations

import hashlib
import io
import math
import mmap
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from chimerac.runtime.bundle_format import constants as c
from chimerac.runtime.bundle_format.atomic import atomic_file
from chimerac.runtime.bundle_format.regular import open_input
from chimerac.runtime.bundle_format.strict_json import (
    StrictJsonError,
    TooManyBranchesError,
    parse_strict,
    write_strict,
)
from chimerac.runtime.errors import BundleError

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_NUMPY_DTYPES: dict[str, str] = {
    "U8": "u1",
    "I8": "i1",
    "U16": "<u2",
    "I16": "<i2",
    "F16": "<f2",
    "BF16": "<u2",
    "U32": "<u4",
    "I32": "<i4",
    "F32": "<f4",
}
_METADATA = "__metadata__"
_REBUILD = "build the bundle again with this version of chimerac"


#: Makes the bytes of a section, piece by piece; the same ones each time.
Pieces = Callable[[], Iterable[NDArray[Any]]]


@dataclass(frozen=True)
class Section:
    """A named array to be written: ``dtype`` is a safetensors name, ``data`` its little-endian bytes in C order.

    ``data`` may also be a function that makes arrays which follow each other, so that no more than one of them needs to
    be in memory.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: bytes | bytearray | memoryview | NDArray[Any] | Pieces

    @property
    def size(self) -> int:
        """Size according to dtype and shape."""
        if self.dtype not in c.DTYPES:
            raise ValueError(f"section {self.name}: unknown dtype {self.dtype}")
        return c.DTYPES[self.dtype] * math.prod(self.shape)

    def pieces(self) -> Iterator[memoryview]:
        """The bytes in order, checked against dtype and shape."""
        size, found = self.size, 0
        arrays = self.data() if callable(self.data) else [self.data]
        for array in arrays:
            whole = np.ascontiguousarray(array) if isinstance(array, np.ndarray) else np.frombuffer(array, np.uint8)
            piece = whole.reshape(-1).view(np.uint8).data
            found += len(piece)
            yield piece
        if found != size:
            raise ValueError(f"section {self.name}: {found} bytes, but {self.dtype}{list(self.shape)} has {size}")

    def raw(self) -> bytes:
        """All bytes."""
        return b"".join(self.pieces())


def array_section(name: str, array: NDArray[Any]) -> Section:
    """A section of a numpy array; its dtype decides the section's (uint16 becomes U16, not BF16)."""
    for dtype, numpy_name in _NUMPY_DTYPES.items():
        if dtype != "BF16" and array.dtype == np.dtype(numpy_name):
            return Section(name, dtype, tuple(array.shape), np.ascontiguousarray(array, np.dtype(numpy_name)))
    raise ValueError(f"section {name}: containers have no dtype for {array.dtype}")


def _is_name(name: str) -> bool:
    return len(name) <= c.MAX_NAME_BYTES and _NAME.fullmatch(name) is not None


def _combine(digests: Sequence[tuple[str, int, str]]) -> str:
    total = hashlib.sha256()
    for name, size, digest in digests:
        total.update(name.encode() + b"\0" + size.to_bytes(8, "little") + bytes.fromhex(digest))
    return total.hexdigest()


def contents_sha256(sections: Sequence[Section]) -> str:
    """The digest that ties code to weights: SHA-256 over (name, 0, u64 size, SHA-256 of the bytes) of each section."""
    return _combine([(section.name, section.size, _checksum(section)[1]) for section in sections])


def container_bytes(kind: str, sections: Sequence[Section], metadata: Mapping[str, str] | None = None) -> bytes:
    """The bytes of a container; see ``write_container``."""
    stream = io.BytesIO()
    _write(stream, kind, sections, metadata)
    return stream.getvalue()


def write_container(
    path: str | Path, kind: str, sections: Sequence[Section], metadata: Mapping[str, str] | None = None
) -> str:
    """Write sections, in the order given, to a file that appears under its name only when it is whole.

    Args:
        kind: one of ``constants.KINDS``.
        metadata: further printable ASCII strings; ``chimera.config_sha256`` belongs here.

    Returns:
        ``contents_sha256`` of the sections.

    Raises ValueError for sections that do not fit the format, BundleError CHM400 if the file cannot be written.
    """
    _header(kind, sections, metadata, [(0, _NO_DIGEST)] * len(sections))  # complains before there is a file
    with atomic_file(path) as file:
        return _write(file, kind, sections, metadata)


#: Stands for a digest that is not known yet: as long as one.
_NO_DIGEST = "0" * 64


def _checksum(section: Section, stream: BinaryIO | None = None) -> tuple[int, str]:
    """CRC-32 and SHA-256 of a section, which is written to a stream on the way."""
    crc, digest = 0, hashlib.sha256()
    for piece in section.pieces():
        crc = zlib.crc32(piece, crc)
        digest.update(piece)
        if stream is not None:
            stream.write(piece)
    return crc, digest.hexdigest()


def _write(stream: BinaryIO, kind: str, sections: Sequence[Section], metadata: Mapping[str, str] | None) -> str:
    """Write a container to a stream that can go back: the header, which holds checksums, is completed at the end."""
    start = stream.tell()
    header = _header(kind, sections, metadata, [(0, _NO_DIGEST)] * len(sections))
    stream.write(header)
    checksums = []
    position = 0
    for section in sections:
        gap = -position % c.SECTION_ALIGNMENT
        stream.write(bytes(gap))
        checksums.append(_checksum(section, stream))
        position += gap + section.size
    complete = _header(kind, sections, metadata, checksums)
    assert len(complete) == len(header)
    stream.seek(start)
    stream.write(complete)
    stream.seek(0, os.SEEK_END)
    return _combine([(s.name, s.size, digest) for s, (_, digest) in zip(sections, checksums, strict=True)])


def _header(
    kind: str, sections: Sequence[Section], metadata: Mapping[str, str] | None, checksums: Sequence[tuple[int, str]]
) -> bytes:
    """The bytes before the data."""
    if kind not in c.KINDS:
        raise ValueError(f"unknown container kind {kind!r}")
    names = [section.name for section in sections]
    bad = [name for name in names if not _is_name(name) or name.startswith("__")]
    if bad or len(set(names)) != len(names):
        raise ValueError(f"section names must be distinct and plain: {bad or names}")
    extra = dict(metadata or {})
    extra.setdefault(c.KEY_CONFIG, "")
    reserved = {c.KEY_KIND, c.KEY_ABI, c.KEY_CONTENTS, c.KEY_SECTIONS} & extra.keys()
    if reserved:
        raise ValueError(f"metadata keys {sorted(reserved)} are written by the container itself")
    tensors: dict[str, dict[str, object]] = {}
    table: dict[str, dict[str, object]] = {}
    offset = pads = 0
    for section, (crc, digest) in zip(sections, checksums, strict=True):
        gap = -offset % c.SECTION_ALIGNMENT
        if gap:
            tensors[f"{c.PAD_PREFIX}{pads}"] = {"dtype": "U8", "shape": [gap], "data_offsets": [offset, offset + gap]}
            offset, pads = offset + gap, pads + 1
        end = offset + section.size
        tensors[section.name] = {"dtype": section.dtype, "shape": list(section.shape), "data_offsets": [offset, end]}
        table[section.name] = {"bytes": section.size, "crc32": f"{crc:08x}", "sha256": digest}
        offset = end
    contents = _combine([(s.name, s.size, digest) for s, (_, digest) in zip(sections, checksums, strict=True)])
    header = write_strict(
        {
            _METADATA: {
                c.KEY_KIND: kind,
                c.KEY_ABI: c.ABI,
                c.KEY_CONTENTS: contents,
                **{key: extra[key] for key in sorted(extra)},
                c.KEY_SECTIONS: write_strict(table),
            },
            **tensors,
        }
    )
    header += " " * (-(8 + len(header)) % c.DATA_ALIGNMENT)
    if len(header) > c.MAX_HEADER_BYTES or len(tensors) > c.MAX_SECTIONS:
        raise ValueError(f"{len(sections)} sections are too many for one container")
    return len(header).to_bytes(8, "little") + header.encode("ascii")


@dataclass(frozen=True)
class SectionView:
    """Where a section of an opened container lies; ``offset`` counts from the start of the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    bytes: int
    crc32: int
    sha256: str


@dataclass(frozen=True)
class Container:
    """An opened container: kind, metadata, and the sections as views of the mapped file."""

    kind: str
    abi: str
    metadata: Mapping[str, str]
    sections: Mapping[str, SectionView]
    buffer: memoryview = field(repr=False)

    @property
    def contents_sha256(self) -> str:
        return self.metadata[c.KEY_CONTENTS]

    def array(self, name: str) -> NDArray[Any]:
        """Read-only numpy view of a section (BF16 as uint16); KeyError if there is none of this name."""
        view = self.sections[name]
        data = self.buffer[view.offset : view.offset + view.bytes]
        return np.frombuffer(data, np.dtype(_NUMPY_DTYPES[view.dtype])).reshape(view.shape)

    def raw(self, name: str) -> memoryview:
        """The bytes of a section."""
        view = self.sections[name]
        return self.buffer[view.offset : view.offset + view.bytes]


def read_container(path: str | Path, verify: bool = True) -> Container:
    """Map a container file and check it; nothing in it is trusted.

    ``verify`` also compares all checksums, which reads the whole file. The views stay valid while the container or an
    array from it lives; replace such a file by renaming, do not cut it short in place.

    Raises BundleError CHM400 to CHM406.
    """
    try:
        with open_input(path) as file:
            size = os.fstat(file.fileno()).st_size
            buffer = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)) if size else memoryview(b"")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise BundleError("CHM400", f"cannot read the file: {why}", path=path) from None
    return parse_container(buffer, path=path, verify=verify)


def parse_container(data: bytes | memoryview, *, path: str | Path | None = None, verify: bool = True) -> Container:  # noqa: C901  a check for each field of a file that may be hostile
    """``read_container`` of bytes in memory."""
    buffer = memoryview(data)

    def fail(code: str, message: str, hint: str | None = None) -> BundleError:
        return BundleError(code, message, path=path, hint=hint)

    if len(buffer) < 8 + 2:
        raise fail("CHM401", f"the file has {len(buffer)} bytes, too few for a container")
    header_bytes = int.from_bytes(buffer[:8], "little")
    if header_bytes > c.MAX_HEADER_BYTES:
        if bytes(buffer[8:9]) != b"{":
            raise fail("CHM401", "the file is not a chimera container")
        raise fail("CHM403", f"a header of {header_bytes} bytes is over the limit of {c.MAX_HEADER_BYTES}")
    start = 8 + header_bytes
    if start > len(buffer):
        raise fail("CHM401", "the file is cut short in its header")
    if bytes(buffer[8:9]) != b"{":
        raise fail("CHM401", "the file is not a chimera container")
    if start % c.DATA_ALIGNMENT:
        raise fail("CHM402", f"the data starts at {start}, not at a multiple of {c.DATA_ALIGNMENT}")
    try:
        header = parse_strict(bytes(buffer[8:start]).decode("latin-1"))
        metadata = _metadata(header)
        table = parse_strict(metadata[c.KEY_SECTIONS])
        if "\\" in metadata[c.KEY_SECTIONS] or not isinstance(table, dict):
            raise StrictJsonError(f"{c.KEY_SECTIONS} is not a plain object")
    except TooManyBranchesError as error:
        raise fail("CHM403", f"the header has {error}") from None
    except (StrictJsonError, RecursionError) as error:
        raise fail("CHM402", f"the header is not valid: {error}") from None
    if metadata[c.KEY_ABI].split(".")[0] != str(c.ABI_MAJOR) or metadata[c.KEY_KIND] not in c.KINDS:
        kind, abi = metadata[c.KEY_KIND], metadata[c.KEY_ABI]
        raise fail("CHM405", f"a container of kind {kind!r}, version {abi!r}; this runtime reads {c.ABI}", _REBUILD)
    if len(header) - 1 > c.MAX_SECTIONS:
        raise fail("CHM403", f"{len(header) - 1} sections, the limit is {c.MAX_SECTIONS}")
    try:
        sections, pads = _sections(header, table, start, len(buffer))
    except _LayoutError as error:
        raise fail(error.code, str(error)) from None
    if verify:
        for offset, size in pads:
            if any(buffer[offset : offset + size]):
                raise fail("CHM406", f"padding at {offset} is not zero")
        for view in sections.values():
            data = buffer[view.offset : view.offset + view.bytes]
            if zlib.crc32(data) != view.crc32 or hashlib.sha256(data).hexdigest() != view.sha256:
                raise fail("CHM406", f"section {view.name} is damaged", "copy or download the file again")
        if _combine([(v.name, v.bytes, v.sha256) for v in sections.values()]) != metadata[c.KEY_CONTENTS]:
            raise fail("CHM406", "the digest of all sections does not match")
    return Container(
        metadata[c.KEY_KIND], metadata[c.KEY_ABI], MappingProxyType(metadata), MappingProxyType(sections), buffer
    )


def _metadata(header: object) -> dict[str, str]:
    if not isinstance(header, dict) or next(iter(header), None) != _METADATA:
        raise StrictJsonError(f"the first key is not {_METADATA}")
    metadata = header[_METADATA]
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise StrictJsonError(f"{_METADATA} is not an object of strings")
    for key in (c.KEY_KIND, c.KEY_ABI, c.KEY_CONFIG, c.KEY_CONTENTS, c.KEY_SECTIONS):
        if key not in metadata:
            raise StrictJsonError(f"{_METADATA} has no {key}")
    return metadata


class _LayoutError(Exception):
    def __init__(self, message: str, code: str = "CHM404") -> None:
        super().__init__(message)
        self.code = code


def _checksums(table: dict[str, object], name: str, size: int) -> tuple[int, str]:
    row = table.get(name)
    if not isinstance(row, dict) or row.keys() != {"bytes", "crc32", "sha256"}:
        raise _LayoutError(f"section {name} has no valid row in {c.KEY_SECTIONS}", "CHM402")
    crc, digest = row["crc32"], row["sha256"]
    if not (isinstance(crc, str) and re.fullmatch(r"[0-9a-f]{8}", crc)):
        raise _LayoutError(f"section {name}: crc32 is not 8 hexadecimal digits", "CHM402")
    if not (isinstance(digest, str) and re.fullmatch(r"[0-9a-f]{64}", digest)):
        raise _LayoutError(f"section {name}: sha256 is not 64 hexadecimal digits", "CHM402")
    if type(row["bytes"]) is not int or row["bytes"] != size:
        raise _LayoutError(f"section {name}: {c.KEY_SECTIONS} gives another size")
    return int(crc, 16), digest


def _tensor(name: str, entry: object) -> tuple[str, tuple[int, ...], int, int]:
    """(dtype, shape, begin, end) of a header entry, its types, limits and size checked."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise _LayoutError(f"section {name} is not {{dtype, shape, data_offsets}}", "CHM402")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not (isinstance(shape, list) and all(type(extent) is int for extent in shape)):
        raise _LayoutError(f"section {name}: the shape is not a list of numbers", "CHM402")
    if not (isinstance(offsets, list) and len(offsets) == 2 and all(type(offset) is int for offset in offsets)):
        raise _LayoutError(f"section {name}: data_offsets are not two numbers", "CHM402")
    if not isinstance(dtype, str) or dtype not in c.DTYPES:
        raise _LayoutError(f"section {name}: unknown dtype", "CHM402")
    if len(shape) > c.MAX_DIMENSIONS:
        raise _LayoutError(f"section {name} has {len(shape)} dimensions, the limit is {c.MAX_DIMENSIONS}", "CHM403")
    size = c.DTYPES[dtype]
    for extent in shape:
        size *= extent
    begin, end = offsets
    if end - begin != size:
        raise _LayoutError(f"section {name}: {dtype}{shape} does not have {end - begin} bytes")
    return dtype, tuple(shape), begin, end


def _sections(
    header: dict[str, object], table: dict[str, object], start: int, file_bytes: int
) -> tuple[dict[str, SectionView], list[tuple[int, int]]]:
    """Views and pads (offset, size) of a parsed header; raises _LayoutError."""
    sections: dict[str, SectionView] = {}
    pads: list[tuple[int, int]] = []
    position = 0
    for name, entry in header.items():
        if name == _METADATA:
            continue
        if not _is_name(name):
            raise _LayoutError(f"the section name {name[:40]!r} is not valid", "CHM402")
        dtype, shape, begin, end = _tensor(name, entry)
        if begin != position:
            raise _LayoutError(f"section {name} starts at {begin}, the one before ends at {position}")
        if start + end > file_bytes:
            raise _LayoutError(f"section {name} ends beyond the end of the file", "CHM401")
        position = end
        if name.startswith(c.PAD_PREFIX):
            pads.append((start + begin, end - begin))
            continue
        if name.startswith("__"):
            raise _LayoutError(f"the section name {name[:40]!r} is reserved", "CHM402")
        if begin % c.SECTION_ALIGNMENT:
            raise _LayoutError(f"section {name} does not start at a multiple of {c.SECTION_ALIGNMENT}")
        crc, digest = _checksums(table, name, end - begin)
        sections[name] = SectionView(name, dtype, shape, start + begin, end - begin, crc, digest)
    if list(table) != list(sections):
        raise _LayoutError(f"{c.KEY_SECTIONS} does not list the sections in their order", "CHM402")
    if start + position != file_bytes:
        raise _LayoutError(f"{file_bytes - start - position} bytes after the last section")
    return sections, pads
