"""scan_hoisting: what needs nothing of the row before is one op for all rows."""

from __future__ import annotations

import pytest
from ir_text import ir_text
from ir_tools import assert_rewrites, entered, module_of, rewrite, trace

from chimerac.compiler.ir.module import Op, walk
from chimerac.passes.scan_hoisting import ScanHoisting

HEAD = "table: f32[10,8]"
CONSTANTS = ("constant w: f32[8,8]", "constant r: f32[8,8]", "constant b: f32[8]", "state s: f32[1,8] iterations=1")


def scan_of(inside: str, carried: str = "%s", results: str = "%e: f32[1,8], %y: f32[T,8]") -> str:
    """A scan over the embedded tokens, of which the result is what comes out."""
    return ir_text(
        HEAD,
        f"""
        %s: f32[1,8] = state.read() {{name='s'}}
        %x: f32[T,8] = embedding(%tokens, %table)
        {results} = scan({carried}, %x) {{carried=1}} (%h: f32[1,8], %row: f32[1,8]) {{
          {inside}
        }}
        state.write(%e) {{name='s'}}
        return %y
        """,
        *CONSTANTS,
    )


def ops_in_scans(text: str) -> tuple[list[str], list[str]]:
    """Names of the ops inside and outside of the scan after the pass, which must keep the numbers."""
    before = module_of(text)
    after = rewrite(ScanHoisting(), before)
    assert trace(entered(after)) == trace(entered(before))
    (scan,) = (op for op in after.graphs["main"].ops if op.name == "scan")

    def names(ops: tuple[Op, ...]) -> list[str]:
        return [op.name for op in ops if op.name not in ("constant", "state.read", "state.write", "reshape")]

    return names(scan.regions[0].ops), names(after.graphs["main"].ops)


def test_products_of_inputs_are_one_for_all_rows() -> None:
    assert_rewrites(
        ScanHoisting(),
        scan_of(
            """
            %w: f32[8,8] = constant() {name='w'}
            %r: f32[8,8] = constant() {name='r'}
            %a: f32[1,8] = linear(%row, %w)
            %c: f32[1,8] = linear(%h, %r)
            %n: f32[1,8] = add(%a, %c)
            %o: f32[1,8] = tanh(%n)
            yield %o, %o
            """
        ),
        ir_text(
            HEAD,
            """
            %s: f32[1,8] = state.read() {name='s'}
            %x: f32[T,8] = embedding(%tokens, %table)
            %x_2: f32[T,1,8] = reshape(%x) {shape='T,1,8'}
            %w: f32[8,8] = constant() {name='w'}
            %r: f32[8,8] = constant() {name='r'}
            %a_rows: f32[T,1,8] = linear(%x_2, %w)
            %e: f32[1,8], %y: f32[T,8] = scan(%s, %a_rows) {carried=1} (%h: f32[1,8], %a_row: f32[1,1,8]) {
              %a: f32[1,8] = reshape(%a_row) {shape='1,8'}
              %c: f32[1,8] = linear(%h, %r)
              %n: f32[1,8] = add(%a, %c)
              %o: f32[1,8] = tanh(%n)
              yield %o, %o
            }
            state.write(%e) {name='s'}
            return %y
            """,
            *CONSTANTS,
        ),
    )


@pytest.mark.parametrize(
    ("steps", "moved"),
    [
        ("%v: f32[1,8] = mul(%row, %b)", ["mul"]),
        ("%v: f32[1,8] = softmax(%row)", ["softmax"]),
        ("%v: f32[1,8] = slice(%row) {axis=1, start=7, step=-1, stop=-1}", ["slice"]),
        ("%p: f32[2,4] = reshape(%row) {shape='2,4'}\n%q: f32[4,2] = transpose(%p) {perm='1,0'}\n"
         "%v: f32[1,8] = reshape(%q) {shape='1,8'}", ["transpose"]),
        ("%p: f32[8] = reshape(%row) {shape='8'}\n%q: f32[1,8] = add(%p, %row)\n%v: f32[1,8] = neg(%q)",
         ["add", "neg"]),
        ("%p: f32[2,4] = reshape(%row) {shape='2,4'}\n%q: f32[2,2] = matmul(%p, %p)\n%t: f32[1,4] = reshape(%q) "
         "{shape='1,4'}\n%v: f32[1,8] = concat(%t, %t)", ["matmul", "concat"]),
        ("%p: f32[2,4] = reshape(%b) {shape='2,4'}\n%q: f32[8] = reshape(%p) {shape='8'}\n%v: f32[1,8] = add(%q, %row)",
         ["add"]),
        ("%q: f32[8] = tanh(%b)\n%v: f32[1,8] = ternary_linear(%row, %w) {block=4, group=8}",
         ["tanh", "ternary_linear"]),
    ],
)  # fmt: skip
def test_what_is_moved(steps: str, moved: list[str]) -> None:
    inside, outside = ops_in_scans(
        scan_of(
            f"""
            %w: f32[8,8] = constant() {{name='w'}}
            %b: f32[8] = constant() {{name='b'}}
            {steps.replace(chr(10), chr(10) + " " * 12)}
            %n: f32[1,8] = sub(%v, %h)
            yield %n, %n
            """
        )
    )
    assert inside == ["sub"]
    assert [name for name in outside if name not in ("embedding", "scan")] == moved


def test_rows_that_need_nothing_carried_are_no_result_of_the_scan() -> None:
    inside, outside = ops_in_scans(
        scan_of(
            """
            %v: f32[1,8] = tanh(%row)
            yield %row, %v
            """
        )
    )
    assert inside == []
    assert outside == ["embedding", "tanh", "scan"]


def test_what_needs_the_row_before_stays_and_so_does_a_scan_without_inputs() -> None:
    inside, outside = ops_in_scans(
        scan_of(
            """
            %v: f32[1,8] = tanh(%h)
            %u: f32[1,8] = add(%v, %row)
            yield %v, %u
            """
        )
    )
    assert (inside, outside) == (["tanh", "add"], ["embedding", "scan"])
    inside, outside = ops_in_scans(
        scan_of(
            """
            %v: f32[1,8] = tanh(%h)
            yield %v, %h
            """
        )
    )
    assert (inside, outside) == (["tanh"], ["embedding", "scan"])


def test_scans_within_scans_are_emptied_from_the_inside() -> None:
    text = scan_of(
        """
        %pairs: f32[2,4] = reshape(%row) {shape='2,4'}
        %k: f32[1,8], %z: f32[2,4] = scan(%h, %pairs) {carried=1} (%g: f32[1,8], %pair: f32[1,4]) {
          %t: f32[1,4] = tanh(%pair)
          %tt: f32[1,8] = concat(%t, %t)
          %f: f32[1,8] = add(%g, %tt)
          yield %f, %t
        }
        %v: f32[1,8] = reshape(%z) {shape='1,8'}
        yield %k, %v
        """
    )
    before = module_of(text)
    after = rewrite(ScanHoisting(), before)
    assert trace(entered(after)) == trace(entered(before))
    outer, inner = (op for op in walk(after.graphs["main"].ops) if op.name == "scan")
    assert {op.name for op in outer.regions[0].ops} == {"scan", "reshape"}
    assert {op.name for op in inner.regions[0].ops} == {"add", "reshape"}
