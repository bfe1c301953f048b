"""The tools that passes share."""

from __future__ import annotations

import numpy as np
from ir_text import ir_text
from ir_tools import module_of

from chimerac.compiler.ir.module import Value
from chimerac.compiler.ir.text import print_module
from chimerac.compiler.ir.types import f32
from chimerac.compiler.ir.verify import verify
from chimerac.passes.base import Builder, NewConstants, constant_names, graph_names, rewrite, uses

TEXT = ir_text(
    "table: f32[10,8]",
    """
    %x: f32[T,8] = embedding(%tokens, %table)
    %a: f32[T,8] = silu(%x) @layers.0
    %y: f32[T,8] = loop(%a) {default=2, exit_threshold=0.0, maximum=3} (%write: i32[], %h: f32[T,8]) {
      %b: f32[T,8] = silu(%h)
      %c: f32[T,8] = mul(%a, %b)
      yield %b
    }
    return %y
    """,
    loops="2..3",
)


def test_names_and_uses_reach_into_regions() -> None:
    graph = module_of(TEXT).graphs["main"]
    assert graph_names(graph) == {"tokens", "position", "table", "x", "a", "y", "write", "h", "b", "c"}
    assert uses(graph) == {"tokens": 1, "table": 1, "x": 1, "a": 2, "h": 1, "b": 2, "y": 1}
    assert constant_names(graph) == {"table": "table"}


def test_rewriting_replaces_values_everywhere() -> None:
    module = module_of(TEXT)
    graph = rewrite(
        module.graphs["main"],
        lambda op, builder: builder.emit("neg", op.operands, like=op) if op.name == "silu" else None,
    )
    changed = module.with_graph(graph)
    verify(changed)
    text = print_module(changed)
    assert "silu" not in text
    assert "%y: f32[T,8] = loop(%neg)" in text
    assert "%c: f32[T,8] = mul(%neg, %neg_2)" in text
    assert "yield %neg_2" in text
    assert [op.part for op in graph.ops[:4]] == ["head", "head", "layers.0", "head"]


def test_builders_make_fresh_names() -> None:
    taken = {"x", "x_2"}
    builder = Builder(taken)
    assert [builder.fresh("x"), builder.fresh("y"), builder.fresh("y")] == ["x_3", "y", "y_2"]
    (value,) = builder.emit("add", [Value("a", f32("T", 8)), Value("b", f32(8))], hint="x")
    assert value == Value("x_4", f32("T", 8))
    assert builder.constant("a.b", f32(8)).name == "c_a_b"
    assert {"x_4", "c_a_b"} <= taken


def test_derived_constants_are_made_once() -> None:
    module = module_of(TEXT)
    new = NewConstants(module)
    calls = []

    def make() -> np.ndarray:
        calls.append(1)
        return np.zeros(4, np.uint8)

    assert str(new.derive("packed", make, "t2.r8")) == str(new.derive("packed", make, "t2.r8")) == "u8[4]<t2.r8>"
    assert len(calls) == 1
    assert new.added_to(module).constants.keys() == {"table", "packed"}
    assert module.constants.keys() == {"table"}
