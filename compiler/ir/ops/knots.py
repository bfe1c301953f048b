"""The span knot's correction towards a memory: a descent over the bits of a sketch (docs/model.md)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chimerac.compiler.ir.module import Op
from chimerac.compiler.ir.numpy_math import lanes8_sum
from chimerac.compiler.ir.ops.definition import (
    Attributes,
    OpDef,
    Types,
    attribute_int,
    require,
    require_row,
)
from chimerac.compiler.ir.ops.rotations import LEAST_BLOCK, walsh_hadamard
from chimerac.compiler.ir.types import TensorType, f32, i32

F32 = np.float32
NORM_EPS = F32(1e-6)  #: added to mean |f|
WORD_BITS = 32  #: of the memory, lowest first
MOST_BITS = 16384  #: of a sketch: kernels have it on the stack, three and a half numbers for each


def knot_relax(
    u: np.ndarray, kappa: np.ndarray, signs: np.ndarray, memory: np.ndarray, hit: np.ndarray, op: Op
) -> np.ndarray:
    """u + kappa P^T (z_end - z_0) / n of rows u [..., D]; u itself where ``hit`` is not above 0.

    kappa: [D]; signs: [2, n/2], of P; memory: whole numbers [n/32], bits of s; hit: one number.
    """
    if not hit.reshape(()) > 0:
        return u
    width, half = u.shape[-1], signs.shape[-1]
    bits, rows = 2 * half, u.reshape(-1, u.shape[-1])
    padded = np.zeros((len(rows), 1, half), F32)
    padded[:, 0, :width] = rows
    f = walsh_hadamard((padded * signs).reshape(-1, bits), half)
    f = f / (lanes8_sum(np.abs(f))[:, None] * F32(1 / bits) + NORM_EPS)
    z = np.where(f >= 0, F32(1), F32(-1))
    words = memory.reshape(-1, 1).view(np.uint32) >> np.arange(WORD_BITS, dtype=np.uint32)
    pull = np.where(words.reshape(-1) & 1, F32(1), F32(-1)) * F32(0.5 * op.number("weight"))
    turned = _descend(z * (f + pull), op)
    moved = np.where(turned, F32(-2) * z, F32(0))
    back = walsh_hadamard(moved, half).reshape(-1, 2, half) * signs
    corrected = rows + kappa * ((back[:, 0] + back[:, 1])[:, :width] * F32(1 / bits))
    return corrected.reshape(u.shape)  # type: ignore[no-any-return]


def _descend(fields: np.ndarray, op: Op) -> np.ndarray:
    """Which bits are turned in the end, of rows [m, n] of z h: flipping a bit changes E by 2/n of its own."""
    turned = np.zeros(fields.shape, bool)
    active = np.ones((len(fields), 1), bool)
    for _ in range(op.integer("rounds")):
        best = np.argsort(fields, axis=-1, kind="stable")[:, : op.integer("flips")]
        taken = np.zeros(fields.shape, bool)
        np.put_along_axis(taken, best, True, axis=-1)
        taken &= (fields < 0) & active
        change = lanes8_sum(np.where(taken, fields, F32(0)))[:, None] * F32(2 / fields.shape[-1])
        fields = np.where(taken, -fields, fields)
        turned |= taken
        active = active & (change <= F32(-op.number("early_exit")))
    return turned


def _reference(op: Op, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    u, kappa, signs, memory, hit = arrays
    return (knot_relax(u, kappa, signs, memory, hit, op),)


def _infer(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    u, kappa, signs, memory, hit = operands
    require_row(u, "operand")
    require(kappa == f32(int(u.shape[-1])), f"{kappa} is not one number for each channel of {u}")
    half = int(signs.shape[-1]) if len(signs.shape) == 2 and isinstance(signs.shape[-1], int) else 0
    fits = half >= max(LEAST_BLOCK, int(u.shape[-1])) and half & (half - 1) == 0 and 2 * half <= MOST_BITS
    require(fits and signs == f32(2, half), f"{signs} are no two rows of a power of two from {LEAST_BLOCK} on")
    words = 2 * half // WORD_BITS
    require(memory == i32(1, words), f"memory {memory} has not {2 * half} bits")
    require(hit == f32(1, 1), f"{hit} is not one number")
    require(1 <= attribute_int(attributes, "flips") <= 2 * half, "flips must be some bits of the sketch")
    require(attribute_int(attributes, "rounds") >= 0, "rounds must not be negative")
    return (u,)


OPS = [
    OpDef(
        "knot_relax",
        "the span knot's correction towards a memory: a descent over the bits of a sketch",
        ("u", "kappa", "signs", "memory", "hit"),
        _infer,
        _reference,
        {"flips": int, "rounds": int, "weight": float, "early_exit": float},
        torch="chimera.knot_relax.default",
        row_wise=True,
    ),
]
