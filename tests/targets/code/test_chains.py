"""Which kernels are computed part by part with those before them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chimerac.compiler.ir.module import Op, Value
from chimerac.compiler.ir.types import TOKENS, TensorType, f32
from chimerac.targets.code.batches import Batch
from chimerac.targets.code.chains import follows, held_until
from chimerac.targets.code.places import Arena

WIDTH = 2304
ROW = f32(TOKENS, WIDTH)


def op(name: str, result: str, kind: TensorType, *operands: tuple[str, TensorType]) -> Op:
    return Op(name, tuple(Value(*operand) for operand in operands), (Value(result, kind),), {})


def product(result: str, width: int = WIDTH) -> Op:
    weights = TensorType("i8", (width, 1024))
    operands = (("q", TensorType("i8", (TOKENS, 1024))), ("s", f32(TOKENS, 16)), ("w", weights), ("ws", f32(width, 8)))
    made = op("ternary_matmul", result, f32(TOKENS, width), *operands)
    return replace(made, attributes={"rows": width, "columns": 1024, "group": 128, "block": 64})


GATE, UP = product("gate"), product("up")
SILU = op("silu", "active", ROW, ("gate", ROW))
MUL = op("mul", "hidden", ROW, ("active", ROW), ("up", ROW))


def test_what_follows() -> None:
    assert follows(SILU, GATE)
    assert follows(MUL, UP)
    assert follows(MUL, SILU)
    assert not follows(GATE, SILU), "a product needs whole rows"
    assert not follows(SILU, product("gate", WIDTH * 2)), "rows of another width"
    assert not follows(SILU, op("rms_norm", "gate", ROW, ("x", ROW), ("w", f32(WIDTH)))), "a norm is not shared"
    cube = f32(TOKENS, 36, 64)
    assert not follows(op("silu", "y", cube, ("x", cube)), GATE), "rows of several axes"
    few = f32(TOKENS, 64)
    assert not follows(op("silu", "y", few, ("x", few)), product("x", 64)), "not worth sharing"


@pytest.mark.parametrize(
    ("reads", "writes", "expected"),
    [
        ((0,), 2, [1]),
        ((0, 4), 2, [1]),
        ((4,), 2, []),  # nothing of the batch
        ((0,), 0, None),  # over what it reads
        ((0,), 1, None),  # over what the product reads
    ],
)
def test_how_far_back(reads: tuple[int, ...], writes: int, expected: list[int] | None) -> None:
    """Of a batch of a product from place 1 to place 0."""
    places = [Arena(i * 10000, 4 * WIDTH) for i in range(5)]
    batch = Batch()
    batch.add(GATE, (places[1],), (places[0],))
    assert batch.followed(SILU, [places[i] for i in reads], (places[writes],)) == expected


def test_a_part_of_what_is_made_is_not_followed() -> None:
    batch = Batch()
    batch.add(GATE, (), (Arena(0, 4 * WIDTH),))
    assert batch.followed(SILU, [Arena(0, 64)], (Arena(20000, 64),)) is None


def test_operands_stay_until_the_last_one() -> None:
    norm = op("rms_norm", "n", ROW, ("hidden", ROW), ("nw", f32(WIDTH)))
    assert held_until(list(enumerate([GATE, UP, SILU, MUL, norm], start=5))) == dict.fromkeys((5, 6, 7, 8), 8)
    assert held_until(list(enumerate([GATE, norm, UP]))) == {}
