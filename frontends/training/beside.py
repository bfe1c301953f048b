"""What the phases share that train a small part of a model whose other weights stay as they are."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from torch import nn

from chimerac.compiler.errors import UserError
from chimerac.frontends.families.registry import find_family
from chimerac.frontends.families.trainable import TrainableModule
from chimerac.frontends.training.data import DataFolder, Source
from chimerac.frontends.training.distributed import Processes
from chimerac.frontends.training.module import tensors_of
from chimerac.frontends.training.settings import Plan
from chimerac.frontends.weights.checkpoint import load_safetensors
from chimerac.frontends.weights.files import open_checkpoint
from chimerac.frontends.weights.sources import RandomWeights


def check_beside(what: str, processes: Processes, weights: Path | None) -> Path:
    """The weights. Raises UserError CHM258 for several processes, CHM250 where there are no weights."""
    if processes.world > 1:
        raise UserError("CHM258", f"{what} is trained by one process")
    if weights is None:
        raise UserError("CHM250", f"{what} is trained for a model that is trained", hint="give its --weights")
    return weights


def load_beside(model: TrainableModule, part: nn.Module, plan: Plan, weights: Path) -> None:
    """Fill a model with the weights of a file that may lack those of parts that are trained so, ``part`` among them.

    Raises:
        UserError: CHM240 to CHM242 of the weights.
    """
    RandomWeights(find_family(plan.family), plan.shape, plan.shape.seed).fill(model)
    table, there = tensors_of(plan), open_checkpoint(weights).entries
    for one in (part, model.depth_router(), model.draft_head()):
        prefix = next((f"{name}." for name, module in model.named_modules() if module is one), None)
        if prefix is not None and not any(name.startswith(prefix) for name in there):
            kept = {name: spec for name, spec in table.specs.items() if not name.startswith(prefix)}
            table = dataclasses.replace(table, specs=kept)
    load_safetensors(model, table, weights)


def source_of(plan: Plan, data: DataFolder) -> Source:
    """The rows of the data, or its text where there are none."""
    (phase,) = plan.phases
    rows = (data.path / "sft.npz").exists()
    read = dataclasses.replace(phase, kind="sft" if rows else "pretrain")
    return data.source(read, plan.shape.vocabulary, plan.seed * 1000)
