"""The text form: printing and parsing are inverse, mistakes are reported with their line."""

from __future__ import annotations

import textwrap
from dataclasses import replace

import numpy as np
import pytest
from ir_tools import module_of
from nano_model import lowered_nano, nano_module

from chimerac.compiler.errors import InternalError
from chimerac.compiler.ir.module import Constant, Graph, Module, Op, State, Value, walk
from chimerac.compiler.ir.text import parse, print_module, print_op
from chimerac.compiler.ir.types import TensorType, f32, i32

LOOPED = """\
module looped block=4 loops=2..3
constant first: f32[8]
constant table: f32[10,8]
constant w: f32[8]
state s: f32[8] iterations=3 initial=first
state once: f32[8] iterations=1
graph main(%tokens: i32[T], %position: i32[]) tokens=4 {
  %table: f32[10,8] = constant() {name='table'}
  %x: f32[T,8] = embedding(%tokens, %table)
  %y: f32[T,8] = loop(%x) {default=2, exit_threshold=0.01, maximum=3} (%write: i32[], %h: f32[T,8]) {
    %s: f32[8] = state.read() {name='s'}
    %w: f32[8] = constant() {name='w'}
    %n: f32[T,8] = rms_norm(%h, %w) {eps=1e-06} @layers.0.mixer
    %f: f32[T,8] = fused(%n, %s) {expression='silu(a0);add(t0,a1)'} @loop
    state.write(%w) {name='s'}
    yield %f
  }
  %old: f32[8] = state.read() {iteration=0, name='once'}
  state.write(%old) {name='once'}
  %q: i8[T,8], %q2: f32[T,2] = quantize(%y) {block=4}
  return %y
}
"""


def test_a_module_with_everything_in_it_round_trips() -> None:
    module = parse(LOOPED)
    assert print_module(module) == LOOPED
    assert module.loops == (2, 3)
    assert module.states["s"] == State(f32(8), 3, "first")
    loop = next(op for op in walk(module.graphs["main"].ops) if op.name == "loop")
    assert loop.number("exit_threshold") == 0.01
    assert [op.name for op in loop.regions[0].ops][-1] == "state.write"
    assert [op.part for op in loop.regions[0].ops][-3:] == ["layers.0.mixer", "loop", "head"]
    assert print_op(loop).startswith("%y: f32[T,8] = loop(%x) {default=2")


def test_imported_and_lowered_models_round_trip() -> None:
    for module in (nano_module(), lowered_nano(), lowered_nano(loops=3)):
        text = print_module(module)
        again = parse(text)
        assert print_module(again) == text
        assert again.graphs == module.graphs
        assert again.states == module.states
        assert {n: c.type for n, c in again.constants.items()} == {n: c.type for n, c in module.constants.items()}


@pytest.mark.parametrize(
    "value", [0, -3, 2**40, 1e-45, -0.5, 1e300, "", "a b", "it's", 'say "no"', "{1,2}", "%x)", "é", "} @head"]
)
def test_attributes_of_every_kind_round_trip(value: int | float | str) -> None:
    op = Op("state.read", (), (Value("x", f32(1)),), {"name": value, "other": 1})
    module = Module("m", {"g": Graph("g", (), (op,), op.results, 1)}, {}, {}, 4)
    assert parse(print_module(module)).graphs == module.graphs


@pytest.mark.parametrize("name", ["scalar.-0.5", "scalar.1e-06", "a.b.add.0x8", "layers.0.mixer.A_log", "write$0"])
def test_constants_and_states_of_any_name_round_trip(name: str) -> None:
    data = np.ones(3, np.float32)
    module = Module("m", {}, {name: Constant(f32(3), data)}, {name: State(f32(3), 1, name)}, 4)
    again = parse(print_module(module), {name: data})
    assert again.states == module.states
    assert again.constants[name].data is data


