"""level_order: ops that threads share stand together, and nothing else changes."""

from __future__ import annotations

from ir_text import ir_text
from ir_tools import assert_rewrites, entered, module_of, rewrite, trace

from chimerac.passes.level_order import LevelOrder
from chimerac.targets.code.memory_planning import plan_memory

CONSTANTS = "table: f32[10,8], a: f32[8,8], b: f32[8,8], c: f32[8,8]"
BEFORE = ir_text(
    CONSTANTS,
    """
    %x: f32[T,8] = embedding(%tokens, %table)
    %p: f32[T,8] = linear(%x, %a)
    %q: f32[T,8] = silu(%p)
    %r: f32[T,8] = linear(%x, %b)
    %s: f32[T,8] = mul(%q, %r)
    %t: f32[T,8] = linear(%s, %c)
    %u: f32[T,8] = silu(%x)
    %y: f32[T,8] = add(%t, %u)
    return %y
    """,
)
AFTER = ir_text(
    CONSTANTS,
    """
    %x: f32[T,8] = embedding(%tokens, %table)
    %u: f32[T,8] = silu(%x)
    %p: f32[T,8] = linear(%x, %a)
    %r: f32[T,8] = linear(%x, %b)
    %q: f32[T,8] = silu(%p)
    %s: f32[T,8] = mul(%q, %r)
    %t: f32[T,8] = linear(%s, %c)
    %y: f32[T,8] = add(%t, %u)
    return %y
    """,
)
#: The product comes first, the state is read before the op that overwrites its memory, and written after both.
STATEFUL = ir_text(
    "table: f32[10,8], a: f32[8,8], taps: f32[8,4]",
    """
    %x: f32[T,8] = embedding(%tokens, %table)
    %old: f32[3,8] = state.read() {name='tail'}
    %before: f32[3,8] = silu(%old)
    %y: f32[T,8], %new: f32[3,8] = causal_conv(%x, %taps, %old)
    state.write(%new) {name='tail'}
    %now: f32[3,8] = state.read() {name='tail'}
    %more: f32[3,8] = add(%before, %now)
    state.write(%more) {name='tail'}
    %p: f32[T,8] = linear(%x, %a)
    %z: f32[T,8] = add(%p, %y)
    return %z
    """,
    "state tail: f32[3,8] iterations=1",
)


def test_text() -> None:
    assert_rewrites(LevelOrder(), BEFORE, AFTER)
    assert_rewrites(LevelOrder(), AFTER, AFTER)
    assert LevelOrder().run(entered(module_of(BEFORE))).notes == ("4 hand-overs to threads in place of 6",), (
        "two graphs"
    )


def test_same_numbers() -> None:
    module = entered(module_of(BEFORE))
    assert trace(rewrite(LevelOrder(), module)) == trace(module)


def test_states_are_read_and_written_in_their_order() -> None:
    module = entered(module_of(STATEFUL))
    changed = rewrite(LevelOrder(), module)
    assert trace(changed) == trace(module)
    copies = [sum(map(len, plan_memory(m).graphs["decode"].copies.values())) for m in (module, changed)]
    assert copies[0] == copies[1], "another order takes no more copies"
