"""moe_sort_dispatch: experts as sorted rows, with the numbers of the plain form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from ir_tools import assert_rewrites, entered, module_of, rewrite, trace

from chimerac.compiler.errors import InternalError
from chimerac.compiler.ir.interpreter import Session
from chimerac.compiler.ir.module import Module
from chimerac.passes.moe_sort_dispatch import MoeSortDispatch

BEFORE = """
    module m block=4 loops=1..1
    constant bias: f32[3]
    constant down: f32[3,8,6]
    constant gate: f32[3,6,8]
    constant norm: f32[3,6]
    constant router: f32[3,8]
    constant table: f32[10,8]
    constant up: f32[3,6,8]
    graph main(%tokens: i32[T], %position: i32[]) tokens=4 {
      %table: f32[10,8] = constant() {name='table'}
      %router: f32[3,8] = constant() {name='router'}
      %bias: f32[3] = constant() {name='bias'}
      %gate: f32[3,6,8] = constant() {name='gate'}
      %up: f32[3,6,8] = constant() {name='up'}
      %down: f32[3,8,6] = constant() {name='down'}
      %norm: f32[3,6] = constant() {name='norm'}
      %x: f32[T,8] = embedding(%tokens, %table)
      %y: f32[T,8] = moe(%x, %router, %bias, %gate, %up, %down, %norm) {block=4, eps=1e-06, group=8, top_k=2}
      return %y
    }
"""


def test_text() -> None:
    start, end = BEFORE.split("      %y: f32[T,8] = moe")[0], "    }\n"
    new = """\
    constant gate.trits: i8[3,6,8]
    constant gate.trits_scales: f16[3,6,1]
    constant up.trits: i8[3,6,8]
    constant up.trits_scales: f16[3,6,1]
    constant down.trits: i8[3,8,6]
    constant down.trits_scales: f16[3,8,1]
    graph main"""
    body = """\
      %route: i32[T,2], %route_2: f32[T,2] = route(%x, %router, %bias) {top_k=2}
      %sort_pairs: i32[T,2], %sort_pairs_2: i32[T,2], %sort_pairs_3: i32[4] = sort_pairs(%route) {experts=3}
      %quantize: i8[T,8], %quantize_2: f32[T,2] = quantize(%x) {block=4}
      %gather_rows: i8[T,2,8] = gather_rows(%quantize, %sort_pairs)
      %gather_rows_2: f32[T,2,2] = gather_rows(%quantize_2, %sort_pairs)
      %c_gate_trits: i8[3,6,8] = constant() {name='gate.trits'}
      %c_gate_trits_scales: f16[3,6,1] = constant() {name='gate.trits_scales'}
      %P: f32[T,2,6] = P(%gather_rows, %gather_rows_2, %c_gate_trits, %c_gate_trits_scales, %sort_pairs_3) {INNER}
      %silu: f32[T,2,6] = silu(%P)
      %c_up_trits: i8[3,6,8] = constant() {name='up.trits'}
      %c_up_trits_scales: f16[3,6,1] = constant() {name='up.trits_scales'}
      %P_2: f32[T,2,6] = P(%gather_rows, %gather_rows_2, %c_up_trits, %c_up_trits_scales, %sort_pairs_3) {INNER}
      %mul: f32[T,2,6] = mul(%silu, %P_2)
      %grouped_rms_norm: f32[T,2,6] = grouped_rms_norm(%mul, %norm, %sort_pairs_3) {eps=1e-06}
      %quantize_3: i8[T,2,6], %quantize_4: f32[T,2,2] = quantize(%grouped_rms_norm) {block=4}
      %c_down_trits: i8[3,8,6] = constant() {name='down.trits'}
      %c_down_trits_scales: f16[3,8,1] = constant() {name='down.trits_scales'}
      %P_3: f32[T,2,8] = P(%quantize_3, %quantize_4, %c_down_trits, %c_down_trits_scales, %sort_pairs_3) {OUTER}
      %combine_experts: f32[T,8] = combine_experts(%P_3, %sort_pairs_2, %route_2)
      return %combine_experts
"""
    body = body.replace("%P", "%grouped_ternary_matmul").replace("= P(", "= grouped_ternary_matmul(")
    body = body.replace("INNER", "block=4, columns=8, group=8, rows=6")
    body = body.replace("OUTER", "block=4, columns=6, group=8, rows=8")
    assert_rewrites(MoeSortDispatch(), BEFORE, start.replace("    graph main", new) + body + end)
    assert MoeSortDispatch().run(module_of(BEFORE)).notes == ("dispatched 1 expert layers",)


def with_bias(module: Module, change: Callable[[np.ndarray], np.ndarray]) -> Module:
    bias = module.constants["bias"]
    return replace(module, constants={**module.constants, "bias": replace(bias, source=change(bias.data))})


@pytest.mark.parametrize("top_k", [1, 2, 3])
@pytest.mark.parametrize("favourite", [None, 0, 2])
def test_same_numbers(top_k: int, favourite: int | None) -> None:
    """Also where one expert takes all rows and others none."""
    module = entered(module_of(BEFORE.replace("top_k=2", f"top_k={top_k}")))
    if favourite is not None:
        module = with_bias(module, lambda b: b + np.float32(100) * np.eye(3, dtype=np.float32)[favourite])
    assert trace(rewrite(MoeSortDispatch(), module)) == trace(module)


def test_the_result_does_not_depend_on_the_other_tokens() -> None:
    module = rewrite(MoeSortDispatch(), entered(module_of(BEFORE)))
    alone = [Session(module).forward([t]).tobytes() for t in range(10)]
    for first in range(7):
        assert Session(module).forward([first, first + 1, first + 2, first + 3]).tobytes() == alone[first + 3]


def test_without_experts() -> None:
    text = "module m block=4 loops=1..1\ngraph main(%tokens: i32[T], %position: i32[]) tokens=4 {\nreturn %tokens\n}"
    assert MoeSortDispatch().run(module_of(text)).notes == ("the model has no experts",)


def test_weights_must_be_constants() -> None:
    text = BEFORE.replace("      %y:", "      %n: f32[3,6,8] = neg(%up)\n      %y:").replace("%gate, %up", "%gate, %n")
    with pytest.raises(InternalError, match="moe needs a constant weight, not %n"):
        MoeSortDispatch().run(module_of(text))
