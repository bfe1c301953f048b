"""scan: what it takes, its text form, and that the interpreter runs the region row after row."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scan_modules import NESTED, TEXT, scan_module

from chimerac.compiler.errors import InternalError
from chimerac.compiler.ir.costs import decode_costs
from chimerac.compiler.ir.interpreter import Session
from chimerac.compiler.ir.module import Module, Op
from chimerac.compiler.ir.text import parse, print_module
from chimerac.compiler.ir.verify import verify


@pytest.mark.parametrize("text", [TEXT, NESTED], ids=["all", "nested"])
@pytest.mark.parametrize("reverse", [False, True])
def test_scans_round_trip_and_are_valid(text: str, reverse: bool) -> None:
    module = scan_module(text, reverse=reverse)
    verify(module, "lowered")
    assert print_module(parse(print_module(module))) == print_module(module)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("{carried=4}", "{carried=6}", "a sequence after its carried values"),
        ("{carried=4}", "{carried=4, reverse=2}", "a sequence after its carried values"),
        ("yield %q2, %h, %i2, %i, %c, %h, %m, %id", "yield %q2", "region results do not match"),
        ("yield %q2, %h, %i2", "yield %q2, %q, %i2", "region results do not match"),
        ("%c, %h, %m, %id\n", "%q, %h, %m, %id\n", "region results are no rows"),
        ("%c, %h, %m, %id\n", "%x, %h, %m, %id\n", "have a fixed shape"),
        ("(%s, %z, %one, %position, %x, %tokens)", "(%x, %z, %one, %position, %x, %tokens)", "have a fixed shape"),
        ("(%s, %z, %one, %position, %x, %tokens)", "(%s, %z, %one, %position, %x, %t)", "first axis of one length"),
        ("(%s, %z, %one, %position, %x, %tokens)", "(%s, %z, %one, %position, %x, %position)", "first axis of one"),
        ("%id: i32[1]) {", "%id: i32[2]) {", "region arguments do not match"),
        ("%g: f32[1,4], %i", "%g: f32[4], %i", "region arguments do not match"),
        (
            "    %m: f32[1,4] = mul",
            "    %s3: f32[1,4] = state.read() {name='s'}\n    %m: f32[1,4] = mul",
            "neither states",
        ),
        ("%y3: f32[T,4], %ids", "%y3: f32[4,4], %ids", "scan gives"),
    ],
)
def test_broken_rules(old: str, new: str, message: str) -> None:
    assert old in TEXT
    with pytest.raises(InternalError, match=message):
        verify(parse(TEXT.replace(old, new)))


def by_hand(module: Module, tokens: list[int], state: np.ndarray, position: int, reverse: bool) -> list[np.ndarray]:
    """Logits and next state of ``TEXT``, written out."""
    table, w, z = (module.constants[name].data.astype(np.float64) for name in ("table", "w", "z"))
    h, g, i, p = state.astype(np.float64), z, 1, position
    rows: dict[int, np.ndarray] = {}
    for place in reversed(range(len(tokens))) if reverse else range(len(tokens)):
        c = np.tanh(h @ w.T + table[tokens[place]])
        rows[place] = c + h + g * i
        h, g, i, p = c, h, i + p, i
    return [(rows[len(tokens) - 1] + g) * tokens[-1] * i, h]


@pytest.mark.parametrize("reverse", [False, True])
def test_the_interpreter_runs_the_region_for_each_row(reverse: bool) -> None:
    module = scan_module(reverse=reverse)
    session = Session(module)
    state = np.zeros((1, 4), np.float32)
    for tokens in ([3], [1, 4, 2], [2, 2, 3, 1]):
        logits, after = by_hand(module, tokens, state, session.position, reverse)
        found = session.forward(tokens)
        np.testing.assert_allclose(found, logits[0], rtol=1e-5, atol=1e-5)
        (state,) = session.states["s"]
        np.testing.assert_allclose(state, after, rtol=1e-5, atol=1e-5)


def test_costs_count_the_region_once_for_each_row() -> None:
    (cost,) = decode_costs(scan_module())
    assert cost.multiply_adds == 4 * 4
    (nested,) = decode_costs(scan_module(NESTED))
    assert nested.multiply_adds == 2 * 2 * 2


def test_a_scan_takes_one_region() -> None:
    module = scan_module()
    graph = module.graphs["decode"]

    def bare(op: Op) -> Op:
        return replace(op, regions=()) if op.name == "scan" else op

    with pytest.raises(InternalError, match="has 0 regions"):
        verify(module.with_graph(replace(graph, ops=tuple(map(bare, graph.ops)))))
