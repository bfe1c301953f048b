"""What tests of training share: a tiny model, one process, a codec of bytes, and the model of a plan."""

from __future__ import annotations

import torch
from chimera_weights import initialise

from chimerac.frontends.families.chimera.model import ChimeraModel
from chimerac.frontends.families.chimera.shape import ChimeraShape
from chimerac.frontends.layers.shapes import KnotShape, LoopShape, MoeShape, QuantizationShape, TitansShape
from chimerac.frontends.training import Plan
from chimerac.frontends.training.distributed import Processes
from chimerac.frontends.training.evaluation import Codec
from chimerac.frontends.training.module import make_module

ANSWER, END = 256, 257

TINY = ChimeraShape(
    vocabulary=260,
    hidden=32,
    width=48,
    heads=2,
    head_width=16,
    mixers=("gated_deltanet", "titans_mac", "xlstm_m", "tsp_span_knot"),
    moe=MoeShape(layers=(1, 3), experts=4, shared_experts=1, experts_per_token=2, width=16),
    loop=LoopShape(first=1, last=2, minimum=1, maximum=3, default=2, exit_threshold=0.01),
    titans=TitansShape(persistent_slots=2, window=12),
    knot=KnotShape(sketch_bits=64),
    quantization=QuantizationShape(group_size=32, block_size=16),
    init_std=0.05,
)

ALONE = Processes(0, 1, torch.device("cpu"))
CODEC = Codec(
    lambda text: list(text.encode()),
    lambda ids: bytes(i for i in ids if i < 256).decode("utf-8", "replace"),
    ANSWER,
    END,
)


def model_of(plan: Plan, seed: int = 1) -> ChimeraModel:
    """The Chimera model of a plan, with seeded weights."""
    model = make_module(plan)
    assert isinstance(model, ChimeraModel)
    initialise(model, seed)
    return model
