"""What the code generator needs to know about an instruction set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


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
    """How an instruction set multiplies activations with packed trits (layout ``t2.r<R>``).

    The kernel loads one vector of weights, ``packed``, for 16 columns of R rows; bit plane p of it holds, for each row,
    the codes 0, 1, 2 of columns 4p to 4p + 3. ``prepare`` runs once for all rows of the matrix.

    Attributes:
        words: int32 words that stand for 4 activations; a word is repeated in every row's lane.
        prepare: activations int8x16 → ``words`` vectors int32x4, whose lane p is for plane p.
        term: (packed as uint16x(2R), plane, words each as int32xR) → something to add up over a block of at most 256.
        finish: such a sum → int32xR, ``sum(code * activation)`` of each row.
    """

    words: int
    prepare: Callable[[Any], list[Any]]
    term: Callable[[Any, int, list[Any]], Any]
    finish: Callable[[Any], Any]


@dataclass(frozen=True)
class Isa:
    """An instruction set with everything that differs between targets of the code generator.

    Attributes:
        name: for example ``"x86_64-avx2"``; part of cache keys.
        target: TVM's LLVM target.
        triple: what zig calls it.
        compile_flags: for C sources.
        link_flags: for the library.
        export_flag: ``str.format`` pattern of the linker flag that exports one symbol; empty if visibility decides.
        suffix: of the linked library.
        vector_bytes: width of the vector registers.
        panel_rows: output rows that a panel of packed weights interleaves (compiler/ir/layouts.py).
        panels_per_pass: panels that a matrix-vector product works on at a time: more share activations, fewer fit
            registers.
        columns_per_pass: activation columns that share the unpacking of a weight vector, when there are as many.
        ternary_dot: the inner step of products with trits, made of the primitives.
        primitives: vector instructions by name.
    """

    name: str
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
    primitives: Mapping[str, Primitive] = field(default_factory=dict)


def table(*primitives: Primitive) -> dict[str, Primitive]:
    """Primitives by name."""
    return {p.name: p for p in primitives}


def llvm_call(intrinsic: str, result: str) -> Callable[..., Any]:
    """A ``Primitive.build`` that calls an LLVM intrinsic."""

    def build(*arguments: Any) -> Any:
        from tvm.script import tirx as T

        return T.call_llvm_pure_intrin(result, intrinsic, *arguments)

    return build
