"""The parts that paths of modules belong to."""

from __future__ import annotations

import pytest
from nano_model import nano_module

from chimerac.compiler.ir.module import walk
from chimerac.frontends.export.parts import ModelParts


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("layers.3.mixer.q_proj", "layers.3.mixer"),
        ("layers.12.ffn.experts", "layers.12.ffn"),
        ("layers.3.mixer", "layers.3.mixer"),
        ("layers.3.mixer_norm", "layers.3.mixer"),
        ("layers.3", "layers.3"),
        ("model.blocks.10.attention.2.scale", "model.blocks.10.attention"),
        ("0.norm", "0.norm"),
        ("norm.inner", "norm"),
        ("final_norm", "final_norm"),
        ("loop", "loop"),
        ("layers.0.one (1).x", "layers.0.one__1_"),
        ("", "head"),
    ],
)
def test_parts(path: str, part: str) -> None:
    assert ModelParts().of(path, look_up=False) == part


def test_look_ups_are_the_embedding_and_the_rest_of_their_module_is_the_head() -> None:
    parts = ModelParts()
    assert parts.of("tokens.table", look_up=False) == "tokens"
    assert parts.of("tokens.table", look_up=True) == "embedding"
    assert parts.of("tokens", look_up=False) == "head"
    assert parts.of("tokens.product", look_up=False) == "head"
    assert parts.of("norm", look_up=False) == "norm"
    assert parts.of("layers.0.names", look_up=True) == "layers.0.names", "a look-up of a layer is the layer's"
    assert parts.of("layers.0.names", look_up=False) == "layers.0.names"
    assert parts.of("", look_up=True) == "embedding"
    assert parts.of("", look_up=False) == "head"


def test_parts_of_the_nano_model() -> None:
    """Every op has its part, that of the module that the text of its location names."""
    layers = {f"layers.{i}.{part}" for i in range(8) for part in ("mixer", "ffn")}
    ops = [op for op in walk(nano_module().graphs["main"].ops) if op.location]
    assert {op.part for op in ops} == layers | {"embedding", "loop", "norm", "head"}
    for op in ops:
        assert op.location.startswith(("embedding", "norm") if op.part == "head" else op.part), op
    assert [op.name for op in ops if op.part == "embedding"] == ["int8_embedding"]
    assert [op.name for op in ops if op.part == "head"] == ["int8_linear"]
