"""Attention with a cache against softmax attention in float64 over explicit windows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ir_tools import assert_same_bits, draw, run_op, scalar

from chimerac.compiler.ir.module import Attribute
from chimerac.compiler.ir.ops import OPS, TypeRuleError
from chimerac.compiler.ir.ops.cached_rows import CODE_BLOCK, LARGEST_HALF, types_of, unpacked4
from chimerac.compiler.ir.types import TensorType, f32, i32

TOKENS = 150  #: more than two chunks
CODES: dict[type, str] = {np.int8: "int8", np.uint8: "int4"}  #: by what a cache has in memory


def caches(kept: int, rows: int, width: int, value_width: int, dtype: type = np.float32) -> list[np.ndarray]:
    """Caches of which nothing may be read that was not written; with their scales where they are of codes."""
    if dtype in CODES:
        both = [types_of(CODES[dtype], kept, rows, w) for w in (width, value_width)]
        codes = [np.zeros([int(d) for d in t.shape], t.numpy) for t, _ in both]
        return [*codes, *(np.full([int(d) for d in t.shape], np.nan, t.numpy) for _, t in both)]
    return [np.full((kept, rows, w), np.nan, dtype) for w in (width, value_width)]


def run(
    parts: list[int], given: list[np.ndarray], held: list[np.ndarray], window: int, **others: Attribute
) -> list[np.ndarray]:
    """All results, and the caches, after calls of so many tokens."""
    found, start = [], 0
    for count in parts:
        part = [a[start : start + count] for a in given]
        name = "cached_attention" if len(held) == 2 else f"cached_attention_{CODES[held[0].dtype.type]}"
        y, *held = run_op(name, *part, *held[:2], scalar(start), *held[2:], scale=0.4, window=window, **others)
        found.append(y)
        start += count
    return [np.concatenate(found), *held]


def blocks(tokens: int, size: int) -> list[int]:
    return [min(size, tokens - start) for start in range(0, tokens, size)]


def drawn(heads: int, kept: int, width: int, value_width: int) -> list[np.ndarray]:
    return [draw(i, TOKENS, h, w) for i, (h, w) in enumerate([(heads, width), (kept, width), (kept, value_width)])]


@pytest.mark.parametrize(("heads", "kept", "width", "value_width"), [(1, 1, 6, 6), (4, 2, 5, 8), (3, 1, 16, 4)])
@pytest.mark.parametrize(("window", "rows"), [(0, TOKENS), (1, 17), (5, 20), (70, 90)])
def test_softmax_over_what_is_seen(heads: int, kept: int, width: int, value_width: int, window: int, rows: int) -> None:
    given = drawn(heads, kept, width, value_width)
    y, *held = run(blocks(TOKENS, 16), given, caches(kept, rows, width, value_width), window)
    q, k, v = (torch.from_numpy(a).double() for a in given)
    k, v = (x.repeat_interleave(heads // kept, dim=1) for x in (k, v))
    for t in range(TOKENS):
        seen = slice(max(0, t + 1 - (window or TOKENS)), t + 1)
        weights = torch.softmax(0.4 * torch.einsum("hd,nhd->hn", q[t], k[seen]), -1)
        truth = torch.einsum("hn,nhd->hd", weights, v[seen]).numpy()
        np.testing.assert_allclose(y[t], truth, rtol=1e-4, atol=1e-5)
    for position in range(max(0, TOKENS - rows), TOKENS):
        for cache, new in zip(held, given[1:], strict=True):
            assert_same_bits(cache[:, position % rows], new[position])


@pytest.mark.parametrize(("window", "rows"), [(0, TOKENS), (70, 90)])
def test_small_shares_add_nothing(window: int, rows: int) -> None:
    """Of the weights of a softmax over all rows, which are not made larger for it."""
    given = drawn(4, 2, 5, 8)
    found = run(blocks(TOKENS, 16), given, caches(2, rows, 5, 8), window, share=0.4)[0]
    single = run(blocks(TOKENS, 1), given, caches(2, rows, 5, 8), window, share=0.4)[0]
    assert_same_bits(found, single)
    q, k, v = (torch.from_numpy(a).double() for a in given)
    k, v = (x.repeat_interleave(2, dim=1) for x in (k, v))
    for t in range(TOKENS):
        seen = slice(max(0, t + 1 - (window or TOKENS)), t + 1)
        weights = torch.softmax(0.4 * torch.einsum("hd,nhd->hn", q[t], k[seen]), -1)
        weights = torch.where(weights > 0.4 * weights.amax(-1, keepdim=True), weights, 0.0)
        np.testing.assert_allclose(found[t], torch.einsum("hn,nhd->hd", weights, v[seen]).numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8, np.uint8])
@pytest.mark.parametrize(("window", "rows"), [(0, TOKENS), (70, 90)])
def test_blocks_are_single_tokens(window: int, rows: int, dtype: type) -> None:
    given = drawn(4, 2, 8, 8)
    single = run(blocks(TOKENS, 1), given, caches(2, rows, 8, 8, dtype), window)
    for parts in (blocks(TOKENS, 16), [3, 60, 1, 20, 21, 45]):
        if window == 0 or max(parts) <= rows - window + 1:
            for a, b in zip(run(parts, given, caches(2, rows, 8, 8, dtype), window), single, strict=True):
                assert_same_bits(a, b)


def test_half_caches_hold_rounded_rows() -> None:
    """As a float32 cache of numbers that fp16 has; what is too large is its largest number."""
    q, k, v = drawn(2, 1, 8, 8)
    k[3, 0, :3] = 1e6, -1e6, np.nan
    rounded = [
        np.nan_to_num(np.clip(a, -LARGEST_HALF, LARGEST_HALF), nan=LARGEST_HALF).astype(np.float16) for a in (k, v)
    ]
    y, *held = run([TOKENS], [q, k, v], caches(1, TOKENS, 8, 8, np.float16), 0)
    wide = [a.astype(np.float32) for a in rounded]
    assert_same_bits(y, run([TOKENS], [q, *wide], caches(1, TOKENS, 8, 8), 0)[0])
    for cache, rows in zip(held, rounded, strict=True):
        assert_same_bits(cache[0], rows[:, 0])


def test_int8_caches_are_codes_times_scales() -> None:
    """As a float32 cache of these numbers, which are within half a scale of what was put in."""
    q, k, v = drawn(2, 1, 40, 6)
    k[3, 0, :3], k[4] = (np.nan, np.inf, -np.inf), 0.0
    k[5] *= np.float32(1e-9)
    y, *held = run([TOKENS], [q, k, v], caches(1, TOKENS, 40, 6, np.int8), 0)
    wide = []
    for codes, scales, new in zip(held[:2], held[2:], (k, v), strict=True):
        steps = np.repeat(scales[0].astype(np.float64), CODE_BLOCK, axis=-1)[:, : codes.shape[-1]]
        number = codes[0] * steps
        assert np.abs(codes).max() == 127
        finite = np.isfinite(new[:, 0])
        assert (np.abs(number - new[:, 0]) <= 0.56 * steps)[finite].all()  # half, and what rounding a scale cuts off
        wide.append(number.astype(np.float32)[:, None])
    assert held[0][0, 3, :3].tolist() == [-127, 127, -127]
    assert held[2][0, 3, 0] == LARGEST_HALF
    assert not held[0][0, 4:6].any()
    assert_same_bits(y, run([TOKENS], [q, *wide], caches(1, TOKENS, 40, 6), 0)[0])


def hadamard(width: int) -> np.ndarray:
    """The transform of rows of 32, 8 and 2 channels after one another, in float64."""
    whole, start = np.zeros((width, width)), 0
    for size in (32, 8, 2):
        signs = [[(-1) ** (i & j).bit_count() for j in range(size)] for i in range(size)]
        whole[start : start + size, start : start + size] = np.array(signs) / size**0.5
        start += size
    return whole


def test_int4_caches_are_codes_times_scales_of_what_is_transformed() -> None:
    """Within half a scale of it but at the end that has no code, and attention is that of these numbers, but for what
    rounding queries and weights to 8 bits does."""
    given = drawn(4, 2, 42, 42)
    given[1][3, 0], given[1][4, 0, 5] = 0.0, np.nan
    y, *held = run(blocks(TOKENS, 16), given, caches(2, TOKENS, 42, 42, np.uint8), 0)
    turn, numbers = hadamard(42), []
    for packed, scales, new in zip(held[:2], held[2:], given[1:], strict=True):
        parts = unpacked4(packed)[..., :2, :] * scales.astype(np.float64)[..., None]
        number = parts.reshape(2, TOKENS, 64)[..., :42].transpose(1, 0, 2)
        steps = np.repeat(np.abs(scales.astype(np.float64)), CODE_BLOCK, axis=-1)[..., :42].transpose(1, 0, 2)
        wanted = new.astype(np.float64) @ turn
        finite = np.isfinite(wanted)
        assert (np.abs(number - wanted) <= 1.01 * steps)[finite].all()
        assert np.mean((np.abs(number - wanted) <= 0.51 * steps)[finite]) > 0.95
        assert set(np.unique(unpacked4(packed))) == set(range(-8, 8))
        numbers.append(number)
    for t in range(5, TOKENS):
        k, v = (x[: t + 1].repeat(2, axis=1) for x in numbers)
        weights = torch.softmax(torch.from_numpy(0.4 * np.einsum("hd,nhd->hn", given[0][t] @ turn, k)), -1).numpy()
        truth = np.einsum("hn,nhd->hd", weights, v) @ turn
        assert np.abs(y[t] - truth).max() < 0.03 * np.abs(v).max()
    assert not unpacked4(held[0])[0, 3].any()
    assert not unpacked4(held[0])[..., 1, 10:].any()


def test_large_scores_do_not_overflow() -> None:
    """Of the tokens before, the one with the same key gets all the weight."""
    k = np.eye(8, dtype=np.float32)[:, None, :] * np.float32(1e4)
    y, *_ = run([8], [k, k, draw(1, 8, 1, 4)], caches(1, 8, 8, 4), 0)
    assert_same_bits(y, draw(1, 8, 1, 4))


def test_type_rule() -> None:
    infer = OPS["cached_attention"].infer
    q, k, v, keys, values = f32("T", 4, 8), f32("T", 2, 8), f32("T", 2, 6), f32(2, 32, 8), f32(2, 32, 6)
    every = {"scale": 1.0, "window": 0}
    assert infer((q, k, v, keys, values, i32()), every) == (f32("T", 4, 6), keys, values)
    halves = [TensorType("f16", t.shape) for t in (keys, values)]
    assert infer((q, k, v, *halves, i32()), every) == (f32("T", 4, 6), *halves)
    codes, scales = [TensorType("i8", t.shape) for t in (keys, values)], [TensorType("f16", (2, 32, 1))] * 2
    int8, int4 = (OPS[f"cached_attention_{form}"].infer for form in ("int8", "int4"))
    nibbles = [TensorType("u8", (2, 32, 32))] * 2
    assert int4((q, k, v, *nibbles, i32(), *scales), every) == (f32("T", 4, 6), *nibbles, *scales)
    with pytest.raises(TypeRuleError):
        int4((q, k, v, *codes, i32(), *scales), every)
    assert int8((q, k, v, *codes, i32(), *scales), every) == (f32("T", 4, 6), *codes, *scales)
    for wrong in (
        (q, k, v, *halves, i32(), *scales),
        (q, k, v, *codes, i32(), TensorType("f16", (2, 32, 2)), scales[0]),
        (q, k, v, *codes, i32(), scales[0], TensorType("f32", (2, 32, 1))),
    ):
        with pytest.raises(TypeRuleError):
            int8(wrong, every)
    for wrong in (
        (f32("T", 3, 8), k, v, keys, values, i32()),
        (q, k, f32("T", 1, 6), keys, values, i32()),
        (q, f32(3, 2, 8), v, keys, values, i32()),
        (f32("T", 4, 6), k, v, keys, values, i32()),
        (q, k, v, keys, f32(2, 31, 6), i32()),
        (q, k, v, keys, halves[1], i32()),
        (q, k, v, f32(2, 32, 6), values, i32()),
        (q, k, v, f32(2, "T", 8), f32(2, "T", 6), i32()),
        (q, k, v, f32(2, 1 << 27, 8), f32(2, 1 << 27, 6), i32()),
        (q, k, v, keys, values, i32(1)),
    ):
        with pytest.raises(TypeRuleError):
            infer(wrong, every)
    for window in (-1, 33):
        with pytest.raises(TypeRuleError):
            infer((q, k, v, keys, values, i32()), {"scale": 1.0, "window": window})


@pytest.mark.parametrize(("window", "rows"), [(0, TOKENS), (70, 90)])
def test_slopes_by_distance(window: int, rows: int) -> None:
    """Against float64, and the same bits in blocks and token by token."""
    slopes = [0.5, 0.0, -0.02, 0.7071067811865476]
    given, text = drawn(4, 2, 5, 8), ",".join(map(str, slopes))
    y, *held = run(blocks(TOKENS, 16), given, caches(2, rows, 5, 8), window, slopes=text)
    for ours, single in zip(
        [y, *held], run([1] * TOKENS, given, caches(2, rows, 5, 8), window, slopes=text), strict=True
    ):
        assert_same_bits(ours, single)
    q, k, v = (torch.from_numpy(a).double() for a in given)
    k, v = (x.repeat_interleave(2, dim=1) for x in (k, v))
    for t in range(TOKENS):
        first = max(0, t + 1 - (window or TOKENS))
        ages = t - torch.arange(first, t + 1)
        scores = 0.4 * torch.einsum("hd,nhd->hn", q[t], k[first : t + 1]) - torch.tensor(slopes)[:, None] * ages
        truth = torch.einsum("hn,nhd->hd", torch.softmax(scores, -1), v[first : t + 1]).numpy()
        np.testing.assert_allclose(y[t], truth, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("slopes", "why"), [("0.5", "1 slopes for 4"), ("1,2,x,4", "no numbers"), ("1,2,inf,4", "finite")]
)
def test_slopes_that_are_none(slopes: str, why: str) -> None:
    cache = f32(2, 9, 8)
    operands = f32("T", 4, 8), f32("T", 2, 8), f32("T", 2, 8), cache, cache, i32()
    with pytest.raises(TypeRuleError, match=why):
        OPS["cached_attention"].infer(operands, {"scale": 1.0, "window": 0, "slopes": slopes})
