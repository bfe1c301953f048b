"""dead_code: keeps what results and state writes need."""

from __future__ import annotations

from ir_text import ir_text
from ir_tools import assert_rewrites, entered, module_of, rewrite, trace

from chimerac.passes.dead_code import DeadCode

BEFORE = ir_text(
    "table: f32[10,8], w: f32[8]",
    """
    %dead: f32[8] = neg(%w)
    %x: f32[T,8] = embedding(%tokens, %table)
    %e: f32[T,8] = silu(%x)
    %f: f32[T,8] = neg(%e)
    %y: f32[T,8] = loop(%x) {default=2, exit_threshold=0.0, maximum=3} (%write: i32[], %h: f32[T,8]) {
      %s: f32[8] = state.read() {name='s'}
      %d: f32[T,8] = exp(%h)
      %n: f32[8] = neg(%s)
      state.write(%n) {name='s'}
      %r: f32[T,8] = add(%h, %s)
      yield %r
    }
    %q: i8[T,8], %a: f32[T,2] = quantize(%y) {block=4}
    return %y
    """,
    "constant start: f32[8]",
    "constant unused: f32[8]",
    "state s: f32[8] iterations=3 initial=start",
    "state unused: f32[8] iterations=1 initial=unused",
    loops="2..3",
)
AFTER = ir_text(
    "table: f32[10,8]",
    """
    %x: f32[T,8] = embedding(%tokens, %table)
    %y: f32[T,8] = loop(%x) {default=2, exit_threshold=0.0, maximum=3} (%write: i32[], %h: f32[T,8]) {
      %s: f32[8] = state.read() {name='s'}
      %n: f32[8] = neg(%s)
      state.write(%n) {name='s'}
      %r: f32[T,8] = add(%h, %s)
      yield %r
    }
    return %y
    """,
    "constant start: f32[8]",
    "state s: f32[8] iterations=3 initial=start",
    loops="2..3",
)


def test_text() -> None:
    assert_rewrites(DeadCode(), BEFORE, AFTER)
    assert_rewrites(DeadCode(), AFTER, AFTER)
    assert DeadCode().run(module_of(BEFORE)).notes == ("removed 6 ops and 2 constants",)
    assert DeadCode().run(module_of(AFTER)).notes == ()


def test_same_numbers() -> None:
    module = entered(module_of(BEFORE))
    calls = [(1, 2, 3), (4,), (5,)]
    kept = [found for i, found in enumerate(trace(module, calls)) if i % 3 != 2]  # without the unused state
    assert trace(rewrite(DeadCode(), module), calls) == kept


def test_an_op_with_one_useful_result_stays_whole() -> None:
    text = ir_text(
        "table: f32[10,8]",
        """
        %x: f32[T,8] = embedding(%tokens, %table)
        %q: i8[T,8], %a: f32[T,2] = quantize(%x) {block=4}
        return %a
        """,
    )
    assert_rewrites(DeadCode(), text, text)


def test_a_loop_that_only_writes_a_state_stays() -> None:
    text = ir_text(
        "table: f32[10,8]",
        """
        %x: f32[T,8] = embedding(%tokens, %table)
        %unread: f32[T,8] = loop(%x) {default=2, exit_threshold=0.0, maximum=3} (%write: i32[], %h: f32[T,8]) {
          %s: f32[8] = state.read() {name='s'}
          %s2: f32[8] = exp(%s)
          state.write(%s2) {name='s'}
          yield %h
        }
        return %x
        """,
        "state s: f32[8] iterations=3",
        loops="2..3",
    )
    assert_rewrites(DeadCode(), text, text)
