"""memory_planning: every value is where it should be when it is needed, in as little memory as that allows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from driver_harness import DriverSession
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ir_text import ir_text
from ir_tools import entered, module_of
from memory_check import check_plan
from nano_model import lowered_nano
from random_modules import modules

from chimerac.compiler.build import pipeline
from chimerac.compiler.errors import InternalError
from chimerac.compiler.ir.module import Module
from chimerac.targets.code.memory_planning import plan_memory
from chimerac.targets.code.places import (
    ALIGNMENT,
    Arena,
    GraphPlan,
    Input,
    LastRow,
    Logits,
    StateSlot,
    Weight,
    align,
)

CALLS = ([1, 2, 3], [4], [5], [1, 0])

SMALL = ir_text(
    "table: f32[10,8], taps: f32[8,4], norm: f32[8]",
    """
    %t: f32[3,8] = state.read() {name='t'}
    %x: f32[T,8] = embedding(%tokens, %table)
    %y: f32[T,8], %t2: f32[3,8] = causal_conv(%x, %taps, %t)
    %h: f32[T,2,4] = reshape(%y) {shape='T,2,4'}
    %l: f32[T,2,4] = l2_norm(%h) {eps=1e-06}
    %r: f32[T,8] = reshape(%l) {shape='T,8'}
    %z: f32[T,8] = add(%r, %x)
    %last: f32[1,8] = last_token(%z)
    %n: f32[1,8] = rms_norm(%last, %norm) {eps=1e-06}
    %o: f32[1,10] = linear(%n, %table)
    state.write(%t2) {name='t'}
    return %o
    """,
    "state t: f32[3,8] iterations=1",
)


def plan_main(text: str) -> GraphPlan:
    module = module_of(text)
    plan = plan_memory(module)
    check_plan(module, plan)
    return plan.graphs["main"]


def test_places_of_a_small_module() -> None:
    plan = plan_main(SMALL)
    rows = 4 * 8 * 4
    assert plan.places == {
        "tokens": Input("tokens"),
        "position": Input("position"),
        "table": Weight("table"),
        "taps": Weight("taps"),
        "norm": Weight("norm"),
        "t": StateSlot("t", 0),
        "t2": StateSlot("t", 0),
        "x": Arena(0, rows),
        "y": Arena(rows, rows),
        "h": Arena(rows, rows),
        "l": Arena(2 * rows, rows),
        "r": Arena(2 * rows, rows),
        "z": Arena(rows, rows),
        "last": LastRow(Arena(rows, rows), 32),
        "n": Arena(0, 32),
        "o": Logits(),
    }
    assert plan.copies == {}
    assert plan.arena_bytes == 3 * rows
    assert plan.unshared_bytes == 4 * rows + ALIGNMENT


def test_states_lie_one_behind_the_other() -> None:
    module = lowered_nano()
    plan = plan_memory(module)
    end = 0
    for name, state in module.states.items():
        assert plan.state_offsets[name] == end
        end = align(end + state.type.bytes() * state.iterations)
    assert plan.state_bytes == end
    assert plan.arena_bytes == max(g.arena_bytes for g in plan.graphs.values())
    assert [align(n) for n in (0, 1, 64, 65)] == [0, 64, 64, 128]


@pytest.mark.parametrize("loops", [None, 1, 3])
@pytest.mark.parametrize("without", [(), tuple(sorted(pipeline.OPTIONAL))])
def test_the_nano_model(loops: int | None, without: tuple[str, ...]) -> None:
    module = lowered_nano(loops, without)
    plan = plan_memory(module)
    check_plan(module, plan)
    for graph in plan.graphs.values():
        assert graph.copies == {}, "every state of the model is updated in place"
        assert graph.unshared_bytes > 3 * graph.arena_bytes


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(modules(), st.integers(1, 3), st.booleans(), st.booleans())
def test_random_modules(module: Module, loops: int, unroll: bool, optimise: bool) -> None:
    unrolled = min(loops, module.loops[1]) if unroll else None
    without = () if optimise else sorted(pipeline.OPTIONAL)
    lowered, _ = pipeline.run(module, pipeline.passes(loops=unrolled, without=without))
    check_plan(lowered, plan_memory(lowered))


def test_the_check_finds_overlaps() -> None:
    module = module_of(SMALL)
    plan = plan_memory(module)
    places = {n: replace(p, offset=0) if isinstance(p, Arena) else p for n, p in plan.graphs["main"].places.items()}
    wrong = replace(plan, graphs={"main": replace(plan.graphs["main"], places=places)})
    with pytest.raises(AssertionError, match="does not find %x"):
        check_plan(module, wrong)


LOOP = ir_text(
    "table: f32[10,8], taps: f32[8,4]",
    """
    %x: f32[T,8] = embedding(%tokens, %table)
    %e: f32[T,8] = silu(%x)
    %f: f32[T,8] = neg(%e)
    %y: f32[T,8] = loop(%f) {default=2, exit_threshold=0.0, maximum=3} (%write: i32[], %h: f32[T,8]) {
      %t: f32[3,8] = state.read() {name='t'}
      %a: f32[T,8] = mul(%h, %e)
      %b: f32[T,8], %t2: f32[3,8] = causal_conv(%a, %taps, %t)
      %c: f32[T,8] = sigmoid(%b)
      %d: f32[T,8] = tanh(%c)
      state.write(%t2) {name='t'}
      yield %d
    }
    %z: f32[T,8] = add(%y, %y)
    return %z
    """,
    "state t: f32[3,8] iterations=3",
    "state u: f32[3,8] iterations=1",
    loops="2..3",
)


def test_what_a_loop_reads_survives_all_its_iterations(tmp_path: Path) -> None:
    plan = plan_main(LOOP)
    read, carried = plan.places["e"], plan.places["h"]
    assert isinstance(read, Arena)
    inside = [plan.places[n] for n in "abcd"]
    assert read not in inside
    assert carried not in inside
    assert len(set(inside)) == 2, "values of the region share memory with each other"
    assert plan.places["y"] == carried
    assert plan.places["t"] == plan.places["t2"] == StateSlot("t", None)
    DriverSession(entered(module_of(LOOP)), tmp_path).check(CALLS)


def test_the_result_of_a_region_must_have_memory_of_its_own() -> None:
    state = "module m block=4 loops=1..2\nstate s: f32[8] iterations=1\n"
    text = (
        state
        + """
    graph main(%tokens: i32[T], %position: i32[]) tokens=4 {
      %x: f32[8] = state.read() {name='s'}
      %y: f32[8] = loop(%x) {default=1, exit_threshold=0.0, maximum=2} (%write: i32[], %h: f32[8]) {
        yield %x
      }
      return %y
    }
    """
    )
    with pytest.raises(InternalError, match="must be computed in it"):
        plan_memory(module_of(text))


def conv(*lines: str, state: str = "state t: f32[3,8] iterations=1\n    state u: f32[3,8] iterations=1") -> str:
    """A module with some lines between the embedding %x and the result %y."""
    body = "\n".join(f"      {line}" for line in lines)
    return f"""
    module m block=4 loops=1..1
    constant start: f32[3,8]
    constant table: f32[10,8]
    constant taps: f32[8,4]
    {state}
    graph main(%tokens: i32[T], %position: i32[]) tokens=4 {{
      %table: f32[10,8] = constant() {{name='table'}}
      %taps: f32[8,4] = constant() {{name='taps'}}
      %start: f32[3,8] = constant() {{name='start'}}
      %x: f32[T,8] = embedding(%tokens, %table)
{body}
      return %y
    }}
    """


READ, WRITE = "%t: f32[3,8] = state.read() {name='t'}", "state.write(%t2) {name='t'}"
CONV = "%y: f32[T,8], %t2: f32[3,8] = causal_conv(%x, %taps, %t)"

COPIED = {
    "the old state is used later": (READ, CONV, "%n: f32[3,8] = neg(%t)", WRITE, "state.write(%n) {name='u'}"),
    "the old state is used later in another shape": (
        READ,
        "%r: f32[8,3] = reshape(%t) {shape='8,3'}",
        CONV,
        "%n: f32[8,3] = neg(%r)",
        "%s: f32[3,8] = reshape(%n) {shape='3,8'}",
        WRITE,
        "state.write(%s) {name='u'}",
    ),
    "the state is read again before it is written": (
        READ,
        CONV,
        "%again: f32[3,8] = state.read() {name='t'}",
        "%n: f32[3,8] = neg(%again)",
        "state.write(%n) {name='u'}",
        WRITE,
    ),
    "the result is not the next state": (READ, CONV, "%n: f32[3,8] = neg(%t2)", "state.write(%n) {name='u'}"),
    "the result is the next state of another": (READ, CONV, "state.write(%t2) {name='u'}"),
    "the result is used after the state has changed once more": (
        READ,
        CONV,
        WRITE,
        "state.write(%start) {name='t'}",
        "%n: f32[3,8] = neg(%t2)",
        "state.write(%n) {name='u'}",
    ),
    "two results come from one state": (
        READ,
        CONV,
        "%v: f32[T,8], %t3: f32[3,8] = causal_conv(%y, %taps, %t)",
        WRITE,
        "state.write(%t3) {name='u'}",
    ),
    "a constant is overwritten": (
        "%y: f32[T,8], %t2: f32[3,8] = causal_conv(%x, %taps, %start)",
        WRITE,
        "state.write(%start) {name='u'}",
    ),
    "a constant is overwritten that nothing else uses": (
        "%y: f32[T,8], %t2: f32[3,8] = causal_conv(%x, %taps, %start)",
        WRITE,
    ),
    "a computed value is used later": (
        READ,
        "%n: f32[3,8] = neg(%t)",
        "%y: f32[T,8], %t2: f32[3,8] = causal_conv(%x, %taps, %n)",
        WRITE,
        "%m: f32[3,8] = add(%n, %start)",
        "state.write(%m) {name='u'}",
    ),
    "states change places": (
        READ,
        "%u: f32[3,8] = state.read() {name='u'}",
        "%y: f32[T,8] = silu(%x)",
        "state.write(%u) {name='t'}",
        "state.write(%t) {name='u'}",
    ),
}
IN_PLACE = {
    "the state is updated": (READ, CONV, WRITE),
    "the state is used before": (READ, "%n: f32[3,8] = neg(%t)", CONV, WRITE, "state.write(%n) {name='u'}"),
    "the state is updated twice": (
        READ,
        "%v: f32[T,8], %t1: f32[3,8] = causal_conv(%x, %taps, %t)",
        "state.write(%t1) {name='t'}",
        "%u: f32[3,8] = state.read() {name='t'}",
        "%y: f32[T,8], %t2: f32[3,8] = causal_conv(%v, %taps, %u)",
        WRITE,
    ),
    "a computed value is not used again": (
        READ,
        "%n: f32[3,8] = neg(%t)",
        "%y: f32[T,8], %t2: f32[3,8] = causal_conv(%x, %taps, %n)",
        WRITE,
    ),
}


@pytest.mark.parametrize("why", COPIED)
def test_copies_are_made_where_the_old_value_is_needed(why: str, tmp_path: Path) -> None:
    plan = plan_main(conv(*COPIED[why]))
    copies = [copy for group in plan.copies.values() for copy in group]
    assert len(copies) == (2 if why == "two results come from one state" else 1)
    for copy in copies:
        assert isinstance(copy.target, Arena)
        assert copy.target != copy.source
    DriverSession(entered(module_of(conv(*COPIED[why]))), tmp_path).check(CALLS)


@pytest.mark.parametrize("why", IN_PLACE)
def test_no_copies_are_made_without_need(why: str, tmp_path: Path) -> None:
    assert plan_main(conv(*IN_PLACE[why])).copies == {}
    DriverSession(entered(module_of(conv(*IN_PLACE[why]))), tmp_path).check(CALLS)


def test_an_op_does_not_overwrite_what_it_also_reads(tmp_path: Path) -> None:
    text = ir_text(
        "table: f32[10,8], yes: i32[]",
        """
        %x: f32[T,8] = embedding(%tokens, %table)
        READ
        %c: f32[2,2,4,4] = titans_anchor(%a, %b, %position, %yes) {chunk=4}
        state.write(%c) {name='a'}
        return %x
        """,
        "constant start: f32[2,2,4,4]",
        "state a: f32[2,2,4,4] iterations=1 initial=start",
    )
    read = "%a: f32[2,2,4,4] = state.read() {name='a'}"
    for more in ("%b: f32[2,2,4,4] = state.read() {name='a'}", "%b: f32[2,2,4,4] = reshape(%a) {shape='2,2,4,4'}"):
        changed = text.replace("READ", f"{read}\n      {more}")
        assert len(plan_main(changed).copies) == 1
        DriverSession(entered(module_of(changed)), tmp_path).check(CALLS)
    both = text.replace("READ", read).replace("%b,", "%a,")
    assert len(plan_main(both).copies) == 1


def test_the_tail_behind_a_write_sees_the_old_state(tmp_path: Path) -> None:
    """What entry_points moves behind the writes must not read the new state."""
    text = conv(
        "%t: f32[8] = state.read() {name='t'}",
        "%n: f32[8] = neg(%t)",
        "%v: f32[T,8] = silu(%x)",
        "%y: f32[T,8] = add(%v, %t)",
        "state.write(%n) {name='t'}",
        state="state t: f32[8] iterations=1",
    ).replace("neg(%t)", "softplus(%t)")
    module = entered(module_of(text))
    plan = plan_memory(module)
    check_plan(module, plan)
    assert [len(g.copies) for g in plan.graphs.values()] == [1, 1]
    DriverSession(module, tmp_path).check(CALLS)
