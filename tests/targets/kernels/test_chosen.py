"""Kernels of products of chosen rows: the bits of the dense product where a row is chosen, and 0 elsewhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ir_tools import assert_same_bits, run_op
from kernel_harness import IN_TURN, Case, case, check_in_turn, product_isas

from chimerac.compiler.ir.layouts import pack_scales, pack_ternary, scale_layout, ternary_layout
from chimerac.compiler.ir.ops import OPS, TypeRuleError
from chimerac.compiler.ir.ops.linear import quantise_rows, ternarise, to_bfloat16
from chimerac.compiler.ir.ops.norms import quantise_blocks
from chimerac.compiler.ir.types import TensorType, f32

RANDOM = np.random.default_rng(79)
#: (tokens, rows, columns, share of them chosen, group, block)
SIZES = ((1, 1, 1, 1.0, 128, 64), (3, 70, 20, 0.5, 16, 16), (1, 4500, 130, 0.01, 128, 64), (2, 300, 256, 0.3, 128, 32))


def choice(n: int, rows: int, share: float) -> np.ndarray:
    """Numbers of which about a share are not 0; zeros of both signs."""
    drawn = RANDOM.random((n, rows)) < share
    return np.where(drawn, RANDOM.standard_normal((n, rows)), -0.0).astype(np.float32)


def integers(chosen: np.ndarray, x: np.ndarray, weight: np.ndarray, group: int, block: int, kind: str) -> Case:
    codes, scales = (ternarise if kind == "ternary" else quantise_rows)(weight, group)
    sizes = {"rows": weight.shape[0], "columns": weight.shape[1], "group": group, "block": block}
    plain = case(f"{kind}_chosen_matmul", [chosen, *quantise_blocks(x, block), codes, scales], sizes, tokens=[0, 1, 2])
    if kind == "int8":
        return plain
    packed, panels = pack_ternary(codes, 1), pack_scales(scales, 1)
    types = list(plain.types)
    types[3] = TensorType("u8", packed.shape, ternary_layout(1))
    types[4] = TensorType("f16", panels.shape, scale_layout(1))
    return replace(plain, types=tuple(types), packed={3: packed, 4: panels})


@IN_TURN
def test_every_format(every: int, tmp_path: Path) -> None:
    cases = []
    for n, rows, columns, share, group, block in SIZES:
        chosen, x = choice(n, rows, share), RANDOM.standard_normal((n, columns)).astype(np.float32)
        weight = RANDOM.standard_normal((rows, columns)).astype(np.float32)
        for held in (weight, to_bfloat16(weight), weight.astype(np.float16)):
            cases.append(case("chosen_linear", [chosen, x, held], tokens=[0, 1]))
        cases += [integers(chosen, x, weight, group, block, kind) for kind in ("ternary", "int8")]
    check_in_turn(cases, product_isas(), tmp_path, every)


@pytest.mark.parametrize("kind", ["", "ternary_", "int8_"])
def test_chosen_rows_are_those_of_the_dense_product(kind: str) -> None:
    x, weight = (RANDOM.standard_normal(shape).astype(np.float32) for shape in ((3, 100), (40, 100)))
    rule = {"group": 64, "block": 32} if kind else {}
    chosen = choice(3, 40, 0.4)
    (dense,) = run_op(f"{kind}linear", x, weight, **rule)
    (found,) = run_op(f"{kind}chosen_linear", chosen, x, weight, **rule)
    assert_same_bits(found, np.where(chosen != 0, dense, np.float32(0)))


def test_type_rules() -> None:
    weight, rule = f32(7, 16), {"group": 16, "block": 16}
    assert OPS["ternary_chosen_linear"].infer((f32("T", 7), f32("T", 16), weight), rule) == (f32("T", 7),)
    for operands, attributes in (
        ((f32("T", 6), f32("T", 16), weight), rule),
        ((f32("T", 7), f32("T", 15), weight), rule),
        ((f32(7), f32("T", 16), weight), rule),
        ((f32("T", 7), f32("T", 16), weight), {"group": 24, "block": 16}),
        ((f32("T", 7), f32("T", 16), weight), {"group": 8, "block": 8}),
    ):
        with pytest.raises(TypeRuleError):
            OPS["ternary_chosen_linear"].infer(operands, attributes)
