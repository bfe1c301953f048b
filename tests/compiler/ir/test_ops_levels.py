"""Tables of codes of 3 bytes: values against exact fractions, and the type rules."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from ir_tools import assert_same_bits, run_op

from chimerac.compiler.ir.module import Attribute
from chimerac.compiler.ir.ops import OPS, TypeRuleError
from chimerac.compiler.ir.ops.levels import codes_of, pack, unpack, values_of
from chimerac.compiler.ir.types import TensorType, f32, i32

RULE: dict[str, Attribute] = {"levels": 10**7, "limit": 1.0}


@pytest.mark.parametrize(("levels", "limit"), [(10**7, 1.0), (1 << 24, 1.0), (2, 3.0), (255, 0.37), (10**7, 0.3)])
def test_values_are_rounded_fractions(levels: int, limit: float) -> None:
    codes = np.unique([*np.random.default_rng(levels).integers(0, levels, 300).tolist(), 0, levels // 2, levels - 1])
    found = values_of(codes.astype(np.int32), levels, limit)
    for code, value in zip(codes.tolist(), found, strict=True):
        exact = Fraction(2 * code - (levels - 1), levels - 1)
        assert value == np.float32(float(exact)) * np.float32(limit)
        assert float(value) == pytest.approx(float(exact) * limit, rel=2**-22)
    if levels < 1000 or limit == 1.0:
        assert np.array_equal(codes_of(found, levels, limit), codes)
    assert np.array_equal(unpack(pack(codes.astype(np.int32))), codes)


def test_products_and_look_ups_are_those_of_the_values() -> None:
    random = np.random.default_rng(3)
    table = random.uniform(-1.2, 1.2, (7, 11)).astype(np.float32)
    codes = codes_of(table, 10**7, 1.0)
    values, x = values_of(codes, 10**7, 1.0), random.standard_normal((3, 11)).astype(np.float32)
    ids = np.array([6, 0, 6], np.int32)
    for name, given in (("linear", table), ("matmul", pack(codes))):
        assert_same_bits(run_op(f"levels_{name}", x, given, **RULE)[0], run_op("linear", x, values)[0])
    for name, given in (("embedding", table), ("look_up", pack(codes))):
        assert_same_bits(run_op(f"levels_{name}", ids, given, **RULE)[0], values[ids])


def test_type_rules() -> None:
    table = TensorType("u8", (7, 3, 11))
    assert OPS["levels_matmul"].infer((f32("T", 11), table), RULE) == (f32("T", 7),)
    assert OPS["levels_look_up"].infer((i32("T"), table), RULE) == (f32("T", 11),)
    for operands, rule in (
        ((f32("T", 10), table), RULE),
        ((f32("T", 11), TensorType("u8", (7, 2, 11))), RULE),
        ((f32("T", 11), TensorType("u8", (7, 33))), RULE),
        ((f32("T", 11), f32(7, 3, 11)), RULE),
        ((f32("T", 11), table), {"levels": 1, "limit": 1.0}),
        ((f32("T", 11), table), {"levels": (1 << 24) + 1, "limit": 1.0}),
        ((f32("T", 11), table), {"levels": 9, "limit": 0.0}),
        ((f32("T", 11), table), {"levels": 9, "limit": float("inf")}),
    ):
        with pytest.raises(TypeRuleError):
            OPS["levels_matmul"].infer(operands, rule)
