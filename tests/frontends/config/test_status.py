"""Statuses: every key has one, written keys are counted by it, and what is enabled without a compiler is named."""

from __future__ import annotations

import pytest
from config_fixtures import SMALL

from chimerac.compiler.errors import MAX_ERRORS, UserError, UserErrors
from chimerac.frontends.config import ModelConfig, load, loads
from chimerac.frontends.config.fields import STATUSES
from chimerac.frontends.config.reference import keys_page
from chimerac.frontends.config.status import absent, not_compiled, statuses, written


def test_every_key_has_a_status() -> None:
    known = statuses()
    assert len(known) > 350
    assert set(known.values()) == set(STATUSES)
    assert known["hidden_size"] == "compiled"
    assert known["training.phases.lr"] == "training"
    assert known["span_inference.tree_verify.method"] == "not yet"
    assert known["span_inference.enabled"] == known["span_inference.candidate_sources"] == "compiled"
    assert known["span_inference.§"] == "checked"
    assert known["params.base"] == "checked"


def test_the_page_shows_them() -> None:
    page = keys_page()
    assert "| `hidden_size` | int | required | compiled |" in page
    assert all(f"- {status}: {meaning}" in page for status, meaning in STATUSES.items())


def test_written_keys_are_counted() -> None:
    config = loads(
        'hidden_size: 32, num_heads: 2, intermediate_size: 48, vocab_size: 280, backbone: {layer_pattern: "GD"}, '
        'torch_dtype: "float32", _v: "1", training: {phases: [{name: "sft", lr: 1e-3}, {name: "dpo", lr: 1e-4}]}'
    )
    assert written(config) == {"compiled": 5, "training": 3, "checked": 0, "described": 1, "not yet": 0}


def test_what_the_document_enables_is_named(document: ModelConfig) -> None:
    names = absent(document)
    terms = [f"tsp_knot.energy_terms.{name}" for name in ("autoregressive", "binding_fidelity", "grammar", "debt")]
    assert list(names[:6]) == ["span_inference", *terms, "semantic_memory"]
    assert {
        "entropy_valve.levels.low.audit",
        "self_evolution",
        "multimodal",
        "safety",
        "diagnostics",
    } <= set(names)
    assert "training.distillation_init" not in names  # it is not enabled
    assert not_compiled(names).startswith("enabled, not compiled yet: span_inference, ")


def test_home_promises_nothing_that_is_not_there() -> None:
    assert absent(load("home")) == ()
    assert not_compiled(()) == ""


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ()),
        ("span_inference: {enabled: true}", ("span_inference",)),
        ("span_inference: {enabled: false, bank_entries: 9}", ()),
        ("quantization: {sherry_mode: {enabled: true}}", ("quantization.sherry_mode",)),
        ("semantic_memory: {capacity: 10}", ("semantic_memory",)),
        ('semantic_memory: {vector_bits: 128, §: "r1", memory_mb: 3}', ()),  # compared, described, claimed
        ("self_evolution: {tier2: {self_feedback: {enabled: true}}}", ("self_evolution",)),
        ("modes: {fast: {loops: 2, audit: 0.5}}", ("modes.fast.audit",)),
        ("deployment: {watchdog_tick_ms: 20}", ("deployment.watchdog_tick_ms",)),
        ('files: {spans: "a.sfpack"}', ()),  # a name enables nothing
        ('context_tiers: [{name: "ring"}]', ("context_tiers",)),
    ],
)
def test_enabled_without_a_compiler(text: str, names: tuple[str, ...]) -> None:
    assert absent(loads(SMALL + text)) == names


@pytest.mark.parametrize(
    "override",
    ["rms_norm_before_every_linear=false", "xlstm.covariance_update=false", "quantization.weight_values=[0, 1, 1]"],
)
def test_a_value_without_effect_is_refused(override: str) -> None:
    with pytest.raises(UserError, match="can only be") as error:
        load("chimera51", overrides=[override])
    assert error.value.code == "CHM113"


def test_many_mistakes_are_few_lines() -> None:
    """10,000 unknown keys: some are shown, the others counted."""
    text = "{" + ", ".join(f'"key_{number}": 1' for number in range(10_000)) + "}"
    with pytest.raises(UserErrors) as caught:
        loads(text)
    assert len(caught.value.errors) == 10_000 + 1  # and a key that is missing
    shown = caught.value.render()
    assert shown.endswith(f"and {10_000 + 1 - MAX_ERRORS:,} more mistakes")
    assert len(shown) < 10_000
