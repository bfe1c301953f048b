"""Kernels over tables of codes of 3 bytes (compiler/ir/ops/levels.py): numbers are decoded where they are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tvm import tirx

from chimerac.compiler.ir.ops.levels import BYTES
from chimerac.targets.isa import Isa
from chimerac.targets.kernel_spec import KernelSpec
from chimerac.targets.kernels.arithmetic import TirOps
from chimerac.targets.kernels.linear import Matrix, Rows, dot_rows
from chimerac.targets.kernels.tensorir import Build, Expr, KernelBuilder, Memory, strips, with_lanes


class _Codes:
    """A table u8[V, 3, D]."""

    def __init__(self, b: KernelBuilder, spec: KernelSpec, memory: Memory) -> None:
        self.b, self.memory = b, memory
        self.width = int(spec.operands[1].shape[2])
        self.row = BYTES * self.width  #: bytes of a row
        self.last, self.limit = float(spec.integer("levels") - 1), spec.number("limit")

    def load(self, place: Expr, lanes: int) -> Expr:
        """Numbers whose lowest bytes lie from ``place`` on, as float32."""
        b, ops = self.b, TirOps(self.b, lanes)
        low, middle, high = (
            b.hold(tirx.Cast(with_lanes("int32", lanes), self.memory.load(place + i * self.width, lanes)))
            for i in range(BYTES)
        )
        code = ops.ior(ops.ior(low, ops.ishl(middle, 8)), ops.ishl(high, 16))
        distance = ops.isub(ops.iadd(code, code), ops.i32(int(self.last)))
        value = ops.div(ops.to_float(distance), ops.f32(self.last))
        return value if self.limit == 1.0 else ops.mul(value, ops.f32(self.limit))


class _Product(Matrix):
    """x [..., K] times the rows of a table."""

    def __init__(self, b: KernelBuilder, spec: KernelSpec) -> None:
        super().__init__(b, spec)
        self.codes = _Codes(b, spec, b.operands[1])
        self.height = int(spec.operands[1].shape[0])

    def sums(self, start: Expr, rows: Rows) -> list[Expr]:
        codes = self.codes
        return dot_rows(
            self.b, self.x, start, self.weight, rows, self.width, ahead=self.ahead, load=codes.load, apart=codes.row
        )


def build_matmul(spec: KernelSpec, isa: Isa) -> Any:
    """x[..., K], codes u8[N, 3, K] → [..., N]; threads divide the rows."""
    b = KernelBuilder(spec, isa)
    _Product(b, spec).times_all(b.extent(spec.operands[0].shape[:-1]))
    return b.finish()


def build_look_up(spec: KernelSpec, isa: Isa) -> Any:
    """Rows ids[...] of codes u8[V, 3, D] as float32."""
    b = KernelBuilder(spec, isa)
    ids, memory = b.operands
    codes = _Codes(b, spec, memory)
    with b.loop(b.extent(spec.operands[0].shape)) as i:
        row = b.let(b.let(ids.load(i)) * codes.row)

        def move(k: Expr, lanes: int) -> None:
            b.store(b.results[0], i * codes.width + k, codes.load(b.let(row + k), lanes))

        strips(b, codes.width, move)
    return b.finish()


KERNELS: Mapping[str, Build] = {"levels_matmul": build_matmul, "levels_look_up": build_look_up}
