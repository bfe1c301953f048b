"""entry_points: decode and prefill from main, the head on one row only."""

from __future__ import annotations

import textwrap
from dataclasses import replace

import numpy as np
import pytest
from ir_text import ir_text
from ir_tools import assert_rewrites, assert_same_bits, entered, module_of, text_of
from nano_model import nano_module

from chimerac.compiler.ir.interpreter import Session, evaluate
from chimerac.compiler.ir.module import Module
from chimerac.compiler.ir.types import f32
from chimerac.passes.entry_points import EntryPoints

HEAD = ir_text(
    "table: f32[10,8], norm: f32[8]",
    """
    %x: f32[T,8] = embedding(%tokens, %table)
    %n: f32[T,8] = rms_norm(%x, %norm) {eps=1e-06}
    %y: f32[T,10] = linear(%n, %table)
    return %y
    """,
    "constant v: f32[8]",
)


def test_the_last_row_is_taken_before_the_final_ops() -> None:
    def graph(name: str, tokens: int) -> str:
        return textwrap.dedent(f"""\
            graph {name}(%tokens: i32[T], %position: i32[]) tokens={tokens} role={name} {{
              %table: f32[10,8] = constant() {{name='table'}}
              %norm: f32[8] = constant() {{name='norm'}}
              %x: f32[T,8] = embedding(%tokens, %table)
              %last_token: f32[1,8] = last_token(%x)
              %n_2: f32[1,8] = rms_norm(%last_token, %norm) {{eps=1e-06}}
              %y_2: f32[1,10] = linear(%n_2, %table)
              return %y_2
            }}
            """)

    header = HEAD[: HEAD.index("graph")]
    assert_rewrites(EntryPoints(), HEAD, header + graph("decode", 1) + graph("prefill", 4))


@pytest.mark.parametrize(
    ("ops", "cut"),
    [
        # an op that mixes tokens, or has several results, ends the tail
        ("%y: f32[T,8], %t2: f32[3,8] = causal_conv(%x, %w, %t)", "%y"),
        # so does a value with a second use
        ("%s: f32[T,8] = silu(%x)\n%z: f32[T,8] = neg(%s)\n%y: f32[T,8] = neg(%s)", "%s"),
        # and an op of two values that go by token
        ("%s: f32[T,8] = silu(%x)\n%y: f32[T,8] = mul(%s, %x)", "%y"),
        ("%s: f32[T,8] = silu(%x)\n%y: f32[T,8] = mul(%s, %s)", "%y"),
        # and a reshape, which could move elements between rows
        ("%r: f32[T,2,4] = reshape(%x) {shape='T,2,4'}\n%y: f32[T,8] = reshape(%r) {shape='T,8'}", "%y"),
        # an element-wise op with a static operand goes on
        ("%s: f32[T,8] = add(%x, %v)\n%y: f32[T,8] = silu(%s)", "%x"),
    ],
)
def test_where_the_tail_begins(ops: str, cut: str) -> None:
    begin = "%t: f32[3,8] = state.read() {name='t'}\n%x: f32[T,8] = embedding(%tokens, %table)\n"
    text = ir_text(
        "table: f32[10,8], v: f32[8], w: f32[8,4]", f"{begin}{ops}\nreturn %y", "state t: f32[3,8] iterations=1"
    )
    module = module_of(text)
    entry = entered(module)
    assert f"%last_token: f32[1,8] = last_token({cut})" in text_of(entry, "prefill")
    tokens = np.array([3, 1, 4], np.int32)
    assert_same_bits(Session(entry).forward(tokens.tolist()), all_rows(module, tokens)[-1])


def all_rows(module: Module, tokens: np.ndarray) -> np.ndarray:
    """Every row of what graph ``main`` gives, its states being fresh."""
    states = {n: np.zeros([int(d) for d in s.type.shape], s.type.numpy) for n, s in module.states.items()}
    graph = module.graphs["main"]
    values: dict[str, np.ndarray] = {"tokens": tokens}
    for op in graph.ops:
        if op.name == "constant":
            results: tuple[np.ndarray, ...] = (module.constants[op.text("name")].data,)
        elif op.name == "state.read":
            results = (states[op.text("name")],)
        else:
            results = tuple(evaluate(op, [values[v.name] for v in op.operands]))
        values.update((r.name, a) for r, a in zip(op.results, results, strict=True))
    return values[graph.results[0].name]


