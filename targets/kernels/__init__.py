"""Kernels: op name → ``module:function``, where ``function(spec, isa)`` builds the TensorIR of one kernel."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.ops.elementwise import ELEMENTWISE
from chimerac.targets.isa import Isa
from chimerac.targets.kernel_spec import KernelSpec

Build = Callable[[KernelSpec, Isa], Any]

KERNELS: dict[str, str] = {
    **dict.fromkeys((*ELEMENTWISE, "fused"), "elementwise:build"),
    **{name: f"movement:build_{name}" for name in ("reshape", "slice", "concat", "last_token", "embedding")},
    **{name: f"norms:build_{name}" for name in ("rms_norm", "l2_norm", "quantize", "rms_norm_quantize")},
    "linear": "linear:build",
    "ternary_matmul": "ternary:build",
    "int8_matmul": "int8:build_matmul",
    "look_up": "int8:build_look_up",
    "ternary_look_up": "look_up:build_ternary_look_up",
    "causal_conv": "causal_conv:build",
    "gated_delta": "gated_delta:build",
    "mlstm": "mlstm:build",
    "titans_anchor": "titans:build_anchor",
    "titans_apply": "titans:build_apply",
    "titans_update": "titans:build_update",
    "rope": "rope:build",
    "window_attention": "window_attention:build",
    "route": "experts:build_route",
    "sort_pairs": "experts:build_sort_pairs",
    "gather_rows": "experts:build_gather_rows",
    "grouped_rms_norm": "experts:build_grouped_rms_norm",
    "grouped_ternary_matmul": "experts:build_grouped_ternary_matmul",
    "combine_experts": "experts:build_combine",
}


def require_kernel(op: str) -> None:
    """Raise UserError CHM301 if an op has no kernel; loads nothing."""
    if op not in KERNELS:
        raise UserError("CHM301", f"op {op!r} has no kernel, so it cannot be compiled for a target")


def find_kernel(op: str) -> Build:
    """The builder of an op's kernel.

    Raises:
        UserError: CHM301, the op has no kernel.
    """
    require_kernel(op)
    module, _, function = KERNELS[op].partition(":")
    build: Build = getattr(import_module(f"chimerac.targets.kernels.{module}"), function)
    return build
