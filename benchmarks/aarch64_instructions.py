"""Instructions that the AArch64 kernels of ternary products execute for 64 weights, counted in an emulator.

Counts do not depend on the machine. They leave out what happens once per call (the sums of the activations), by the
difference of two calls that compute more and fewer rows, and take in all the rest: loads, unpacking, products, the
float arithmetic of every block and group, stores, loops.

    python benchmarks/aarch64_instructions.py [--columns 2560] [--block 64] [--group 128] [--mix]

It needs unicorn, and capstone for ``--mix``, the share of each kind of instruction.
"""

from __future__ import annotations

import argparse
import struct
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import unicorn
import unicorn.arm64_const as arm64

from chimerac.compiler.ir.layouts import pack_scales, pack_ternary, scale_layout, ternary_layout
from chimerac.compiler.ir.types import TensorType
from chimerac.targets.code.kernel_queue import compile_kernels
from chimerac.targets.code.link import link
from chimerac.targets.isa import Isa, load_isa
from chimerac.targets.kernel_spec import KernelSpec

VARIANTS = ("aarch64-neon", "aarch64-neon+dotprod")
ROWS = 96
FEW, MANY = 4, 12  #: panels of the two calls: multiples of what a kernel takes at a time

PAGE = 0x10000
IMAGE, DATA, STACK, RETURN = 0x1000_0000, 0x2000_0000, 0x3000_0000, 0x4000_0000


@dataclass(frozen=True)
class Sizes:
    """A product: columns of the matrix, and how many share a scale of activations and of weights."""

    columns: int = 2560
    block: int = 64
    group: int = 128
    form: str = "t2"


@dataclass(frozen=True)
class Counts:
    """Instructions by mnemonic, of the rows that one call computes more than the other, and their results."""

    weights: int
    tokens: int
    executed: Counter[str]
    result: np.ndarray

    @property
    def per_64(self) -> float:
        """Instructions for 64 products of a weight and an activation."""
        return 64 * self.executed.total() / (self.weights * self.tokens)