def test_both_graphs_give_the_last_row_of_main() -> None:
    module = module_of(HEAD)
    tokens = np.array([3, 1, 4, 1], np.int32)
    rows = all_rows(module, tokens)
    for n in range(1, 5):
        assert_same_bits(Session(entered(module)).forward(tokens[:n].tolist()), rows[n - 1])
    session = Session(entered(module))
    for n in range(4):
        assert_same_bits(session.call("decode", tokens[n : n + 1]), rows[n])


def test_a_state_used_after_the_last_row_keeps_its_old_value() -> None:
    """The tail moves behind the state's write, which must not change what it reads."""
    text = ir_text(
        "table: f32[10,8]",
        """
        %x: f32[T,8] = embedding(%tokens, %table)
        %s: f32[8] = state.read() {name='s'}
        %s2: f32[8] = neg(%s)
        %y: f32[T,8] = add(%x, %s)
        state.write(%s2) {name='s'}
        return %y
        """,
        "constant start: f32[8]",
        "state s: f32[8] iterations=1 initial=start",
    )
    module = entered(module_of(text))
    table, start = (module.constants[n].data for n in ("table", "start"))
    session = Session(module)
    assert_same_bits(session.forward([2, 5]), table[5] + start)
    assert_same_bits(session.forward([2]), table[2] - start)


def test_the_nano_model_runs_its_head_on_one_row() -> None:
    rewritten = EntryPoints().run(nano_module())
    assert rewritten.notes == ("the last row is taken before 2 final ops",)
    for graph in rewritten.module.graphs.values():
        head = next(op for op in graph.ops if op.name == "int8_linear")
        assert head.operands[0].type.shape == (1, 128)
        assert [op.name for op in graph.ops[-3:]] == ["last_token", "rms_norm", "int8_linear"]
    assert {n: g.tokens for n, g in rewritten.module.graphs.items()} == {"decode": 1, "prefill": 16}


def test_an_op_with_two_results_stays_before_the_row_is_taken() -> None:
    text = ir_text(
        "table: f32[10,8]",
        """
        %x: f32[T,8] = embedding(%tokens, %table)
        %q: i8[T,8], %scales: f32[T,2] = quantize(%x) {block=4}
        %y: f32[T,2] = neg(%scales)
        return %y
        """,
    )
    module = entered(module_of(text))
    assert [op.name for op in module.graphs["decode"].ops] == ["constant", "embedding", "quantize", "last_token", "neg"]


def test_an_axis_of_one_before_the_tokens() -> None:
    module = module_of(
        ir_text(
            "table: f32[10,8], v: f32[8], head: f32[10,8]",
            """
            %x: f32[T,8] = embedding(%tokens, %table)
            %b: f32[1,T,8] = reshape(%x) {shape='1,T,8'}
            %y: f32[1,T,8] = mul(%b, %v)
            %z: f32[1,T,10] = linear(%y, %head)
            %r: f32[T,10] = reshape(%z) {shape='T,10'}
            return %r
            """,
        )
    )
    rewritten = EntryPoints().run(module)
    assert rewritten.notes == ("the last row is taken before 4 final ops",)
    assert rewritten.module.entry("prefill").results[0].type == f32(1, 10)
    trace_of_rows(module, rewritten.module)


def test_tokens_that_are_not_the_rows_stay() -> None:
    """The last row of an axis of heads is not that of the last token."""
    module = module_of(
        ir_text(
            "table: f32[10,8], v: f32[4]",
            """
            %x: f32[T,8] = embedding(%tokens, %table)
            %h: f32[T,2,4] = reshape(%x) {shape='T,2,4'}
            %t: f32[2,T,4] = transpose(%h) {perm='1,0,2'}
            %y: f32[2,T,4] = mul(%t, %v)
            %u: f32[T,2,4] = transpose(%y) {perm='1,0,2'}
            %r: f32[T,8] = reshape(%u) {shape='T,8'}
            return %r
            """,
        )
    )
    rewritten = EntryPoints().run(module)
    assert rewritten.notes == ("the last row is taken before 0 final ops",)
    trace_of_rows(module, rewritten.module)


def trace_of_rows(module: Module, entered: Module) -> None:
    """Prefill gives the last row of what main gives."""
    session = Session(entered)
    tokens = np.array([3, 1, 4], np.int32)
    whole = replace(module.entry("main"), name="prefill", role="prefill")
    main = Session(replace(module, graphs={"prefill": whole, "decode": replace(whole, name="decode", role="decode")}))
    expected = main.call("prefill", tokens).reshape(3, -1)[-1]
    assert_same_bits(session.call("prefill", tokens), expected)
