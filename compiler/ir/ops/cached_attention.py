"""Causal attention over keys and values that are kept: the cache of a transformer.

The rows that a token sees are taken in chunks of ``CHUNK`` positions, ascending, with a running maximum m, sum l and
weighted sum o (arXiv 2205.14135), so that what a kernel needs beside the cache does not grow with the text:

    m' = max(m, scores);  w = exp(scores - m');  l' = l e^(m - m') + sum(w);  o' = o e^(m - m') + w_0 v_0 + w_1 v_1 + …

A chunk begins at a multiple of ``CHUNK``, whatever the call, so blocks and single tokens give the same bits. Dot
products and the sum of a chunk are ``numpy_math.lanes8_sum``, with rows that are not seen as weights of +0; ``o`` adds
rows in ascending order. The result is o / l.

With ``slopes``, one for each query head, the score of a row that is n tokens before is lessened by slope n (ALiBi,
arXiv 2108.12409): slope (-n) is rounded, and then the sum.

With ``share``, a row whose weight is at most that share of the largest of its query adds nothing to o, though l counts
it: w is 0 there unless scores - m > ln(share), rounded to float32. m is then that of all rows before they are added up.

Caches of ``cached_attention`` are float32 or float16. Those of ``cached_attention_int8`` are codes of 8 bits with a
float16 scale for each ``INT8_BLOCK`` channels of a row: a number is its code times the scale, exactly in float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from chimerac.compiler.ir import numerics, numpy_math
from chimerac.compiler.ir.module import Op
from chimerac.compiler.ir.ops.definition import (
    FLOAT_WORK,
    Attributes,
    OpDef,
    Shared,
    TypeRuleError,
    Types,
    Work,
    attribute_int,
    blocks,
    require,
    require_tensor,
    static,
)
from chimerac.compiler.ir.ops.norms import pad_last
from chimerac.compiler.ir.types import TensorType, i32

F32 = np.float32
N = numpy_math.NUMPY

CHUNK = 64  #: positions that enter maximum and sums together
LEAST = float(np.finfo(np.float32).min)  #: the maximum of no scores, finite: its difference to itself is 0
LARGEST_HALF = 65504.0  #: caches of fp16 hold what is larger as this
INT8_BLOCK = 32  #: channels of a row of an int8 cache that share a scale
LEAST_SCALE = 2.0**-24  #: the smallest fp16 number above 0
USUAL_ROWS = 512  #: that a token sees, where nothing is known of the text: whether threads share depends on it


Held = Callable[[np.ndarray], np.ndarray]  #: rows of a cache, by their places, as f32 [G, rows, d]


def stored(rows: np.ndarray, dtype: np.dtype[np.generic]) -> np.ndarray:
    """Keys or values as a cache of that type holds them."""
    if dtype == np.float16:
        bounded = numpy_math.minimum_f32(rows, F32(LARGEST_HALF))
        return numpy_math.maximum_f32(bounded, F32(-LARGEST_HALF)).astype(np.float16)
    return rows


def coded(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keys or values [..., d] as an int8 cache holds them: codes i8 [..., d], scales f16 [..., blocks(d, INT8_BLOCK)].

    A scale is the largest magnitude by 127, rounded to fp16, a code the number by the scale, rounded half to even,
    within ±127. Total: NaN becomes -127 and is ignored by the maximum.
    """
    parts = pad_last(rows, INT8_BLOCK).reshape(*rows.shape[:-1], -1, INT8_BLOCK)
    magnitude = np.abs(parts)
    largest = np.where(np.isnan(magnitude), F32(0), magnitude).max(axis=-1) / F32(127)
    scales = np.clip(largest, F32(LEAST_SCALE), F32(LARGEST_HALF)).astype(np.float16)
    with np.errstate(invalid="ignore", over="ignore"):
        rounded = np.rint(parts / scales.astype(F32)[..., None])
    clamped = np.minimum(np.where(rounded > F32(-127), rounded, F32(-127)), F32(127))
    codes = clamped.astype(np.int8).reshape(*rows.shape[:-1], -1)[..., : rows.shape[-1]]
    return np.ascontiguousarray(codes), scales


