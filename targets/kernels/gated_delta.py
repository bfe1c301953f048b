"""Kernel of gated_delta: two passes over the state, its columns as lanes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from tvm import tirx

from chimerac.compiler.ir import numerics
from chimerac.targets.isa import Isa
from chimerac.targets.kernel_spec import KernelSpec
from chimerac.targets.kernels.arithmetic import TirOps
from chimerac.targets.kernels.tensorir import Build, KernelBuilder, constant, splat, with_lanes
from chimerac.targets.kernels.vectors import Piece, float_lanes, panels


def build(spec: KernelSpec, isa: Isa) -> Any:
    """S = e^g S; S = S + k (beta (v - k S)); o = scale q S, per head, for q, k[T,G,dk], v[T,H,dv] and S[H,dk,dv].

    A column of S never meets another one, so heads and groups of columns are the outer loops, and the tokens pass
    while the group is in the nearest cache. e^g S is computed in both passes rather than stored in between.
    """
    b = KernelBuilder(spec, isa)
    q, k, v, log_decay, beta, state = b.operands
    out = b.results[0]
    heads, keys, values = (int(d) for d in spec.operands[5].shape)
    pairs = int(spec.operands[1].shape[1])
    scale = float(np.float32(spec.number("scale")))
    scalar = TirOps(b, 1)

    def token(head: Any, panel: list[Piece], t: Any) -> None:
        row = b.let(t * heads + head)
        first = b.let((t * pairs + tirx.truncdiv(head, tirx.IntImm("int32", heads // pairs))) * keys)
        decay = numerics.exp(scalar, b.let(log_decay.load(row)))
        rate = b.let(beta.load(row))

        def decayed(i: Any, start: int, lanes: int) -> Any:
            place = (head * keys + i) * values + start
            return TirOps(b, lanes).mul(splat(decay, lanes), b.let(state.load(place, lanes)))

        zeros = [constant(0.0, with_lanes("float32", lanes)) for _, lanes in panel]
        recalled = [b.cell(zero) for zero in zeros]
        with b.loop(keys) as i:
            key = b.let(k.load(first + i))
            for cell, (start, lanes) in zip(recalled, panel, strict=True):
                ops = TirOps(b, lanes)
                cell.set(ops.add(cell.get(), ops.mul(splat(key, lanes), decayed(i, start, lanes))))
        updates = []
        for cell, (start, lanes) in zip(recalled, panel, strict=True):
            ops = TirOps(b, lanes)
            error = ops.sub(b.let(v.load(row * values + start, lanes)), cell.get())
            updates.append(ops.mul(splat(rate, lanes), error))
        read = [b.cell(zero) for zero in zeros]
        with b.loop(keys) as i:
            key, query = b.let(k.load(first + i)), b.let(q.load(first + i))
            for cell, update, (start, lanes) in zip(read, updates, panel, strict=True):
                ops = TirOps(b, lanes)
                new = ops.add(decayed(i, start, lanes), ops.mul(splat(key, lanes), update))
                b.store(state, (head * keys + i) * values + start, new)
                cell.set(ops.add(cell.get(), ops.mul(splat(query, lanes), new)))
        for cell, (start, lanes) in zip(read, panel, strict=True):
            ops = TirOps(b, lanes)
            b.store(out, row * values + start, ops.mul(cell.get(), ops.f32(scale)))

    with b.units() as head:
        for panel in panels(values, float_lanes(isa)):
            with b.loop(b.extent(spec.operands[0].shape[:1])) as t:
                token(head, panel, t)
    return b.finish()


KERNELS: Mapping[str, Build] = {"gated_delta": build}
