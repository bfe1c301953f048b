"""Causal attention over keys and values that are kept: the cache of a transformer.

The rows that a token sees are taken in chunks of ``CHUNK`` positions, ascending, with a running maximum m, sum l and
weighted sum o (arXiv 2205.14135), so that what a kernel needs beside the cache does not grow with the text:

    m' = max(m, scores);  w = exp(scores - m');  l' = l e^(m - m') + sum(w);  o' = o e^(m - m') + w_0 v_0 + w_1 v_1 + …

A chunk begins at a multiple of ``CHUNK``, whatever the call, so blocks and single tokens give the same bits. Dot
products and the sum of a chunk are ``numpy_math.lanes8_sum``, with rows that are not seen as weights of +0; ``o`` adds
rows in ascending order. The result is o / l.
"""

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
from chimerac.compiler.ir.types import TensorType, i32

F32 = np.float32
N = numpy_math.NUMPY

CHUNK = 64  #: positions that enter maximum and sums together
LEAST = float(np.finfo(np.float32).min)  #: the maximum of no scores, finite: its difference to itself is 0
LARGEST_HALF = 65504.0  #: caches of fp16 hold what is larger as this
USUAL_ROWS = 512  #: that a token sees, where nothing is known of the text: whether threads share depends on it


def stored(rows: np.ndarray, dtype: np.dtype[np.generic]) -> np.ndarray:
    """Keys or values as a cache of that type holds them."""
    if dtype == np.float16:
        bounded = numpy_math.minimum_f32(rows, F32(LARGEST_HALF))
        return numpy_math.maximum_f32(bounded, F32(-LARGEST_HALF)).astype(np.float16)
    return rows


def _cached_attention(op: Op, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    q, k, v, key_cache, value_cache, position = arrays
    return _overwriting(op, (q, k, v, key_cache.copy(), value_cache.copy(), position))


def _overwriting(op: Op, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    q, k, v, key_cache, value_cache, position = arrays
    scale, start, rows = F32(op.number("scale")), int(position), key_cache.shape[1]
    window = op.integer("window") or rows
    for t in range(q.shape[0]):
        for cache, new in ((key_cache, k), (value_cache, v)):
            cache[:, (start + t) % rows] = stored(new[t], cache.dtype)
    outputs = [
        _attend(q[t], key_cache, value_cache, scale, range(max(0, start + t - window + 1), start + t + 1))
        for t in range(q.shape[0])
    ]
    return np.stack(outputs), key_cache, value_cache


def _attend(q: np.ndarray, keys: np.ndarray, values: np.ndarray, scale: np.float32, seen: range) -> np.ndarray:
    """One token: q [H, d] over the rows at these positions -> [H, dv]."""
    heads, group = q.shape[0], q.shape[0] // keys.shape[0]
    top, total = np.full(heads, LEAST, F32), np.zeros(heads, F32)
    out = np.zeros((heads, values.shape[2]), F32)
    for begin in range(seen.start // CHUNK * CHUNK, seen.stop, CHUNK):
        part = np.arange(max(begin, seen.start), min(begin + CHUNK, seen.stop))
        places = part % keys.shape[1]
        scores = np.full((heads, CHUNK), -np.inf, F32)
        chunk = np.repeat(keys[:, places].astype(F32), group, axis=0)  # [H, rows, d]
        scores[:, part - begin] = numpy_math.lanes8_sum(q[:, None, :] * chunk) * scale
        before, top = top, np.fmax(top, np.fmax.reduce(scores, axis=-1))
        weights = np.asarray(numerics.exp(N, scores - top[:, None]), F32)
        fading = np.asarray(numerics.exp(N, before - top), F32)
        total = total * fading + numpy_math.lanes8_sum(weights)
        out = out * fading[:, None]
        chunk = np.repeat(values[:, places].astype(F32), group, axis=0)
        for row, place in enumerate(part - begin):
            out = out + weights[:, place, None] * chunk[:, row]
    return np.asarray(out / total[:, None])


def _infer_cached_attention(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    q, k, v, key_cache, value_cache, position = operands
    for value, name in ((q, "q"), (k, "k"), (v, "v")):
        require_tensor(value, "f32", 3, name)
    require(q.shape[0] == k.shape[0] == v.shape[0], f"q {q}, k {k} and v {v} have different tokens")
    heads, kept = (static(t.shape[1], "the heads") for t in (q, k))
    require(v.shape[1] == kept and heads % kept == 0, f"q {q} has heads for k {k}, v {v}")
    for cache, new in ((key_cache, k), (value_cache, v)):
        require_tensor(cache, cache.dtype if cache.dtype == "f16" else "f32", 3, "cache")
        require(cache.shape[0] == kept and cache.shape[2] == new.shape[2], f"cache {cache} for {new}")
    require(q.shape[2] == k.shape[2], f"q {q} and k {k}")
    require(key_cache.dtype == value_cache.dtype and key_cache.shape[1] == value_cache.shape[1], "caches differ")
    window = attribute_int(attributes, "window")
    require(0 <= window <= static(key_cache.shape[1], "a cache"), f"a window of {window} in {key_cache}")
    require(max(t.elements() for t in (key_cache, value_cache)) < 1 << 31, f"{key_cache} is too large")
    require(position == i32(), "position must be an i32 scalar")
    return v.with_shape((*q.shape[:2], v.shape[2])), key_cache, value_cache


def _rows(operands: Types, attributes: Attributes) -> int:
    """The most rows that a token sees."""
    return attribute_int(attributes, "window") or int(operands[3].shape[1])


def _context(operands: Types, attributes: Attributes) -> int:
    """As many tokens as the cache has rows, which a window uses again and again."""
    return 0 if attribute_int(attributes, "window") else int(operands[3].shape[1])


def _products(operands: Types, attributes: Attributes) -> int:
    heads, widths = int(operands[0].shape[1]), int(operands[3].shape[2]) + int(operands[4].shape[2])
    return _rows(operands, attributes) * heads * widths


def _work(operands: Types, attributes: Attributes) -> int:
    """Of a head of the cache, with the query heads that read it."""
    seen = min(_rows(operands, attributes), USUAL_ROWS)
    per_row = _products(operands, attributes) // _rows(operands, attributes) // int(operands[3].shape[0])
    return FLOAT_WORK * seen * per_row


OPS = [
    OpDef(
        "cached_attention",
        "causal softmax attention over the cache, which takes new keys and values first; `window` 0: over all tokens",
        ("q", "k", "v", "key_cache", "value_cache", "position"),
        _infer_cached_attention,
        _cached_attention,
        {"scale": float, "window": int},
        torch="chimera.cached_attention.default",
        in_place={1: 3, 2: 4},
        context=_context,
        overwriting=_overwriting,
        work=Work(_products, Shared(lambda operands, attributes: int(operands[3].shape[0]), _work)),
    ),
]
