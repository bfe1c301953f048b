"""Element-wise kernels against the numpy references: special values, broadcasting, edge sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from element_cases import normal, special_case
from kernel_harness import IN_TURN, case, check, check_in_turn, native_isas

from chimerac.compiler.ir.axes import collapse
from chimerac.compiler.ir.ops import OPS
from chimerac.compiler.ir.ops.elementwise import ELEMENTWISE


@IN_TURN
def test_every_op_on_special_values(every: int, tmp_path: Path) -> None:
    check_in_turn([special_case(name) for name in ELEMENTWISE], native_isas(), tmp_path, every)


def test_numbers_that_a_kernel_is_given(tmp_path: Path) -> None:
    """Integers without axes are passed by value; a result without axes is written like any other."""
    five, ids = np.array(5, np.int32), np.array([3, 0, -6, 6, 1], np.int32)
    expression = "int_add(a0,a1);int_less(t0,a2);to_float(t0);where(t1,t2,a3)"
    check(
        [
            case("int_add", [five, five], tokens=[]),
            case("int_mul", [ids, five], tokens=[0]),
            case("to_float", [five], tokens=[]),
            case("fused", [ids, five, five, normal(5)], {"expression": expression}, tokens=[0, 3]),
        ],
        native_isas(),
        tmp_path,
    )


def test_tails_and_tokens(tmp_path: Path) -> None:
    cases = [case("silu", [normal(n, width)], tokens=[0]) for n in (1, 2, 5, 16) for width in (1, 7, 8, 9, 31, 32, 33)]
    cases += [case("exp", [normal(width)], tokens=[]) for width in (1, 7, 8, 9, 64)]
    check(cases, native_isas(), tmp_path)


def test_broadcasting(tmp_path: Path) -> None:
    check(
        [
            case("mul", [normal(5, 4, 1), normal(5, 4, 32)], tokens=[0, 1]),
            case("add", [normal(5, 4, 1), normal(9)], tokens=[0]),
            case("sub", [normal(3, 1, 7), normal(2, 1)], tokens=[0]),
            case("div", [normal(3, 1, 7), normal()], tokens=[0]),
            case("add", [normal(1), normal(6, 12)], tokens=[1]),
            case("mul", [normal(4, 3, 5), normal(3, 1)], tokens=[]),
            case("add", [normal(), normal()], tokens=[]),
        ],
        native_isas(),
        tmp_path,
    )


def test_fused_chain(tmp_path: Path) -> None:
    expression = "silu(a0);mul(t0,a1);add(t1,a2);mul(t2,a3);sub(t3,t0)"
    operands = [normal(5, 43), normal(5, 43), normal(43), normal(5, 1)]
    check([case("fused", operands, {"expression": expression}, tokens=[0, 1, 3])], native_isas(), tmp_path)


def test_parts_of_what_threads_share(tmp_path: Path) -> None:
    """Rows with and without a rest, of axes that are one, that stay apart, and that no token is on."""
    fused = {"expression": "silu(a0);mul(a1,t0);add(t1,a2)"}
    cases = [
        *(case("silu", [normal(n, width)], tokens=[0]) for n, width in ((1, 257), (3, 300), (5, 256), (2, 331))),
        case("fused", [normal(3, 300), normal(3, 300), normal(300)], fused, tokens=[0, 1]),
        case("mul", [normal(2, 7, 331), normal(2, 7, 1)], tokens=[0, 1]),
        case("int_add", [np.arange(7200, dtype=np.int32).reshape(3, 2400), np.array(5, np.int32)], tokens=[0]),
        case("exp", [normal(1000)], tokens=[]),
        case("add", [normal(3, 700, 4), normal(4)], tokens=[0]),
    ]
    shared = [OPS[one.op].work.sharing(one.types, one.attributes) is not None for one in cases]
    assert shared == [True] * 8 + [False], "the rows of the last one are too short"
    check(cases, native_isas(), tmp_path)


def test_products_are_never_fused_into_sums(tmp_path: Path) -> None:
    """a*b + c with values where one rounding and two differ."""
    a = np.full(64, 1 + 2.0**-12, np.float32)
    operands = [a, a, np.full(64, -1 - 2.0**-11, np.float32)]
    check([case("fused", operands, {"expression": "mul(a0,a1);add(t0,a2)"}, tokens=[])], native_isas(), tmp_path)
    assert (a * a + operands[2] == 0).all()  # a fused sum would be 2**-24


def test_axes_merge_where_steps_allow() -> None:
    assert len(collapse(("T", 4, 8), [("T", 4, 8), ("T", 4, 8)])) == 1
    assert len(collapse(("T", 4, 8), [("T", 4, 8), (8,)])) == 2
    assert len(collapse(("T", 4, 8), [("T", 4, 8), (4, 8)])) == 2
    assert len(collapse(("T", 4, 8), [("T", 4, 8), ("T", 4, 1)])) == 2
    assert len(collapse(("T", 4, 8), [("T", 4, 8), ("T", 1, 8)])) == 3
