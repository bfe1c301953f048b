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

Caches of ``cached_attention`` are float32 or float16, those of ``cached_attention_int8`` and ``cached_attention_int4``
codes with scales (cached_rows.py). With codes of 8 bits attention computes with the numbers that they stand for. With
codes of 4 bits it multiplies integers. Queries, keys and values are transformed (``rotated``) before they become codes,
and the result is transformed back. A query becomes codes of 8 bits, too, and the products of each ``CODE_BLOCK``
channels are added exactly, multiplied by both scales (whose product is exact), and the blocks added up, ascending. The
weights of each ``GROUP`` rows of a chunk, times the scales of a block, become codes of 8 bits:

    u = w s;  top = max(LEAST_TOP, |u|);  c = round(u (127 / top));  o = o + (c_0 v_0 + c_1 v_1 + …) (top / 127)

with the products of codes added exactly. The sum of weights is that of those that were not rounded.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from chimerac.compiler.ir import numerics, numpy_math
from chimerac.compiler.ir.module import Op
from chimerac.compiler.ir.ops.cached_rows import (
    CODE_BLOCK,
    coded,
    coded4,
    decoded,
    rotated,
    stored,
    types_of,
    unpacked4,
)
from chimerac.compiler.ir.ops.definition import (
    FLOAT_WORK,
    Attributes,
    OpDef,
    Reference,
    Shared,
    TypeRuleError,
    Types,
    Work,
    attribute_int,
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
GROUP = 32  #: rows whose weights share a scale: as many as codes of 4 bits times ±127 can be added up in 16 bits
LEAST_TOP = 2.0**-100  #: of weights times scales: what is so small counts as nothing
USUAL_ROWS = 512  #: that a token sees, where nothing is known of the text: whether threads share depends on it


class _Numbers:
    """Caches as the float32 numbers that they stand for: rows [G, rows, d] by their places."""

    def __init__(self, keys: Callable[[np.ndarray], np.ndarray], values: Callable[[np.ndarray], np.ndarray]) -> None:
        self.keys, self.values = keys, values

    def dots(self, q: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Of q [H, d] with the keys at these places -> [H, rows]."""
        return numpy_math.lanes8_sum(q[:, None, :] * _for_heads(self.keys(places), len(q)))

    def added(self, out: np.ndarray, weights: np.ndarray, part: np.ndarray, places: np.ndarray) -> np.ndarray:
        """out [H, dv] and the values of these positions of a chunk, which lie there, times weights [H, CHUNK]."""
        chunk = _for_heads(self.values(places), len(out))
        for row, place in enumerate(part % CHUNK):
            out = out + weights[:, place, None] * chunk[:, row]
        return out


class _Nibbles:
    """Caches of 4 bits: bytes and scales of keys, and of values."""

    def __init__(self, keys: tuple[np.ndarray, np.ndarray], values: tuple[np.ndarray, np.ndarray]) -> None:
        self.keys, self.values = keys, values

    def dots(self, q: np.ndarray, places: np.ndarray) -> np.ndarray:
        codes, own = coded(pad_last(q, CODE_BLOCK))
        codes = codes.reshape(len(q), 1, -1, CODE_BLOCK)
        keys, scales = self._found(self.keys, places, len(q))
        sums = np.einsum("htbc,hrbc->hrb", codes.astype(F32), keys.astype(F32))  # of integers below 2**24
        terms = sums * (own.astype(F32)[:, None] * scales)
        return functools.reduce(np.add, np.moveaxis(terms, -1, 0))

    def added(self, out: np.ndarray, weights: np.ndarray, part: np.ndarray, places: np.ndarray) -> np.ndarray:
        values, scales = self._found(self.values, places, len(out))
        groups = part % CHUNK // GROUP
        for group in np.unique(groups):
            own = groups == group
            scaled = weights[:, part[own] % CHUNK, None] * scales[:, own]  # [H, rows, blocks]
            top = np.fmax(np.fmax.reduce(np.abs(scaled), axis=1), F32(LEAST_TOP))
            rounded = np.rint(scaled * (F32(127) / top)[:, None])
            codes = np.minimum(np.where(rounded > F32(-127), rounded, F32(-127)), F32(127))
            sums = np.einsum("hrb,hrbc->hbc", codes, values[:, own].astype(F32))  # of integers below 2**24
            terms = sums * (top / F32(127))[..., None]
            out = out + terms.reshape(len(out), -1)[:, : out.shape[-1]]
        return out

    @staticmethod
    def _found(cache: tuple[np.ndarray, np.ndarray], places: np.ndarray, heads: int) -> tuple[np.ndarray, np.ndarray]:
        """Codes [H, rows, blocks, CODE_BLOCK] and scales f32 [H, rows, blocks]."""
        scales = cache[1][:, places].astype(F32)
        codes = unpacked4(cache[0][:, places])[..., : scales.shape[-1], :]
        return _for_heads(codes, heads), _for_heads(scales, heads)


_Cache = _Numbers | _Nibbles


def _for_heads(rows: np.ndarray, heads: int) -> np.ndarray:
    """[G, ...] -> [H, ...], each for its group of query heads."""
    return np.repeat(rows, heads // len(rows), axis=0)


def _reference(overwriting: Reference) -> Reference:
    """The same of copies of what is overwritten."""

    def copied(op: Op, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        caches = (3, 4, *range(6, len(op.operands)))
        return overwriting(op, [array.copy() if i in caches else array for i, array in enumerate(arrays)])

    return copied


def _overwriting(op: Op, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    q, k, v, key_cache, value_cache, position = arrays
    for t, row in enumerate(_written(op, q.shape[0], int(position))):
        for cache, new in ((key_cache, k), (value_cache, v)):
            cache[:, row] = stored(new[t], cache.dtype)
    keys, values = (lambda places, cache=cache: cache[:, places].astype(F32) for cache in (key_cache, value_cache))
    return _attended(op, q, _Numbers(keys, values), int(position)), key_cache, value_cache


def _overwriting_codes(op: Op, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    q, k, v, key_cache, value_cache, position, key_scales, value_scales = arrays
    nibbles = key_cache.dtype == np.uint8
    caches = (key_cache, key_scales), (value_cache, value_scales)
    for t, row in enumerate(_written(op, q.shape[0], int(position))):
        for (codes, scales), new in zip(caches, (k, v), strict=True):
            codes[:, row], scales[:, row] = coded4(rotated(new[t])) if nibbles else coded(new[t])
    keys, values = (lambda places, both=both: decoded(both[0][:, places], both[1][:, places]) for both in caches)
    if nibbles:
        y = rotated(_attended(op, rotated(q), _Nibbles(*caches), int(position)))
    else:
        y = _attended(op, q, _Numbers(keys, values), int(position))
    return y, key_cache, value_cache, key_scales, value_scales


def _written(op: Op, tokens: int, start: int) -> list[int]:
    """Rows of the caches that take those of the tokens."""
    return [(start + t) % int(op.operands[3].type.shape[1]) for t in range(tokens)]


def _attended(op: Op, q: np.ndarray, cache: _Cache, start: int) -> np.ndarray:
    """q [T, H, d] -> [T, H, dv]."""
    rows, width = int(op.operands[3].type.shape[1]), int(op.operands[2].type.shape[2])
    window = op.integer("window") or rows
    rule = _Rule(F32(op.number("scale")), slopes_of(op.attributes), edge_of(op.attributes))
    seen = [range(max(0, start + t - window + 1), start + t + 1) for t in range(q.shape[0])]
    return np.stack([_attend(token, cache, (rows, width), rule, own) for token, own in zip(q, seen, strict=True)])


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

    def scores(self, dots: np.ndarray, part: np.ndarray, last: int) -> np.ndarray:
        """Dot products [H, rows] at these positions of a chunk, seen from the last -> [H, CHUNK]."""
        scores = np.full((len(dots), CHUNK), -np.inf, F32)
        found = dots * self.scale
        if self.slopes is not None:
            found = found + self.slopes[:, None] * (part - last).astype(F32)
        scores[:, part % CHUNK] = found
        return scores


def _attend(q: np.ndarray, cache: _Cache, sizes: tuple[int, int], rule: _Rule, seen: range) -> np.ndarray:
    """One token: q [H, d] over the rows at these positions of caches of ``sizes`` R, dv -> [H, dv]."""
    (rows, width), heads = sizes, q.shape[0]
    begins = range(seen.start // CHUNK * CHUNK, seen.stop, CHUNK)
    parts = [np.arange(max(begin, seen.start), min(begin + CHUNK, seen.stop)) for begin in begins]

    def scores_of(part: np.ndarray) -> np.ndarray:
        return rule.scores(cache.dots(q, part % rows), part, seen.stop - 1)

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
        out = cache.added(out * fading[:, None], weights, part, part % rows)
    return np.asarray(out / total[:, None])


def _infer(operands: Types, attributes: Attributes, form: str) -> tuple[TensorType, ...]:
    q, k, v, key_cache, value_cache, position, *scales = operands
    for value, name in ((q, "q"), (k, "k"), (v, "v")):
        require_tensor(value, "f32", 3, name)
    require(q.shape[0] == k.shape[0] == v.shape[0], f"q {q}, k {k} and v {v} have different tokens")
    heads, kept = (static(t.shape[1], "the heads") for t in (q, k))
    require(v.shape[1] == kept and heads % kept == 0, f"q {q} has heads for k {k}, v {v}")
    require(q.shape[2] == k.shape[2], f"q {q} and k {k}")
    require(len(key_cache.shape) == 3, f"a cache {key_cache}")
    rows = static(key_cache.shape[1], "a cache")
    held = [types_of(form, kept, rows, static(new.shape[2], "a row")) for new in (k, v)]
    found, wanted = (
        (key_cache, value_cache, *scales),
        tuple(one for types in zip(*held, strict=True) for one in types),
    )
    require(found == wanted, f"caches {', '.join(map(str, found))}, not {', '.join(map(str, wanted))}")
    slopes = _checked_slopes(attributes)
    require(slopes in (0, heads), f"{slopes} slopes for {heads} heads")
    share = attributes.get("share", 0.5)
    require(isinstance(share, float) and 0 < share < 1, f"a share of {share}")
    window = attribute_int(attributes, "window")
    require(0 <= window <= rows, f"a window of {window} in {key_cache}")
    require(max(t.elements() for t in (key_cache, value_cache)) < 1 << 31, f"{key_cache} is too large")
    require(position == i32(), "position must be an i32 scalar")
    return v.with_shape((*q.shape[:2], v.shape[2])), *found


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
    heads, widths = int(operands[0].shape[1]), int(operands[1].shape[2]) + int(operands[2].shape[2])
    return _rows(operands, attributes) * heads * widths


def _work(operands: Types, attributes: Attributes) -> int:
    """Of a head of the cache, with the query heads that read it."""
    seen = min(_rows(operands, attributes), USUAL_ROWS)
    per_row = _products(operands, attributes) // _rows(operands, attributes) // int(operands[3].shape[0])
    return FLOAT_WORK * seen * per_row


_WORK = Work(_products, Shared(lambda operands, attributes: int(operands[3].shape[0]), _work))


def _op(name: str, doc: str, forms: tuple[str, ...], torch: str | None = None) -> OpDef:
    """Attention over caches of these forms, told apart by their element type."""
    scales = () if torch else ("key_scales", "value_scales")

    def infer(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
        dtype = operands[3].dtype
        return _infer(operands, attributes, dtype if dtype in forms else forms[0])

    overwriting = _overwriting_codes if scales else _overwriting
    return OpDef(
        name,
        doc,
        ("q", "k", "v", "key_cache", "value_cache", "position", *scales),
        infer,
        _reference(overwriting),
        {"scale": float, "window": int, "slopes": str, "share": float},
        optional=("slopes", "share"),
        torch=torch,
        in_place={1: 3, 2: 4} | {3 + i: 6 + i for i in range(len(scales))},
        wide=True,
        context=_context,
        overwriting=overwriting,
        work=_WORK,
    )


OPS = [
    _op(
        "cached_attention",
        "causal softmax attention over the cache, which takes new keys and values first; `window` 0: over all tokens; "
        "`slopes`: of the heads, by distance (ALiBi); `share` of the largest weight of a query that others must exceed",
        ("f32", "f16"),
        torch="chimera.cached_attention.default",
    ),
    _op(
        "cached_attention_int8",
        "the same over a cache of codes i8 with a scale f16 for 32 channels of a row",
        ("int8",),
    ),
    _op(
        "cached_attention_int4",
        "the same over a cache of codes of 4 bits, two in a byte u8, in integers",
        ("int4",),
    ),
]
