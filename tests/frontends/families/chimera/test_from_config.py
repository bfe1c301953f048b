"""``shape``: the numbers a model is built from, and what leaves none."""

from __future__ import annotations

import pytest
from config_fixtures import SMALL

from chimerac.compiler.errors import UserError, UserErrors
from chimerac.frontends.config import ModelConfig, loads
from chimerac.frontends.families.chimera.from_config import shape


def test_the_document(document: ModelConfig) -> None:
    model = shape(document)
    assert (model.vocabulary, model.hidden, model.width, model.heads, model.head_width) == (200073, 2560, 6912, 40, 64)
    kinds = {kind: model.mixers.count(kind) for kind in model.mixers}
    assert kinds == {"gated_deltanet": 14, "xlstm_m": 7, "titans_mac": 4, "tsp_span_knot": 3}
    assert [index for index, kind in enumerate(model.mixers) if kind == "titans_mac"] == [3, 11, 19, 27]
    assert model.moe is not None
    assert model.moe.layers == (3, 7, 11, 15, 19, 23, 27)
    assert (model.moe.experts, model.moe.shared_experts, model.moe.experts_per_token, model.moe.width) == (
        16,
        1,
        2,
        1728,
    )
    assert model.loop is not None
    assert (model.loop.first, model.loop.last, model.loop.minimum, model.loop.maximum) == (4, 23, 1, 6)
    assert (model.loop.default, model.loop.exit_threshold, model.loop.exact_input) == (2, 0.01, False)
    assert (model.titans.persistent_slots, model.titans.window, model.titans.chunk) == (64, 1024, 16)
    assert (model.knot.sketch_bits, model.knot.flip_fraction, model.knot.early_exit) == (8192, 0.02, 1e-4)
    assert (model.knot.memory_weight, model.knot.binding_weight, model.knot.max_iterations) == (0.3, 0.2, 3)
    assert (model.norm_eps, model.init_std, model.conv_size, model.efla, model.seed) == (1e-6, 0.006, 4, False, 0)
    assert model.embedding_format == "int8"


def test_own_keys_reach_the_shape() -> None:
    overrides = ["titans.chunk=8", "titans.rope_theta=500", "looping.zoh_input=exact", "seed=5", "efla.enabled=true"]
    overrides += ["quantization.embedding_format=float32", "gated_deltanet.conv_size=3", "looping.enabled=true"]
    model = shape(loads(SMALL, overrides=overrides))
    assert (model.titans.chunk, model.titans.rope_theta, model.seed) == (8, 500.0, 5)
    assert model.loop is not None
    assert (model.loop.exact_input, model.embedding_format, model.conv_size, model.efla) == (True, "float32", 3, True)
    dense = shape(loads(SMALL, overrides=["backbone.moe.enabled=false", "looping.enabled=false"]))
    assert dense.moe is None
    assert dense.loop is None


BAD = [
    ("num_heads=39", "num_heads", "hidden_size 2560 is not 39 heads of 64"),
    ("head_dim=63", "num_heads", "is not 40 heads of 63"),
    ("num_hidden_layers=27", "num_hidden_layers", "the repeated pattern has 28"),
    ("backbone.layer_pattern_repeat=3.3", "backbone.layer_pattern_repeat", "26.4 layers"),
    ("backbone.layer_pattern_repeat=1000", "backbone.layer_pattern_repeat", "limit of 4096"),
    ('backbone.layer_pattern="GD XX"', "backbone.layer_pattern", "'XX', which has no alias"),
    ("gated_deltanet.state_size=32", "gated_deltanet.state_size", "32 is not the head width 64"),
    ("xlstm.memory_size_per_head=[64, 32]", "xlstm.memory_size_per_head", "[64, 32] is not"),
    ("quantization.group_size=96", "quantization.group_size", "96 is not a multiple of the activation block 64"),
    ("semantic_memory.vector_bits=8000", "semantic_memory.vector_bits", "2560 channels in 8000 bits"),
    ("semantic_memory.vector_bits=4096", "semantic_memory.vector_bits", "2560 channels in 4096 bits"),
    ("semantic_memory.vector_bits=32768", "semantic_memory.vector_bits", "read a memory can't sketch in 32768"),
    ("tie_word_embeddings=false", "tie_word_embeddings", "not supported"),
    ("token_ids=[199999, 200073]", "token_ids.1", "outside a vocabulary"),
    ('efla={enabled: true, target_layers: "GD"}', "efla.target_layers", "span-knot layers only"),
    ("backbone.moe.layers=[3, 28]", "backbone.moe.layers.1", "there are 28"),
    ("backbone.moe.layers=[3, 3]", "backbone.moe.layers.1", "twice"),
    ("backbone.moe.layers=[]", "backbone.moe", "names none"),
    ("backbone.moe.num_experts_per_tok=17", "backbone.moe.num_experts_per_tok", "17 of 16"),
    ("looping.prelude=[0, 4]", "looping.loop", "starts at layer 4, but layer 5 comes next"),
    ("looping.prelude=[1, 3]", "looping.prelude", "starts at layer 1, but layer 0"),
    ("looping.loop=[23, 4]", "looping.loop", "ends at layer 4, before its start 23"),
    ("looping.coda=[24, 26]", "looping.coda", "the last layer is 27"),
    ("looping.loop_range=[4, 1]", "looping.loop_range", "is empty"),
    ("looping.loop_default=7", "looping.loop_default", "7 is outside [1, 6]"),
]


@pytest.mark.parametrize(("override", "path", "message"), BAD)
def test_unbuildable(override: str, path: str, message: str) -> None:
    config = loads('extends: "chimera51"', overrides=[override])
    with pytest.raises(UserError) as caught:
        shape(config)
    errors = caught.value.errors if isinstance(caught.value, UserErrors) else (caught.value,)
    error = next(error for error in errors if message in error.message)
    assert error.code == "CHM120"
    assert error.span == config.place(path)


def test_all_contradictions_at_once() -> None:
    config = loads(
        'extends: "chimera51"', overrides=["num_heads=39", "tie_word_embeddings=false", "looping.loop_default=9"]
    )
    with pytest.raises(UserErrors) as caught:
        shape(config)
    assert len(caught.value.errors) == 3


def test_a_loop_needs_three_layers() -> None:
    config = loads(SMALL, overrides=['backbone.layer_pattern="GD XM"', "backbone.moe.enabled=false"])
    with pytest.raises(UserError, match="too few for a prelude, a loop and a coda"):
        shape(config)
