"""Norms, and the quantisation of activations that follows them; reductions along a row are ``lanes8_sum``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chimerac.compiler.ir import numpy_math
from chimerac.compiler.ir.module import Op
from chimerac.compiler.ir.ops.definition import (
    Attributes,
    OpDef,
    Shared,
    Types,
    Work,
    attribute_int,
    blocks,
    require,
    require_row,
    require_tensor,
)
from chimerac.compiler.ir.types import TOKENS, TensorType

F32 = np.float32


def rms_normalise(x: np.ndarray, weight: np.ndarray, eps: float) -> np.ndarray:
    """``x * (1 / sqrt(mean(x²) + eps)) * weight`` over the last axis, in that order."""
    mean = numpy_math.lanes8_sum(x * x) / F32(x.shape[-1])
    scale = F32(1) / np.sqrt(mean + F32(eps))
    normed: np.ndarray = (x * scale[..., None]) * weight
    return normed


def quantise_blocks(x: np.ndarray, block: int) -> tuple[np.ndarray, np.ndarray]:
    """int8 absmax quantisation of blocks of the last axis: codes[..., K] and scales[..., ceil(K/block)].

    ``a = max(max|x|, 1e-5) / 127``, ``q = round half to even of x / a``, clamped to ±127 (BitNet b1.58, arXiv
    2402.17764, per block). Total: NaN becomes -127 and is ignored by the maximum.
    """
    padded = pad_last(x, block).reshape(*x.shape[:-1], -1, block)
    magnitude = np.abs(padded)
    largest = np.where(np.isnan(magnitude), F32(0), magnitude).max(axis=-1)
    scale = np.where(largest > F32(1e-5), largest, F32(1e-5)) / F32(127)
    with np.errstate(invalid="ignore"):
        rounded = np.rint(padded / scale[..., None])
    codes = _clamped(rounded).reshape(*x.shape[:-1], -1)[..., : x.shape[-1]]
    return np.ascontiguousarray(codes), scale


def quantise_row(x: np.ndarray, block: int) -> tuple[np.ndarray, np.ndarray]:
    """int8 absmax quantisation with one scale for the whole last axis: codes[..., K] and scales[..., ceil(K/block)].

    ``s = 1 / max(max|x|, 1e-5) * 127``, ``q = round half to even of x * s``, clamped to ±127: BitNet b1.58 (arXiv
    2402.17764) as PyTorch computes it in transformers' layers, whose bound of -128 no finite x reaches. Each block's
    scale is the same, ``1 / s``. Total: as of ``quantise_blocks``.
    """
    magnitude = np.abs(x)
    largest = np.where(np.isnan(magnitude), F32(0), magnitude).max(axis=-1, initial=0)
    factor = F32(1) / np.where(largest > F32(1e-5), largest, F32(1e-5)) * F32(127)
    with np.errstate(invalid="ignore", divide="ignore"):
        rounded = np.rint(x * factor[..., None])
        scales = np.repeat((F32(1) / factor)[..., None], blocks(x.shape[-1], block), axis=-1)
    return _clamped(rounded), scales


def _clamped(rounded: np.ndarray) -> np.ndarray:
    clamped = np.where(rounded > F32(-127), rounded, F32(-127))
    return np.where(clamped < F32(127), clamped, F32(127)).astype(np.int8)


def pad_last(x: np.ndarray, multiple: int) -> np.ndarray:
    """``x`` with zeros appended to the last axis up to a multiple."""
    missing = -x.shape[-1] % multiple
    return np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, missing)]) if missing else x


def _quantised(op: Op, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return (quantise_row if op.attributes.get("row") else quantise_blocks)(x, op.integer("block"))


def _infer_norm(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    x, weight = operands
    require_row(x, "operand")
    require_tensor(weight, "f32", 1, "weight")
    require(weight.shape == x.shape[-1:], f"weight {weight} does not match the last axis of {x}")
    return (x,)


def _infer_quantize(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    x = operands[0]
    require_row(x, "operand")
    count = blocks(int(x.shape[-1]), attribute_int(attributes, "block"))
    return TensorType("i8", x.shape), TensorType("f32", (*x.shape[:-1], count))


def _infer_norm_quantize(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    return _infer_quantize(_infer_norm(operands, attributes), attributes)


def _infer_l2(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    require_row(operands[0], "operand")
    return (operands[0],)


def _l2_reference(op: Op, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    x = arrays[0]
    scale = F32(1) / np.sqrt(numpy_math.lanes8_sum(x * x) + F32(op.number("eps")))
    return (x * scale[..., None],)


NORM = 32  #: work of an element


def _heads(operands: Types, attributes: Attributes) -> int:
    """Rows that a token has, where that is more than one."""
    shape = operands[0].shape
    return int(shape[1]) if len(shape) == 3 and shape[0] == TOKENS else 0


#: By their time on x86-64, in multiply-adds of a product there.
_NORM = Work(
    element=lambda operands, attributes: NORM,
    shared=Shared(
        units=_heads,
        work=lambda operands, attributes: NORM * int(operands[0].shape[-1]),
        elements=True,
        follows=True,
    ),
)
_QUANTIZE = Work(element=lambda operands, attributes: 48)
_NORM_QUANTIZE = Work(element=lambda operands, attributes: 80)

OPS = [
    OpDef(
        "rms_norm",
        "x / sqrt(mean(x²) + eps) * weight over the last axis (arXiv 1910.07467)",
        ("x", "weight"),
        _infer_norm,
        lambda op, arrays: (rms_normalise(arrays[0], arrays[1], op.number("eps")),),
        {"eps": float},
        torch="chimera.rms_norm.default",
        row_wise=True,
        work=_NORM,
    ),
    OpDef(
        "l2_norm",
        "x / sqrt(sum(x²) + eps) over the last axis",
        ("x",),
        _infer_l2,
        _l2_reference,
        {"eps": float},
        torch="chimera.l2_norm.default",
        row_wise=True,
        work=_NORM,
    ),
    OpDef(
        "quantize",
        "int8 absmax codes of blocks of the last axis, or with ``row`` of all of it, and the scale of each block",
        ("x",),
        _infer_quantize,
        lambda op, arrays: _quantised(op, arrays[0]),
        {"block": int, "row": int},
        ("row",),
        row_wise=True,
        work=_QUANTIZE,
    ),
    OpDef(
        "rms_norm_quantize",
        "rms_norm, then quantize, in one pass over memory",
        ("x", "weight"),
        _infer_norm_quantize,
        lambda op, arrays: _quantised(op, rms_normalise(arrays[0], arrays[1], op.number("eps"))),
        {"eps": float, "block": int, "row": int},
        ("row",),
        work=_NORM_QUANTIZE,
    ),
]
