"""The audit: parameters, bytes and state against numbers worked out by hand for Chimera 5.1."""

from __future__ import annotations

import pytest
import torch
from config_fixtures import SMALL

from chimerac.frontends.config import ModelConfig, load, loads
from chimerac.frontends.families.chimera.from_config import shape
from chimerac.frontends.families.chimera.model import ChimeraModel
from chimerac.frontends.families.chimera.sizes import audit
from chimerac.frontends.families.chimera.sizes.parameters import Matrix
from chimerac.frontends.families.chimera.sizes.state import stream_state
from chimerac.frontends.families.chimera.sizes.storage import embedding_bytes, ternary_bytes
from chimerac.frontends.families.chimera.sizes.stores import (
    certificate_bytes,
    field_bits,
    memory_bytes,
    router_parameters,
    ttt_bytes,
)


def test_parameters_of_each_layer_kind(document: ModelConfig) -> None:
    layers = audit(document).counts.layers
    square, dense, expert = 2560 * 2560, 3 * 2560 * 6912, 3 * 2560 * 1728
    by_kind = {layer.mixer: layer for layer in layers}
    for kind, squares in (("gated_deltanet", 5), ("xlstm_m", 5), ("titans_mac", 8), ("tsp_span_knot", 5)):
        assert by_kind[kind].ternary("mixer") == squares * square  # type: ignore[index]
    assert by_kind["gated_deltanet"].ternary("dense") == dense
    assert by_kind["titans_mac"].ternary("routed") == 16 * expert
    assert by_kind["titans_mac"].ternary("shared") == expert
    # a and b, A_log and dt_bias, three convolutions of four taps
    assert by_kind["gated_deltanet"].float_parameters == 2 * 2560 * 40 + 80 + 12 * 2560
    assert by_kind["gated_deltanet"].total == pytest.approx(86.1e6, rel=1e-3)
    assert by_kind["titans_mac"].total == pytest.approx(52.429e6 + 225.65e6 + 1.0e6, rel=1e-3)


def test_totals(document: ModelConfig) -> None:
    counts = audit(document).counts
    assert counts.ternary_resident == pytest.approx(2203.8e6, rel=1e-4)
    assert counts.routed == pytest.approx(1486.4e6, rel=1e-4)
    assert counts.shared == pytest.approx(92.9e6, rel=1e-3)
    assert counts.embedding == 200073 * 2560
    assert counts.base == pytest.approx(2.726e9, rel=2e-4)
    assert counts.physical == pytest.approx(4.213e9, rel=1e-4)
    assert counts.active == pytest.approx(2.912e9, rel=2e-4)
    assert counts.active_routed == pytest.approx(185.8e6, rel=1e-3)
    assert counts.effective(1) == counts.physical
    assert counts.effective(3) - counts.effective(2) == counts.looped
    budget = loads('extends: "chimera51", backbone: {moe: {moe_intermediate_size: 384}}')
    narrow = audit(budget).counts
    assert narrow.routed + narrow.shared == pytest.approx(350.9e6, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "resident", "routed"), [("base 3", 482, 325), ("2 bit", 585, 395), ("sparse 3:4", 379, 256)]
)
def test_bytes_of_weights(document: ModelConfig, name: str, resident: float, routed: float) -> None:
    matrices = tuple(audit(document).counts.matrices)
    assert ternary_bytes(matrices, name, 128, ("mixer", "dense", "shared")) / 1e6 == pytest.approx(resident, rel=2e-3)
    assert ternary_bytes(matrices, name, 128, ("routed",)) / 1e6 == pytest.approx(routed, rel=2e-3)


def test_ragged_rows() -> None:
    # 1728 inputs: 13 groups of 26 + 2 bytes and one of 13 + 2
    assert ternary_bytes([Matrix("routed", 3, 1728, 2)], "base 3", 128) == 6 * (13 * 28 + 15)
    assert ternary_bytes([Matrix("dense", 1, 64)], "2 bit", 128) == 18
    assert ternary_bytes([Matrix("dense", 1, 128)], "triples", 128) == 27 + 2
    assert ternary_bytes([Matrix("dense", 1, 128)], "sparse 3:4", 128) == 20 + 2


