"""What the code generator needs to know about an instruction set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from chimerac.targets.kernel_spec import KernelSpec


ROOM = 256  #: columns that sums in 16 bits have room for
LONGEST_ROW = 1 << 17  #: trits times int8 codes, whose sum is at most 127 · 2**17 < 2**24


@dataclass(frozen=True)
class Blocks:
    """Sizes of the activations' blocks and of the weights' groups that the kernels of a target take.

    Attributes:
        multiple: of which a block must be a multiple.
        largest: block that tests compare with the reference, bit for bit; 127 · 127 · 512 < 2**24, so its sum is exact
            in float32. The steps of a block are straight code, which grows with it.
        powers: whether a block must be a power of two.
    """

    multiple: int = 16
    largest: int = 512
    powers: bool = False

    def take_block(self, block: int) -> bool:
        """Whether a product with blocks of this size has a kernel."""
        fits = self.multiple <= block <= self.largest and block % self.multiple == 0
        return fits and not (self.powers and block & (block - 1))

    def take(self, block: int, group: int) -> bool:
        """Whether a product with blocks and groups of these sizes has a kernel."""
        return self.take_block(block) and group > 0 and group % block == 0

    def take_trits(self, block: int, group: int, columns: int) -> bool:
        """Whether a product with rows of so many trits has a kernel: beside these sizes blocks may be whole rows, whose
        sums are exact in float32, too."""
        whole = block == group >= columns and block % self.multiple == 0 and block <= LONGEST_ROW
        return self.take(block, group) or (whole and not self.powers)

    def __str__(self) -> str:
        kind = (
            "powers of two" if self.powers else f"multiples of {self.multiple}" if self.multiple > 1 else "any number"
        )
        return f"{kind} from {self.multiple} to {self.largest}"


@dataclass(frozen=True)
class Primitive:
    """One vector instruction: its name, its meaning, and how a kernel asks for it.

    Attributes:
        name: what kernels call it, the same on every instruction set that has it.
        intrinsic: LLVM's name of the instruction; for documentation and error messages.
        arguments: TVM types of the operands, for example ``("uint8x32", "int8x32")``.
        result: TVM type of the result.
        meaning: the same on numpy arrays; a test runs it against the compiled instruction.
        build: the TensorIR expression, from operand expressions.
    """

    name: str
    intrinsic: str
    arguments: tuple[str, ...]
    result: str
    meaning: Callable[..., np.ndarray]
    build: Callable[..., Any]


@dataclass(frozen=True)
class TernaryDot:
    """How an instruction set multiplies activations with packed trits.

    A vector of weights, ``packed``, is for R rows, those of one panel or of several that are joined; a bit plane of it
    holds, for each row, the codes 0, 1, 2 of 4 columns (layout ``t2.r<R>``). ``prepare`` runs once for all rows of the
    matrix.

    Attributes:
        words: int32 words that stand for 4 activations; a word is repeated in every row's lane.
        prepare: activations int8x16 → ``words`` vectors int32x4, whose lane p is for plane p; None where a word is the
            4 activations of the plane as they are.
        accumulate: (sums so far, packed as uint16x(2R), plane, words each as int32xR) → the sums with the products of
            the plane; sums are a list of vectors, empty at the start of a block. Planes come in order, 0 to 3, for each
            16 columns of a block; not so where ``base3_codes`` has planes of its own.
        finish: the sums of a block → int32xR, ``sum(code * activation)`` of each row.
        from_lanes: whether words of the 4 planes are loaded together and repeated from their lane, or each repeated by
            the load itself.
        largest_block: columns that the sums have room for; larger blocks are added up in pieces.
    """

    words: int
    prepare: Callable[[Any], list[Any]] | None
    accumulate: Callable[[list[Any], Any, int, list[Any]], list[Any]]
    finish: Callable[[list[Any]], Any]
    from_lanes: bool = False
    largest_block: int = ROOM


@dataclass(frozen=True)
class Int8Dot:
    """How an instruction set multiplies some int8 activations with int8 weights of a row, neither of them -128.

    What is prepared and what is summed is a vector, or a list of vectors.

    Attributes:
        lanes: of a sum, 4 or 8 int32; their total over a block of at most 512 is the product.
        prepare: int8 vector → what ``accumulate`` takes; for both operands.
        accumulate: (sum so far or None, activations, weights) → the sum with their products.
        step: how many are multiplied at a time.
        otherwise: for blocks of which ``step`` is no divisor.
        rows: that share activations, 4 or 8: fewer fit the registers if a sum is more than one vector.
        prepare_weights: ``prepare`` for weights, where they need another one.
        finish: a sum over a block → the vector of ``lanes``, where it is not that.
    """

    lanes: int
    prepare: Callable[[Any], Any]
    accumulate: Callable[[Any, Any, Any], Any]
    step: int = 16
    otherwise: Int8Dot | None = None
    rows: int = 8
    prepare_weights: Callable[[Any], Any] | None = None
    finish: Callable[[Any], Any] | None = None

    def of(self, block: int) -> Int8Dot:
        """The one for blocks of this size."""
        return self.otherwise if self.otherwise is not None and block % self.step else self


@dataclass(frozen=True)
class CKernels:
    """Kernels that are C functions instead of generated ones, for instructions that LLVM does not know.

    Attributes:
        header: declares them; found beside the sources.
        sources: C files, as paths within ``runtime``.
        body: (spec, C name of this kernel of the variant before) → statements of the kernel, whose parameters are
            called a0, a1, …; None where there is nothing better than the variant before.
    """

    header: str
    sources: tuple[str, ...]
    body: Callable[[KernelSpec, str], list[str] | None]


@dataclass(frozen=True)
class Isa:
    """An instruction set with everything that differs between targets of the code generator.

    Attributes:
        name: for example ``"x86_64-avx2"``; part of cache keys.
        kernels: what its kernels are called where variants are told apart, for example ``"avx2"``.
        target: TVM's LLVM target.
        triple: what zig calls it.
        compile_flags: for C sources.
        definitions: macros of C sources, as ``NAME=value``; only those that mention one are compiled for it.
        link_flags: for the library.
        export_flag: ``str.format`` pattern of the linker flag that exports one symbol; empty if visibility decides.
        suffix: of the linked library.
        vector_bytes: width of the vector registers.
        panel_rows: output rows that a panel of packed weights interleaves (compiler/ir/layouts.py).
        blocks: sizes of blocks and groups that products take.
        joined_panels: panels that lie side by side in one vector register of a product with trits.
        panels_per_pass: panels that a matrix-vector product works on at a time, a multiple of ``joined_panels``: more
            share activations, fewer fit registers.
        columns_per_pass: activation columns that share the unpacking of a weight vector, when there are as many.
        ternary_dot: the inner step of products with trits, made of the primitives.
        int8_dot: the inner step of products with int8 weights.
        primitives: vector instructions by name.
        tile_dot: ``ternary_dot`` for several columns at a time, if another one is better there, and for blocks that are
            too large for ``ternary_dot``.
        wide_lanes: float32 lanes of the kernels that take several rows in a wider register (``OpDef.wide``); 0: they
            are compiled as all others are.
        needs: features that a processor must have beyond those of the target, as ``chm_cpu.h`` names them.
        variants: the same instruction set with more features, from plain to best; the library has the integer products
            of all of them and takes the best one that the processor runs (targets/code/variants.py). They read the same
            packed weights.
        program_triple: what zig calls a system for which programs without shared libraries are linked; empty if none.
        symbol_suffix: behind the C names of kernels, where several variants are linked together.
        c_kernels: of a variant that has C functions in place of generated kernels.
        base: what compiles all kernels but the integer products, if the extra instructions of this set could change a
            float result; None: this set.
        converts_halves: whether it converts fp16 to float32 in one instruction.
        prefetch_bytes: how far ahead products ask for each stream of weights that they read once; 0: they do not ask.
        sum_tables: whether 16 columns of activations at a time are multiplied by tables (kernels/ternary_tables.py):
            faster where an instruction multiplies 32 bytes at most.
        form_costs: picoseconds that a thread takes for a packed weight in a cache, by form (compiler/ir/layouts.py), as
            benchmarks/matvec.py measures them; forms that are left out were not measured, or are several times slower.
        form_multiples: form → columns of which a matrix must have a multiple for that cost, if not of any number.
        memory_cost: picoseconds per byte of weights from memory, for each of the threads that share it.
        step_loops: whether the 16-column steps of a block are a loop, for compilers (those of WebAssembly engines) that
            run out of registers in long stretches of code; needs the helper of ``KernelBuilder.hidden``.
        helpers: LLVM functions that kernels of this set call, as text.
        base3_codes: bytes of base 3 (compiler/ir/base3.py) as uint16x(2R) → for each of the five digits, vectors with
            its codes in a bit plane, and the plane; where the instruction set has something faster than multiplying.
    """

    name: str
    kernels: str
    target: Mapping[str, object]
    triple: str
    compile_flags: tuple[str, ...]
    link_flags: tuple[str, ...]
    export_flag: str
    suffix: str
    vector_bytes: int
    panel_rows: int
    panels_per_pass: int
    columns_per_pass: int
    ternary_dot: TernaryDot
    int8_dot: Int8Dot
    primitives: Mapping[str, Primitive] = field(default_factory=dict)
    blocks: Blocks = Blocks()
    joined_panels: int = 1
    tile_dot: TernaryDot | None = None
    wide_lanes: int = 0
    needs: tuple[str, ...] = ()
    variants: tuple[Isa, ...] = ()
    program_triple: str = ""
    symbol_suffix: str = ""
    c_kernels: CKernels | None = None
    base: Isa | None = None
    converts_halves: bool = False
    step_loops: bool = False
    prefetch_bytes: int = 0
    sum_tables: bool = False
    helpers: str = ""
    definitions: tuple[str, ...] = ()
    form_costs: Mapping[str, float] = field(default_factory=lambda: {"t2": 1.0})
    form_multiples: Mapping[str, int] = field(default_factory=dict)
    memory_cost: float = 0.0
    base3_codes: Callable[[Any], list[tuple[Any, int]]] | None = None

    def dot(self, columns: int, block: int) -> TernaryDot:
        """The inner step for so many columns of activations at a time, in blocks of this size."""
        several = columns > 1 or block > self.ternary_dot.largest_block
        return self.tile_dot if self.tile_dot is not None and several else self.ternary_dot


def table(*primitives: Primitive) -> dict[str, Primitive]:
    """Primitives by name."""
    return {p.name: p for p in primitives}


def llvm_call(intrinsic: str, result: str) -> Callable[..., Any]:
    """A ``Primitive.build`` that calls an LLVM intrinsic."""

    def build(*arguments: Any) -> Any:
        from tvm.script import tirx as T

        return T.call_llvm_pure_intrin(result, intrinsic, *arguments)

    return build
