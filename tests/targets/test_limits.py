"""Blocks and groups that a target has no kernels for are refused before any work; those it names have them."""

from __future__ import annotations

from pathlib import Path

import pytest
from ir_text import ir_text
from ir_tools import module_of

from chimerac.compiler.build.build import build
from chimerac.compiler.build.lowering import lower
from chimerac.compiler.errors import UserError
from chimerac.targets.isa import ISAS, load_isa
from chimerac.targets.limits import check_products, check_quantization
from chimerac.targets.registry import TARGETS, find_target

#: (block, group) → the targets that take it
TAKEN = {
    (64, 128): set(TARGETS),
    (16, 16): set(TARGETS),
    (48, 96): set(TARGETS) - {"onnx-fused"},
    (256, 256): set(TARGETS),
    (512, 512): set(TARGETS) - {"onnx", "onnx-fused"},
    (512, 4096): set(TARGETS) - {"onnx", "onnx-fused"},
    (1024, 1024): set(),
    (8, 8): {"onnx"},
    (24, 24): {"onnx"},
}


@pytest.mark.parametrize(("block", "group"), TAKEN)
@pytest.mark.parametrize("name", TARGETS)
def test_every_target_says_what_it_takes(name: str, block: int, group: int) -> None:
    target = find_target(name)
    if name in TAKEN[block, group]:
        check_quantization(block, group, target)
        return
    with pytest.raises(UserError) as caught:
        check_quantization(block, group, target)
    assert caught.value.code == "CHM305"
    for part in (f"quantization.activation_block_size {block} ", name):
        assert part in caught.value.message
    assert caught.value.hint is not None
    assert f"from {1 if name == 'onnx' else 16} to {256 if name.startswith('onnx') else 512}" in caught.value.hint


def test_groups_are_whole_blocks() -> None:
    with pytest.raises(UserError, match=r"quantization\.group_size 96 .* x86_64-avx2") as caught:
        check_quantization(64, 96, find_target("x86_64-avx2"))
    assert caught.value.code == "CHM305"


@pytest.mark.parametrize("name", ISAS)
def test_sums_have_room_for_whole_steps(name: str) -> None:
    """A block that is added up in pieces needs pieces of whole steps of 16 columns."""
    for isa in (load_isa(name), *load_isa(name).variants):
        for dot in (isa.ternary_dot, isa.tile_dot):
            assert dot is None or (dot.largest_block >= 16 and dot.largest_block % 16 == 0)


@pytest.mark.parametrize("name", ["x86_64-avx2", "wasm", "apple-amx", "onnx-fused"])
def test_a_build_is_refused_before_the_model_is_made(
    name: str, document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.export.export", lambda *_, **__: pytest.fail("exported"))
    sizes = ["quantization.activation_block_size=8", "quantization.group_size=8"]
    with pytest.raises(UserError, match=rf"activation_block_size 8 .* {name} ") as caught:
        build(document, targets=[name], out=tmp_path / "out", scale="nano", overrides=sizes)
    assert caught.value.code == "CHM305"
    assert not (tmp_path / "out").exists()


ROW = """
%x: f32[T,600] = embedding(%tokens, %table)
%y: f32[T,10] = NAME(%x, %table) {block=BLOCK, group=640}
return %y
"""


@pytest.mark.parametrize("target", ["x86_64-avx2", "wasm", "ios-arm64", "onnx"])
def test_rows_of_trits_may_be_one_block(target: str) -> None:
    """One that ends before the row, and one of int8 weights, whose sums are too large for float32, may not."""
    fits = [("ternary_row_linear", 640), ("ternary_row_linear", 64), ("ternary_linear", 64), ("ternary_linear", 640)]
    for name, block in [*fits, ("ternary_linear", 320 * 4), ("int8_linear", 640)]:
        text = ROW.replace("NAME", name).replace("BLOCK", str(block)).replace("group=640", f"group={max(block, 640)}")
        columns = 600 if (name, block) in fits or name == "int8_linear" else 2000
        module = module_of(ir_text(f"table: f32[10,{columns}]", text.replace("600", str(columns))))
        if (name, block) in fits:
            check_products(module, find_target(target))
            continue
        with pytest.raises(UserError, match=f"{name} has blocks of {block}") as caught:
            check_products(module, find_target(target))
        assert caught.value.code == "CHM305"


def test_a_target_that_rounds_activations_itself() -> None:
    text = ROW.replace("NAME", "ternary_row_linear").replace("BLOCK", "64")
    with pytest.raises(UserError, match="onnx-fused rounds activations itself") as caught:
        check_products(module_of(ir_text("table: f32[10,600]", text)), find_target("onnx-fused"))
    assert caught.value.code == "CHM305"
    assert "--activations blocks" in str(caught.value.hint)


def test_a_module_of_ones_own_is_refused_by_its_op() -> None:
    text = ir_text(
        "table: f32[10,24]",
        """
        %x: f32[T,24] = int8_embedding(%tokens, %table) {group=8}
        %y: f32[T,10] = int8_linear(%x, %table) {block=8, group=8}
        return %y
        """,
    )
    module = module_of(text)
    check_products(module, find_target("onnx"))
    with pytest.raises(UserError, match=r"int8_linear has blocks of 8 and groups of 8 .* wasm ") as caught:
        lower(module, find_target("wasm"))
    assert caught.value.code == "CHM305"
