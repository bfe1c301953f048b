"""Rotary positions against complex rotation, window attention against softmax attention over explicit windows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ir_tools import assert_same_bits, draw, run_op, scalar

from chimerac.compiler.ir.ops.attention import rope_frequencies

THETA = 1e4


@pytest.mark.parametrize("width", [2, 6, 8, 32])
@pytest.mark.parametrize("position", [0, 1, 500])
def test_rope_turns_pairs_in_the_complex_plane(width: int, position: int) -> None:
    x = draw(1, 4, 3, width)
    (got,) = run_op("rope", x, scalar(position), theta=THETA)
    half = width // 2
    pairs = x[..., :half].astype(np.float64) + 1j * x[..., half:]
    angles = (position + np.arange(4))[:, None] * THETA ** (-2.0 * np.arange(half) / width)
    turned = pairs * np.exp(1j * angles)[:, None, :]
    np.testing.assert_allclose(got, np.concatenate([turned.real, turned.imag], -1), atol=3e-6)


@pytest.mark.parametrize("position", [2**20, 2**30, 2**31 - 5])
def test_rope_far_out_is_as_exact_as_near(position: int) -> None:
    """With whole-number phases the angle is exact at any position: checked with Python's integers."""
    width = 8
    x = draw(1, 4, 1, width)
    (got,) = run_op("rope", x, scalar(position), theta=THETA)
    turns = [round(THETA ** (-2 * j / width) / (2 * np.pi) * 2**32) for j in range(4)]
    assert rope_frequencies(width, THETA).tolist() == turns
    for t in range(4):
        for j in range(4):
            angle = (turns[j] * (position + t)) % 2**32 / 2**32 * 2 * np.pi
            pair = complex(x[t, 0, j], x[t, 0, j + 4]) * np.exp(1j * angle)
            np.testing.assert_allclose([got[t, 0, j], got[t, 0, j + 4]], [pair.real, pair.imag], atol=1e-6)


def test_rope_takes_each_token_by_itself() -> None:
    x = draw(1, 16, 3, 8)
    (whole,) = run_op("rope", x, scalar(32), theta=THETA)
    for t in range(16):
        assert_same_bits(run_op("rope", x[t : t + 1], scalar(32 + t), theta=THETA)[0], whole[t : t + 1])


@pytest.mark.parametrize(("window", "capacity"), [(1, 5), (5, 9), (5, 21), (48, 64)])
@pytest.mark.parametrize("persistent", [0, 3])
def test_window_attention(window: int, capacity: int, persistent: int) -> None:
    """Calls of up to 4 tokens, until the ring has wrapped around several times."""
    tokens, heads, width = 3 * capacity, 2, 6
    q, k, v, slot = (draw(seed, tokens, heads, width) for seed in range(4))
    fixed = [draw(seed, persistent, heads, width) for seed in (5, 6)]
    rings = [np.full((capacity, heads, width), np.nan, np.float32)] * 2  # what is not written is never read
    exact = [torch.from_numpy(a).double() for a in (q, k, v, slot, *fixed)]
    for start in range(0, tokens, 4):
        part = slice(start, min(start + 4, tokens))
        y, *rings = run_op(
            "window_attention",
            *(a[part] for a in (q, k, v)),
            *fixed,
            slot[part],
            *rings,
            scalar(start),
            scalar(1),
            window=window,
            scale=0.4,
        )
        for t in range(part.start, part.stop):
            seen = slice(max(0, t - window + 1), t + 1)
            keys = torch.cat([exact[4], exact[3][t : t + 1], exact[1][seen]])
            values = torch.cat([exact[5], exact[3][t : t + 1], exact[2][seen]])
            weights = torch.softmax(0.4 * torch.einsum("hd,nhd->hn", exact[0][t], keys), -1)
            truth = torch.einsum("hn,nhd->hd", weights, values).numpy()
            np.testing.assert_allclose(y[t - part.start], truth, rtol=1e-4, atol=1e-5)
    for position in range(tokens - capacity, tokens):
        assert_same_bits(rings[0][position % capacity], k[position])
        assert_same_bits(rings[1][position % capacity], v[position])


def test_without_write_the_ring_is_read_as_it_is() -> None:
    """A later iteration of a loop sees the keys of the first one, whatever it is given itself."""
    q, k, v, slot = (draw(seed, 2, 1, 4) for seed in range(4))
    fixed = [draw(5, 1, 1, 4), draw(6, 1, 1, 4)]
    empty = [np.zeros((7, 1, 4), np.float32)] * 2
    attributes = {"window": 3, "scale": 0.5}
    first, *rings = run_op("window_attention", q, k, v, *fixed, slot, *empty, scalar(0), scalar(1), **attributes)
    again, *same = run_op("window_attention", q, v, k, *fixed, slot, *rings, scalar(0), scalar(0), **attributes)
    assert_same_bits(again, first)
    for ring, kept in zip(rings, same, strict=True):
        assert_same_bits(kept, ring)


def test_large_scores_do_not_overflow() -> None:
    q = np.full((1, 1, 4), 1e4, np.float32)
    ring = np.zeros((5, 1, 4), np.float32)
    none = np.zeros((0, 1, 4), np.float32)
    y, *_ = run_op("window_attention", q, q, q, none, none, -q, ring, ring, scalar(0), scalar(1), window=2, scale=1.0)
    assert_same_bits(y, q)
