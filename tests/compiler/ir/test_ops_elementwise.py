"""Element-wise ops against PyTorch in double precision; movement ops against numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from ir_tools import assert_same_bits, draw, run_op

from chimerac.compiler.ir.ops.elementwise import ELEMENTWISE, parse_expression

TRUTH: dict[str, Callable[..., torch.Tensor]] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "neg": torch.neg,
    "abs": torch.abs,
    "zero": torch.zeros_like,
    "sqrt": torch.sqrt,
    "exp": torch.exp,
    "log": torch.log,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "softplus": F.softplus,
    "gelu": F.gelu,
    "rsqrt": torch.rsqrt,
    "pow": torch.pow,
    "expm1": torch.expm1,
    "log1p": torch.log1p,
    "erf": torch.erf,
    "sin": torch.sin,
    "cos": torch.cos,
    "floor": torch.floor,
    "ceil": torch.ceil,
    "trunc": torch.trunc,
    "round": torch.round,
    "sign": torch.sign,
    "less": torch.lt,
    "less_equal": torch.le,
    "equal": torch.eq,
    "not_equal": torch.ne,
    "where": lambda c, a, b: torch.where(c != 0, a, b),
    "to_float": lambda a: a.double(),
    "to_int": lambda a: a.int(),
    "int_add": torch.add,
    "int_sub": torch.sub,
    "int_mul": torch.mul,
    "int_floor_div": lambda a, b: torch.div(a, b, rounding_mode="floor"),
    "int_mod": torch.remainder,
    "int_maximum": torch.maximum,
    "int_minimum": torch.minimum,
    "int_neg": torch.neg,
    "int_abs": torch.abs,
    "int_and": torch.bitwise_and,
    "int_or": torch.bitwise_or,
    "int_xor": torch.bitwise_xor,
    "int_less": torch.lt,
    "int_less_equal": torch.le,
    "int_equal": torch.eq,
    "int_not_equal": torch.ne,
    "int_where": lambda c, a, b: torch.where(c != 0, a, b),
    "logical_not": torch.logical_not,
    "logical_and": torch.logical_and,
    "logical_or": torch.logical_or,
    "logical_xor": torch.logical_xor,
}
POSITIVE = ("sqrt", "log", "rsqrt", "pow", "log1p")


def test_every_op_has_a_truth() -> None:
    assert TRUTH.keys() == ELEMENTWISE.keys()


def operands(name: str, shape: tuple[int, ...]) -> list[np.ndarray]:
    """Numbers that the op takes, no divisor 0 among them."""
    found: list[np.ndarray] = []
    for seed, kind in enumerate(ELEMENTWISE[name].takes):
        x = np.asarray(draw(seed, *shape, scale=3))
        if name in POSITIVE:
            x = np.asarray(np.abs(x) + np.float32(1e-3))
        if kind == "i32":
            x = np.asarray(np.rint(x).astype(np.int32))
            x = np.asarray(np.where(x == 0, 5, x).astype(np.int32)) if name in ("int_floor_div", "int_mod") else x
        found.append(x)
    return found


@pytest.mark.parametrize("shape", [(), (1,), (7,), (8,), (9,), (3, 5), (2, 3, 33)])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_values(name: str, shape: tuple[int, ...]) -> None:
    given = operands(name, shape)
    wide = [torch.from_numpy(a).double() if a.dtype == np.float32 else torch.from_numpy(a) for a in given]
    (got,) = run_op(name, *given)
    np.testing.assert_allclose(got, TRUTH[name](*wide).numpy(), rtol=8e-7, atol=2e-7)


@pytest.mark.parametrize(
    ("left", "right"), [((5, 1), (5, 4)), ((4,), (5, 4)), ((3, 1, 2), (4, 1)), ((1,), ()), ((2, 1, 1), (1, 3, 4))]
)
def test_broadcasting_is_numpys(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    a, b = draw(1, *left), draw(2, *right)
    for name, function in (("add", np.add), ("sub", np.subtract), ("div", np.divide)):
        assert_same_bits(run_op(name, a, b)[0], np.asarray(function(a, b)))


def test_special_values() -> None:
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, 3.4e38], np.float32)
    assert np.signbit(run_op("neg", x)[0][0])
    assert not np.signbit(run_op("abs", x)[0]).any()
    assert (run_op("zero", x)[0] == 0).all()
    assert not np.signbit(run_op("zero", x)[0]).any()
    np.testing.assert_array_equal(
        run_op("div", np.array([1, -1, 0], np.float32), np.zeros(3, np.float32))[0], [np.inf, -np.inf, np.nan]
    )
    np.testing.assert_array_equal(run_op("gelu", x)[0][:4], [0, -0.0, np.inf, -0.0])
    large = np.array([100, -200, 20, 20.5], np.float32)
    np.testing.assert_array_equal(run_op("softplus", large)[0][[0, 1, 3]], [100, 0, 20.5])
    one, missing = np.array([1.0], np.float32), np.array([np.nan], np.float32)
    assert np.isnan(run_op("maximum", one, missing)[0][0])  # a > b is false: b
    assert run_op("maximum", missing, one)[0][0] == 1


def test_a_fused_chain_is_its_steps_one_by_one() -> None:
    a, b, c = draw(1, 5, 9), draw(2, 9), draw(3, 5, 1)
    (silu,) = run_op("silu", a)
    (product,) = run_op("mul", silu, b)
    (total,) = run_op("add", product, c)
    (result,) = run_op("sub", total, silu)
    expression = "silu(a0);mul(t0,a1);add(t1,a2);sub(t2,t0)"
    assert_same_bits(run_op("fused", a, b, c, expression=expression)[0], result)
    assert parse_expression(expression)[1] == ("mul", ("t0", "a1"))


def test_a_fused_scalar_stays_a_scalar() -> None:
    x = np.array(0.5, np.float32)
    assert_same_bits(run_op("fused", x, expression="exp(a0);neg(t0)")[0], run_op("neg", *run_op("exp", x))[0])


def test_a_fused_chain_mixes_types() -> None:
    a, b, flags = draw(1, 5), draw(2, 5), np.array([0, 1, 0, 1, 2], np.int32)
    expression = "less(a0,a1);logical_or(t0,a2);to_float(t1);where(t0,t2,a1)"
    either = ((a < b) | (flags != 0)).astype(np.float32)
    assert_same_bits(run_op("fused", a, b, flags, expression=expression)[0], np.where(a < b, either, b))


def test_what_integers_do_at_the_edges() -> None:
    least = np.array([-(2**31)], np.int32)
    zero, minus = np.zeros(1, np.int32), np.full(1, -1, np.int32)
    for name, b, expected in (
        ("int_floor_div", zero, 0),
        ("int_mod", zero, 0),
        ("int_floor_div", minus, -(2**31)),
        ("int_mod", minus, 0),
        ("int_sub", np.ones(1, np.int32), 2**31 - 1),
        ("int_mul", minus, -(2**31)),
    ):
        assert run_op(name, least, b)[0][0] == expected
    assert run_op("int_neg", least)[0][0] == run_op("int_abs", least)[0][0] == -(2**31)
    far = np.array([3e9, -3e9, np.inf, -np.inf, np.nan, 2147483520, -1.9], np.float32)
    whole = [2**31 - 1, -(2**31), 2**31 - 1, -(2**31), 0, 2147483520, -1]
    assert run_op("to_int", far)[0].tolist() == whole


def test_reshape_slice_concat_and_last_token() -> None:
    x = draw(1, 3, 8)
    assert_same_bits(run_op("reshape", x, shape="3,2,4")[0], x.reshape(3, 2, 4))
    assert_same_bits(run_op("slice", x, start=2, stop=7)[0], x[:, 2:7].copy())
    assert_same_bits(run_op("concat", x, x[:, :1].copy(), draw(2, 3, 2))[0], np.hstack([x, x[:, :1], draw(2, 3, 2)]))
    assert_same_bits(run_op("last_token", x)[0], x[2:])
    codes = np.arange(6, dtype=np.int8).reshape(2, 3)
    assert_same_bits(run_op("slice", codes, start=1, stop=3)[0], codes[:, 1:].copy())
