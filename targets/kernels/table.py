"""Every kernel: loading this loads TVM."""

from __future__ import annotations

from collections.abc import Mapping

from chimerac.targets.kernels import (
    cached_attention,
    causal_conv,
    chosen,
    elementwise,
    experts,
    gated_delta,
    gated_linear_attention,
    generalized_delta,
    int8,
    levels,
    linear,
    look_up,
    matrices,
    mlstm,
    movement,
    norms,
    reductions,
    rope,
    span_knot,
    sparse,
    ternary,
    titans,
    walsh_hadamard,
    window_attention,
)
from chimerac.targets.kernels.tensorir import Build

#: Op → what builds its kernel.
KERNELS: Mapping[str, Build] = {
    **cached_attention.KERNELS,
    **causal_conv.KERNELS,
    **chosen.KERNELS,
    **elementwise.KERNELS,
    **experts.KERNELS,
    **gated_delta.KERNELS,
    **gated_linear_attention.KERNELS,
    **generalized_delta.KERNELS,
    **int8.KERNELS,
    **levels.KERNELS,
    **linear.KERNELS,
    **look_up.KERNELS,
    **matrices.KERNELS,
    **mlstm.KERNELS,
    **movement.KERNELS,
    **norms.KERNELS,
    **reductions.KERNELS,
    **rope.KERNELS,
    **sparse.KERNELS,
    **span_knot.KERNELS,
    **ternary.KERNELS,
    **titans.KERNELS,
    **walsh_hadamard.KERNELS,
    **window_attention.KERNELS,
}
