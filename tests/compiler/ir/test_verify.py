"""Every rule of the verifier has a module that breaks it and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ir_text import ir_text
from nano_model import lowered_nano, nano_module

from chimerac.compiler.errors import InternalError
from chimerac.compiler.ir.module import Constant, Graph, Module, Op, Value
from chimerac.compiler.ir.text import parse
from chimerac.compiler.ir.types import f32
from chimerac.compiler.ir.verify import verify

GOOD = ir_text(
    "table: f32[10,8]",
    """
    %x: f32[T,8] = embedding(%tokens, %table)
    %y: f32[T,8] = loop(%x) {default=2, exit_threshold=0.0, maximum=3} (%write: i32[], %h: f32[T,8]) {
      %s: f32[8] = state.read() {name='s'}
      %w: f32[8] = constant() {name='w'}
      %n: f32[T,8] = rms_norm(%h, %w) {eps=1e-06}
      state.write(%w) {name='s'}
      yield %n
    }
    %t: f32[3,8] = state.read() {name='t'}
    state.write(%t) {iteration=0, name='t'}
    %c: f32[T,16] = concat(%x, %y)
    return %y
    """,
    "constant first: f32[8]",
    "constant w: f32[8]",
    "state s: f32[8] iterations=3 initial=first",
    "state t: f32[3,8] iterations=1",
    loops="2..3",
)


def broken(old: str, new: str) -> Module:
    assert GOOD.count(old) == 1, old
    return parse(GOOD.replace(old, new))


def test_the_unbroken_module_is_legal() -> None:
    verify(parse(GOOD), "imported")
    verify(parse(GOOD), "lowered")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        # ops
        ("concat(%x, %y)", "stack(%x, %y)", "main: stack is not legal here"),
        ("concat(%x, %y)", "silu(%x, %y)", "silu has 2 operands, takes a"),
        ("concat(%x, %y)", "add(%x)", "add has 1 operands, takes a, b"),
        ("{eps=1e-06}", "", "rms_norm has attributes \\[\\], takes \\['eps'\\]"),
        ("{eps=1e-06}", "{block=4, eps=1e-06}", "rms_norm has attributes \\['block', 'eps'\\]"),
        ("{eps=1e-06}", "{eps=1}", "rms_norm: attribute eps is 1, not of type float"),
        ("{eps=1e-06}", "{eps='small'}", "rms_norm: attribute eps is 'small', not of type float"),
        ("{default=2, exit", "{default=2.0, exit", "loop: attribute default is 2.0, not of type int"),
        ("{name='table'}", "{name=1}", "constant: attribute name is 1, not of type str"),
        ("%c: f32[T,16]", "%c: f32[T,8]", "concat gives \\(f32\\[T,16\\]\\), declared \\(f32\\[T,8\\]\\)"),
        ("%c: f32[T,16] = concat", "%c: f32[T,16], %d: f32[T,16] = concat", "concat gives .*, declared"),
        ("rms_norm(%h, %w)", "rms_norm(%h, %table)", "rms_norm: weight f32\\[10,8\\] is not a f32 tensor of rank 1"),
        # constants and states
        ("{name='table'}", "{name='tabel'}", "constant: unknown constant tabel"),
        ("%table: f32[10,8] = constant", "%table: f32[10,9] = constant", "constant gives"),
        ("= state.read() {name='t'}", "= state.read() {name='u'}", "state.read: unknown state u"),
        ("state.write(%w) {name='s'}", "state.write(%w) {name='u'}", "state.write: unknown state u"),
        ("{iteration=0, name='t'}", "{iteration=1, name='t'}", "state t has 1 copies"),
        ("{iteration=0, name='t'}", "{iteration=-1, name='t'}", "state t has 1 copies"),
        ("state.write(%w) {name='s'}", "state.write(%w) {name='t'}", "f32\\[8\\] written to state t of f32\\[3,8\\]"),
        ("initial=first", "initial=last", "state s starts from the unknown constant last"),
        ("initial=first", "initial=table", "state s starts from f32\\[10,8\\], not f32\\[8\\]"),
        ("state t: f32[3,8] iterations=1", "state t: f32[3,8] iterations=0", "state t has type f32\\[3,8\\] and 0"),
        # values
        ("%s: f32[8] = state.read", "%x: f32[8] = state.read", "%x is defined twice"),
        ("%c: f32[T,16] = concat", "%y: f32[T,16] = concat", "%y is defined twice"),
        ("%c: f32[T,16] = concat", "%tokens: f32[T,16] = concat", "%tokens is defined twice"),
        ("%c: f32[T,16] = concat", "%n: f32[T,16] = concat", "%n is defined twice"),
        ("(%write: i32[], %h: f32[T,8])", "(%position: i32[], %h: f32[T,8])", "%position is defined twice"),
        ("concat(%x, %y)", "concat(%x, %n)", "concat uses %n: f32\\[T,8\\], which is not defined"),
        ("concat(%x, %y)", "concat(%x, %h)", "concat uses %h: f32\\[T,8\\], which is not defined"),
        ("return %y", "return %n", "result uses %n"),
        # regions
        ("(%write: i32[], %h: f32[T,8])", "(%write: f32[], %h: f32[T,8])", "region arguments do not match"),
        ("yield %n", "yield %s", "region results do not match"),
        ("yield %n", "yield %n, %n", "region results do not match"),
    ],
)
def test_broken_rules(old: str, new: str, message: str) -> None:
    with pytest.raises(InternalError, match=message):
        verify(broken(old, new))


def test_constant_data_of_another_type() -> None:
    module = parse(GOOD)
    constants = {**module.constants, "w": Constant(f32(8), np.zeros(9, np.float32))}
    with pytest.raises(InternalError, match=r"constant w is f32\[9\], declared f32\[8\]"):
        verify(replace(module, constants=constants))


def test_a_state_cannot_depend_on_the_tokens() -> None:
    module = parse(GOOD)
    states = {**module.states, "t": replace(module.states["t"], type=f32("T", 8))}
    with pytest.raises(InternalError, match="state t has type"):
        verify(replace(module, states=states))


def test_values_are_used_with_the_type_they_have() -> None:
    module = parse(GOOD)
    graph = module.graphs["main"]
    wrong = Op("silu", (Value("x", f32("T", 9)),), (Value("z", f32("T", 9)),))
    with pytest.raises(InternalError, match=r"silu uses %x: f32\[T,9\], which is f32\[T,8\]"):
        verify(module.with_graph(replace(graph, ops=(*graph.ops, wrong))))
    with pytest.raises(InternalError, match="result uses %x"):
        verify(module.with_graph(replace(graph, results=(Value("x", f32("T", 9)),))))


def test_values_are_defined_before_they_are_used() -> None:
    module = parse(GOOD)
    graph = module.graphs["main"]
    with pytest.raises(InternalError, match="not defined"):
        verify(module.with_graph(replace(graph, ops=(graph.ops[1], graph.ops[0], *graph.ops[2:]))))


def test_graphs_are_entered_under_their_names_and_one_for_each_role() -> None:
    module = parse(GOOD)
    graph = module.graphs["main"]
    with pytest.raises(InternalError, match="graph main of up to 4 tokens is entered as other, main"):
        verify(replace(module, graphs={"other": graph}))
    with pytest.raises(InternalError, match="graph main of up to 4 tokens is entered as main, decode"):
        verify(replace(module, graphs={"main": replace(graph, role="decode")}))
    one = replace(graph, name="one", tokens=1, role="decode")
    verify(module.with_graph(one))
    with pytest.raises(InternalError, match="graph two is not the first of the role decode"):
        verify(module.with_graph(one).with_graph(replace(one, name="two")))
    calls = [replace(graph, name=name, role="call") for name in ("a", "b")]
    verify(module.with_graph(calls[0]).with_graph(calls[1]))


def test_only_loops_have_regions_and_always_one() -> None:
    module = parse(GOOD)
    graph = module.graphs["main"]
    place = next(i for i, op in enumerate(graph.ops) if op.name == "loop")
    loop = graph.ops[place]
    embedding = graph.ops[1]
    for changed, index in ((replace(loop, regions=()), place), (replace(embedding, regions=loop.regions), 1)):
        ops = (*graph.ops[:index], changed, *graph.ops[index + 1 :])
        with pytest.raises(InternalError, match=r"has [01] regions"):
            verify(module.with_graph(replace(graph, ops=ops)))


def test_the_error_says_where_the_op_comes_from() -> None:
    op = Op("stack", (), (), location="layers.3, model.py:42")
    with pytest.raises(InternalError, match=r"g: stack \(layers.3, model.py:42\) is not legal here"):
        verify(Module("m", {"g": Graph("g", (), (op,), (), 1)}, {}, {}, 4))


def test_stages_forbid_what_they_replaced() -> None:
    verify(nano_module(), "imported")
    with pytest.raises(InternalError, match=r"int8_embedding \(embedding, stateful.py:\d+\) is not legal here"):
        verify(nano_module(), "lowered")
    verify(lowered_nano(), "lowered")
    with pytest.raises(InternalError, match=r"loop \(.*\) is not legal here"):
        verify(lowered_nano(), "unrolled")
    verify(lowered_nano(loops=2), "unrolled")
