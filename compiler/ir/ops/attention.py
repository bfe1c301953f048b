"""Rotary position encoding and attention over a bounded window."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chimerac.compiler.ir import numerics, numpy_math
from chimerac.compiler.ir.module import Op
from chimerac.compiler.ir.ops.definition import (
    FLOAT_WORK,
    Attributes,
    OpDef,
    Shared,
    Types,
    Work,
    attribute_int,
    require,
    require_tensor,
    static,
)
from chimerac.compiler.ir.ops.recurrent import vector_matrix
from chimerac.compiler.ir.types import TensorType, i32

F32 = np.float32
N = numpy_math.NUMPY

MOST_HEADS = 4
WIDE_ENOUGH = 64  #: floats of a row that are read together: four cache lines


def rope_frequencies(width: int, theta: float) -> np.ndarray:
    """Turns per position of each pair, as u32 fractions of a turn: ``round(theta^(-2j/d) / 2π · 2^32)``, u32[d/2].

    Phases are integers modulo 2^32, so a rotation is exact at any position.
    """
    exponents = -2.0 * np.arange(width // 2) / width
    turns = np.power(theta, exponents) / (2.0 * np.pi)
    return np.rint(turns * 2.0**32).astype(np.uint64).astype(np.uint32)


def _rope(op: Op, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    x, position = arrays
    half = x.shape[-1] // 2
    frequencies = rope_frequencies(x.shape[-1], op.number("theta")).astype(np.uint64)
    positions = (int(position) + np.arange(x.shape[0])).astype(np.uint64)
    phase = ((positions[:, None] * frequencies) & np.uint64(0xFFFFFFFF)).astype(np.uint32).view(np.int32)
    sin, cos = (np.asarray(part, F32)[:, None, :] for part in numerics.sin_cos_phase(N, phase))
    a, b = x[..., :half], x[..., half:]
    return (np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1),)


def _infer_rope(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    require_tensor(operands[0], "f32", 3, "operand")
    require(static(operands[0].shape[2], "the rotated axis") % 2 == 0, f"cannot rotate {operands[0]}")
    require(operands[1] == i32(), "position must be an i32 scalar")
    return (operands[0],)


def _window_attention(op: Op, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    q, k, v, persistent_k, persistent_v, slot, ring_k, ring_v, position, write = arrays
    window, scale, start = op.integer("window"), F32(op.number("scale")), int(position)
    capacity = ring_k.shape[0]
    if int(write) != 0:
        ring_k, ring_v = ring_k.copy(), ring_v.copy()
        for t in range(q.shape[0]):
            ring_k[(start + t) % capacity], ring_v[(start + t) % capacity] = k[t], v[t]
    outputs = []
    for t in range(q.shape[0]):
        seen = [p % capacity for p in range(max(0, start + t - window + 1), start + t + 1)]
        keys = np.concatenate([persistent_k, slot[t][None], ring_k[seen]]).transpose(1, 0, 2)  # [H, L, d]
        values = np.concatenate([persistent_v, slot[t][None], ring_v[seen]]).transpose(1, 0, 2)
        scores = numpy_math.lanes8_sum(q[t][:, None, :] * keys) * scale
        weights = np.asarray(numerics.exp(N, scores - scores.max(axis=-1, keepdims=True)), F32)
        total = numpy_math.lanes8_sum(weights)
        outputs.append(vector_matrix(weights, values) / total[:, None])
    return np.stack(outputs), ring_k, ring_v


def _infer_window_attention(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    q, k, v, persistent_k, persistent_v, slot, ring_k, ring_v, position, write = operands
    for value, name in ((q, "q"), (persistent_k, "persistent"), (ring_k, "ring")):
        require_tensor(value, "f32", 3, name)
    require(q == k == v == slot, f"q {q}, k {k}, v {v}, slot {slot}")
    require(persistent_k == persistent_v and persistent_k.shape[1:] == q.shape[1:], f"persistent {persistent_k}")
    require(ring_k == ring_v and ring_k.shape[1:] == q.shape[1:], f"ring {ring_k} for q {q}")
    require(
        static(ring_k.shape[0], "the ring") > attribute_int(attributes, "window"),
        f"ring {ring_k} is smaller than the window",
    )
    require(position == i32() and write == i32(), "position and write must be i32 scalars")
    return q, ring_k, ring_v


def heads_together(heads: int, width: int) -> int:
    """Heads that attention computes together: no more than reading takes, so that threads can share the others."""
    sizes = [size for size in range(1, MOST_HEADS + 1) if heads % size == 0]
    return next((size for size in sizes if size * width >= WIDE_ENOUGH), sizes[-1])


def _attention_products(operands: Types, attributes: Attributes) -> int:
    entries = attribute_int(attributes, "window") + int(operands[3].shape[0]) + 1
    return 2 * entries * operands[0].elements()


#: Units are heads.
_HEADS = Shared(
    units=lambda operands, attributes: int(operands[0].shape[1]),
    work=lambda operands, attributes: 2 * FLOAT_WORK * int(operands[0].shape[2]) * attribute_int(attributes, "window"),
    together=lambda operands, attributes: heads_together(*(int(d) for d in operands[0].shape[1:])),
)

OPS = [
    OpDef(
        "rope",
        "rotary position encoding of pairs (x[j], x[j+d/2]), phases exact modulo one turn (arXiv 2104.09864)",
        ("x", "position"),
        _infer_rope,
        _rope,
        {"theta": float},
        torch="chimera.rope.default",
    ),
    OpDef(
        "window_attention",
        "softmax attention over persistent slots, one slot of the token itself, and the last `window` positions",
        ("q", "k", "v", "persistent_k", "persistent_v", "slot", "ring_k", "ring_v", "position", "write"),
        _infer_window_attention,
        _window_attention,
        {"window": int, "scale": float},
        torch="chimera.window_attention.default",
        in_place={1: 6, 2: 7},
        guard="write",
        work=Work(_attention_products, _HEADS),
    ),
]
