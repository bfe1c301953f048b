"""common_subexpressions: equal ops once, equal constants once, and nothing that depends on when it is done."""

from __future__ import annotations

import numpy as np
from ir_text import ir_text
from ir_tools import assert_rewrites, entered, module_of, rewrite, trace

from chimerac.passes.common_subexpressions import CommonSubexpressions
from chimerac.passes.dead_code import DeadCode

BEFORE = ir_text(
    "table: f32[10,8], v: f32[8], w: f32[8]",
    """
    %x: f32[T,8] = embedding(%tokens, %table)
    %x2: f32[T,8] = embedding(%tokens, %table)
    %n: f32[T,8] = rms_norm(%x, %v) {eps=1e-06}
    %n2: f32[T,8] = rms_norm(%x2, %w) {eps=1e-06}
    %n3: f32[T,8] = rms_norm(%x, %v) {eps=1e-05}
    %q: i8[T,8], %a: f32[T,2] = quantize(%n) {block=4}
    %q2: i8[T,8], %a2: f32[T,2] = quantize(%n2) {block=4}
    %s: f32[8] = state.read() {name='s'}
    state.write(%v) {name='s'}
    %s2: f32[8] = state.read() {name='s'}
    %d: f32[T,8] = sub(%n3, %n2)
    %e: f32[T,8] = sub(%n2, %n3)
    %y: f32[T,8] = loop(%d) {default=2, exit_threshold=0.0, maximum=3} (%write: i32[], %h: f32[T,8]) {
      %w2: f32[8] = constant() {name='w'}
      %i: f32[T,8] = sub(%n3, %n)
      %k: f32[T,8] = add(%h, %w2)
      %l: f32[T,8] = add(%h, %w)
      %m: f32[T,8] = mul(%k, %l)
      %o: f32[T,8] = add(%m, %i)
      yield %o
    }
    %p: f32[T,8] = add(%e, %s2)
    %r: f32[T,8] = mul(%p, %s)
    %t: f32[T,8] = add(%r, %y)
    return %t
    """,
    "state s: f32[8] iterations=1 initial=w",
    loops="2..3",
)
AFTER = ir_text(
    "table: f32[10,8], v: f32[8]",
    """
    %x: f32[T,8] = embedding(%tokens, %table)
    %n: f32[T,8] = rms_norm(%x, %v) {eps=1e-06}
    %n3: f32[T,8] = rms_norm(%x, %v) {eps=1e-05}
    %q: i8[T,8], %a: f32[T,2] = quantize(%n) {block=4}
    %s: f32[8] = state.read() {name='s'}
    state.write(%v) {name='s'}
    %s2: f32[8] = state.read() {name='s'}
    %d: f32[T,8] = sub(%n3, %n)
    %e: f32[T,8] = sub(%n, %n3)
    %y: f32[T,8] = loop(%d) {default=2, exit_threshold=0.0, maximum=3} (%write: i32[], %h: f32[T,8]) {
      %k: f32[T,8] = add(%h, %v)
      %m: f32[T,8] = mul(%k, %k)
      %o: f32[T,8] = add(%m, %d)
      yield %o
    }
    %p: f32[T,8] = add(%e, %s2)
    %r: f32[T,8] = mul(%p, %s)
    %t: f32[T,8] = add(%r, %y)
    return %t
    """,
    "constant w: f32[8]",
    "state s: f32[8] iterations=1 initial=v",
    loops="2..3",
)
SAME = {"v": np.arange(8, dtype=np.float32), "w": np.arange(8, dtype=np.float32)}


def test_text() -> None:
    module = module_of(BEFORE, SAME)
    changed = rewrite(CommonSubexpressions(), module)
    assert_rewrites(CommonSubexpressions(), AFTER, AFTER)
    expected = module_of(AFTER)
    assert changed.graphs == expected.graphs
    assert changed.states == expected.states
    assert CommonSubexpressions().run(module).notes == ("merged 5 ops",)


def test_same_numbers() -> None:
    module = entered(module_of(BEFORE, SAME))
    assert trace(rewrite(CommonSubexpressions(), module)) == trace(module)


def test_equal_bytes_of_different_types_stay_apart() -> None:
    text = ir_text(
        "a: f32[2], b: f32[1,2], c: i32[2], d: f32[2]",
        """
        %y: f32[1,2] = add(%a, %b)
        %z: f32[1,2] = add(%d, %y)
        return %z
        """,
    )
    zeros = {"a": np.zeros(2, np.float32), "b": np.zeros((1, 2), np.float32), "c": np.zeros(2, np.int32)}
    changed = DeadCode().run(rewrite(CommonSubexpressions(), module_of(text, {**zeros, "d": -zeros["a"]}))).module
    assert list(changed.constants) == ["a", "b", "d"], "-0 is another constant than 0"


def test_values_of_a_region_are_not_used_outside() -> None:
    text = ir_text(
        "table: f32[10,8]",
        """
        %x: f32[T,8] = embedding(%tokens, %table)
        %y: f32[T,8] = loop(%x) {default=2, exit_threshold=0.0, maximum=3} (%write: i32[], %h: f32[T,8]) {
          %a: f32[T,8] = silu(%x)
          %b: f32[T,8] = add(%h, %a)
          yield %b
        }
        %c: f32[T,8] = silu(%x)
        %d: f32[T,8] = add(%y, %c)
        return %d
        """,
        loops="2..3",
    )
    assert_rewrites(CommonSubexpressions(), text, text)
