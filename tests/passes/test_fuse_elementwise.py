"""fuse_elementwise: chains of element-wise ops in one, every step rounding as before."""

from __future__ import annotations

from ir_text import ir_text
from ir_tools import assert_rewrites, entered, module_of, rewrite, text_of, trace

from chimerac.compiler.ir.module import walk
from chimerac.passes.fuse_elementwise import MOST_OPERANDS, FuseElementwise


def graph(*lines: str) -> str:
    body = "\n".join(["%x: f32[T,8] = embedding(%tokens, %table)", *lines])
    return ir_text("table: f32[10,8], v: f32[8]", body, "state s: f32[8] iterations=3", loops="2..3")


def fuses(before: tuple[str, ...], after: tuple[str, ...]) -> None:
    assert_rewrites(FuseElementwise(), graph(*before), graph(*after))
    module = entered(module_of(graph(*before)))
    assert trace(rewrite(FuseElementwise(), module)) == trace(module)


def test_a_chain_becomes_one_op() -> None:
    fuses(
        (
            "%a: f32[T,8] = silu(%x)",
            "%b: f32[T,8] = mul(%a, %v)",
            "%c: f32[T,8] = add(%x, %b)",
            "%d: f32[T,8] = sub(%c, %v)",
            "return %d",
        ),
        (
            "%d: f32[T,8] = fused(%x, %v) {expression='silu(a0);mul(t0,a1);add(a0,t1);sub(t2,a1)'}",
            "return %d",
        ),
    )


def test_two_branches_meet() -> None:
    fuses(
        (
            "%a: f32[T,8] = silu(%x)",
            "%b: f32[T,8] = add(%x, %v)",
            "%c: f32[T,8] = neg(%b)",
            "%d: f32[T,8] = sub(%c, %a)",
            "return %d",
        ),
        (
            "%d: f32[T,8] = fused(%x, %v) {expression='silu(a0);add(a0,a1);neg(t1);sub(t2,t0)'}",
            "return %d",
        ),
    )


def test_a_square_uses_its_operand_twice() -> None:
    fuses(
        ("%a: f32[T,8] = silu(%x)", "%b: f32[T,8] = mul(%a, %a)", "return %b"),
        ("%b: f32[T,8] = fused(%x) {expression='silu(a0);mul(t0,t0)'}", "return %b"),
    )


def test_values_with_other_uses_stay() -> None:
    unchanged = (
        "%a: f32[T,8] = silu(%x)",
        "%b: f32[T,8] = rms_norm(%a, %v) {eps=1e-06}",
        "%c: f32[T,8] = add(%a, %b)",
        "state.write(%v) {name='s'}",
        "return %c",
    )
    fuses(unchanged, unchanged)
    result = ("%a: f32[T,8] = silu(%x)", "%b: f32[T,8] = neg(%a)", "return %a")
    fuses(result, result)


def test_smaller_values_are_not_computed_again_for_every_row() -> None:
    unchanged = ("%a: f32[8] = exp(%v)", "%b: f32[T,8] = mul(%x, %a)", "return %b")
    fuses(unchanged, unchanged)


def test_fusing_goes_into_loops_and_not_across_their_borders() -> None:
    loop = "%y: f32[T,8] = loop(%a) {default=2, exit_threshold=0.0, maximum=3} (%write: i32[], %h: f32[T,8]) {"
    fuses(
        (
            "%a: f32[T,8] = silu(%x)",
            "%o: f32[T,8] = neg(%x)",
            loop,
            "  %s: f32[8] = state.read() {name='s'}",
            "  %b: f32[T,8] = add(%h, %s)",
            "  %c: f32[T,8] = mul(%b, %o)",
            "  %n: f32[8] = sub(%s, %v)",
            "  %t: f32[8] = tanh(%n)",
            "  state.write(%t) {name='s'}",
            "  yield %c",
            "}",
            "%d: f32[T,8] = neg(%y)",
            "%e: f32[T,8] = abs(%d)",
            "return %e",
        ),
        (
            "%a: f32[T,8] = silu(%x)",
            "%o: f32[T,8] = neg(%x)",
            loop,
            "  %s: f32[8] = state.read() {name='s'}",
            "  %c: f32[T,8] = fused(%h, %s, %o) {expression='add(a0,a1);mul(t0,a2)'}",
            "  %t: f32[8] = fused(%s, %v) {expression='sub(a0,a1);tanh(t0)'}",
            "  state.write(%t) {name='s'}",
            "  yield %c",
            "}",
            "%e: f32[T,8] = fused(%y) {expression='neg(a0);abs(t0)'}",
            "return %e",
        ),
    )


