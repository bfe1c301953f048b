"""What tests of training share: the model of a plan."""

from __future__ import annotations

from chimera_weights import initialise

from chimerac.frontends.families.chimera.model import ChimeraModel
from chimerac.frontends.training import Plan
from chimerac.frontends.training.module import make_module


def model_of(plan: Plan, seed: int = 1) -> ChimeraModel:
    """The Chimera model of a plan, with seeded weights."""
    model = make_module(plan)
    assert isinstance(model, ChimeraModel)
    initialise(model, seed)
    return model
