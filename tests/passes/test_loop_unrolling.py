"""loop_unrolling: straight-line iterations with their own copies of the state."""

from __future__ import annotations

import pytest
from ir_text import ir_text
from ir_tools import assert_rewrites, entered, module_of, rewrite, trace
from nano_model import nano_module

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.module import walk
from chimerac.compiler.ir.verify import verify
from chimerac.passes.loop_unrolling import LoopUnrolling

LOOPED = ir_text(
    "table: f32[10,8]",
    """
    %x: f32[T,8] = embedding(%tokens, %table)
    %v: f32[8] = constant() {name='w'}
    %y: f32[T,8] = loop(%x) {default=2, exit_threshold=0.0, maximum=3} (%write: i32[], %h: f32[T,8]) {
      %o: f32[8] = state.read() {name='once'}
      %s: f32[8] = state.read() {name='s'}
      %a: f32[T,8] = add(%h, %s)
      %b: f32[T,8] = mul(%a, %v)
      %s2: f32[8] = add(%s, %o)
      state.write(%s2) {name='s'}
      state.write(%s) {name='once'}
      yield %b
    }
    %z: f32[T,8] = silu(%y)
    return %z
    """,
    "constant w: f32[8]",
    "state once: f32[8] iterations=1",
    "state s: f32[8] iterations=3 initial=w",
    loops="2..3",
)


def iteration(number: int, carried: str) -> str:
    """The lines of one iteration of LOOPED; ``once`` has one copy, ``s`` one for each iteration."""
    lines = (
        "%o_iN: f32[8] = state.read() {iteration=0, name='once'}",
        "%s_iN: f32[8] = state.read() {iteration=N, name='s'}",
        f"%a_iN: f32[T,8] = add({carried}, %s_iN)",
        "%b_iN: f32[T,8] = mul(%a_iN, %v)",
        "%s2_iN: f32[8] = add(%s_iN, %o_iN)",
        "state.write(%s2_iN) {iteration=N, name='s'}",
        "state.write(%s_iN) {iteration=0, name='once'}",
    )
    return "\n  ".join(lines).replace("N", str(number))


def test_text() -> None:
    after = ir_text(
        "table: f32[10,8]",
        """
        %x: f32[T,8] = embedding(%tokens, %table)
        %v: f32[8] = constant() {name='w'}
        %c_write$1: i32[] = constant() {name='write$1'}
        FIRST
        %c_write$0: i32[] = constant() {name='write$0'}
        SECOND
        %z: f32[T,8] = silu(%b_i1)
        return %z
        """,
        "constant w: f32[8]",
        "constant write$0: i32[]",
        "constant write$1: i32[]",
        "state once: f32[8] iterations=1",
        "state s: f32[8] iterations=2 initial=w",
        loops="2..2",
    )
    after = after.replace("FIRST", iteration(0, "%x")).replace("SECOND", iteration(1, "%b_i0"))
    changed = assert_rewrites(LoopUnrolling(2), LOOPED, after)
    assert int(changed.constants["write$1"].data) == 1
    assert int(changed.constants["write$0"].data) == 0
    verify(changed, "imported")


@pytest.mark.parametrize("loops", [1, 2, 3])
def test_same_numbers(loops: int) -> None:
    module = entered(module_of(LOOPED))
    unrolled = rewrite(LoopUnrolling(loops), module)
    assert unrolled.loops == (loops, loops)
    assert not any(op.name == "loop" for g in unrolled.graphs.values() for op in walk(g.ops))
    rolled = trace(module, loops=loops)
    for ours, theirs in zip(trace(unrolled), rolled, strict=True):
        assert theirs.startswith(ours), "states of iterations that never run are dropped"


@pytest.mark.parametrize("result", ["%h", "%x"])
def test_a_region_may_give_back_what_it_did_not_compute(result: str) -> None:
    module = entered(module_of(LOOPED.replace("yield %b", f"yield {result}")))
    logits = slice(0, None, 3)  # of each call, two states follow them
    assert trace(rewrite(LoopUnrolling(2), module))[logits] == trace(module, loops=2)[logits]


@pytest.mark.parametrize("loops", [0, 4])
def test_counts_outside_the_models_range(loops: int) -> None:
    with pytest.raises(UserError) as caught:
        LoopUnrolling(loops).run(module_of(LOOPED))
    assert caught.value.code == "CHM310"
    assert caught.value.hint == "the model allows 1 to 3"


def test_without_a_loop_nothing_changes() -> None:
    module = module_of(
        "module m block=4 loops=1..1\ngraph main(%tokens: i32[T], %position: i32[]) tokens=4 {\nreturn %tokens\n}"
    )
    rewritten = LoopUnrolling(1).run(module)
    assert rewritten.module is module
    assert rewritten.notes == ("the model has no looped region",)


def test_slow_writers_keep_one_copy_on_the_nano_model() -> None:
    unrolled = LoopUnrolling(3).run(nano_module()).module
    for name, state in unrolled.states.items():
        layer = int(name.split(".")[1])
        looped = 2 <= layer <= 5 and layer != 3  # layer 3 is Titans, which writes in the first iteration
        assert state.iterations == (3 if looped else 1), name