def test_what_is_fused_already_fuses_on() -> None:
    fuses(
        (
            "%a: f32[T,8] = fused(%x, %v) {expression='add(a0,a1);silu(t0)'}",
            "%b: f32[T,8] = fused(%v, %a) {expression='sub(a1,a0);mul(t0,a1)'}",
            "return %b",
        ),
        (
            "%b: f32[T,8] = fused(%x, %v) {expression='add(a0,a1);silu(t0);sub(t1,a1);mul(t2,t1)'}",
            "return %b",
        ),
    )


def test_operands_are_limited() -> None:
    count = MOST_OPERANDS + 3
    lines = [f"%w{i}: f32[T,8] = rms_norm(%x, %v) {{eps={float(i)}}}" for i in range(count)]
    lines.append("%a0: f32[T,8] = add(%w0, %w1)")
    lines += [f"%a{i}: f32[T,8] = add(%a{i - 1}, %w{i + 1})" for i in range(1, count - 1)]
    module = module_of(graph(*lines, f"return %a{count - 2}"))
    fused = rewrite(FuseElementwise(), module)
    widths = [len(op.operands) for op in walk(fused.graphs["main"].ops) if op.name == "fused"]
    assert max(widths) == MOST_OPERANDS
    assert sum(w - 1 for w in widths) == count - 1
    assert trace(entered(fused)) == trace(entered(module))


def test_notes_count_ops() -> None:
    module = module_of(graph("%a: f32[T,8] = silu(%x)", "%b: f32[T,8] = neg(%a)", "return %b"))
    assert FuseElementwise().run(module).notes == ("2 element-wise ops became 1",)
    assert text_of(FuseElementwise().run(module).module, "main")[-2:] == [
        "%b: f32[T,8] = fused(%x) {expression='silu(a0);neg(t0)'}",
        "return %b",
    ]


def test_what_a_broadcast_repeats_is_read_where_it_is_smaller() -> None:
    fuses(
        (
            "%one: f32[1] = slice(%v) {start=2, stop=3}",
            "%b: f32[T,8] = broadcast(%one, %x) {shape='T,8'}",
            "%y: f32[T,8] = mul(%x, %b)",
            "%c: f32[T,8] = neg(%b)",
            "%z: f32[T,8] = add(%y, %c)",
            "return %z",
        ),
        (
            "%one: f32[1] = slice(%v) {start=2, stop=3}",
            "%b: f32[T,8] = broadcast(%one, %x) {shape='T,8'}",
            "%z: f32[T,8] = fused(%b, %x, %one) {expression='neg(a0);mul(a1,a2);add(t1,t0)'}",
            "return %z",
        ),
    )


def test_types_may_differ_within_a_chain() -> None:
    fuses(
        (
            "%f: i32[T,8] = less(%x, %v)",
            "%g: f32[T,8] = to_float(%f)",
            "%y: f32[T,8] = where(%f, %x, %g)",
            "return %y",
        ),
        (
            "%f: i32[T,8] = less(%x, %v)",
            "%y: f32[T,8] = fused(%f, %x) {expression='to_float(a0);where(a0,a1,t0)'}",
            "return %y",
        ),
    )