def _decoded(codes: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """What ``coded`` rows [..., d] stand for."""
    wide = np.repeat(scales.astype(F32), INT8_BLOCK, axis=-1)[..., : codes.shape[-1]]
    return np.asarray(codes.astype(F32) * wide)


def _cached_attention(op: Op, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    return _overwriting(op, _with_copies(op, arrays))


def _cached_attention_int8(op: Op, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    return _overwriting_int8(op, _with_copies(op, arrays))


def _with_copies(op: Op, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The operands, with copies of those that are overwritten."""
    caches = (3, 4, *range(6, len(op.operands)))
    return [array.copy() if i in caches else array for i, array in enumerate(arrays)]


def _overwriting(op: Op, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    q, k, v, key_cache, value_cache, position = arrays
    for t, row in enumerate(_written(op, q.shape[0], int(position))):
        for cache, new in ((key_cache, k), (value_cache, v)):
            cache[:, row] = stored(new[t], cache.dtype)
    held = [lambda places, cache=cache: cache[:, places].astype(F32) for cache in (key_cache, value_cache)]
    return _attended(op, q, held[0], held[1], int(position)), key_cache, value_cache


def _overwriting_int8(op: Op, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    q, k, v, key_cache, value_cache, position, key_scales, value_scales = arrays
    caches = (key_cache, key_scales), (value_cache, value_scales)
    for t, row in enumerate(_written(op, q.shape[0], int(position))):
        for (codes, scales), new in zip(caches, (k, v), strict=True):
            codes[:, row], scales[:, row] = coded(new[t])
    held = [lambda places, both=both: _decoded(both[0][:, places], both[1][:, places]) for both in caches]
    return _attended(op, q, held[0], held[1], int(position)), key_cache, value_cache, key_scales, value_scales


def _written(op: Op, tokens: int, start: int) -> list[int]:
    """Rows of the caches that take those of the tokens."""
    return [(start + t) % int(op.operands[3].type.shape[1]) for t in range(tokens)]


def _attended(op: Op, q: np.ndarray, keys: Held, values: Held, start: int) -> np.ndarray:
    """q [T, H, d] -> [T, H, dv]."""
    kept, rows = (int(d) for d in op.operands[3].type.shape[:2])
    sizes, window = (kept, rows, int(op.operands[4].type.shape[2])), op.integer("window") or rows
    scale = F32(op.number("scale"))
    rule = _Rule(scale, slopes_of(op.attributes), edge_of(op.attributes))
    seen = [range(max(0, start + t - window + 1), start + t + 1) for t in range(q.shape[0])]
    return np.stack([_attend(token, keys, values, sizes, rule, own) for token, own in zip(q, seen, strict=True)])


def slopes_of(attributes: Attributes) -> np.ndarray | None:
    """Slopes of the query heads, f32 [H], where there are some."""
    text = attributes.get("slopes")
    return None if text is None else np.array(str(text).split(","), F32)


def edge_of(attributes: Attributes) -> np.float32 | None:
    """ln(share), where there is a share: what a score may be below the largest."""
    share = attributes.get("share")
    return None if share is None else F32(math.log(float(share)))


@dataclass(frozen=True)
class _Rule:
    """How rows become weights."""

    scale: np.float32
    slopes: np.ndarray | None
    edge: np.float32 | None

    def scores(self, q: np.ndarray, keys: np.ndarray, part: np.ndarray, last: int) -> np.ndarray:
        """q [H, d] with the keys [H, rows, d] of these positions of a chunk, seen from the last -> [H, CHUNK]."""
        scores = np.full((q.shape[0], CHUNK), -np.inf, F32)
        found = numpy_math.lanes8_sum(q[:, None, :] * keys) * self.scale
        if self.slopes is not None:
            found = found + self.slopes[:, None] * (part - last).astype(F32)
        scores[:, part % CHUNK] = found
        return scores


def _attend(
    q: np.ndarray, keys: Held, values: Held, sizes: tuple[int, int, int], rule: _Rule, seen: range
) -> np.ndarray:
    """One token: q [H, d] over the rows at these positions of caches of ``sizes`` [G, R, dv] -> [H, dv]."""
    (kept, rows, width), heads = sizes, q.shape[0]
    group = heads // kept
    begins = range(seen.start // CHUNK * CHUNK, seen.stop, CHUNK)
    parts = [np.arange(max(begin, seen.start), min(begin + CHUNK, seen.stop)) for begin in begins]

    def scores_of(part: np.ndarray) -> np.ndarray:
        return rule.scores(q, np.repeat(keys(part % rows), group, axis=0), part, seen.stop - 1)

    top, total = np.full(heads, LEAST, F32), np.zeros(heads, F32)
    if rule.edge is not None:
        for part in parts:
            top = np.fmax(top, np.fmax.reduce(scores_of(part), axis=-1))
    out = np.zeros((heads, width), F32)
    for part in parts:
        scores = scores_of(part)
        before, top = top, np.fmax(top, np.fmax.reduce(scores, axis=-1))
        weights = np.asarray(numerics.exp(N, scores - top[:, None]), F32)
        fading = np.asarray(numerics.exp(N, before - top), F32)
        total = total * fading + numpy_math.lanes8_sum(weights)
        if rule.edge is not None:
            weights = np.where(scores - top[:, None] > rule.edge, weights, F32(0))
        out = out * fading[:, None]
        chunk = np.repeat(values(part % rows), group, axis=0)
        for row, place in enumerate(part % CHUNK):
            out = out + weights[:, place, None] * chunk[:, row]
    return np.asarray(out / total[:, None])


def _infer_cached_attention(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    key_cache = operands[3]
    return _infer(operands, attributes, "f16" if key_cache.dtype == "f16" else "f32")


def _infer_cached_attention_int8(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    results = _infer(operands[:6], attributes, "i8")
    for cache, scales in zip(operands[3:5], operands[6:], strict=True):
        wanted = scales_of(cache)
        require(scales == wanted, f"scales {scales} of the cache {cache}, not {wanted}")
    return (*results, *operands[6:])


def scales_of(cache: TensorType) -> TensorType:
    """The type of the scales of a cache of codes."""
    return TensorType("f16", (*cache.shape[:2], blocks(static(cache.shape[2], "a row"), INT8_BLOCK)))


def _infer(operands: Types, attributes: Attributes, dtype: str) -> tuple[TensorType, ...]:
    q, k, v, key_cache, value_cache, position = operands
    for value, name in ((q, "q"), (k, "k"), (v, "v")):
        require_tensor(value, "f32", 3, name)
    require(q.shape[0] == k.shape[0] == v.shape[0], f"q {q}, k {k} and v {v} have different tokens")
    heads, kept = (static(t.shape[1], "the heads") for t in (q, k))
    require(v.shape[1] == kept and heads % kept == 0, f"q {q} has heads for k {k}, v {v}")
    for cache, new in ((key_cache, k), (value_cache, v)):
        require_tensor(cache, dtype, 3, "cache")
        require(cache.shape[0] == kept and cache.shape[2] == new.shape[2], f"cache {cache} for {new}")
    require(q.shape[2] == k.shape[2], f"q {q} and k {k}")
    require(key_cache.dtype == value_cache.dtype and key_cache.shape[1] == value_cache.shape[1], "caches differ")
    slopes = _checked_slopes(attributes)
    require(slopes in (0, heads), f"{slopes} slopes for {heads} heads")
    share = attributes.get("share", 0.5)
    require(isinstance(share, float) and 0 < share < 1, f"a share of {share}")
    window = attribute_int(attributes, "window")
    require(0 <= window <= static(key_cache.shape[1], "a cache"), f"a window of {window} in {key_cache}")
    require(max(t.elements() for t in (key_cache, value_cache)) < 1 << 31, f"{key_cache} is too large")
    require(position == i32(), "position must be an i32 scalar")
    return v.with_shape((*q.shape[:2], v.shape[2])), key_cache, value_cache


def _checked_slopes(attributes: Attributes) -> int:
    """How many slopes there are."""
    try:
        found = slopes_of(attributes)
    except ValueError:
        raise TypeRuleError("slopes are no numbers") from None
    require(found is None or bool(np.isfinite(found).all()), "slopes are not finite")
    return 0 if found is None else len(found)


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


_WORK = Work(_products, Shared(lambda operands, attributes: int(operands[3].shape[0]), _work))

OPS = [
    OpDef(
        "cached_attention",
        "causal softmax attention over the cache, which takes new keys and values first; `window` 0: over all tokens; "
        "`slopes`: of the heads, by distance (ALiBi); `share` of the largest weight of a query that others must exceed",
        ("q", "k", "v", "key_cache", "value_cache", "position"),
        _infer_cached_attention,
        _cached_attention,
        {"scale": float, "window": int, "slopes": str, "share": float},
        optional=("slopes", "share"),
        torch="chimera.cached_attention.default",
        in_place={1: 3, 2: 4},
        wide=True,
        context=_context,
        overwriting=_overwriting,
        work=_WORK,
    ),
    OpDef(
        "cached_attention_int8",
        "the same over a cache of codes i8 with a scale f16 for 32 channels of a row",
        ("q", "k", "v", "key_cache", "value_cache", "position", "key_scales", "value_scales"),
        _infer_cached_attention_int8,
        _cached_attention_int8,
        {"scale": float, "window": int, "slopes": str, "share": float},
        optional=("slopes", "share"),
        in_place={1: 3, 2: 4, 3: 6, 4: 7},
        wide=True,
        context=_context,
        overwriting=_overwriting_int8,
        work=_WORK,
    ),
]
