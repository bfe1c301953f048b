"""Kernels of the Titans memory: titans_anchor, titans_apply, titans_update."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tvm import tirx

from chimerac.compiler.ir import numerics
from chimerac.targets.isa import Isa
from chimerac.targets.kernel_spec import KernelSpec
from chimerac.targets.kernels.arithmetic import TirOps
from chimerac.targets.kernels.tensorir import Build, KernelBuilder, splat, strips
from chimerac.targets.kernels.vectors import clamped, float_lanes, pieces, row_sums, vector_matrix


def build_anchor(spec: KernelSpec, isa: Isa) -> Any:
    """anchor = memory at the first token of a chunk, if ``write``; both [H,2,d,d]."""
    b = KernelBuilder(spec, isa)
    anchor, memory, position, write = b.operands
    at_start = tirx.EQ(tirx.truncmod(position, tirx.IntImm("int32", spec.integer("chunk"))), tirx.IntImm("int32", 0))
    with b.when(tirx.And(tirx.NE(write, tirx.IntImm("int32", 0)), at_start)):
        strips(
            b,
            spec.operands[0].elements(),
            lambda place, lanes: b.store(anchor, place, memory.load(place, lanes)),
            float_lanes(isa),
        )
    return b.finish()


def build_apply(spec: KernelSpec, isa: Isa) -> Any:
    """q[T,H,d] → q + silu(q W1) W2 with W1, W2 = anchor[h,0], anchor[h,1]."""
    b = KernelBuilder(spec, isa)
    q, anchor = b.operands
    out = b.results[0]
    heads, width = (int(d) for d in spec.operands[0].shape[1:])
    hidden = b.local("float32", width)

    def matrix(head: Any, half: int) -> Any:
        return lambda k, start, lanes: anchor.load(((head * 2 + half) * width + k) * width + start, lanes)

    def token(head: Any, t: Any) -> None:
        place = b.let((t * heads + head) * width)

        def activate(start: int, lanes: int, total: Any) -> None:
            b.store(hidden, start, numerics.silu(TirOps(b, lanes), total))

        def add_input(start: int, lanes: int, total: Any) -> None:
            value = TirOps(b, lanes).add(b.let(q.load(place + start, lanes)), total)
            b.store(out, place + start, value)

        vector_matrix(b, isa, (width, width), lambda k: q.load(place + k), matrix(head, 0), activate)
        vector_matrix(b, isa, (width, width), lambda k: hidden.load(k), matrix(head, 1), add_input)

    with b.units() as head, b.loop(b.extent(spec.operands[0].shape[:1])) as t:
        token(head, t)
    return b.finish()


def build_update(spec: KernelSpec, isa: Isa) -> Any:
    """A step of gradient descent per token on ``|M(k) - v|²`` with the gradient at the anchor, if ``write``.

    With z = k W1, s = sigmoid(z), a = z s and e = 2 (k + a W2 - v), the gradient of W2 is a eᵀ and that of W1 is
    k (W2 e * s (1 + z (1 - s)))ᵀ. momentum = eta momentum - theta gradient; memory = (1 - alpha) memory + momentum.
    """
    b = KernelBuilder(spec, isa)
    k, v, eta, theta, alpha, anchor, memory, momentum, write = b.operands
    heads, width = (int(d) for d in spec.operands[0].shape[1:])
    rows = float_lanes(isa)
    padded = -(-width // rows) * rows
    activation, slope, error, back = (b.local("float32", padded) for _ in range(4))
    scalar = TirOps(b, 1)

    def matrix(head: Any, half: int) -> Any:
        return lambda r, start, lanes: anchor.load(((head * 2 + half) * width + r) * width + start, lanes)

    def gradient(head: Any, place: Any) -> None:
        """Fill ``activation``, ``error`` and ``back``, the factors of the two gradients beside k."""

        def activate(start: int, lanes: int, z: Any) -> None:
            ops = TirOps(b, lanes)
            one = ops.f32(1.0)
            s = numerics.sigmoid(ops, z)
            b.store(activation, start, ops.mul(z, s))
            b.store(slope, start, ops.mul(s, ops.add(one, ops.mul(z, ops.sub(one, s)))))

        def compare(start: int, lanes: int, total: Any) -> None:
            ops = TirOps(b, lanes)
            predicted = ops.add(b.let(k.load(place + start, lanes)), total)
            missed = ops.sub(predicted, b.let(v.load(place + start, lanes)))
            b.store(error, start, ops.mul(ops.f32(2.0), missed))

        vector_matrix(b, isa, (width, width), lambda r: k.load(place + r), matrix(head, 0), activate)
        vector_matrix(b, isa, (width, width), lambda r: activation.load(r), matrix(head, 1), compare)
        second = matrix(head, 1)
        with b.loop(padded // rows) as group:

            def terms(start: Any, lanes: int) -> list[Any]:
                ops = TirOps(b, lanes)
                e = b.let(error.load(start, lanes))
                places = [clamped(group * rows + j, width) for j in range(rows)]
                return [ops.mul(b.let(second(r, start, lanes)), e) for r in places]

            ops = TirOps(b, rows)
            sums = row_sums(b, terms, rows, width)
            b.store(back, group * rows, ops.mul(sums, b.let(slope.load(group * rows, rows))))

    def descend(head: Any, row: Any, half: int, factor: Any, columns: Any) -> None:
        """One of the two matrices: ``factor(r)`` is the row factor of the gradient, ``columns`` the other one."""
        keep = scalar.sub(scalar.f32(1.0), b.let(alpha.load(row)))
        inertia, rate = b.let(eta.load(row)), b.let(theta.load(row))
        with b.loop(width) as r:
            step = scalar.mul(rate, b.let(factor(r)))
            for start, lanes in pieces(width, rows):
                ops = TirOps(b, lanes)
                place = ((head * 2 + half) * width + r) * width + start
                carried = ops.mul(splat(inertia, lanes), b.let(momentum.load(place, lanes)))
                gained = ops.mul(splat(step, lanes), b.let(columns.load(start, lanes)))
                moved = ops.sub(carried, gained)
                b.store(momentum, place, moved)
                kept = ops.mul(splat(keep, lanes), b.let(memory.load(place, lanes)))
                b.store(memory, place, ops.add(kept, moved))

    with (
        b.when(tirx.NE(write, tirx.IntImm("int32", 0))),
        b.units() as head,
        b.loop(b.extent(spec.operands[0].shape[:1])) as t,
    ):
        row = b.let(t * heads + head)
        place = b.let(row * width)
        gradient(head, place)
        descend(head, row, 0, lambda r: k.load(place + r), back)
        descend(head, row, 1, lambda r: activation.load(r), error)
    return b.finish()


KERNELS: Mapping[str, Build] = {
    "titans_anchor": build_anchor,
    "titans_apply": build_apply,
    "titans_update": build_update,
}
