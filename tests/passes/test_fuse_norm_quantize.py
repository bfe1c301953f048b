"""fuse_norm_quantize: norm and quantisation in one pass over memory."""

from __future__ import annotations

from ir_text import ir_text
from ir_tools import assert_rewrites, entered, module_of, rewrite, trace

from chimerac.passes.dead_code import DeadCode
from chimerac.passes.fuse_norm_quantize import FuseNormQuantize

BEFORE = ir_text(
    "table: f32[10,8], v: f32[8]",
    """
    %x: f32[T,8] = embedding(%tokens, %table)
    %n: f32[T,8] = rms_norm(%x, %v) {eps=1e-06}
    %q: i8[T,8], %s: f32[T,2] = quantize(%n) {block=4}
    return %s
    """,
)


def test_text() -> None:
    after = ir_text(
        "table: f32[10,8], v: f32[8]",
        """
        %x: f32[T,8] = embedding(%tokens, %table)
        %n: f32[T,8] = rms_norm(%x, %v) {eps=1e-06}
        %q_2: i8[T,8], %q_3: f32[T,2] = rms_norm_quantize(%x, %v) {block=4, eps=1e-06}
        return %q_3
        """,
    )
    changed = assert_rewrites(FuseNormQuantize(), BEFORE, after)
    assert [op.name for op in DeadCode().run(changed).module.graphs["main"].ops][-1] == "rms_norm_quantize"
    assert FuseNormQuantize().run(module_of(BEFORE)).notes == ("fused 1 norms",)


def test_same_numbers() -> None:
    module = entered(module_of(BEFORE))
    assert trace(rewrite(FuseNormQuantize(), module)) == trace(module)


def test_the_rule_of_the_activations_stays() -> None:
    module = entered(module_of(BEFORE.replace("{block=4}", "{block=8, row=1}").replace("%s: f32[T,2]", "%s: f32[T,1]")))
    changed = rewrite(FuseNormQuantize(), module)
    made = next(op for op in changed.graphs["decode"].ops if op.name == "rms_norm_quantize")
    assert made.attributes == {"eps": 1e-6, "block": 8, "row": 1}
    assert trace(changed) == trace(module)


def test_norms_that_float_ops_read_too_stay() -> None:
    text = BEFORE.replace("  return", "  %f: f32[T,8] = silu(%n)\n  return")
    assert_rewrites(FuseNormQuantize(), text, text)
    assert FuseNormQuantize().run(module_of(text)).notes == (
        "fused 0 norms; 1 norms are read by float ops too and stay",
    )


def test_other_norms_are_not_taken() -> None:
    text = BEFORE.replace("rms_norm(%x, %v)", "l2_norm(%x)")
    assert_rewrites(FuseNormQuantize(), text, text)


def test_inside_a_loop() -> None:
    text = ir_text(
        "table: f32[10,8], v: f32[8]",
        """
        %x: f32[T,8] = embedding(%tokens, %table)
        %y: f32[T,8] = loop(%x) {default=2, exit_threshold=0.0, maximum=3} (%write: i32[], %h: f32[T,8]) {
          %t: i8[8,8] = constant() {name='t'}
          %ts: f16[8,1] = constant() {name='ts'}
          %n: f32[T,8] = rms_norm(%h, %v) {eps=1e-06}
          %q: i8[T,8], %s: f32[T,2] = quantize(%n) {block=4}
          %m: f32[T,8] = int8_matmul(%q, %s, %t, %ts) {block=4, columns=8, group=8, rows=8}
          yield %m
        }
        return %y
        """,
        "constant t: i8[8,8]",
        "constant ts: f16[8,1]",
        loops="2..3",
    )
    module = entered(module_of(text))
    fused = rewrite(FuseNormQuantize(), module)
    body = next(op for op in fused.entry("decode").ops if op.name == "loop").regions[0]
    product = next(op for op in body.ops if op.name == "int8_matmul")
    made = next(op for op in body.ops if op.name == "rms_norm_quantize")
    assert product.operands[:2] == made.results
    assert trace(fused) == trace(module)
