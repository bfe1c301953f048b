"""The custom operations: registered as promised, functional, and small cases by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from chimerac.frontends.layers import ops
from chimerac.frontends.layers.ops_memory import rotation
from chimerac.frontends.layers.quantization import ternary_codes

H, D, T, W = 2, 4, 3, 5


def scalar(value: int) -> Tensor:
    return torch.tensor(value, dtype=torch.int32)


def arguments() -> dict[str, tuple[object, ...]]:
    """Example arguments of every operation."""
    x, heads = torch.randn(T, 8), torch.randn(T, H, D)
    gates, ring, memory = torch.rand(T, H), torch.zeros(W + T, H, D), torch.randn(H, 2, D, D)
    state = torch.randn(H, D, D)
    chosen, offsets = torch.tensor([[1, 0], [0, 2], [2, 1], [3, 0], [1, 3]], dtype=torch.int32)[:T], [0, 1, 2, 4, 2 * T]
    rows, offsets_of = torch.randn(T, 2, 8), torch.tensor(offsets, dtype=torch.int32)
    return {
        "rms_norm": (x, torch.rand(8), 1e-6),
        "l2_norm": (heads, 1e-6),
        "ternary_linear": (x, torch.randn(6, 8), 4, 2),
        "ternary_row_linear": (x, torch.randn(6, 8), 4, 2),
        "int8_linear": (x, torch.randn(6, 8), 4, 2),
        "int8_embedding": (torch.tensor([0, 5, 5], dtype=torch.int32), torch.randn(6, 8), 4),
        "bfloat16_linear": (x, torch.randn(6, 8)),
        "bfloat16_embedding": (torch.tensor([0, 5, 5], dtype=torch.int32), torch.randn(6, 8)),
        "float16_linear": (x, torch.randn(6, 8)),
        "float16_embedding": (torch.tensor([0, 5, 5], dtype=torch.int32), torch.randn(6, 8)),
        "chosen_linear": (torch.tensor([[0.0, 1, 1, 0, 1, 0]]).repeat(T, 1), x, torch.randn(6, 8)),
        "ternary_chosen_linear": (torch.eye(6)[:T], x, torch.randn(6, 8), 4, 2),
        "int8_chosen_linear": (torch.eye(6)[:T], x, torch.randn(6, 8), 4, 2),
        "int8_row_lengths": (torch.randn(6, 8), 4),
        "levels_linear": (x, torch.randn(6, 8), 10, 1.0),
        "levels_embedding": (torch.tensor([0, 5, 5], dtype=torch.int32), torch.randn(6, 8), 10, 1.0),
        "ternary_embedding": (torch.tensor([0, 5, 5], dtype=torch.int32), torch.randn(6, 8), 4),
        "causal_conv": (x, torch.randn(8, 4), torch.randn(3, 8)),
        "gated_delta": (heads, heads, heads, -gates, gates, state, 0.5),
        "gated_linear_attention": (heads, heads, heads, -gates, state, 0.5),
        "generalized_delta": (heads, torch.rand(T, H, D), heads, heads, -heads, 0.5 * heads, state),
        "mlstm": (heads, heads, heads, gates, gates, state, torch.randn(H, D), torch.zeros(H), 0.5),
        "rope": (heads, scalar(7), 1e4),
        "window_attention": (heads, heads, heads, heads, heads, heads, ring, ring + 1, scalar(0), scalar(1), W, 0.5),
        "cached_attention": (torch.randn(T, 2 * H, D), heads, heads, torch.zeros(H, 9, D), torch.ones(H, 9, D),
                             scalar(4), 0.5, 0),
        "gated_cached_attention": (torch.randn(T, 2 * H, D), heads, heads, torch.zeros(H, 9, D), torch.ones(H, 9, D),
                                   scalar(4), 0.5, 0, 0.3),
        "titans_anchor": (memory, memory + 1, scalar(16), scalar(1), 16),
        "titans_apply": (heads, memory),
        "titans_update": (heads, heads, gates, gates, gates, memory, memory + 1, memory - 1, scalar(1)),
        "moe": (x, torch.randn(4, 8), torch.zeros(4), torch.randn(4, 6, 8), torch.randn(4, 6, 8),
                torch.randn(4, 8, 6), torch.ones(4, 6), 2, 4, 2, 1e-6),
        "walsh_hadamard": (torch.randn(T, 32), 16),
        "knot_relax": (x, torch.ones(8), torch.ones(2, 16), torch.full((1, 1), 0x5A5, dtype=torch.int32),
                       torch.ones(1, 1), 4, 3, 0.3, 1e-4),
        "sort_pairs": (chosen, 4),
        "gather_rows": (x, chosen),
        "combine_experts": (rows, chosen, torch.rand(T, 2)),
        "grouped_linear": (rows, torch.randn(4, 6, 8), offsets_of),
        "grouped_bfloat16_linear": (rows, torch.randn(4, 6, 8), offsets_of),
        "grouped_float16_linear": (rows, torch.randn(4, 6, 8), offsets_of),
        "grouped_ternary_linear": (rows, torch.randn(4, 6, 8), offsets_of, 4, 2),
        "grouped_int8_linear": (rows, torch.randn(4, 6, 8), offsets_of, 4, 2),
        "loop_begin": (x, 3, 2, 0.01),
        "loop_end": (x,),
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(arguments()))
def test_operation_keeps_its_schema_and_shapes(name: str) -> None:
    op = getattr(torch.ops.chimera, name).default
    checks = torch.library.opcheck(op, arguments()[name], test_utils=("test_schema", "test_faketensor"))
    assert set(checks.values()) == {"SUCCESS"}


@pytest.mark.parametrize("name", sorted(arguments()))
def test_operation_neither_changes_nor_returns_its_arguments(name: str) -> None:
    inputs = arguments()[name]
    tensors = [a for a in inputs if isinstance(a, Tensor)]
    before = [t.clone() for t in tensors]
    outputs = getattr(torch.ops.chimera, name)(*inputs)
    for tensor, copy in zip(tensors, before, strict=True):
        assert torch.equal(tensor, copy)
    for output in outputs if isinstance(outputs, tuple) else (outputs,):
        assert all(output.untyped_storage().data_ptr() != t.untyped_storage().data_ptr() for t in tensors)


def test_norms_put_epsilon_inside_the_root() -> None:
    x = torch.tensor([[3.0, 4.0]])
    rms = ops.rms_norm(x, torch.tensor([2.0, 1.0]), 0.5)
    torch.testing.assert_close(rms, torch.tensor([[6.0, 4.0]]) / math.sqrt(12.5 + 0.5))
    torch.testing.assert_close(ops.l2_norm(x[None], 11.0), x[None] / 6.0)
    assert ops.l2_norm(torch.zeros(1, 1, 3), 1e-6).abs().sum() == 0


def test_convolution_sees_the_tail_and_no_future() -> None:
    x, weight, tail = torch.randn(6, 3), torch.randn(3, 4), torch.randn(3, 3)
    y, _ = ops.causal_conv(x, weight, tail)
    padded = torch.cat([tail, x]).T[None]
    expected = torch.nn.functional.conv1d(padded, weight[:, None], groups=3)[0].T
    torch.testing.assert_close(y, expected)


def test_rotation_is_exact_far_out_and_relative() -> None:
    cos, sin = rotation(torch.tensor([0, 1, 1_000_000_007]), 8, 1e4)
    assert cos[0].tolist() == [1.0] * 4
    assert sin[0].tolist() == [0.0] * 4
    for j in range(4):
        turns = round(1e4 ** (-2 * j / 8) / (2 * math.pi) * 2**32)
        phase = turns * 1_000_000_007 % 2**32 / 2**32
        assert cos[2, j].item() == pytest.approx(math.cos(2 * math.pi * phase), abs=1e-7)
        assert cos[1, j].item() == pytest.approx(math.cos(1e4 ** (-2 * j / 8)), abs=1e-7)
    q, k = torch.randn(1, 1, 8), torch.randn(1, 1, 8)
    near = (ops.rope(q, scalar(5), 1e4) * ops.rope(k, scalar(2), 1e4)).sum()
    far = (ops.rope(q, scalar(100_005), 1e4) * ops.rope(k, scalar(100_002), 1e4)).sum()
    torch.testing.assert_close(near, far, rtol=1e-4, atol=1e-5)


def test_window_attention_equals_masked_softmax_over_all_tokens() -> None:
    window, tokens, rows = 5, 24, 5 + 4
    q, k, v, slot = (torch.randn(tokens, H, D) for _ in range(4))
    persistent = torch.randn(2, 3, H, D)
    ring_k, ring_v = torch.zeros(rows, H, D), torch.zeros(rows, H, D)
    for start in range(0, tokens, 4):
        part = slice(start, start + 4)
        call = (q[part], k[part], v[part], persistent[0], persistent[1], slot[part])
        y, ring_k, ring_v = ops.window_attention(*call, ring_k, ring_v, scalar(start), scalar(1), window, 0.7)
        # reading again without writing gives the same, whatever k and v
        other = (q[part], v[part], k[part], persistent[0], persistent[1], slot[part])
        again, kept, _ = ops.window_attention(*other, ring_k, ring_v, scalar(start), scalar(0), window, 0.7)
        assert torch.equal(y, again)
        assert torch.equal(kept, ring_k)
        for t in range(start, start + 4):
            first = max(0, t - window + 1)
            keys = torch.cat([persistent[0], slot[t : t + 1], k[first : t + 1]])
            values = torch.cat([persistent[1], slot[t : t + 1], v[first : t + 1]])
            for head in range(H):
                weights = torch.softmax(0.7 * keys[:, head] @ q[t, head], 0)
                torch.testing.assert_close(y[t - start, head], weights @ values[:, head])


@pytest.mark.parametrize(("window", "rows"), [(0, 11), (4, 8)])
def test_cached_attention_equals_masked_softmax_over_all_tokens(window: int, rows: int) -> None:
    """Eleven tokens in calls of up to five, with two query heads for each head of the cache."""
    q, k, v = torch.randn(11, 2 * H, D), torch.randn(11, H, D), torch.randn(11, H, D + 1)
    caches, found = [torch.zeros(H, rows, D), torch.zeros(H, rows, D + 1)], []
    for part in (slice(0, 5), slice(5, 6), slice(6, 11)):
        y, *caches = ops.cached_attention(q[part], k[part], v[part], *caches, scalar(part.start), 0.3, window)
        found.append(y)
    ages = torch.arange(11)[:, None] - torch.arange(11)
    mask = (ages >= 0) & (ages < (window or 11))
    inputs = (q.transpose(0, 1), k.repeat_interleave(2, 1).transpose(0, 1), v.repeat_interleave(2, 1).transpose(0, 1))
    truth = torch.nn.functional.scaled_dot_product_attention(*inputs, attn_mask=mask, scale=0.3)
    torch.testing.assert_close(torch.cat(found), truth.transpose(0, 1))


def test_anchor_moves_only_at_chunk_starts_of_writing_calls() -> None:
    anchor, memory = torch.zeros(H, 2, D, D), torch.ones(H, 2, D, D)
    for position, write, moved in [(0, 1, 1), (16, 1, 1), (8, 1, 0), (16, 0, 0)]:
        result = ops.titans_anchor(anchor, memory, scalar(position), scalar(write), 16)
        assert result.unique().tolist() == [moved]


def test_embedding_rows_are_the_head_rows() -> None:
    weight = torch.randn(6, 200)
    rows = ops.int8_embedding(torch.arange(6, dtype=torch.int32), weight, 128)
    torch.testing.assert_close(rows, weight, rtol=0, atol=weight.abs().max().item() / 127)
    logits = ops.int8_linear(rows, weight, 128, 64)
    torch.testing.assert_close(logits, rows @ rows.T, rtol=2e-2, atol=1.0)


def test_ternary_embedding_rows_are_the_head_rows() -> None:
    weight = torch.randn(6, 200)
    codes, scales = ternary_codes(weight, 128)
    rows = ops.ternary_embedding(torch.tensor([5, 0], dtype=torch.int32), weight, 128)
    wide = scales.repeat_interleave(128, dim=-1)[:, :200]
    torch.testing.assert_close(rows, (codes * wide)[[5, 0]], rtol=0, atol=0)
    logits = ops.ternary_linear(rows, weight, 128, 64)
    torch.testing.assert_close(logits, rows @ (codes * wide).T, rtol=2e-2, atol=1.0)


def test_loop_marks_run_once_and_write() -> None:
    h = torch.randn(2, 3)
    begun, write = ops.loop_begin(h, 3, 2, 0.01)
    assert torch.equal(begun, h)
    assert write.dtype == torch.int32
    assert int(write) == 1
    assert torch.equal(ops.loop_end(h), h)
