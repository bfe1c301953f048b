"""constant_folding: what depends on constants only is computed at build time."""

from __future__ import annotations

import numpy as np
from ir_text import ir_text
from ir_tools import assert_rewrites, assert_same_bits, entered, module_of, rewrite, run_op, trace

from chimerac.passes.constant_folding import ConstantFolding
from chimerac.passes.dead_code import DeadCode

BEFORE = ir_text(
    "table: f32[10,8], b: f32[8]",
    """
    %a: f32[8] = constant() {name='a.log'}
    %e: f32[8] = exp(%a)
    %n: f32[8] = neg(%e)
    %m: f32[8] = mul(%n, %b)
    %r: f32[2,4] = reshape(%m) {shape='2,4'}
    %l: f32[2,2] = slice(%r) {start=1, stop=3}
    %c: f32[2,6] = concat(%r, %l)
    %x: f32[T,8] = embedding(%tokens, %table)
    %y: f32[T,8] = loop(%x) {default=2, exit_threshold=0.0, maximum=3} (%write: i32[], %h: f32[T,8]) {
      %d: f32[8] = add(%m, %b)
      %i: f32[T,8] = mul(%h, %d)
      yield %i
    }
    %z: f32[T,8] = mul(%y, %m)
    return %z
    """,
    "constant a.log: f32[8]",
    loops="2..3",
)
AFTER = ir_text(
    "table: f32[10,8], b: f32[8]",
    """
    %a: f32[8] = constant() {name='a.log'}
    %c_a_log_exp: f32[8] = constant() {name='a.log.exp'}
    %c_a_log_exp_neg: f32[8] = constant() {name='a.log.exp.neg'}
    %c_a_log_exp_neg_b_mul: f32[8] = constant() {name='a.log.exp.neg.b.mul'}
    %RESHAPED: f32[2,4] = constant() {name='a.log.exp.neg.b.mul.reshape.2x4'}
    %SLICED: f32[2,2] = constant() {name='a.log.exp.neg.b.mul.reshape.2x4.slice.1.3'}
    %JOINED: f32[2,6] = constant() {name='NAME'}
    %x: f32[T,8] = embedding(%tokens, %table)
    %y: f32[T,8] = loop(%x) {default=2, exit_threshold=0.0, maximum=3} (%write: i32[], %h: f32[T,8]) {
      %c_a_log_exp_neg_b_mul_b_add: f32[8] = constant() {name='a.log.exp.neg.b.mul.b.add'}
      %i: f32[T,8] = mul(%h, %c_a_log_exp_neg_b_mul_b_add)
      yield %i
    }
    %z: f32[T,8] = mul(%y, %c_a_log_exp_neg_b_mul)
    return %z
    """,
    "constant a.log: f32[8]",
    "constant a.log.exp: f32[8]",
    "constant a.log.exp.neg: f32[8]",
    "constant a.log.exp.neg.b.mul: f32[8]",
    "constant a.log.exp.neg.b.mul.reshape.2x4: f32[2,4]",
    "constant a.log.exp.neg.b.mul.reshape.2x4.slice.1.3: f32[2,2]",
    "constant a.log.exp.neg.b.mul.reshape.2x4.a.log.exp.neg.b.mul.reshape.2x4.slice.1.3.concat: f32[2,6]",
    "constant a.log.exp.neg.b.mul.b.add: f32[8]",
    loops="2..3",
)


def test_text_and_data() -> None:
    reshaped = "c_a_log_exp_neg_b_mul_reshape_2x4"
    after = AFTER.replace("RESHAPED", reshaped).replace("SLICED", f"{reshaped}_slice_1_3")
    after = after.replace("JOINED", f"{reshaped}_{reshaped[2:]}_slice_1_3_concat")
    left = "a.log.exp.neg.b.mul.reshape.2x4"
    after = after.replace("NAME", f"{left}.{left}.slice.1.3.concat")
    changed = assert_rewrites(ConstantFolding(), BEFORE, after)
    a, b = changed.constants["a.log"].data, changed.constants["b"].data
    (expected,) = run_op("mul", *run_op("neg", *run_op("exp", a)), b)
    assert_same_bits(changed.constants["a.log.exp.neg.b.mul"].data, expected)
    kept = sorted(DeadCode().run(changed).module.constants)
    assert kept == ["a.log.exp.neg.b.mul", "a.log.exp.neg.b.mul.b.add", "table"]


def test_same_numbers() -> None:
    module = entered(module_of(BEFORE))
    folded = rewrite(ConstantFolding(), module)
    assert trace(folded) == trace(module)
    assert ConstantFolding().run(module).notes == ("folded 14 ops",)


def test_each_thing_is_folded_once_for_all_graphs() -> None:
    folded = rewrite(ConstantFolding(), entered(module_of(BEFORE)))
    assert len(folded.constants) == 3 + 7


def test_names_that_would_clash_are_told_apart() -> None:
    """``x`` + ``y.z`` and ``x.y`` + ``z`` are different sums, and a model may have a constant of either's name."""
    text = ir_text(
        "table: f32[10,4]",
        """
        %a: f32[4] = constant() {name='x'}
        %b: f32[4] = constant() {name='y.z'}
        %c: f32[4] = constant() {name='x.y'}
        %d: f32[4] = constant() {name='z'}
        %e: f32[4] = constant() {name='x.y.z.mul'}
        %p: f32[4] = add(%a, %b)
        %q: f32[4] = add(%c, %d)
        %r: f32[4] = mul(%a, %b)
        %t: f32[T,4] = embedding(%tokens, %table)
        %u: f32[T,4] = mul(%t, %p)
        %v: f32[T,4] = sub(%u, %q)
        %w: f32[T,4] = mul(%v, %r)
        %y: f32[T,4] = sub(%w, %e)
        return %y
        """,
        "constant x: f32[4]",
        "constant x.y: f32[4]",
        "constant y.z: f32[4]",
        "constant z: f32[4]",
        "constant x.y.z.mul: f32[4]",
    )
    module = entered(module_of(text))
    folded = rewrite(ConstantFolding(), module)
    assert trace(folded) == trace(module)
    assert {"x.y.z.add", "x.y.z.add_", "x.y.z.mul", "x.y.z.mul_"} <= folded.constants.keys()


def test_states_tokens_and_heavy_ops_are_left() -> None:
    text = ir_text(
        "v: f32[8], w: f32[8,8]",
        """
        %x: f32[T,8] = embedding(%tokens, %w)
        %s: f32[8] = state.read() {name='s'}
        %a: f32[8] = add(%v, %s)
        %b: f32[T,8] = add(%v, %x)
        %c: f32[8,8] = linear(%w, %w)
        %d: f32[8,8] = add(%c, %a)
        %e: f32[T,8] = embedding(%tokens, %d)
        %y: f32[T,8] = add(%e, %b)
        return %y
        """,
        "state s: f32[8] iterations=1",
    )
    assert_rewrites(ConstantFolding(), text, text)


def test_special_values_fold_as_they_run() -> None:
    text = ir_text(
        "v: f32[6], table: f32[10,6]",
        """
        %x: f32[T,6] = embedding(%tokens, %table)
        %a: f32[6] = softplus(%v)
        %b: f32[6] = div(%a, %v)
        %y: f32[T,6] = mul(%x, %b)
        return %y
        """,
    )
    values = np.array([0, -0.0, np.inf, -np.inf, np.nan, 1e-45], np.float32)
    module = entered(module_of(text, {"v": values}))
    assert trace(rewrite(ConstantFolding(), module)) == trace(module)