def count(name: str, sizes: Sizes, tokens: int, *, mnemonics: bool = False) -> Counts:
    """Run the kernel of an instruction set in the emulator.

    Args:
        mnemonics: tell kinds of instructions apart, which is slower.
    """
    isa = load_isa(name)
    random = np.random.default_rng(0)
    trits = random.integers(-1, 2, (ROWS, sizes.columns)).astype(np.int8)
    scales = random.uniform(0.5, 2, (ROWS, sizes.columns // sizes.group)).astype(np.float16)
    packed, packed_scales = pack_ternary(trits, isa.panel_rows, sizes.form), pack_scales(scales, isa.panel_rows)
    spec = _spec(isa, sizes, packed, packed_scales)
    arrays: list[np.ndarray] = [
        random.integers(-127, 128, (tokens, sizes.columns)).astype(np.int8),
        random.uniform(0.5, 2, (tokens, sizes.columns // sizes.block)).astype(np.float32),
        packed,
        packed_scales,
        np.zeros((tokens, ROWS), np.float32),
    ]
    with tempfile.TemporaryDirectory() as folder:
        objects = [o.object_path for o in compile_kernels([spec], isa, Path(folder))]
        library = Path(folder) / "kernel.so"
        link(objects, [], isa, library, [spec.symbol])
        machine = _Machine(library.read_bytes())
    few, _ = machine.call(arrays, (tokens, 0, FEW), mnemonics)
    many, result = machine.call(arrays, (tokens, 0, MANY), mnemonics)
    many.subtract(few)
    weights = (MANY - FEW) * isa.panel_rows * sizes.columns
    return Counts(weights, tokens, Counter({k: v for k, v in many.items() if v}), result)


def _spec(isa: Isa, sizes: Sizes, packed: np.ndarray, scales: np.ndarray) -> KernelSpec:
    operands = (
        TensorType("i8", ("T", sizes.columns)),
        TensorType("f32", ("T", sizes.columns // sizes.block)),
        TensorType("u8", packed.shape, ternary_layout(isa.panel_rows, sizes.form)),
        TensorType("f16", scales.shape, scale_layout(isa.panel_rows)),
    )
    attributes = (("block", sizes.block), ("columns", sizes.columns), ("group", sizes.group), ("rows", ROWS))
    return KernelSpec("ternary_matmul", operands, (TensorType("f32", ("T", ROWS)),), attributes)


class _Machine:
    """A processor with a library of one exported function, and nothing else."""

    def __init__(self, library: bytes) -> None:
        self.engine: Any = unicorn.Uc(unicorn.UC_ARCH_ARM64, unicorn.UC_MODE_ARM)
        self.engine.ctl_set_cpu_model(arm64.UC_CPU_ARM64_MAX)
        self.engine.reg_write(arm64.UC_ARM64_REG_CPACR_EL1, 3 << 20)  # floating point is not trapped
        loaded = [segment for segment in _segments(library) if segment.kind == 1]
        end = max(s.address + s.memory for s in loaded)
        self.engine.mem_map(IMAGE, -(-end // PAGE) * PAGE)
        for one in loaded:
            self.engine.mem_write(IMAGE + one.address, library[one.offset : one.offset + one.stored])
        self.entry = IMAGE + _function(library)
        self.engine.mem_map(STACK - 16 * PAGE, 16 * PAGE)
        self.engine.mem_map(RETURN, PAGE)
        self._mapped = 0

    def call(
        self, arrays: list[np.ndarray], counts: tuple[int, ...], mnemonics: bool
    ) -> tuple[Counter[str], np.ndarray]:
        """Call with pointers to the arrays and then the counts; what was executed, and the last array."""
        places, end = [], DATA
        for array in arrays:
            places.append(end)
            end += -(-array.nbytes // 64) * 64
        if end - DATA > self._mapped:
            size = -(-(end - DATA) // PAGE) * PAGE
            self.engine.mem_map(DATA, size)
            self._mapped = size
        for place, array in zip(places, arrays, strict=True):
            self.engine.mem_write(place, array.tobytes())
        for i, value in enumerate((*places, *counts)):
            self.engine.reg_write(arm64.UC_ARM64_REG_X0 + i, value)
        self.engine.reg_write(arm64.UC_ARM64_REG_SP, STACK)
        self.engine.reg_write(arm64.UC_ARM64_REG_X30, RETURN)
        executed: Counter[int] = Counter()

        def step(engine: object, address: int, size: int, data: object) -> None:
            executed[address] += 1

        hook = self.engine.hook_add(unicorn.UC_HOOK_CODE, step)
        self.engine.emu_start(self.entry, RETURN)
        self.engine.hook_del(hook)
        result = np.frombuffer(self.engine.mem_read(places[-1], arrays[-1].nbytes), arrays[-1].dtype)
        return self._by_mnemonic(executed) if mnemonics else Counter({"": executed.total()}), result

    def _by_mnemonic(self, executed: Counter[int]) -> Counter[str]:
        import capstone

        engine = capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)
        found: Counter[str] = Counter()
        for address, times in executed.items():
            (instruction,) = engine.disasm(bytes(self.engine.mem_read(address, 4)), address)
            found[instruction.mnemonic] += times
        return found


class _Segment(NamedTuple):
    """A program header of an ELF file; sizes in bytes in the file and in memory."""

    kind: int
    offset: int
    address: int
    stored: int
    memory: int


def _segments(library: bytes) -> Iterator[_Segment]:
    (start,) = struct.unpack_from("<Q", library, 32)
    size, number = struct.unpack_from("<HH", library, 54)
    for i in range(number):
        kind, _, offset, address, _, stored, memory, _ = struct.unpack_from("<IIQQQQQQ", library, start + i * size)
        yield _Segment(kind, offset, address, stored, memory)


def _function(library: bytes) -> int:
    """Address of the one function that a library exports."""
    (start,) = struct.unpack_from("<Q", library, 40)
    size, number = struct.unpack_from("<HH", library, 58)
    for i in range(number):
        _, kind, _, _, offset, length = struct.unpack_from("<IIQQQQ", library, start + i * size)
        if kind == 11:  # SHT_DYNSYM
            for place in range(offset, offset + length, 24):
                _, information, _, section, value, _ = struct.unpack_from("<IBBHQQ", library, place)
                if information & 15 == 2 and section:  # a function, defined here
                    return int(value)
    raise ValueError("the library exports no function")


def main() -> None:
    """Count all variants for one token and for four."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--columns", type=int, default=Sizes.columns)
    parser.add_argument("--block", type=int, default=Sizes.block)
    parser.add_argument("--group", type=int, default=Sizes.group)
    parser.add_argument("--form", choices=("t2", "t5"), default=Sizes.form)
    parser.add_argument("--mix", action="store_true")
    options = parser.parse_args()
    sizes = Sizes(options.columns, options.block, options.group, options.form)
    for name in VARIANTS:
        for tokens in (1, 4):
            found = count(name, sizes, tokens, mnemonics=options.mix)
            print(
                f"{name:22} {tokens} token{'s' if tokens > 1 else ' '}  {found.per_64:6.2f} instructions for 64 weights"
            )
            if options.mix:
                scale = found.per_64 / found.executed.total()
                kinds = (f"{kind} {n * scale:.2f}" for kind, n in found.executed.most_common(16))
                print(f"{'':4}{', '.join(kinds)}")


if __name__ == "__main__":
    main()
