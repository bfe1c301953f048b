"""The table of translators, what has none, and how weights are packed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ir_text import ir_text
from ir_tools import module_of
from onnx_tools import OnnxModule, assert_agrees

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.module import Module, Op, Value
from chimerac.compiler.ir.ops import OPS
from chimerac.compiler.ir.types import f32
from chimerac.passes.entry_points import EntryPoints
from chimerac.targets.onnx.model import emit
from chimerac.targets.onnx.translate import EXACT, FUSED, find_translator
from chimerac.targets.onnx.weights import matmul_block, pack_blocks, pack_matrix

BLOCK_48 = ir_text(
    "table: f32[9,96], weight: f32[5,96]",
    """
    %x: f32[T,96] = embedding(%tokens, %table)
    %y: f32[T,5] = ternary_linear(%x, %weight) {block=48, group=48}
    return %y
    """,
)


def lowered(text: str) -> Module:
    from chimerac.compiler.build import pipeline

    return pipeline.run(module_of(text), pipeline.passes())[0]


def test_every_op_of_lowered_modules_has_a_translator() -> None:
    trees = {"walk", "replay"}  # of graphs that ONNX bundles do not have: speculation is refused there (CHM315)
    assert EXACT.keys() == {op.name for op in OPS.values() if op.legal("lowered")} - trees
    assert FUSED.keys() < EXACT.keys()
    for name in EXACT:
        assert find_translator(Op(name, (), ())) is EXACT[name]
        assert find_translator(Op(name, (), ()), fused=True) is FUSED.get(name, EXACT[name])


def test_an_op_without_translator_is_named_with_its_place() -> None:
    op = Op("moe", (), (Value("y", f32("T", 4)),), location="layers.3.ffn (model.py:10)")
    with pytest.raises(UserError, match=r"op 'moe' has no ONNX form.*layers\.3\.ffn \(model\.py:10\)") as caught:
        find_translator(op)
    assert caught.value.code == "CHM301"


def test_blocks_that_are_no_power_of_two(tmp_path: Path) -> None:
    module = lowered(BLOCK_48)
    assert_agrees(module, tmp_path, [(1, 2, 3), (0,)])
    with pytest.raises(UserError, match="16, 32, 64, … activations, not 48") as caught:
        emit(module, fused=True)
    assert caught.value.code == "CHM301"


@pytest.mark.parametrize(("group", "block"), [(128, 64), (320, 64), (320, 320)])
def test_activations_with_one_scale_for_a_row(group: int, block: int, tmp_path: Path) -> None:
    text = ir_text(
        "table: f32[9,300], weight: f32[5,300], norm: f32[300]",
        f"""
        %e: f32[T,300] = embedding(%tokens, %table)
        %n: f32[T,300] = rms_norm(%e, %norm) {{eps=1e-6}}
        %x: f32[T,5] = ternary_row_linear(%e, %weight) {{block={block}, group={group}}}
        %y: f32[T,5] = ternary_row_linear(%n, %weight) {{block={block}, group={group}}}
        %z: f32[T,5] = add(%x, %y)
        return %z
        """,
    )
    module = lowered(text)
    assert {op.name for op in module.graphs["decode"].ops} >= {"quantize", "rms_norm_quantize", "ternary_matmul"}
    assert_agrees(module, tmp_path, [(1, 2, 3), (0,)])
    with pytest.raises(UserError, match="not with one scale for all of a token's") as caught:
        emit(module, fused=True)
    assert caught.value.code == "CHM301"


def test_blocks_with_activations_below_the_floor_of_the_quantiser(tmp_path: Path) -> None:
    """Their codes do not reach 127, and MatMulNBits would round them again."""
    table = np.random.default_rng(5).standard_normal((9, 96)).astype(np.float32)
    table[:, 48:] *= np.float32(2e-6)
    table[3] = 0
    text = BLOCK_48.replace("block=48, group=48", "block=16, group=48")
    from chimerac.compiler.build import pipeline

    module, _ = pipeline.run(module_of(text, {"table": table}), pipeline.passes())
    assert_agrees(module, tmp_path, [(1, 2, 3, 8), (0,), (3,)])


def test_same_model_same_bytes(tmp_path: Path) -> None:
    module = lowered(BLOCK_48)
    first, second = OnnxModule(module, tmp_path / "a"), OnnxModule(module, tmp_path / "b")
    for name in ("model.onnx", "model.onnx.data"):
        assert first.path.with_name(name).read_bytes() == second.path.with_name(name).read_bytes()


def test_states_keep_their_initial_value_for_position_0_only(tmp_path: Path) -> None:
    module = module_of(
        """
        module small block=4 loops=1..1
        constant table: f32[9,8]
        constant start: f32[1,8]
        state sum: f32[1,8] iterations=1 initial=start
        graph main(%tokens: i32[T], %position: i32[]) tokens=4 {
          %t: f32[9,8] = constant() {name='table'}
          %x: f32[T,8] = embedding(%tokens, %t)
          %last: f32[1,8] = last_token(%x)
          %old: f32[1,8] = state.read() {name='sum'}
          %new: f32[1,8] = add(%old, %last)
          state.write(%new) {name='sum'}
          return %new
        }
        """
    )
    assert_agrees(EntryPoints().run(module).module, tmp_path, [(1, 2), (0,), (3, 1)])


def test_states_of_integers(tmp_path: Path) -> None:
    text = ir_text(
        "table: f32[9,8], three: i32[]",
        """
        %x: f32[T,8] = embedding(%tokens, %table)
        %old: i32[] = state.read() {name='count'}
        %n: i32[] = token_count(%x)
        %all: i32[] = int_add(%old, %n)
        state.write(%all) {name='count'}
        %rest: i32[] = int_mod(%all, %three)
        %factor: f32[] = to_float(%rest)
        %y: f32[T,8] = mul(%x, %factor)
        return %y
        """,
        "state count: i32[] iterations=1",
    )
    from chimerac.compiler.build import pipeline

    module, _ = pipeline.run(module_of(text, {"three": np.array(3, np.int32)}), pipeline.passes())
    assert_agrees(module, tmp_path, [(1, 2, 3), (0,), (3, 1)])


@pytest.mark.parametrize("bits", [2, 8])
def test_packing(bits: int) -> None:
    high = (1 << (bits - 1)) - 1
    weights = np.random.default_rng(1).integers(-high, high + 1, (3, 100)).astype(np.int8)
    parts = pack_blocks(weights, 64, bits)
    assert [p.shape for p in parts] == [(3, 1, 64 * bits // 8)] * 2
    whole = pack_matrix(weights, 64, bits)
    assert np.array_equal(whole, np.concatenate(parts, axis=1))
    codes = np.stack([whole >> shift & ((1 << bits) - 1) for shift in range(0, 8, bits)], axis=-1).reshape(3, 128)
    expected = np.zeros((3, 128), np.int64)
    expected[:, :100] = weights
    assert np.array_equal(codes.astype(np.int64) - (1 << (bits - 1)), expected)


@pytest.mark.parametrize(("block", "size"), [(1, 16), (16, 16), (17, 32), (48, 64), (64, 64), (100, 128)])
def test_block_size_that_matmulnbits_is_told(block: int, size: int) -> None:
    assert matmul_block(block) == size