def test_data_comes_from_a_mapping_and_is_zero_without() -> None:
    text = "module m block=4 loops=1..1\nconstant a: i8[2,3]\nconstant b: f16[]\n"
    module = parse(text, {"a": np.ones((2, 3), np.int8)})
    assert module.constants["a"].data.sum() == 6
    assert TensorType.of(module.constants["b"].data) == TensorType("f16", ())


def test_roles_round_trip() -> None:
    text = """\
module m block=4 loops=1..1
graph main(%tokens: i32[T], %position: i32[]) tokens=4 {
  return %tokens
}
graph one(%tokens: i32[T], %position: i32[]) tokens=1 role=decode {
  return %tokens
}
graph some(%tokens: i32[T], %position: i32[]) tokens=4 role=prefill {
  return %tokens
}
graph check(%tokens: i32[T], %position: i32[]) tokens=3 role=verify {
  return %tokens
}
graph encode(%tokens: i32[T], %position: i32[]) tokens=4 role=call {
  return %tokens
}
"""
    module = parse(text)
    assert print_module(module) == text
    assert [g.role for g in module.graphs.values()] == ["main", "decode", "prefill", "verify", "call"]
    assert module.entry("decode").name == "one"
    assert module.entry("verify").tokens == 3
    with pytest.raises(InternalError, match="module m has no graph of the role prefill"):
        replace(module, graphs={}).entry("prefill")


def test_names_need_not_differ_between_graphs() -> None:
    module = module_of(
        """
        module two block=4 loops=1..1
        graph a(%tokens: i32[T], %position: i32[]) tokens=4 {
          return %tokens
        }
        graph b(%tokens: i32[T], %position: i32[]) tokens=1 role=decode {
          return %position
        }
        """
    )
    assert module.graphs["b"].results[0].type == i32()
    assert module.graphs["a"].tokens == 4


@pytest.mark.parametrize(
    ("line", "mistake", "message"),
    [
        (1, "modul looped block=4 loops=2..3", "expected a module line"),
        (2, "constant first f32[8]", "expected a constant, state or graph"),
        (2, "constant first: f33[8]", "not a tensor type"),
        (2, "constant first: f32[T]", "fixed shape"),
        (5, "state s: f32[T] iterations=3", "fixed shape"),
        (5, "state s: f32[8]", "expected a constant, state or graph"),
        (7, "graph main(%tokens i32[T]) tokens=4 {", "expected values such as"),
        (7, "graph main(%tokens: i32[N], %position: i32[]) tokens=4 {", "not a tensor type"),
        (
            7,
            "graph main(%tokens: i32[T], %position: i32[]) tokens=4 role=reply {",
            "expected a role, one of main, decode",
        ),
        (8, "  %table = constant() {name='table'}", "expected values such as"),
        (8, "  %table: f32[10,8] := constant() {name='table'}", "expected an op"),
        (9, "  %x: f32[T,8] = embedding(%tokens, %tabel)", "%tabel is not defined"),
        (10, "  %y: f32[T,8] = loop(%x) {default=2} (%write: i32, %h: f32[T,8]) {", "expected values such as"),
        (13, "    %n: f32[T,8] = rms_norm(%h, %w) {eps=tiny}", "expected attributes such as"),
        (13, "    %n: f32[T,8] = rms_norm(%h, %w) {eps}", "expected attributes such as"),
        (16, "    yield %nothing", "%nothing is not defined"),
        (17, "  %z: f32[8] = state.read() {name='once'}", "expected }"),
        (21, "  return %z", "%z is not defined"),
        (22, "", "line 21: expected } after it, not the end of the text"),
    ],
)
def test_mistakes_are_reported_with_their_line(line: int, mistake: str, message: str) -> None:
    lines = LOOPED.splitlines()
    lines[line - 1] = mistake
    with pytest.raises(InternalError) as caught:
        parse("\n".join(lines))
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"line {min(line, 21)}: ")
    if mistake:
        assert mistake.strip() in str(caught.value)


def test_no_text_at_all() -> None:
    with pytest.raises(InternalError, match="expected a module line"):
        parse(textwrap.dedent("\n\n"))
