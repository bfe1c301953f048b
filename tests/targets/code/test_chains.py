"""Which kernels are computed part by part with those before them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chimerac.compiler.ir.module import Op, Value
from chimerac.compiler.ir.types import TOKENS, TensorType, f32
from chimerac.targets.code.batches import Batch
from chimerac.targets.code.chains import LEAST_WORK, follows, held_until, token_work
from chimerac.targets.code.places import Arena, LastRow, Place

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


def follows_first(op: Op, maker: Op) -> bool:
    """Whether an op follows what makes its first operand."""
    return follows(op, op.operands[0], maker)


def test_what_follows() -> None:
    assert follows_first(SILU, GATE)
    assert follows(MUL, MUL.operands[1], UP)
    assert follows_first(MUL, SILU)
    assert not follows_first(GATE, SILU), "a product needs whole rows"
    assert not follows_first(SILU, product("gate", WIDTH * 2)), "rows of another width"
    assert not follows_first(SILU, op("rms_norm", "gate", ROW, ("x", ROW), ("w", f32(WIDTH)))), "a norm is not shared"
    odd = f32(TOKENS, 36, 48)
    assert not follows_first(op("l2_norm", "y", odd, ("x", odd)), product("x", 36 * 48)), "not a power of two"
    few = f32(TOKENS, 64)
    assert not follows_first(op("silu", "y", few, ("x", few)), product("x", 64)), "not worth sharing"


HEADS = f32(TOKENS, 36, 64)
NORMED = op("l2_norm", "k", HEADS, ("active", HEADS))
GATES, STATE = f32(TOKENS, 36), f32(36, 64, 64)
DELTA = op(
    "gated_delta", "o", HEADS, ("q", HEADS), ("k", HEADS), ("v", HEADS), ("g", GATES), ("b", GATES), ("state", STATE)
)


def test_heads_follow_heads() -> None:
    """What a head needs is made by the same head, or by the same elements of a row."""
    assert follows_first(NORMED, SILU)
    assert follows(DELTA, DELTA.operands[1], NORMED)
    assert follows(DELTA, DELTA.operands[2], SILU)
    assert follows_first(op("rms_norm", "y", HEADS, ("o", HEADS), ("w", f32(64))), DELTA)
    assert not follows(DELTA, DELTA.operands[3], op("sigmoid", "g", GATES, ("x", GATES))), "a number of each head"
    assert not follows_first(op("quantize", "y", HEADS, ("o", HEADS)), DELTA), "quantisation is not shared by heads"
    shared_keys = f32(TOKENS, 18, 128)
    assert not follows(
        replace(DELTA, operands=(*DELTA.operands[:1], Value("k", shared_keys), *DELTA.operands[2:])),
        Value("k", shared_keys),
        NORMED,
    ), "keys that two heads share"


def test_a_reshaped_value_is_followed() -> None:
    """Where the operands of a chain must stay, whatever names they have."""
    split = op("reshape", "split", HEADS, ("active", ROW))
    norm = op("l2_norm", "k", HEADS, ("split", HEADS))
    assert held_until(list(enumerate([GATE, SILU, split, norm]))) == dict.fromkeys((0, 1, 3), 3)


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


NORM = replace(op("rms_norm", "norm", ROW, ("hidden", ROW), ("nw", f32(WIDTH))), attributes={"eps": 1e-5})


def quantised(x: tuple[str, TensorType]) -> Op:
    results = (Value("q", TensorType("i8", (TOKENS, WIDTH))), Value("qs", f32(TOKENS, WIDTH // 64)))
    return Op("quantize", (Value(*x),), results, {"block": 64})


def test_what_threads_share_by_tokens() -> None:
    assert token_work(NORM) == 4 * token_work(op("add", "sum", ROW, ("hidden", ROW), ("x", ROW))) > LEAST_WORK
    assert token_work(SILU) > token_work(NORM)
    assert token_work(quantised(("norm", ROW)))
    assert not token_work(GATE), "parts of a product are rows of the matrix"
    assert not token_work(op("silu", "y", f32(TOKENS, 32), ("x", f32(TOKENS, 32)))), "not worth sharing"
    column, row = f32(WIDTH, TOKENS), f32(WIDTH)
    assert not token_work(op("silu", "y", column, ("x", column))), "tokens are no neighbours there"
    assert not token_work(op("silu", "y", row, ("x", row))), "no tokens"
    square = f32(TOKENS, TOKENS)
    assert not token_work(op("silu", "y", square, ("x", square))), "a row for each token has another width in each call"


X, Y, Z, W, V = (Arena(i * 200_000, 16 * 4 * WIDTH) for i in range(5))


@pytest.mark.parametrize(
    ("read", "kind", "writes", "expected"),
    [
        (Z, ROW, (V,), [1]),  # of the norm
        (Y, ROW, (V,), [2]),  # of the sum
        (X, ROW, (V,), []),  # not made here
        (X, ROW, (X,), None),  # over what the sum reads of other tokens
        (Z, ROW, (Z,), None),
        (LastRow(Z, 4 * WIDTH), f32(1, WIDTH), (V,), None),  # of one token
        (Arena(Z.offset, 64), ROW, (V,), None),
        (Z, f32(TOKENS, 2 * WIDTH), (V,), None),  # other bytes of a token
    ],
)
def test_how_far_back_by_tokens(
    read: Place, kind: TensorType, writes: tuple[Place, ...], expected: list[int] | None
) -> None:
    """Of a sum from X and W to Y, and its norm, at Z."""
    batch = Batch()
    batch.add(op("add", "hidden", ROW, ("x", ROW), ("w", ROW)), (X, W), (Y,), by_tokens=True)
    assert batch.followed(NORM, (Y,), (Z,), by_tokens=True) == [1]
    batch.add(NORM, (Y,), (Z,), by_tokens=True)
    assert batch.followed(quantised(("norm", kind)), (read,), writes, by_tokens=True) == expected
    assert batch.followed(GATE, (Z,), (V,)) is None, "a product needs all of it"


def test_second_results_are_followed_by_tokens() -> None:
    batch = Batch()
    batch.add(quantised(("x", ROW)), (X,), (Y, Arena(Z.offset, 16 * 4 * WIDTH // 64)), by_tokens=True)
    scales = f32(TOKENS, WIDTH // 64)
    double = op("add", "d", scales, ("qs", scales), ("qs", scales))
    assert batch.followed(double, [Arena(Z.offset, 16 * 4 * WIDTH // 64)] * 2, (W,), by_tokens=True) == [1]


def test_neighbours_in_prompts_keep_their_operands() -> None:
    """Gates are shared by tokens there; both products run at the same time, and a third one after them."""
    down = op(
        "ternary_matmul", "down", ROW, ("q", TensorType("i8", (TOKENS, WIDTH))), ("w", TensorType("i8", (WIDTH, WIDTH)))
    )
    down = replace(down, attributes={"rows": WIDTH, "columns": WIDTH, "group": 128, "block": 64})
    ops = list(enumerate([GATE, UP, SILU, MUL, NORM, quantised(("norm", ROW)), down], start=3))
    assert held_until(ops, by_tokens=True) == {3: 4, 4: 4, 5: 8, 6: 8, 7: 8, 8: 8}
    needs = replace(down, operands=(Value("gate", ROW), *down.operands[1:]))
    assert held_until(list(enumerate([GATE, needs])), by_tokens=True) == {}, "one after the other"
