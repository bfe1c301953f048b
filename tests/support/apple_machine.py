"""An Apple arm64 process in Unicorn: loads a dylib as dyld does and calls its functions, with or without AMX.

The few functions of libSystem that the runtime imports are written here in Python. Memory that the process frees or
never had is unmapped, so a stray access ends the call with ``MachineError``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import unicorn
import unicorn.arm64_const as arm64
from amx_model import Amx, is_amx
from macho import MachO

PAGE = 0x4000  #: of Apple's arm64 systems
IMAGE, IMPORTS, STACK, HEAP = 0x1_0000_0000, 0x2_0000_0000, 0x3_0000_0000, 0x4_0000_0000
STACK_BYTES = 512 * 1024  #: what a secondary thread gets
RETURN = IMPORTS  #: calls return here
IMPORT_BYTES = 32
TLS_BYTES = PAGE

RET = 0xD65F03C0
#: Functions that are called too often for Python, as machine code: loops over bytes.
CODE = {
    # mov x9, x0; cbz x2, end; ldrb w10, [x1], #1; strb w10, [x9], #1; subs x2, x2, #1; b.ne; ret
    "_memcpy": (0xAA0003E9, 0xB40000A2, 0x3840142A, 0x3800152A, 0xF1000442, 0x54FFFFA1, RET),
    # mov x9, x0; cbz x2, end; strb w1, [x9], #1; subs x2, x2, #1; b.ne; ret
    "_memset": (0xAA0003E9, 0xB4000082, 0x38001521, 0xF1000442, 0x54FFFFC1, RET),
    # cbz x1, end; strb wzr, [x0], #1; subs x1, x1, #1; b.ne; ret
    "_bzero": (0xB4000081, 0x3800141F, 0xF1000421, 0x54FFFFC1, RET),
}

HAS_DOT = "hw.optional.arm.FEAT_DotProd"

X = [getattr(arm64, f"UC_ARM64_REG_X{i}") for i in range(31)]
S = [getattr(arm64, f"UC_ARM64_REG_S{i}") for i in range(8)]
#: x18 is the system's; the others belong to the caller
PRESERVED = [X[18], *X[19:30], *(getattr(arm64, f"UC_ARM64_REG_D{i}") for i in range(8, 16))]
SENTINEL = 0x5AFE_0000_0000_5AFE


class MachineError(Exception):
    """The code did something that would end the process."""


@dataclass(frozen=True)
class Int32:
    """An argument of 4 bytes: it takes 4 on the stack, where plain ``int`` takes 8."""

    value: int


Argument = int | float | Int32


@dataclass
class Chip:
    """What the process finds out about its processor.

    Attributes:
        family: answer to ``hw.cpufamily``.
        amx: whether the instructions of the coprocessor run; otherwise they end the process.
        features: answers to ``hw.optional.…``, 0 for all others.
        cpu: Unicorn's model of a processor; instructions beyond it are illegal.
    """

    family: int = 0x1B588BB3
    amx: bool = True
    features: dict[str, int] = field(default_factory=lambda: {HAS_DOT: 1})
    cpu: int = arm64.UC_CPU_ARM64_MAX


M1 = Chip()
M4 = Chip(0x6F5129AC, amx=False)
A9 = Chip(0x92FB37C8, amx=False, features={}, cpu=arm64.UC_CPU_ARM64_A53)


class AppleMachine:
    """One process with one dylib.

    Attributes:
        amx: the coprocessor.
        environment: what ``getenv`` answers.
    """

    def __init__(self, path: Path, chip: Chip | None = None, environment: dict[str, str] | None = None) -> None:
        self.image = MachO(path.read_bytes())
        self.chip = chip or M1
        self.environment = environment or {}
        self.amx = Amx()
        self.engine = unicorn.Uc(unicorn.UC_ARCH_ARM64, unicorn.UC_MODE_ARM)
        self.engine.ctl_set_cpu_model(self.chip.cpu)
        self._blocks: dict[int, int] = {}
        self._free = HEAP
        self._texts: dict[str, int] = {}
        self._words: dict[int, int] = {}  # instructions of the coprocessor by address
        self._errno = 0
        self._imports: dict[str, int] = {}
        self._functions: dict[int, Callable[[], int | None]] = {}
        self._error: Exception | None = None
        self.engine.mem_map(IMPORTS, PAGE)
        self.engine.mem_write(IMPORTS, struct.pack("<I", RET) * (PAGE // 4))
        self.engine.mem_map(STACK - STACK_BYTES, STACK_BYTES)
        self.engine.reg_write(arm64.UC_ARM64_REG_CPACR_EL1, 3 << 20)  # floating point is not trapped
        self._load()
        self.engine.hook_add(unicorn.UC_HOOK_INTR, self._on_exception)

    # ---- loading ----

    def _load(self) -> None:
        end = max(s.address + s.size for s in self.image.segments)
        for segment in self.image.segments:
            if segment.address % PAGE:
                raise MachineError(f"{segment.name} is not aligned to a page of 16 KB")
            if segment.protection & 6 == 6:
                raise MachineError(f"{segment.name} can be written and executed")
            size = -(-segment.size // PAGE) * PAGE
            self.engine.mem_map(IMAGE + segment.address, size, unicorn.UC_PROT_ALL)
            data = self.image.data[segment.file_offset : segment.file_offset + segment.file_size]
            self.engine.mem_write(IMAGE + segment.address, data)
        for address in self.image.rebases:
            self.store(IMAGE + address, self.pointer(IMAGE + address) + IMAGE)
        for bind in self.image.binds:
            self.store(IMAGE + bind.address, self._import(bind.symbol) + bind.addend)
        self._prepare_threads(end)
        for segment in self.image.segments:  # dyld makes constant data read-only once it is fixed up
            protection = segment.protection if segment.name != "__DATA_CONST" else 1
            unicorn_protection = protection & 7  # the bits mean the same
            self.engine.mem_protect(IMAGE + segment.address, -(-segment.size // PAGE) * PAGE, unicorn_protection)

    def _prepare_threads(self, end: int) -> None:
        """Thread-local variables of the only thread: descriptors keep their offset and get our function."""
        section = self.image.section("__thread_vars")
        if section is None:
            return
        block = IMAGE + -(-end // PAGE) * PAGE
        self.engine.mem_map(block, TLS_BYTES)
        place = block
        for name in ("__thread_data", "__thread_bss"):
            part = self.image.section(name)
            if part is not None and not part.zero_fill:
                self.engine.mem_write(place, self.read(IMAGE + part.address, part.size))
                place += part.size
        self._tls = block

    def _import(self, symbol: str) -> int:
        """Where a call of an imported function arrives."""
        if symbol not in self._imports:
            address = IMPORTS + IMPORT_BYTES * (1 + len(self._imports))
            self._imports[symbol] = address
            if symbol in CODE:
                self.write(address, struct.pack(f"<{len(CODE[symbol])}I", *CODE[symbol]))
            else:
                self._functions[address] = getattr(self, f"import{symbol}", None) or self._missing(symbol)
                self.engine.hook_add(unicorn.UC_HOOK_CODE, self._on_import, begin=address, end=address)
        return self._imports[symbol]

    def _missing(self, symbol: str) -> Callable[[], int | None]:
        def call() -> int | None:
            raise MachineError(f"{symbol} is not there")

        return call

    # ---- memory ----

    def read(self, address: int, size: int) -> bytes:
        """Bytes of the process."""
        return bytes(self.engine.mem_read(address, size))

    def write(self, address: int, data: bytes) -> None:
        """Write bytes of the process."""
        self.engine.mem_write(address, data)

    def pointer(self, address: int) -> int:
        """A stored 64-bit number."""
        return int.from_bytes(self.read(address, 8), "little")

    def store(self, address: int, value: int) -> None:
        """Store a 64-bit number."""
        self.write(address, struct.pack("<Q", value & (1 << 64) - 1))

    def text(self, address: int) -> str:
        """A zero-terminated string."""
        data = b""
        while b"\0" not in data:
            data += self.read(address + len(data), 1)
        return data[:-1].decode()

    def allocate(self, size: int, data: bytes = b"") -> int:
        """A block of memory with unmapped pages around it; it ends where a page ends, but for its alignment to 64."""
        pages = -(-max(size, 1) // PAGE) * PAGE
        start = self._free
        self.engine.mem_map(start, pages)
        self._free += pages + PAGE
        address = start + (pages - size) // 64 * 64
        self._blocks[address] = start
        if data:
            self.write(address, data)
        return address

    def release(self, address: int) -> None:
        """Unmap a block."""
        if address not in self._blocks:
            raise MachineError(f"{address:#x} is freed, but was not allocated")
        start = self._blocks.pop(address)
        pages = next(last - first + 1 for first, last, _ in self.engine.mem_regions() if first == start)
        self.engine.mem_unmap(start, pages)

    @property
    def blocks(self) -> int:
        """Blocks that are not freed."""
        return len(self._blocks)

    # ---- calls ----

    def call(self, name: str, *arguments: Argument, result: str = "i32") -> Any:  # noqa: C901  a case for each kind of argument and result
        """Call an exported function by Apple's arm64 calling convention.

        Args:
            arguments: integers and pointers in x0-x7, floats in s0-s7, what is left on the stack, each at its own
                alignment.
            result: ``i32``, ``u64`` or ``none``.

        The code must leave the stack, the registers of the caller and of the system and the coprocessor as they were.

        Raises:
            MachineError: the code crashed.
        """
        address = self.image.exports.get(f"_{name}")
        if address is None:
            raise MachineError(f"{name} is not exported")
        integers, floats, stacked = 0, 0, b""
        for argument in arguments:
            if isinstance(argument, float):
                self.engine.reg_write(S[floats], struct.unpack("<I", struct.pack("<f", argument))[0])
                floats += 1
                continue
            narrow = isinstance(argument, Int32)
            value = (argument.value if isinstance(argument, Int32) else argument) & (1 << 64) - 1
            if integers < 8:
                self.engine.reg_write(X[integers], value)
                integers += 1
            else:
                size = 4 if narrow else 8
                stacked += bytes(-len(stacked) % size) + (value & (1 << 8 * size) - 1).to_bytes(size, "little")
        top = STACK - (-(-len(stacked) // 16) * 16)
        if stacked:
            self.write(top, stacked)
        self.engine.reg_write(arm64.UC_ARM64_REG_SP, top)
        self.engine.reg_write(arm64.UC_ARM64_REG_X30, RETURN)
        for register in PRESERVED:
            self.engine.reg_write(register, SENTINEL)
        self._error = None
        try:
            self.engine.emu_start(IMAGE + address, RETURN)
        except unicorn.UcError as error:
            place = self.engine.reg_read(arm64.UC_ARM64_REG_PC)
            raise self._error or MachineError(f"{name}: {error} at {place - IMAGE:#x}") from None
        if self._error is not None:
            raise self._error
        if self.engine.reg_read(arm64.UC_ARM64_REG_SP) != top:
            raise MachineError(f"{name} moved the stack")
        if any(self.engine.reg_read(register) != SENTINEL for register in PRESERVED):
            raise MachineError(f"{name} changed a register that is not its own")
        if self.amx.on:
            raise MachineError(f"{name} left the coprocessor on")
        value = self.engine.reg_read(X[0])
        if result == "i32":
            return struct.unpack("<i", struct.pack("<I", value & 0xFFFFFFFF))[0]
        return value if result == "u64" else None

    def _stop(self, error: Exception) -> None:
        self._error = error
        self.engine.emu_stop()

    def _on_exception(self, engine: Any, number: int, data: Any) -> None:
        place = engine.reg_read(arm64.UC_ARM64_REG_PC)
        word = self._words.get(place)
        if word is None:
            (word,) = struct.unpack("<I", self.read(place, 4))
            self._words[place] = word
        if not (is_amx(word) and self.chip.amx):
            self._stop(MachineError(f"illegal instruction {word:#010x} at {place - IMAGE:#x}"))
            return
        register = word & 31
        try:
            self.amx.execute(word, 0 if register == 31 else engine.reg_read(X[register]), self)
        except Exception as error:
            self._stop(error)
            return
        engine.reg_write(arm64.UC_ARM64_REG_PC, place + 4)

    def _on_import(self, engine: Any, address: int, size: int, data: Any) -> None:
        try:
            result = self._functions[address]()
        except Exception as error:
            self._stop(error)
            return
        if result is not None:
            engine.reg_write(X[0], result & (1 << 64) - 1)

    def _arguments(self, count: int) -> list[int]:
        return [self.engine.reg_read(X[i]) for i in range(count)]

    # ---- libSystem ----

    def import_memmove(self) -> int:
        to, source, size = self._arguments(3)
        if size:
            self.write(to, self.read(source, size))
        return to

    def import_memset_pattern16(self) -> None:
        to, pattern, size = self._arguments(3)
        self.write(to, (self.read(pattern, 16) * (size // 16 + 1))[:size])

    def import_memcmp(self) -> int:
        a, b, size = self._arguments(3)
        left, right = (self.read(p, size) if size else b"" for p in (a, b))
        return (left > right) - (left < right)

    def import_strlen(self) -> int:
        return len(self.text(self._arguments(1)[0]).encode())

    def import_strcmp(self) -> int:
        left, right = (self.text(p) for p in self._arguments(2))
        return (left > right) - (left < right)

    def import_calloc(self) -> int:
        count, size = self._arguments(2)
        return self.allocate(count * size, bytes(count * size))

    def import_malloc(self) -> int:
        return self.allocate(self._arguments(1)[0])

    def import_free(self) -> None:
        (address,) = self._arguments(1)
        if address:
            self.release(address)

    def import_getenv(self) -> int:
        name = self.text(self._arguments(1)[0])
        if name not in self.environment:
            return 0
        if name not in self._texts:
            value = self.environment[name].encode() + b"\0"
            self._texts[name] = self.allocate(len(value), value)
        return self._texts[name]

    def import_sysctlbyname(self) -> int:
        name, to, size = self._arguments(3)
        key = self.text(name)
        if key == "hw.cpufamily":
            value = self.chip.family
        elif key.startswith("hw.optional."):
            value = self.chip.features.get(key, 0)
        else:
            return -1
        if self.pointer(size) != 4:
            raise MachineError(f"{key} has 4 bytes")
        self.write(to, struct.pack("<I", value))
        return 0

    def import___error(self) -> int:
        """Where ``errno`` is."""
        if not self._errno:
            self._errno = self.allocate(4, bytes(4))
        return self._errno

    def import__tlv_bootstrap(self) -> int:
        """Called with the descriptor of a thread-local variable: its address; no other register may change."""
        (descriptor,) = self._arguments(1)
        return self._tls + self.pointer(descriptor + 16)
