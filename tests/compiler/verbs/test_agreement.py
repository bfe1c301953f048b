"""The compiled model agrees with the PyTorch step form, and the comparison notices when it does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from chimerac.compiler.build.importing import import_model
from chimerac.compiler.ir.module import Constant, Module
from chimerac.compiler.model import Model, Reference
from chimerac.compiler.verbs.agreement import INPUT_TOLERANCE, LOGIT_TOLERANCE, compare

TOKENS = list(b"All happy families are alike; each unhappy family")


@pytest.fixture(scope="module")
def source(document: Path) -> Model:
    return import_model(document, scale="nano")


def reference(model: Model) -> Reference:
    assert model.reference is not None
    return model.reference


@pytest.mark.slow
@pytest.mark.parametrize("loops", [1, 2, 3])
def test_logits_agree_and_greedy_tokens_are_the_same(source: Model, loops: int) -> None:
    found = compare(reference(source), source.module, TOKENS, loops=loops)
    assert found.holds
    assert found.aligned <= LOGIT_TOLERANCE
    assert found.inputs <= INPUT_TOLERANCE
    assert found.same_choice


def changed(module: Module, name: str, factor: float) -> Module:
    """The module with one weight scaled."""
    constant = module.constants[name]
    other = Constant(constant.type, (constant.data * np.float32(factor)).astype(constant.data.dtype))
    return replace(module, constants={**module.constants, name: other})


@pytest.mark.parametrize(
    "name",
    [
        "layers.0.mixer.q_conv.weight",
        pytest.param("layers.1.mixer.f_proj.bias", marks=pytest.mark.slow),
        pytest.param("layers.3.mixer.persistent_v", marks=pytest.mark.slow),
        pytest.param("loop.dt_bias", marks=pytest.mark.slow),
        pytest.param("norm.weight", marks=pytest.mark.slow),
    ],
)
def test_a_weight_that_differs_by_two_percent_is_noticed(source: Model, name: str) -> None:
    assert not compare(reference(source), changed(source.module, name, 1.02), TOKENS[:24]).holds
