"""Kernel of generalized_delta: two passes over the state, its columns as lanes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chimerac.targets.isa import Isa
from chimerac.targets.kernel_spec import KernelSpec
from chimerac.targets.kernels.arithmetic import TirOps
from chimerac.targets.kernels.tensorir import Build, KernelBuilder, constant, splat, with_lanes
from chimerac.targets.kernels.vectors import Piece, float_lanes, panels


def build(spec: KernelSpec, isa: Isa) -> Any:
    """S = w S + b (a S) + k v; o = r S, per head, for r, w, k, a, b[T,H,dk], v[T,H,dv] and S[H,dk,dv].

    As in gated_delta, heads and groups of columns are the outer loops, and the tokens pass while the group is in the
    nearest cache.
    """
    b = KernelBuilder(spec, isa)
    receptance, decay, k, v, removal, replacement, state = b.operands
    out = b.results[0]
    heads, keys, values = (int(d) for d in spec.operands[6].shape)

    def token(head: Any, panel: list[Piece], t: Any) -> None:
        row = b.let(t * heads + head)
        zeros = [constant(0.0, with_lanes("float32", lanes)) for _, lanes in panel]
        removed = [b.cell(zero) for zero in zeros]
        with b.loop(keys) as i:
            factor = b.let(removal.load(row * keys + i))
            for cell, (start, lanes) in zip(removed, panel, strict=True):
                ops = TirOps(b, lanes)
                old = b.let(state.load((head * keys + i) * values + start, lanes))
                cell.set(ops.add(cell.get(), ops.mul(splat(factor, lanes), old)))
        taken = [b.let(cell.get()) for cell in removed]
        written = [b.let(v.load(row * values + start, lanes)) for start, lanes in panel]
        read = [b.cell(zero) for zero in zeros]
        with b.loop(keys) as i:
            fade, back, key, query = (b.let(x.load(row * keys + i)) for x in (decay, replacement, k, receptance))
            for cell, gone, value, (start, lanes) in zip(read, taken, written, panel, strict=True):
                ops = TirOps(b, lanes)
                place = (head * keys + i) * values + start
                faded = ops.mul(splat(fade, lanes), b.let(state.load(place, lanes)))
                kept = ops.add(faded, ops.mul(splat(back, lanes), gone))
                new = ops.add(kept, ops.mul(splat(key, lanes), value))
                b.store(state, place, new)
                cell.set(ops.add(cell.get(), ops.mul(splat(query, lanes), new)))
        for cell, (start, _) in zip(read, panel, strict=True):
            b.store(out, row * values + start, cell.get())

    with b.units() as head:
        for panel in panels(values, float_lanes(isa)):
            with b.loop(b.extent(spec.operands[0].shape[:1])) as t:
                token(head, panel, t)
    return b.finish()


KERNELS: Mapping[str, Build] = {"generalized_delta": build}
