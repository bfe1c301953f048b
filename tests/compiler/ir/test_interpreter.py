"""The interpreter: prefill is decoding, rolled loops are unrolled ones, and streams keep their state as promised."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from ir_text import ir_text
from ir_tools import assert_same_bits, draw, entered, module_of
from nano_model import BLOCK, lowered_nano, nano_module

from chimerac.compiler.ir.interpreter import LoopControl, Session, converged
from chimerac.compiler.ir.module import Module, Op, Role

PROMPT = [int(t) for t in np.random.default_rng(11).integers(0, 320, 21)]

#: Doubles what it carries in each iteration and counts calls: state s += 1, once: position of the last call.
COUNTER = ir_text(
    "table: f32[10,3], one: f32[1]",
    """
    %x: f32[T,3] = embedding(%tokens, %table)
    %y: f32[T,3] = loop(%x) {default=2, exit_threshold=0.0, maximum=3} (%write: i32[], %h: f32[T,3]) {
      %s: f32[1] = state.read() {name='s'}
      %s2: f32[1] = add(%s, %one)
      state.write(%s2) {name='s'}
      %h2: f32[T,3] = add(%h, %s2)
      yield %h2
    }
    %o: f32[1] = state.read() {name='outside'}
    %o2: f32[1] = add(%o, %one)
    state.write(%o2) {name='outside'}
    return %y
    """,
    "state s: f32[1] iterations=3",
    "state outside: f32[1] iterations=1",
    loops="2..3",
)


@pytest.fixture(scope="module")
def counter() -> Module:
    return entered(module_of(COUNTER, {"one": np.ones(1, np.float32), "table": np.zeros((10, 3), np.float32)}))


@cache
def token_by_token(loops: int) -> list[tuple[np.ndarray, bytes]]:
    """Logits and state after each token of PROMPT, decoded one by one."""
    session = Session(lowered_nano(), loops=loops)
    return [(session.call("decode", np.array([t], np.int32)), session.state_bytes()) for t in PROMPT]


@pytest.mark.parametrize("loops", [1, 2, 3])
@pytest.mark.parametrize("lengths", [(21,), (1, 15, 5), (5, 13, 3)])
def test_prefill_is_decoding_bit_for_bit(loops: int, lengths: tuple[int, ...]) -> None:
    session = Session(lowered_nano(), loops=loops)
    for length in lengths:
        logits = session.forward(PROMPT[session.position : session.position + length])
        expected, state = token_by_token(loops)[session.position - 1]
        assert_same_bits(logits, expected)
        assert session.state_bytes() == state
    assert session.position == len(PROMPT)
    assert np.isfinite(logits).all()


def test_the_imported_module_is_the_lowered_one() -> None:
    session = Session(entered(nano_module()))
    logits, state = token_by_token(2)[4]
    assert_same_bits(session.forward(PROMPT[:5]), logits)
    assert session.state_bytes() == state


@pytest.mark.parametrize("loops", [1, 2, 3])
def test_rolled_is_unrolled(loops: int) -> None:
    rolled, unrolled = Session(lowered_nano(), loops=loops), Session(lowered_nano(loops=loops))
    for part in (PROMPT[:5], PROMPT[5:6]):
        assert_same_bits(rolled.forward(part), unrolled.forward(part))
        assert rolled.iterations == unrolled.iterations == loops
    for name, copies in unrolled.states.items():
        assert_same_bits(copies, rolled.states[name][: len(copies)])


def test_loop_counts_matter() -> None:
    logits = [token_by_token(loops)[4][0].tobytes() for loops in (1, 2, 3)]
    assert len(set(logits)) == 3
    assert Session(lowered_nano()).forward(PROMPT[:5]).tobytes() == logits[1], "the default is 2"


def test_calls_end_at_multiples_of_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(lowered_nano())
    calls: list[tuple[str, int, int]] = []
    original = session.call

    def noted(role: Role, tokens: np.ndarray) -> np.ndarray:
        calls.append((role, session.position, len(tokens)))
        return original(role, tokens)

    monkeypatch.setattr(session, "call", noted)
    for count in (5, 12, 1, 16):  # tokens
        session.forward(PROMPT[:count])
    assert calls == [
        ("prefill", 0, 5),
        ("prefill", 5, 11),
        ("decode", 16, 1),
        ("decode", 17, 1),
        ("prefill", 18, 14),
        ("prefill", 32, 2),
    ]
    assert session.position == 34


def test_every_iteration_has_its_own_state(counter: Module) -> None:
    session = Session(counter)
    assert session.forward([0, 0, 0])[0] == 2  # one from each iteration, its state being 0 before
    assert session.states["s"].tolist() == [[1], [1], [0]]
    assert session.forward([0])[0] == 4
    assert session.states["s"].tolist() == [[2], [2], [0]]
    assert session.states["outside"].tolist() == [[2]]
    assert session.deepest == session.iterations == 2


def test_more_loops_in_the_middle_start_from_the_deepest_state(counter: Module) -> None:
    session = Session(counter, loops=1)
    session.forward([0])
    session.forward([0])
    assert session.states["s"].tolist() == [[2], [0], [0]]
    session.control = LoopControl(3)
    assert session.forward([0])[0] == 9  # 3 in each iteration
    assert session.states["s"].tolist() == [[3], [3], [3]]
    session.control = LoopControl(2)
    session.forward([0])
    session.control = LoopControl(3)
    assert session.forward([0])[0] == 14  # the third iteration missed a call
    assert session.states["s"].tolist() == [[5], [5], [4]]


def test_the_deepest_iteration_is_the_one_that_spreads(counter: Module) -> None:
    session = Session(counter, loops=2)
    session.forward([0])
    session.states["s"][1] = 5
    session.control = LoopControl(3)
    session.forward([0])
    assert session.states["s"].tolist() == [[2], [6], [6]]


def test_growing_loops_on_the_nano_model() -> None:
    session = Session(lowered_nano(), loops=1)
    session.forward(PROMPT[:5])
    before = {name: copies.copy() for name, copies in session.states.items()}
    session.control = LoopControl(3)
    logits = session.forward(PROMPT[5:6])
    assert session.deepest == 3
    spread = Session(lowered_nano(), loops=3)
    spread.position, spread.deepest = 5, 3
    spread.states = {n: np.repeat(c[:1], len(c), axis=0) for n, c in before.items()}
    assert_same_bits(logits, spread.forward(PROMPT[5:6]))
    assert session.state_bytes() == spread.state_bytes()
    assert logits.tobytes() != Session(lowered_nano(), loops=3).forward(PROMPT[:6]).tobytes()


def _at_least_three(op: Op) -> Op:
    return replace(op, attributes={**op.attributes, "minimum": 3}) if op.name == "loop" else op


def test_exit_threshold_ends_loops_early(counter: Module) -> None:
    def iterations(threshold: float) -> int:
        session = Session(counter, loops=3, exit_threshold=threshold)
        session.forward([0])
        return session.iterations

    # from 1 to 2: moved by half the size; from 2 to 3 by a third
    assert iterations(0.0) == 3
    assert iterations(0.49) == 3
    assert iterations(0.51) == 2
    assert iterations(100.0) == 2, "the first iteration has nothing to compare with"
    bounded = counter.map_graphs(lambda graph: replace(graph, ops=tuple(map(_at_least_three, graph.ops))))
    session = Session(bounded, loops=3, exit_threshold=100.0)
    session.forward([0])
    assert session.iterations == 3, "the loop's minimum holds"
    with pytest.raises(ValueError, match="within 3 and 3"):
        Session(bounded, loops=2)
    session = Session(counter, loops=3, exit_threshold=100.0)
    session.forward([0, 0, 0])
    assert session.states["outside"].tolist() == [[3]], "each token runs by itself"
    assert session.states["s"].tolist() == [[3], [3], [2]], "the third follows the second, one call behind"


def test_exit_threshold_on_the_nano_model() -> None:
    fixed = Session(lowered_nano(), loops=2)
    for threshold, loops in ((1e9, 2), (1e-9, 3)):
        early = Session(lowered_nano(), loops=3, exit_threshold=threshold)
        full = fixed if loops == 2 else Session(lowered_nano(), loops=3)
        assert_same_bits(early.forward(PROMPT[:3]), full.forward(PROMPT[:3]))
        assert early.iterations == loops


def test_converged_needs_every_row_and_no_nan() -> None:
    before = draw(1, 3, 10)
    assert converged(before * np.float32(1.01), before, 0.02)
    assert not converged(before * np.float32(1.01), before, 0.005)
    now = before.copy()
    now[1] *= np.float32(2)
    assert not converged(now, before, 0.4)
    now[1] = np.nan
    assert not converged(now, before, 1e9)
    zero = np.zeros((1, 4), np.float32)
    assert converged(zero, zero, 0.1)
    assert converged(now[[0, 2]].reshape(2, 2, 5), before[[0, 2]].reshape(2, 2, 5), 0.1)


def test_states_start_from_their_constants() -> None:
    start = draw(5, 1)
    module = module_of(
        COUNTER.replace("s: f32[1] iterations=3", "s: f32[1] iterations=3 initial=start").replace(
            "constant one: f32[1]", "constant one: f32[1]\n    constant start: f32[1]"
        ),
        {"start": start},
    )
    session = Session(entered(module))
    assert_same_bits(session.states["s"], np.repeat(start[None], 3, axis=0))
    session.forward([0, 1])
    assert_same_bits(module.constants["start"].data, draw(5, 1))


def test_a_second_session_starts_afresh() -> None:
    for _ in range(2):
        assert_same_bits(Session(lowered_nano()).forward(PROMPT[:3]), token_by_token(2)[2][0])


def test_observers_see_every_op(counter: Module) -> None:
    seen: list[str] = []
    session = Session(counter, loops=2, observe=lambda op, operands, results: seen.append(op.name))
    session.forward([0, 0])
    assert seen.count("add") == 2 * 2 + 1
    assert seen.count("loop") == 1
    assert seen.index("embedding") < seen.index("add") < seen.index("loop")


@pytest.mark.parametrize("loops", [0, 4])
def test_loops_outside_the_models_range(loops: int) -> None:
    with pytest.raises(ValueError, match="loops must be within 1 and 3"):
        Session(lowered_nano(), loops=loops)


def test_calls_are_checked() -> None:
    session = Session(lowered_nano())
    with pytest.raises(ValueError, match="at least one token"):
        session.forward([])
    with pytest.raises(ValueError, match="decode takes 1 tokens at most, not 2"):
        session.call("decode", np.zeros(2, np.int32))
    with pytest.raises(ValueError, match=f"prefill takes {BLOCK} tokens at most"):
        session.call("prefill", np.zeros(BLOCK + 1, np.int32))


def test_the_state_is_all_of_it() -> None:
    module = lowered_nano()
    session = Session(module)
    assert len(session.state_bytes()) == sum(s.type.bytes() * s.iterations for s in module.states.values())
    session.forward([1])
    changed = [n for n, copies in session.states.items() if copies.any()]
    assert len(changed) == len(module.states)
    assert replace(session.control, loops=3).loops == 3
