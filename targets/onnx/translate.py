"""Translators: what adds the ONNX nodes of an op; a file has those of its table ``TRANSLATORS``."""

from __future__ import annotations

from collections.abc import Mapping

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.custom import CUSTOM
from chimerac.compiler.ir.module import Op
from chimerac.targets.onnx import (
    attention,
    cached_attention,
    chosen,
    elementwise,
    experts,
    fused,
    levels,
    matrices,
    movement,
    norms,
    products,
    recurrent,
    reductions,
    rotations,
    scans,
    span_knot,
    sparse,
    structure,
)
from chimerac.targets.onnx.context import Translate

#: Op → its form that gives the bits of the other targets.
EXACT: Mapping[str, Translate] = {
    **structure.TRANSLATORS,
    **scans.TRANSLATORS,
    **elementwise.TRANSLATORS,
    **movement.TRANSLATORS,
    **reductions.TRANSLATORS,
    **rotations.TRANSLATORS,
    **matrices.TRANSLATORS,
    **norms.TRANSLATORS,
    **products.TRANSLATORS,
    **recurrent.TRANSLATORS,
    **attention.TRANSLATORS,
    **cached_attention.TRANSLATORS,
    **experts.TRANSLATORS,
    **sparse.TRANSLATORS,
    **span_knot.TRANSLATORS,
    **levels.TRANSLATORS,
    **chosen.TRANSLATORS,
}
#: Op → its form of large operators, where it has another.
FUSED: Mapping[str, Translate] = fused.TRANSLATORS


def find_translator(op: Op, *, fused: bool = False) -> Translate:
    """The translator of an op, for the form of ``fused.py`` where that is wanted.

    Raises:
        UserError: CHM301, there is none.
    """
    own = CUSTOM.get(op.name)
    if own is not None and own.onnx is not None:
        return own.onnx
    if op.name not in EXACT:
        where = f" ({op.location})" if op.location else ""
        name = op.name if own is None else own.torch
        raise UserError("CHM301", f"op {name!r} has no ONNX form, so it cannot be built for onnx{where}")
    return FUSED.get(op.name, EXACT[op.name]) if fused else EXACT[op.name]
