"""Seeded weights for Chimera models of tests."""

from __future__ import annotations

from chimerac.frontends.families.chimera.family import FAMILY
from chimerac.frontends.families.chimera.model import ChimeraModel
from chimerac.frontends.weights.sources import RandomWeights


def initialise(model: ChimeraModel, seed: int) -> None:
    """Overwrite every parameter and routing bias of ``model`` as ``build`` does without a checkpoint."""
    RandomWeights(FAMILY, model.shape, seed).fill(model)
