"""Quantised matrix products and the embedding against the numpy references, at edge sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from kernel_harness import IN_TURN, Case, case, check, check_in_turn, product_isas

from chimerac.compiler.errors import InternalError
from chimerac.compiler.ir.layouts import FORMS, pack_scales, pack_ternary, scale_layout, ternary_layout
from chimerac.compiler.ir.ops.linear import quantise_rows, ternarise, to_bfloat16
from chimerac.compiler.ir.ops.norms import quantise_blocks, quantise_row
from chimerac.compiler.ir.types import TOKENS, TensorType
from chimerac.targets.isa import load_isa
from chimerac.targets.kernel_spec import KernelSpec
from chimerac.targets.kernels import find_kernel

RANDOM = np.random.default_rng(11)
COLUMNS = (1, 7, 8, 9, 63, 64, 65, 127, 128, 129, 200, 320)
ROWS = (1, 3, 7, 8, 9, 31, 33)
COUNTS = (1, 2, 5, 16)
PANEL_ROWS = 8
#: As IN_TURN; kernels of products take longest.
FEW_IN_TURN = pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow), 16], ids=["all", "in turn"])


def normal(*shape: int) -> np.ndarray:
    return (RANDOM.standard_normal(shape) * 3).astype(np.float32)


def product(
    op: str,
    activations: np.ndarray,
    weights: np.ndarray,
    scales: np.ndarray,
    group: int,
    block: int,
    *,
    dynamic: bool,
    form: str = "t2",
    row: bool = False,
) -> Case:
    """A case; the kernel of ternary_matmul gets its weights packed. ``row``: activations have one scale for all."""
    codes, code_scales = (quantise_row if row else quantise_blocks)(activations, block)
    attributes = {"rows": weights.shape[0], "columns": weights.shape[1], "group": group, "block": block}
    plain = case(op, [codes, code_scales, weights, scales], attributes, tokens=[0, 1] if dynamic else [])
    if op == "int8_matmul":
        return plain
    packed, panels = pack_ternary(weights, PANEL_ROWS, form), pack_scales(scales, PANEL_ROWS)
    types = (
        *plain.types[:2],
        TensorType("u8", packed.shape, ternary_layout(PANEL_ROWS, form)),
        TensorType("f16", panels.shape, scale_layout(PANEL_ROWS)),
    )
    return Case(op, types, plain.arrays, attributes, plain.n, packed={2: packed, 3: panels})


#: tokens, rows, columns of which each row has one scale: around what is read in a loop, in straight code and whole.
LONG = ((3, 33, 1000, "t2"), (16, 17, 640, "t2"), (9, 1, 300, "t2"), (1, 8, 1300, "t5"))


def long_rows(columns: int) -> int:
    """A group that is all of a row."""
    return -(-columns // 64) * 64


def sizes() -> list[tuple[int, int, int]]:
    """(tokens, rows, columns): every edge size of each, not every combination."""
    chosen = [(COUNTS[i % 4], ROWS[i % 7], columns) for i, columns in enumerate(COLUMNS * 2)]
    return [*chosen, (1, 40, 256), (16, 72, 256), (7, 64, 384)]


@FEW_IN_TURN
@pytest.mark.parametrize("op", ["ternary_matmul", "int8_matmul"])
def test_products(op: str, every: int, tmp_path: Path) -> None:
    cases = []
    for i, (n, rows, columns) in enumerate(sizes()):
        quantise = ternarise if op == "ternary_matmul" else quantise_rows
        weights, scales = quantise(normal(rows, columns), 128)
        cases.append(product(op, normal(n, columns), weights, scales, 128, 64, dynamic=i % 3 != 0))
    weights, scales = (ternarise if op == "ternary_matmul" else quantise_rows)(normal(9, 100), 96)
    cases.append(product(op, normal(3, 100), weights, scales, 96, 32, dynamic=True))
    cases.append(product(op, normal(2, 3, 100), weights, scales, 96, 32, dynamic=False))
    check_in_turn(cases, product_isas(), tmp_path, every)


@FEW_IN_TURN
def test_base_3(every: int, tmp_path: Path) -> None:
    """Rows of whole periods of words and bytes, of parts of them, and groups of which five make a period or one."""
    cases = []
    for n, rows, columns, group, block in (
        *((1, 8, 640, 128, 64), (16, 9, 1400, 128, 64), (3, 33, 200, 128, 64), (5, 7, 63, 128, 64)),
        *((9, 17, 16, 128, 64), (2, 8, 320, 160, 32), (1, 8, 720, 80, 16)),
    ):
        weights, scales = ternarise(normal(rows, columns), group)
        x = normal(n, columns)
        cases.append(product("ternary_matmul", x, weights, scales, group, block, dynamic=True, form="t5"))
    check_in_turn(cases, product_isas(), tmp_path, every)


@FEW_IN_TURN
def test_one_scale_for_a_row(every: int, tmp_path: Path) -> None:
    """Of weights, with blocks of activations; of weights and activations; of activations alone."""
    cases = []
    for n, rows, columns, form in LONG:
        x, group = normal(n, columns), long_rows(columns)
        weights, scales = ternarise(normal(rows, columns), group)
        for block, row in ((64, False), (group, True)):
            cases.append(product("ternary_matmul", x, weights, scales, group, block, dynamic=True, form=form, row=row))
    weights, scales = ternarise(normal(9, 400), 128)
    cases.append(product("ternary_matmul", normal(3, 400), weights, scales, 128, 64, dynamic=True, row=True))
    check_in_turn(cases, product_isas(), tmp_path, every)


@FEW_IN_TURN
def test_many_columns_and_rows(every: int, tmp_path: Path) -> None:
    """As many as are multiplied by tables of sums: groups of one stretch of tables and of several, a rest of a row, of
    the last panel and of the columns, more rows than sums are kept of, and the largest sums."""
    cases = []
    for n, rows, columns, group, block, row in (
        *((16, 520, 256, 128, 64, False), (35, 514, 208, 128, 64, False), (17, 512, 512, 256, 64, False)),
        *((16, 584, 96, 96, 32, False), (64, 513, 688, 704, 64, False), (18, 520, 608, 640, 640, True)),
        *((16, 2060, 64, 64, 64, False), (40, 528, 120, 128, 64, False)),
    ):
        weights, scales = ternarise(normal(rows, columns), group)
        x = normal(n, columns)
        x[1] = np.where(weights[3] < 0, -9, 9)
        cases.append(product("ternary_matmul", x, weights, scales, group, block, dynamic=n != 64, row=row))
    by_tables = [name for name in product_isas() if load_isa(name).sum_tables]
    check_in_turn(cases, by_tables, tmp_path, min(every, 4))
    check_in_turn(cases, [name for name in product_isas() if name not in by_tables], tmp_path, every)


@pytest.mark.slow
def test_the_largest_sums_of_a_row(tmp_path: Path) -> None:
    """All products of a row at their largest and of one sign, so that a sum without room would show."""
    columns = 8192 + 80
    weights = np.ones((9, columns), np.int8)
    weights[1::2] = -1
    x = np.full((3, columns), 2.0, np.float32)
    x[1] = -2
    scales = np.full((9, 1), 0.5, np.float16)
    group = long_rows(columns)
    made = [product("ternary_matmul", x, weights, scales, group, b, dynamic=True, row=True) for b in (64, group)]
    check(made, product_isas(), tmp_path)


@pytest.mark.slow
@IN_TURN
@pytest.mark.parametrize("op", ["ternary_matmul", "int8_matmul"])
@pytest.mark.parametrize(("block", "group"), [pytest.param(272, 544, marks=pytest.mark.slow), (512, 512)])
def test_blocks_beyond_the_room_of_a_sum(op: str, block: int, group: int, every: int, tmp_path: Path) -> None:
    """A whole block and a partial one, most products at their largest, so that a sum without room would show."""
    rows, columns = 9, block + 40
    weights = np.full((rows, columns), 1 if op == "ternary_matmul" else 127, np.int8)
    weights[1::2] *= -1
    weights[2::3] = np.sign(normal(len(weights[2::3]), columns)) * abs(weights[0, 0])
    scales = np.abs(normal(rows, -(-columns // group))).astype(np.float16)
    x = np.where(normal(6, columns) > -2.5, np.float32(3), np.float32(-3))
    cases = [product(op, x, weights, scales, group, block, dynamic=True)]
    if op == "ternary_matmul" and block == 512:
        cases.append(product(op, x[:1], weights, scales, group, block, dynamic=False, form="t5"))
    check_in_turn(cases, product_isas(), tmp_path, every)


@pytest.mark.parametrize("op", ["ternary_matmul", "int8_matmul"])
def test_extreme_values(op: str, tmp_path: Path) -> None:
    """The largest sums of a block, subnormal and large fp16 scales, NaN and infinite activations."""
    limit = 1 if op == "ternary_matmul" else 127
    x = np.full((5, 256), 2.0, np.float32)
    x[1] = -2
    x[2] = np.where(np.arange(256) % 2, 2, -2)
    x[3, 70], x[3, 130] = np.nan, np.inf
    weights = np.full((16, 256), limit, np.int8)
    weights[1] = -limit
    weights[2] = np.where(np.arange(256) % 2, limit, -limit)
    scales = np.tile(np.array([[6e-8, 65504], [1e-5, 1], [0.5, 3e-7], [1, -2]], np.float16), (4, 1))
    check([product(op, x, weights, scales, 128, 64, dynamic=True)], product_isas(), tmp_path)


def test_look_up(tmp_path: Path) -> None:
    cases = []
    for n, width in ((1, 64), (5, 200), (16, 128), (3, 7)):
        table, scales = quantise_rows(normal(11, width), 128)
        ids = RANDOM.integers(0, 11, n).astype(np.int32)
        cases.append(case("look_up", [ids, table, scales], {"group": 128}, tokens=[0]))
    check(cases, product_isas(), tmp_path)


def test_float16_weights(tmp_path: Path) -> None:
    """Subnormals, zeros of both signs and the largest numbers among them."""
    cases = []
    for n, rows, columns in ((1, 4, 64), (5, 9, 63), (3, 1, 7), (16, 33, 100)):
        table = (normal(rows, columns) * 10.0 ** RANDOM.integers(-8, 3, (rows, columns))).astype(np.float16)
        table[0, :4] = [-0.0, 65504, -65504, 2.0**-24]
        ids = RANDOM.integers(0, rows, n).astype(np.int32)
        cases.append(case("linear", [normal(n, columns), table], {}, tokens=[0]))
        cases.append(case("embedding", [ids, table], {}, tokens=[0]))
    check(cases, product_isas(), tmp_path)


def test_bfloat16_weights(tmp_path: Path) -> None:
    cases = []
    for n, rows, columns in ((1, 4, 64), (5, 9, 63), (3, 1, 7), (16, 33, 100)):
        table = to_bfloat16(normal(rows, columns))
        ids = RANDOM.integers(0, rows, n).astype(np.int32)
        cases.append(case("linear", [normal(n, columns), table], {}, tokens=[0]))
        cases.append(case("embedding", [ids, table], {}, tokens=[0]))
    check(cases, product_isas(), tmp_path)


@pytest.mark.parametrize("form", FORMS)
def test_ternary_look_up(form: str, tmp_path: Path) -> None:
    """Whole and partial vectors, words and panels; groups that end inside a vector."""
    cases = []
    for n, width, group in ((1, 64, 64), (5, 200, 128), (16, 1400, 128), (3, 7, 128), (4, 90, 20), (2, 640, 32)):
        table, scales = ternarise(normal(11, width), group)
        ids = RANDOM.integers(0, 11, n).astype(np.int32)
        ids[-1] = 10
        attributes = {"rows": 11, "columns": width, "group": group}
        plain = case("ternary_look_up", [ids, table, scales], attributes, tokens=[0])
        packed, panels = pack_ternary(table, PANEL_ROWS, form), pack_scales(scales, PANEL_ROWS)
        types = (
            plain.types[0],
            TensorType("u8", packed.shape, ternary_layout(PANEL_ROWS, form)),
            TensorType("f16", panels.shape, scale_layout(PANEL_ROWS)),
        )
        cases.append(Case(plain.op, types, plain.arrays, attributes, plain.n, packed={1: packed, 2: panels}))
    check(cases, product_isas(), tmp_path)


def test_ternary_look_ups_that_have_no_kernel() -> None:
    ids, scales = TensorType("i32", (TOKENS,)), TensorType("f16", (2, 4, 8), "panel.r8")
    for table, group in ((TensorType("i8", (11, 64)), 64), (TensorType("u8", (256,), "t2.r8"), 18)):
        attributes = (("columns", 64), ("group", group), ("rows", 11))
        spec = KernelSpec("ternary_look_up", (ids, table, scales), (TensorType("f32", (TOKENS, 64)),), attributes)
        with pytest.raises(InternalError, match="no ternary look-up"):
            find_kernel(spec.op)(spec, load_isa("x86_64-avx2"))


def test_codes_have_the_token_dimension() -> None:
    made = product("ternary_matmul", normal(2, 64), *ternarise(normal(8, 64), 128), 128, 64, dynamic=True)
    assert made.types[0].shape == (TOKENS, 64)
