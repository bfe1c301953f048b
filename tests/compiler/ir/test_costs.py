"""What a decoded token costs, by part of the model."""

from __future__ import annotations

from ir_tools import module_of
from nano_model import lowered_nano

from chimerac.compiler.ir.costs import decode_costs, multiply_adds
from chimerac.compiler.ir.module import Op, Value
from chimerac.compiler.ir.types import TensorType, f32, i32

MODULE = """
    module m block=4 loops=2..3
    constant head: f32[10,8]
    constant t: i8[8,8]
    constant ts: f16[8,1]
    graph decode(%tokens: i32[T], %position: i32[]) tokens=1 role=decode {
      %head: f32[10,8] = constant() {name='head'}
      %x: f32[T,8] = embedding(%tokens, %head)
      %y: f32[T,8] = loop(%x) {default=2, exit_threshold=0.0, maximum=3} (%write: i32[], %h: f32[T,8]) {
        %t: i8[8,8] = constant() {name='t'}
        %ts: f16[8,1] = constant() {name='ts'}
        %q: i8[T,8], %s: f32[T,2] = quantize(%h) {block=4}
        %a: f32[T,8] = ternary_matmul(%q, %s, %t, %ts) {block=4, columns=8, group=8, rows=8}
        %b: f32[T,8] = ternary_matmul(%q, %s, %t, %ts) {block=4, columns=8, group=8, rows=8}
        %c: f32[T,8] = add(%a, %b)
        yield %c
      }
      %z: f32[T,10] = linear(%y, %head)
      return %z
    }
"""


def test_loops_multiply_work_and_weights_count_once() -> None:
    (cost,) = decode_costs(module_of(MODULE))
    assert cost.part == "head"
    assert cost.multiply_adds == 2 * (64 + 64) + 80
    assert cost.weight_bytes == 64 + 16 + 320


def test_parts_of_the_nano_model() -> None:
    costs = {c.part: c for c in decode_costs(lowered_nano())}
    layers = [f"layers.{i}.{part}" for i in range(8) for part in ("mixer", "ffn")]
    assert [part for part in costs if part.startswith("layers")] == layers
    for part in layers:
        twice = 2 <= int(part.split(".")[1]) <= 5
        assert costs[part].visits == (2 if twice else 1), part
        assert costs[part].multiply_adds > 0
    dense, looped = costs["layers.0.ffn"], costs["layers.2.ffn"]
    assert dense.multiply_adds == 3 * 128 * 320
    assert looped.multiply_adds == 2 * dense.multiply_adds
    assert looped.weight_bytes == dense.weight_bytes == 3 * 128 * 320 + 2 * (320 + 320 + 128 * 3) + 4 * (320 + 128)
    experts = costs["layers.7.ffn"]
    assert experts.multiply_adds == 4 * 128 + (2 + 1) * 3 * 128 * 96, "two of four experts, and the shared one"
    expert = 3 * 128 * 96 + 2 * (96 + 96 + 128) + 4 * 96  # trits, scales of their groups, the norm inside
    router = 4 * (4 * 128 + 4)
    assert experts.weight_bytes == router + (2 + 1) * expert + 4 * 128, "of the weights, too, two of four experts'"
    head = [c for p, c in costs.items() if not p.startswith("layers")]
    assert sum(c.multiply_adds for c in head) == 320 * 128


def test_unrolled_iterations_read_the_same_weights() -> None:
    rolled = {c.part: c for c in decode_costs(lowered_nano())}
    for cost in decode_costs(lowered_nano(loops=2)):
        assert cost.multiply_adds == rolled[cost.part].multiply_adds
        assert cost.weight_bytes == rolled[cost.part].weight_bytes


def op(name: str, *types: TensorType, **attributes: int | float) -> Op:
    return Op(name, tuple(Value(f"a{i}", t) for i, t in enumerate(types)), (), attributes)


def test_multiply_adds_of_single_ops() -> None:
    q, gate, memory, ring = f32("T", 2, 4), f32("T", 2), f32(2, 2, 4, 4), f32(21, 2, 4)
    assert multiply_adds(op("linear", f32("T", 8), f32(10, 8))) == 80
    assert multiply_adds(op("route", f32("T", 8), f32(3, 8), f32(3), top_k=2)) == 24
    assert multiply_adds(op("gated_delta", q, q, q, gate, gate, f32(2, 4, 4), scale=1.0)) == 3 * 32
    assert multiply_adds(op("mlstm", q, q, q, gate, gate, f32(2, 4, 4), f32(2, 4), f32(2), scale=1.0)) == 2 * 32
    assert multiply_adds(op("titans_apply", q, memory)) == 64
    assert multiply_adds(op("titans_update", q, q, gate, gate, gate, memory, memory, memory, i32())) == 4 * 64
    assert multiply_adds(op("causal_conv", f32("T", 8), f32(8, 4), f32(3, 8))) == 32
    attention = op("window_attention", q, q, q, f32(3, 2, 4), f32(3, 2, 4), q, ring, ring, i32(), i32(), window=5)
    assert multiply_adds(attention) == 2 * (5 + 3 + 1) * 8
    caches = (f32("T", 4, 8), f32("T", 2, 8), f32("T", 2, 6), f32(2, 30, 8), f32(2, 30, 6), i32())
    assert multiply_adds(op("cached_attention", *caches, window=0)) == 30 * 4 * (8 + 6)
    assert multiply_adds(op("cached_attention", *caches, window=9)) == 9 * 4 * (8 + 6)
    assert multiply_adds(op("silu", f32("T", 8))) == 0
