"""Mixers of every kind in a model's layers: the parallel form and the step form agree for any split into calls."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from chimerac.frontends.families.chimera.model import ChimeraModel
from chimerac.frontends.families.chimera.shape import ChimeraShape


@pytest.mark.usefixtures("exact_activations")
def test_layer_chunks_equal_layer_steps(
    shape: ChimeraShape, make_model: Callable[[ChimeraShape], ChimeraModel], check_mixer: Callable[..., None]
) -> None:
    for layer, kind in zip(make_model(shape).layers, shape.mixers, strict=True):
        check_mixer(layer.mixer, shape.hidden, tokens=70 if kind == "titans_mac" else 40)  # 70: over the window
