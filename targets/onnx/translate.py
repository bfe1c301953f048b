"""Translators: op name → ``module:function``, where ``function(context, op)`` adds nodes and names the results."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.module import Op
from chimerac.compiler.ir.ops.elementwise import ELEMENTWISE
from chimerac.targets.onnx.context import Context

Translate = Callable[[Context, Op], tuple[str, ...]]

TRANSLATORS: dict[str, str] = {
    **dict.fromkeys(ELEMENTWISE, "elementwise:build"),
    "fused": "elementwise:build_fused",
    **{name: f"structure:build_{name.replace('.', '_')}" for name in ("constant", "state.read", "state.write", "loop")},
    **{name: f"movement:build_{name}" for name in ("reshape", "slice", "concat", "last_token")},
    **{name: f"movement:build_{name}" for name in ("embedding", "look_up", "ternary_look_up")},
    **{name: f"norms:build_{name}" for name in ("rms_norm", "l2_norm", "quantize", "rms_norm_quantize", "linear")},
    **{name: f"products:build_{name}" for name in ("ternary_matmul", "int8_matmul")},
    **{name: f"recurrent:build_{name}" for name in ("causal_conv", "gated_delta", "mlstm")},
    **{name: f"recurrent:build_{name}" for name in ("titans_anchor", "titans_apply", "titans_update")},
    **{name: f"attention:build_{name}" for name in ("rope", "window_attention")},
    **{name: f"experts:build_{name}" for name in ("route", "sort_pairs", "gather_rows", "grouped_rms_norm")},
    **{name: f"experts:build_{name}" for name in ("grouped_ternary_matmul", "combine_experts")},
}


def find_translator(op: Op, *, fused: bool = False) -> Translate:
    """The translator of an op, for the form of ``fused.py`` where that is wanted.

    Raises:
        UserError: CHM301, there is none.
    """
    if op.name not in TRANSLATORS:
        where = f" ({op.location})" if op.location else ""
        raise UserError("CHM301", f"op {op.name!r} has no ONNX form, so it cannot be built for onnx{where}")
    if fused:
        from chimerac.targets.onnx import fused as other

        if op.name in other.TRANSLATORS:
            return other.TRANSLATORS[op.name]
    module, _, function = TRANSLATORS[op.name].partition(":")
    translate: Translate = getattr(import_module(f"chimerac.targets.onnx.{module}"), function)
    return translate
