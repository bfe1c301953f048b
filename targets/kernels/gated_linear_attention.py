"""Kernel of gated_linear_attention: one pass over the state, its columns as lanes."""

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
    """S = e^g S + k v; o = scale q S, per head, for q, k[T,G,dk], v[T,H,dv] and S[H,dk,dv].

    As in gated_delta, heads and groups of columns are the outer loops, and the tokens pass while the group is in the
    nearest cache.
    """
    b = KernelBuilder(spec, isa)
    q, k, v, log_decay, state = b.operands
    out = b.results[0]
    heads, keys, values = (int(d) for d in spec.operands[4].shape)
    share = heads // int(spec.operands[1].shape[1])
    scale = float(np.float32(spec.number("scale")))
    scalar = TirOps(b, 1)

    def token(head: Any, panel: list[Piece], t: Any) -> None:
        row = b.let(t * heads + head)
        first = b.let((t * (heads // share) + tirx.truncdiv(head, tirx.IntImm("int32", share))) * keys)
        decay = numerics.exp(scalar, b.let(log_decay.load(row)))
        written = [b.let(v.load(row * values + start, lanes)) for start, lanes in panel]
        read = [b.cell(constant(0.0, with_lanes("float32", lanes))) for _, lanes in panel]
        with b.loop(keys) as i:
            key, query = b.let(k.load(first + i)), b.let(q.load(first + i))
            for cell, value, (start, lanes) in zip(read, written, panel, strict=True):
                ops = TirOps(b, lanes)
                place = (head * keys + i) * values + start
                faded = ops.mul(splat(decay, lanes), b.let(state.load(place, lanes)))
                new = ops.add(faded, ops.mul(splat(key, lanes), value))
                b.store(state, place, new)
                cell.set(ops.add(cell.get(), ops.mul(splat(query, lanes), new)))
        for cell, (start, lanes) in zip(read, panel, strict=True):
            ops = TirOps(b, lanes)
            b.store(out, row * values + start, ops.mul(cell.get(), ops.f32(scale)))

    with b.units() as head:
        for panel in panels(values, float_lanes(isa)):
            with b.loop(b.extent(spec.operands[0].shape[:1])) as t:
                token(head, panel, t)
    return b.finish()


KERNELS: Mapping[str, Build] = {"gated_linear_attention": build}
