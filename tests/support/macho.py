"""Reads Mach-O dylibs: segments, fix-ups, exports, platform and code signature.

Only what linked 64-bit little-endian dylibs with classic dyld info have; anything else raises ``ValueError``. Written
from the public headers of Apple's open-source releases (mach-o/loader.h, cs_blobs.h).
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

MAGIC, CPU_ARM64, DYLIB = 0xFEEDFACF, 0x0100000C, 6
SEGMENT, ID_DYLIB, LOAD_DYLIB, BUILD_VERSION, SIGNATURE = 0x19, 0xD, 0xC, 0x32, 0x1D
DYLD_INFO, DYLD_INFO_ONLY, CHAINED_FIXUPS = 0x22, 0x80000022, 0x80000034
PLATFORMS = {1: "macos", 2: "ios", 7: "ios-simulator"}
READ, WRITE, EXECUTE = 1, 2, 4
CODE_DIRECTORY, SIGNATURE_MAGIC, ADHOC = 0xFADE0C02, 0xFADE0CC0, 2


@dataclass(frozen=True)
class Section:
    """A named range of addresses; ``zero_fill`` ones take no room in the file."""

    name: str
    address: int
    size: int
    zero_fill: bool


@dataclass(frozen=True)
class Segment:
    """A range of addresses with the same protection, and what it holds at first."""

    name: str
    address: int
    size: int
    file_offset: int
    file_size: int
    most_protection: int
    protection: int
    sections: tuple[Section, ...]


@dataclass(frozen=True)
class Bind:
    """The address of an imported symbol belongs at ``address``."""

    address: int
    symbol: str
    addend: int
    weak: bool


@dataclass(frozen=True)
class CodeDirectory:
    """What a signature says: hashes of the pages of the file up to itself.

    Attributes:
        code_limit: bytes that are hashed.
        page_size: bytes per hash.
        hashes: SHA-256 each.
        flags: 2 is ad hoc: no certificate.
    """

    identifier: str
    flags: int
    code_limit: int
    page_size: int
    hashes: tuple[bytes, ...]


@dataclass
class MachO:
    """A parsed dylib; ``data`` is the whole file."""

    data: bytes
    segments: list[Segment] = field(default_factory=list)
    dependencies: list[str] = field(default_factory=list)
    install_name: str = ""
    platform: str = ""
    minimum_os: tuple[int, int] = (0, 0)
    header_room: int = 0  #: bytes behind the load commands for more of them
    signature_offset: int = 0
    signature_size: int = 0
    _info: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        magic, cpu, _, kind, count, size, _, _ = struct.unpack_from("<8I", self.data)
        if (magic, cpu, kind) != (MAGIC, CPU_ARM64, DYLIB):
            raise ValueError("not an arm64 dylib")
        place = 32
        for _ in range(count):
            command, length = struct.unpack_from("<II", self.data, place)
            self._command(command, place, length)
            place += length
        if place != 32 + size:
            raise ValueError("the load commands do not fill their space")
        self.header_room = min(s.address for s in self.segments[0].sections) - place

    def _command(self, command: int, place: int, length: int) -> None:
        if command == SEGMENT:
            self.segments.append(self._segment(place))
        elif command in (ID_DYLIB, LOAD_DYLIB):
            (offset,) = struct.unpack_from("<I", self.data, place + 8)
            name = self.data[place + offset : place + length].split(b"\0")[0].decode()
            if command == ID_DYLIB:
                self.install_name = name
            else:
                self.dependencies.append(name)
        elif command == BUILD_VERSION:
            platform, version = struct.unpack_from("<II", self.data, place + 8)
            self.platform = PLATFORMS[platform]
            self.minimum_os = (version >> 16, version >> 8 & 255)
        elif command in (DYLD_INFO, DYLD_INFO_ONLY):
            self._info = struct.unpack_from("<10I", self.data, place + 8)
        elif command == SIGNATURE:
            self.signature_offset, self.signature_size = struct.unpack_from("<II", self.data, place + 8)
        elif command == CHAINED_FIXUPS:
            raise ValueError("chained fix-ups are not read")

    def _segment(self, place: int) -> Segment:
        name, address, size, offset, file_size, most, now, count, _ = struct.unpack_from(
            "<16s4Q4I", self.data, place + 8
        )
        sections = []
        for i in range(count):
            section, _, start, extent, _, _, _, _, flags = struct.unpack_from(
                "<16s16s2Q5I", self.data, place + 72 + 80 * i
            )
            zero_fill = flags & 0xFF in (0x01, 0x0C, 0x12)
            sections.append(Section(section.rstrip(b"\0").decode(), start, extent, zero_fill))
        return Segment(name.rstrip(b"\0").decode(), address, size, offset, file_size, most, now, tuple(sections))

    def segment(self, name: str) -> Segment:
        """The segment of a name."""
        return next(s for s in self.segments if s.name == name)

    def section(self, name: str) -> Section | None:
        """The first section of a name."""
        return next((s for segment in self.segments for s in segment.sections if s.name == name), None)

    # ---- fix-ups ----

    @cached_property
    def rebases(self) -> list[int]:
        """Addresses of pointers into the image itself."""
        found: list[int] = []
        stream = _Stream(self.data, *self._info[0:2])
        address = 0
        for operation, value in stream.operations():
            if operation == 0x00:
                break
            if operation == 0x20:
                address = self.segments[value].address + stream.uleb()
            elif operation in (0x30, 0x40):
                address += stream.uleb() if operation == 0x30 else 8 * value
            elif operation in (0x50, 0x60, 0x70, 0x80):
                times = value if operation == 0x50 else 1 if operation == 0x70 else stream.uleb()
                skip = stream.uleb() if operation in (0x70, 0x80) else 0
                for _ in range(times):
                    found.append(address)
                    address += 8 + skip
            elif operation != 0x10:
                raise ValueError(f"rebase operation {operation:#x}")
        return found

    @cached_property
    def binds(self) -> list[Bind]:
        """Pointers to imported symbols, lazy ones too."""
        return [bind for start in (2, 4, 6) for bind in self._binds(*self._info[start : start + 2], lazy=start == 6)]

    def _binds(self, offset: int, size: int, *, lazy: bool) -> Iterator[Bind]:
        stream = _Stream(self.data, offset, size)
        address, addend, symbol, weak = 0, 0, "", False
        for operation, value in stream.operations():
            if operation == 0x00 and not lazy:
                break
            if operation == 0x40:
                symbol, weak = stream.text(), bool(value & 1)
            elif operation == 0x60:
                addend = stream.sleb()
            elif operation == 0x70:
                address = self.segments[value].address + stream.uleb()
            elif operation == 0x80:
                address += stream.uleb()
            elif operation in (0x90, 0xA0, 0xB0, 0xC0):
                times = stream.uleb() if operation == 0xC0 else 1
                skip = 8 * value if operation == 0xB0 else stream.uleb() if operation != 0x90 else 0
                for _ in range(times):
                    yield Bind(address, symbol, addend, weak)
                    address = (address + 8 + skip) & (1 << 64) - 1
            elif operation == 0x20:
                stream.uleb()
            elif operation not in (0x00, 0x10, 0x30, 0x50):
                raise ValueError(f"bind operation {operation:#x}")

    @cached_property
    def exports(self) -> dict[str, int]:
        """Address of every exported symbol, from the trie."""
        found: dict[str, int] = {}
        offset, size = self._info[8:10]

        def walk(node: int, prefix: str) -> None:
            stream = _Stream(self.data, offset + node, size - node)
            terminal = stream.uleb()
            if terminal:
                inner = _Stream(self.data, stream.place, terminal)
                inner.uleb()
                found[prefix] = inner.uleb()
                stream.place += terminal
            for _ in range(stream.byte()):
                name = stream.text()
                walk(stream.uleb(), prefix + name)

        if size:
            walk(0, "")
        return found

    # ---- signature ----

    @cached_property
    def code_directory(self) -> CodeDirectory:
        """The signature's list of hashes."""
        start = self.signature_offset
        magic, length, count = struct.unpack_from(">3I", self.data, start)
        if magic != SIGNATURE_MAGIC or length > self.signature_size:
            raise ValueError("no code signature")
        blobs = dict(struct.unpack_from(">2I", self.data, start + 12 + 8 * i) for i in range(count))
        place = start + blobs[0]
        fields = struct.unpack_from(">9I4BI", self.data, place)
        magic, _, _, flags, hashes, name, _, code_slots, limit, hash_size, hash_type, _, page_shift, _ = fields
        if (magic, hash_size, hash_type) != (CODE_DIRECTORY, 32, 2):
            raise ValueError("not a code directory of SHA-256")
        first = place + hashes
        return CodeDirectory(
            self.data[place + name :].split(b"\0")[0].decode(),
            flags,
            limit,
            1 << page_shift,
            tuple(self.data[first + 32 * i : first + 32 * i + 32] for i in range(code_slots)),
        )

    def signature_errors(self) -> list[str]:
        """What is wrong with the hashes of the pages; empty if the signature fits the file."""
        directory = self.code_directory
        wrong = []
        if directory.code_limit != self.signature_offset:
            wrong.append(f"{directory.code_limit} bytes are signed of {self.signature_offset}")
        starts = range(0, directory.code_limit, directory.page_size)
        if len(starts) != len(directory.hashes):
            wrong.append(f"{len(directory.hashes)} hashes for {len(starts)} pages")
        for start, expected in zip(starts, directory.hashes, strict=False):
            page = self.data[start : min(start + directory.page_size, directory.code_limit)]
            if hashlib.sha256(page).digest() != expected:
                wrong.append(f"the page at {start:#x} differs from its hash")
        return wrong


class _Stream:
    """Bytes of opcodes and variable-length numbers."""

    def __init__(self, data: bytes, offset: int, size: int) -> None:
        self.data, self.place, self.end = data, offset, offset + size

    def byte(self) -> int:
        self.place += 1
        return self.data[self.place - 1]

    def operations(self) -> Iterator[tuple[int, int]]:
        while self.place < self.end:
            value = self.byte()
            yield value & 0xF0, value & 0x0F

    def uleb(self) -> int:
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def sleb(self) -> int:
        start = self.place
        value = self.uleb()
        bits = 7 * (self.place - start)
        return value - (1 << bits) if value >> (bits - 1) & 1 else value

    def text(self) -> str:
        end = self.data.index(0, self.place)
        found = self.data[self.place : end].decode()
        self.place = end + 1
        return found