def test_bytes_of_the_embedding(document: ModelConfig) -> None:
    model = shape(document)
    assert embedding_bytes(model, "int8") == 200073 * (2560 + 40)
    assert embedding_bytes(model, "bfloat16") / 1e6 == pytest.approx(1024, rel=1e-3)


@pytest.mark.parametrize(
    ("loops", "each", "each_window", "once", "once_window"),
    [
        (1, 27.9, 69.8, 27.9, 69.8),
        (2, 46.1, 109.1, 40.9, 82.8),
        (4, 82.7, 187.6, 67.0, 108.9),
        (6, 119.3, 266.1, 93.1, 135.0),
    ],
)
def test_state(
    document: ModelConfig, loops: int, each: float, each_window: float, once: float, once_window: float
) -> None:
    state = stream_state(shape(document), loops)
    assert state.all_per_iteration / 1e6 == pytest.approx(each, abs=0.05)
    assert state.recurrent / 1e6 == pytest.approx(once, abs=0.05)
    assert state.with_window(2) / 1e6 == pytest.approx(once_window, abs=0.05)
    ring = 1024 * 2 * 2560 * 2  # one layer in fp16; two of the four Titans layers are in the loop
    assert (state.all_per_iteration + (2 + 2 * loops) * ring) / 1e6 == pytest.approx(each_window, abs=0.05)
    assert state.built == state.recurrent + 4 * 2 * 40 * 64 * 64 * 4 + 4 * 2 * (1024 + 16) * 2560 * 4


@pytest.mark.parametrize("head", [[], ["span_inference.draft_head.width=48"]])
@pytest.mark.parametrize(("name", "scale"), [("home", None), ("chimera51", "tiny"), ("chimera51", "full")])
def test_the_model_weighs_what_the_audit_says(name: str, scale: str | None, head: list[str]) -> None:
    """The PyTorch modules themselves, made without memory, have as many parameters and as much state."""
    config = load(name, scale=scale, overrides=head)
    with torch.device("meta"):
        model = ChimeraModel(shape(config))
        states = [layer.mixer.initial_state(16) for layer in model.layers]  # type: ignore[union-attr,operator]
    assert sum(parameter.numel() for parameter in model.parameters()) == audit(config).counts.physical
    numbers = sum(tensor.numel() for state in states for tensor in state.values())
    assert 4 * numbers == stream_state(shape(config), 1).built


def test_stores(document: ModelConfig) -> None:
    assert certificate_bytes(document) == 1119
    assert [field_bits(name) for name in ("a_u32", "b_8192b", "c_i16", "d_u8", "e_f16")] == [32, 8192, 16, 8, 16]
    assert memory_bytes(document).compact / 2**20 == pytest.approx(313.6, abs=0.1)
    assert memory_bytes(document).copied > 2 * memory_bytes(document).compact
    assert ttt_bytes(document, "float32") == 4 * 2560 * (6912 + 1728)
    assert ttt_bytes(document, "int8") / 1e6 == pytest.approx(22.5, abs=0.05)
    assert router_parameters(document, 192) == 492_870


def test_claims(document: ModelConfig) -> None:
    found = audit(document)
    ratios = {claim.path: round(claim.ratio, 2) for claim in found.claims}
    assert ratios["params.base"] == 0.84
    assert ratios["params.physical"] == 0.63
    assert ratios["params.weight_mb"] == 0.35
    assert ratios["braid_state.per_stream_mb"] == 0.23
    holding = {claim.path for claim in found.claims if claim.holds}
    assert holding == {
        "semantic_memory.memory_mb",
        "context_tiers: ttt_compressed",
        "self_evolution.tier3.loop_depth_learning.classifier_params",
    }
    base = found.claim("params.base")
    assert base is not None
    exact = loads('extends: "chimera51"', overrides=[f"params.base={base.computed:.0f}"])
    claim = audit(exact).claim("params.base")
    assert claim is not None
    assert claim.holds
    assert claim.ratio == 1


def test_audit_without_experts_and_loop() -> None:
    found = audit(loads(SMALL, overrides=["backbone.moe.enabled=false", "looping.enabled=false"]))
    assert (found.counts.routed, found.counts.active, len(found.states)) == (0, found.counts.physical, 1)
    assert len(audit(load("home")).states) == load("home").looping.loop_range[1] - 1
