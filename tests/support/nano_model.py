"""The nano Chimera model: every kind of layer, a loop and experts, at sizes that run in milliseconds."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from chimera_weights import initialise

from chimerac.compiler.build import pipeline
from chimerac.compiler.ir.module import Module
from chimerac.frontends.export.importer import import_module
from chimerac.frontends.families.chimera.model import ChimeraModel
from chimerac.frontends.families.chimera.shape import ChimeraShape, MixerKind
from chimerac.frontends.families.chimera.stateful import Stateful
from chimerac.frontends.layers.shapes import LoopShape, MoeShape, TitansShape

torch.set_num_threads(1)

BLOCK = 16
MIXERS: tuple[MixerKind, ...] = (
    "gated_deltanet",
    "xlstm_m",
    "gated_deltanet",
    "titans_mac",
    "gated_deltanet",
    "xlstm_m",
    "gated_deltanet",
    "tsp_span_knot",
)


def nano(**changes: Any) -> ChimeraShape:
    """8 layers of 128 channels, layers 2 to 5 looped 1 to 3 times, experts in layers 3 and 7."""
    fields: dict[str, Any] = {
        "vocabulary": 320,
        "hidden": 128,
        "width": 320,
        "heads": 4,
        "head_width": 32,
        "mixers": MIXERS,
        "moe": MoeShape(layers=(3, 7), experts=4, shared_experts=1, experts_per_token=2, width=96),
        "loop": LoopShape(first=2, last=5, minimum=1, maximum=3, default=2, exit_threshold=0.01),
        "titans": TitansShape(persistent_slots=8, window=48),
        "init_std": 0.05,
    }
    return ChimeraShape(**{**fields, **changes})


def make_model(shape: ChimeraShape, seed: int = 1) -> ChimeraModel:
    """A model with random weights, its gates and scales shaken so that none is at a special value."""
    model = ChimeraModel(shape).eval()
    initialise(model, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2)
    return model


@cache
def nano_model() -> ChimeraModel:
    """The nano model in PyTorch."""
    return make_model(nano())


@cache
def nano_module() -> Module:
    """The nano model as imported: graph ``main``."""
    return import_module(Stateful(nano_model(), BLOCK).eval(), name="nano", block=BLOCK)


@cache
def lowered_nano(loops: int | None = None, without: tuple[str, ...] = ()) -> Module:
    """The nano model after all passes but packing, optional ones left out."""
    module, _ = pipeline.run(nano_module(), pipeline.passes(loops=loops, without=without))
    return module
