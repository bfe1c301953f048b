"""``scale``: presets, blocks, and what outranks them."""

from __future__ import annotations

from pathlib import Path

import pytest

from chimerac.compiler.errors import UserError
from chimerac.frontends.config import ModelConfig, canonical_json, load, loads
from chimerac.frontends.config.scale import PRESETS
from chimerac.frontends.families.chimera.from_config import shape
from chimerac.frontends.families.chimera.sizes import audit

MILLIONS = {"nano": (1, 3), "tiny": (3, 5), "small": (60, 150)}


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_build_whole_models(preset: str) -> None:
    config = load("chimera51", scale=preset)
    model = shape(config)
    low, high = MILLIONS[preset]
    assert low * 1e6 <= audit(config).counts.physical <= high * 1e6
    assert set(model.mixers) == {"gated_deltanet", "xlstm_m", "titans_mac", "tsp_span_knot"}
    assert model.moe is not None
    assert {model.mixers[layer] for layer in model.moe.layers} == {"titans_mac", "tsp_span_knot"}
    assert model.loop is not None
    assert 0 < model.loop.first <= model.loop.last < model.layers - 1
    assert "titans_mac" in model.mixers[model.loop.first : model.loop.last + 1]
    assert (model.quantization.group_size, model.quantization.block_size) == (128, 64)
    assert config.token_ids == (config.vocab_size - 2, config.vocab_size - 1)
    assert loads(canonical_json(config)) == config
    assert config.origin.scale == preset


def test_nano_in_full() -> None:
    config = load("chimera51", scale="nano")
    model = shape(config)
    assert (model.hidden, model.heads, model.head_width, model.width, model.vocabulary) == (128, 4, 32, 320, 320)
    assert model.moe is not None
    assert (model.moe.layers, model.moe.experts, model.moe.shared_experts) == ((3, 7), 4, 1)
    assert (model.moe.experts_per_token, model.moe.width) == (2, 96)
    assert model.loop is not None
    assert (model.loop.first, model.loop.last, model.loop.default, model.loop.maximum) == (2, 5, 2, 6)
    assert (config.looping.prelude, config.looping.coda) == ((0, 1), (6, 7))
    assert (model.titans.window, model.titans.persistent_slots, model.knot.sketch_bits) == (48, 8, 1024)
    assert model.mixers[3] == "titans_mac"
    assert model.mixers[7] == "tsp_span_knot"
    assert config.self_evolution.tier1.ttt.target_layers == (5, 7)
    assert config.braid_state.continuous_hidden == (128, "float32")
    assert config.braid_state.semantic_sketch == (1024, "uint64_x16")
    assert config.semantic_memory.vector_storage == "uint64_x16"
    assert "semantic_delta_1024b" in config.span_inference.certificate_fields
    assert config.self_evolution.tier2.meta_guidelines.format == "1024bit_xor"
    assert (config.semantic_memory.capacity, config.semantic_memory.relations) == (1024, 2560)
    assert not config.multimodal.enabled


def test_claims_are_dropped(document: ModelConfig) -> None:
    assert audit(document).claims
    for preset in PRESETS:
        assert not audit(load("chimera51", scale=preset)).claims
    kept = load("chimera51", scale="nano", overrides=["params.base=123"])
    assert [claim.path for claim in audit(kept).claims] == ["params.base"]


def test_full_changes_nothing(document: ModelConfig) -> None:
    assert load("chimera51", scale="full") == document
    assert loads('{extends: "chimera51", scale: {preset: "full"}}') == document


def test_home() -> None:
    config = load("home")
    assert config.name == "home"
    assert shape(config).hidden == 384
    assert shape(load("home", scale="tiny")).hidden == 192


def _shape(scale: str, *overrides: str) -> tuple[int, ...]:
    model = shape(loads(f'extends: "chimera51", scale: {scale}', overrides=overrides))
    assert model.moe is not None
    return model.hidden, model.heads, model.head_width, model.width, model.moe.width, model.layers


def test_blocks_and_what_follows_them() -> None:
    assert _shape('{preset: "nano", hidden_size: 192}') == (192, 6, 32, 480, 160, 8)
    assert _shape('{preset: "nano", head_dim: 16}') == (128, 8, 16, 320, 96, 8)
    assert _shape('{preset: "nano", num_heads: 2}') == (128, 2, 64, 320, 96, 8)
    assert _shape('{preset: "nano", num_hidden_layers: 12, moe_intermediate_size: 64}') == (128, 4, 32, 320, 64, 12)
    assert _shape('{preset: "full", hidden_size: 1280}') == (1280, 20, 64, 3456, 864, 28)


def test_overrides_outrank_and_steer_the_scale() -> None:
    assert _shape('"nano"', "hidden_size=192") == (192, 6, 32, 480, 160, 8)
    assert _shape('"nano"', "scale.hidden_size=192") == (192, 6, 32, 480, 160, 8)
    assert _shape('"nano"', "scale.preset=tiny") == (192, 6, 32, 512, 96, 8)
    assert _shape('"nano"', "scale=tiny") == (192, 6, 32, 512, 96, 8)
    assert _shape('"nano"', "backbone.layer_pattern_repeat=2") == (128, 4, 32, 320, 96, 16)
    config = loads('extends: "chimera51", scale: "nano", overrides: {titans.local_window_size: 20}')
    assert config.titans.local_window_size == 20
    plain = loads('extends: "chimera51", scale: "nano", titans: {local_window_size: 20}')
    assert plain.titans.local_window_size == 48


def test_a_later_file_outranks_an_earlier_scale(tmp_path: Path) -> None:
    (tmp_path / "base.chimera").write_text('extends: "chimera51", scale: "nano", overrides: {vocab_size: 300}')
    leaf = tmp_path / "leaf.chimera"
    leaf.write_text('extends: "base.chimera", titans: {local_window_size: 20}')
    config = load(leaf)
    assert (config.titans.local_window_size, config.vocab_size, config.hidden_size) == (20, 300, 128)
    leaf.write_text('extends: "base.chimera", scale: "tiny", titans: {local_window_size: 20}')
    config = load(leaf)
    assert (config.titans.local_window_size, config.vocab_size, config.hidden_size) == (128, 512, 192)


def test_layers_follow_their_place_in_the_pattern() -> None:
    config = loads('extends: "chimera51", scale: {preset: "nano", num_hidden_layers: 12}')
    model = shape(config)
    assert model.mixers[8:] == model.mixers[:4]
    assert config.backbone.moe.layers == (3, 7, 11)
    assert (config.looping.prelude, config.looping.loop, config.looping.coda) == ((0, 2), (3, 8), (9, 11))
    tiny = loads('extends: "chimera51", scale: {preset: "nano", num_hidden_layers: 2}')
    assert not tiny.looping.enabled
    assert shape(tiny).loop is None


def test_impossible_scales() -> None:
    for scale in (
        '{preset: "nano", hidden_size: 100}',
        '{preset: "nano", num_heads: 3}',
        '{preset: "full", head_dim: 7}',
    ):
        with pytest.raises(UserError) as caught:
            loads('extends: "chimera51",\nscale: ' + scale)
        assert caught.value.code == "CHM116"
        assert caught.value.span is not None
        assert (caught.value.span.line, caught.value.span.column) == (2, 8)


def test_the_sketch_grows_with_the_hidden_size() -> None:
    config = loads('extends: "chimera51", scale: {preset: "nano", hidden_size: 640}')
    assert config.semantic_memory.vector_bits == 2048
    assert shape(config).hidden == 640
