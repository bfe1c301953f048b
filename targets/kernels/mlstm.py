"""Kernel of mlstm: one pass over the matrix state per token, its columns as lanes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from chimerac.compiler.ir import numerics
from chimerac.targets.isa import Isa
from chimerac.targets.kernel_spec import KernelSpec
from chimerac.targets.kernels.arithmetic import TirOps, lanes8_sums
from chimerac.targets.kernels.tensorir import Build, KernelBuilder, splat, strips
from chimerac.targets.kernels.vectors import float_lanes, vector_matrix


def build(spec: KernelSpec, isa: Isa) -> Any:
    """q, k, v[T,H,d], gates i, f[T,H], states c[H,dk,dv], n[H,dk], m[H]; per head and token:

    m' = max(log sigmoid(f) + m, i); c and n decay by exp(log sigmoid(f) + m - m') and gain exp(i - m') k;
    h = scale q c / max(|scale q n|, exp(-m')).
    """
    b = KernelBuilder(spec, isa)
    q, k, v, i_gate, f_gate, c, n, m = b.operands
    out = b.results[0]
    heads, keys, values = (int(d) for d in spec.operands[5].shape)
    scale = float(np.float32(spec.number("scale")))
    scalar = TirOps(b, 1)
    gated_key = b.local("float32", keys)

    def token(head: Any, t: Any) -> None:
        row = b.let(t * heads + head)
        i = b.let(i_gate.load(row))
        carried = scalar.add(numerics.logsigmoid(scalar, b.let(f_gate.load(row))), b.let(m.load(head)))
        stabiliser = numerics.maximum(scalar, carried, i)
        b.store(m, head, stabiliser)
        forget = numerics.exp(scalar, scalar.sub(carried, stabiliser))
        write = numerics.exp(scalar, scalar.sub(i, stabiliser))
        floor = numerics.exp(scalar, numerics.negate(scalar, stabiliser))

        def gate(start: Any, lanes: int) -> None:
            ops = TirOps(b, lanes)
            key = ops.mul(splat(write, lanes), b.let(k.load(row * keys + start, lanes)))
            b.store(gated_key, start, key)
            place = head * keys + start
            b.store(n, place, ops.add(ops.mul(splat(forget, lanes), b.let(n.load(place, lanes))), key))

        strips(b, keys, gate, float_lanes(isa))

        def query_times_n(start: Any, lanes: int) -> list[Any]:
            query = b.let(q.load(row * keys + start, lanes))
            return [TirOps(b, lanes).mul(query, b.let(n.load(head * keys + start, lanes)))]

        weight = scalar.mul(lanes8_sums(b, keys, query_times_n)[0], scalar.f32(scale))
        normaliser = numerics.maximum(scalar, numerics.absolute(scalar, weight), floor)

        def updated(r: Any, start: int, lanes: int) -> Any:
            ops = TirOps(b, lanes)
            place = (head * keys + r) * values + start
            gain = ops.mul(splat(b.let(gated_key.load(r)), lanes), b.let(v.load(row * values + start, lanes)))
            new = ops.add(ops.mul(splat(forget, lanes), b.let(c.load(place, lanes))), gain)
            b.store(c, place, new)
            return new

        def finish(start: int, lanes: int, total: Any) -> None:
            ops = TirOps(b, lanes)
            value = ops.div(ops.mul(total, ops.f32(scale)), splat(normaliser, lanes))
            b.store(out, row * values + start, value)

        vector_matrix(b, isa, (keys, values), lambda r: q.load(row * keys + r), updated, finish)

    with b.units() as head, b.loop(b.extent(spec.operands[0].shape[:1])) as t:
        token(head, t)
    return b.finish()


KERNELS: Mapping[str, Build] = {"mlstm": build}
