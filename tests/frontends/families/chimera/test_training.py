"""A config's training phases as phases of a plan."""

from __future__ import annotations

import pytest

from chimerac.compiler.errors import UserError
from chimerac.frontends.config import loads
from chimerac.frontends.families.chimera.training import training_of
from chimerac.frontends.families.phases import Phase, Training

CONFIG = """
hidden_size: 32, num_heads: 2, intermediate_size: 48, vocab_size: 280, seed: 7,
backbone: {layer_pattern: "GD"},
"""
USUAL = (Phase("usual", steps=3),)


def training(phases: str) -> Training:
    return training_of(loads(CONFIG + phases), USUAL)


def test_optimisers_are_named_in_the_config() -> None:
    for name, expected in (("AdamW", "adamw"), ("Lion", "lion"), ("MeZO", "mezo"), ("MeZO-sparse", "mezo_sparse")):
        found = training(f'training: {{phases: [{{name: "pretrain", tokens: 1, optimizer: "{name}"}}]}},')
        assert [phase.optimizer for phase in found.phases] == [expected]


def test_what_training_cannot_do_is_refused() -> None:
    for key, value in (("optimizer", "Adafactor"), ("schedule", "cyclic"), ("ternary", "after_training")):
        with pytest.raises(UserError, match=f"'training.phases.0.{key}' can't be '{value}'") as error:
            training(f'training: {{phases: [{{name: "pretrain", tokens: 1, {key}: "{value}"}}]}},')
        assert error.value.code == "CHM113"
    with pytest.raises(UserError, match="'torch_dtype' can't be 'float16'"):
        training('torch_dtype: "float16",')


def test_the_config_decides_precision_depths_and_gradients() -> None:
    plain = training("")
    assert plain.precision == "float32"
    assert {(phase.depth, phase.truncate) for phase in plain.phases} == {("sequence", True)}
    found = training('torch_dtype: "bfloat16", looping: {depth_selection: "fixed", backward_truncation: "none"},')
    assert found.precision == "bfloat16"
    assert {(phase.depth, phase.truncate) for phase in found.phases} == {("default", False)}


def test_an_unknown_phase_is_refused() -> None:
    with pytest.raises(UserError, match="'dream' is none of pretrain, ctx_extend, sft, dpo") as error:
        training('training: {phases: [{name: "dream", tokens: 1}]},')
    assert error.value.code == "CHM250"


def test_a_phase_has_one_length() -> None:
    with pytest.raises(UserError, match=r"'sft' has 9 tokens and 2 epochs") as error:
        training('training: {phases: [{name: "sft", tokens: 9, epochs: 2}]},')
    assert error.value.code == "CHM250"


def test_a_config_without_phases_takes_the_usual_ones() -> None:
    assert training("") == Training(USUAL, seed=7)
