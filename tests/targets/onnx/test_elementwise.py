"""Element-wise ops in ONNX Runtime against their references, special values included."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from element_cases import SPECIAL, normal, special_case
from kernel_harness import case
from onnx_ops import check_onnx

from chimerac.compiler.ir.ops.elementwise import ELEMENTWISE

#: Ops whose ONNX operators pass a NaN on, where ours may choose the other operand; and those with an exponential, which
#: looks up a power of two and stops the model at a NaN.
NO_NAN = ("maximum", "minimum", "exp", "tanh", "sigmoid", "silu", "softplus", "gelu", "erf")


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_every_op_on_special_values(name: str) -> None:
    special = special_case(name)
    if name in NO_NAN:
        special = replace(special, arrays=tuple(np.where(np.isnan(a), np.float32(1), a) for a in special.arrays))
    check_onnx([special])


def test_sine_and_power_of_any_number() -> None:
    any_bits = np.random.default_rng(1).integers(0, 2**32, 20000, dtype=np.uint32).view(np.float32)
    check_onnx([case(name, [any_bits], tokens=[]) for name in ("sin", "cos", "expm1", "log1p", "to_int")])
    bases, exponents = np.resize(np.abs(any_bits), 4000), np.resize(normal(37) * 8, 4000)
    check_onnx([case("pow", [bases, exponents], tokens=[])])


def test_a_fused_chain_of_both_types() -> None:
    five, ids = np.array(5, np.int32), np.array([3, 0, -6, 6, 1], np.int32)
    expression = "int_add(a0,a1);int_less(t0,a2);to_float(t0);where(t1,t2,a3)"
    check_onnx([case("fused", [ids, five, five, SPECIAL[:5]], {"expression": expression}, tokens=[0, 3])])
