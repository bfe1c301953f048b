"""Products of hidden vectors that are mostly zeros, as those of gated neurons: rows of a zero are not read.

Symbols: F neurons, N outputs. A weight lies neuron by neuron, [F, N]: what a neuron adds to the result is one row.

``y = y + h_f * w_f`` for the neurons f in ascending order, from y = 0, every float32 product and sum rounded on its
own; with integer weights ``y = y + (h_f * s_{f,g}) * w_f``, of which a scale is for a group of outputs of one neuron. y
is never -0, so what a shut neuron (h_f of 0 or -0) would add changes no bit: kernels, and these references, skip it.
Weights are finite numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from chimerac.compiler.ir.layouts import panel_rows_of
from chimerac.compiler.ir.module import Op
from chimerac.compiler.ir.ops.definition import (
    FLOAT_WORK,
    Attributes,
    OpDef,
    Packed,
    Shared,
    Types,
    Work,
    attribute_int,
    blocks,
    imported,
    require,
    require_row,
    require_tensor,
    static,
)
from chimerac.compiler.ir.ops.linear import quantise_rows, ternarise, to_bfloat16, wide
from chimerac.compiler.ir.ops.rounded import to_float16
from chimerac.compiler.ir.types import TensorType
from chimerac.compiler.ir.unpacking import Rows

F32 = np.float32
OUTPUTS = 128  #: that a thread takes at least, and that share a scale in most models
_PIECE = 1024  #: neurons whose weights the reference looks at together
Arrays = Sequence[np.ndarray]


def sparse_product(hidden: np.ndarray, weight: Rows, scales: Rows | None = None, group: int = 0) -> np.ndarray:
    """``hidden @ weight`` in ascending order of the neurons.

    Args:
        hidden: f32[..., F].
        weight: float or i8[F, N]; scales: f16[F, ceil(N/group)], of integers.

    Returns:
        f32[..., N].
    """
    flat = hidden.reshape(math.prod(hidden.shape[:-1]), hidden.shape[-1])
    y = np.zeros((len(flat), weight.shape[1]), F32)
    for start in range(0, flat.shape[1], _PIECE):
        piece = flat[:, start : start + _PIECE]
        neurons = np.flatnonzero((piece != 0).any(axis=0))
        if not len(neurons):
            continue
        rows = wide(weight[start : start + _PIECE][neurons])
        groups = None if scales is None else scales[start : start + _PIECE][neurons].astype(F32)
        for i, f in enumerate(neurons):
            factor = piece[:, f, None]
            if groups is not None:
                factor = np.repeat(factor * groups[i], group, axis=-1)[:, : y.shape[1]]
            y = y + factor * rows[i]
    return y.reshape(*hidden.shape[:-1], -1)


def open_neurons(hidden: np.ndarray) -> np.ndarray:
    """How many neurons of each row of ``hidden`` [..., F] are open: integers [...]."""
    found: np.ndarray = np.count_nonzero(hidden, axis=-1)
    return found


def outputs_together(group: int, outputs: int) -> int:
    """Outputs that no two threads divide, where a scale is for ``group`` of them."""
    return OUTPUTS if group >= outputs or group % OUTPUTS == 0 or OUTPUTS % group == 0 else group


def _infer_float(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    hidden, weight = operands
    require_row(hidden, "operand")
    require(weight.dtype in ("f32", "bf16", "f16") and len(weight.shape) == 2, f"weight {weight} is no float matrix")
    require(weight.shape[0] == hidden.shape[-1], f"{hidden} and the neurons of {weight}")
    return (hidden.with_shape((*hidden.shape[:-1], static(weight.shape[1], "the outputs"))),)


def _infer_rounding(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    require_tensor(operands[1], "f32", 2, "weight")
    require(attribute_int(attributes, "group") > 0 if "group" in attributes else True, "group must be positive")
    return _infer_float(operands, attributes)


def _infer_integers(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    hidden, weights, scales = operands
    require_row(hidden, "operand")
    rows, columns, group = (attribute_int(attributes, name) for name in ("rows", "columns", "group"))
    require(hidden.shape[-1] == rows, f"{hidden} has not {rows} neurons")
    require(group > 0 and group % 16 == 0, f"group {group} is not a multiple of 16")
    if not weights.layout:
        require(weights == TensorType("i8", (rows, columns)), f"weights {weights} are not i8[{rows},{columns}]")
        require(scales == TensorType("f16", (rows, blocks(columns, group))), f"weight scales {scales}")
    else:
        require(panel_rows_of(weights.layout) == 1, f"rows of {weights} are not apart")
    return (hidden.with_shape((*hidden.shape[:-1], columns)),)


def _integers(op: Op, arrays: Arrays) -> tuple[np.ndarray, ...]:
    hidden, weights, scales = arrays
    return (sparse_product(hidden, weights, scales, op.integer("group")),)


def _rounded(quantise: Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]) -> Callable[..., tuple[np.ndarray]]:
    def reference(op: Op, arrays: Arrays) -> tuple[np.ndarray]:
        group = op.integer("group")
        return (sparse_product(arrays[0], *quantise(arrays[1], group), group),)

    return reference


def _outputs(operands: Types, attributes: Attributes) -> int:
    return int(operands[1].shape[1]) if "columns" not in attributes else attribute_int(attributes, "columns")


def _neurons(operands: Types, attributes: Attributes) -> int:
    return int(operands[0].shape[-1])


def _together(operands: Types, attributes: Attributes) -> int:
    outputs = _outputs(operands, attributes)
    return outputs_together(attribute_int(attributes, "group") if "group" in attributes else outputs, outputs)


_WORK = Work(
    lambda operands, attributes: _neurons(operands, attributes) * _outputs(operands, attributes),
    Shared(_outputs, lambda operands, attributes: FLOAT_WORK * _neurons(operands, attributes), _together),
)
_INTEGERS = {"rows": int, "columns": int, "group": int}


def _lowered(kind: str, weights: str, packed: Packed | None) -> OpDef:
    return OpDef(
        f"{kind}_sparse_matmul",
        f"hidden @ weights in float32, {weights} with scales for groups of outputs; rows of zeros are not read",
        ("hidden", "weights", "weight_scales"),
        _infer_integers,
        _integers,
        _INTEGERS,
        packed=packed,
        work=_WORK,
    )


def _imported(kind: str, doc: str, integers: bool, reference: Callable[..., tuple[np.ndarray, ...]]) -> OpDef:
    return imported(
        f"{kind}_sparse_linear",
        f"sparse_linear with the weight {doc}",
        ("hidden", "weight"),
        _infer_rounding,
        reference,
        {"group": int} if integers else {},
        row_wise=True,
    )


OPS = [
    OpDef(
        "sparse_linear",
        "hidden @ weight in float32, neuron by neuron; rows of zeros are not read; the weight may be bf16 or f16",
        ("hidden", "weight"),
        _infer_float,
        lambda op, arrays: (sparse_product(arrays[0], arrays[1]),),
        torch="chimera.sparse_linear.default",
        row_wise=True,
        work=_WORK,
    ),
    _imported("ternary", "ternarised in groups of outputs", True, _rounded(ternarise)),
    _imported("int8", "quantised to int8 in groups of outputs", True, _rounded(quantise_rows)),
    _imported("bfloat16", "rounded to bfloat16", False, lambda op, a: (sparse_product(a[0], to_bfloat16(a[1])),)),
    _imported("float16", "rounded to float16", False, lambda op, a: (sparse_product(a[0], to_float16(a[1])),)),
    _lowered("ternary", "trits", Packed("weights", "weight_scales", panel_rows=1)),
    _lowered("int8", "int8 codes", None),
]
