"""The phase that trains the loop-depth router: a small classifier on features of a model that stays as it is.

docs/training.md says what it learns; docs/valve.md what it is for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from chimerac.compiler.errors import UserError
from chimerac.frontends.families.registry import find_family
from chimerac.frontends.families.trainable import TrainableModule
from chimerac.frontends.layers.depth_router import DepthRouter
from chimerac.frontends.layers.prepared import PreparedWeights
from chimerac.frontends.training.beside import check_beside, load_beside, source_of
from chimerac.frontends.training.data import Batch, DataFolder
from chimerac.frontends.training.distributed import Processes
from chimerac.frontends.training.module import make_module
from chimerac.frontends.training.settings import Plan

STRIDE: Final = 4  #: of the places that are looked at; any place may come before a block
LEAST_TARGETS: Final = 4  #: of a block that is looked at
HELD_OUT: Final = 8  #: one batch of so many is only judged by
FIT_STEPS, FIT_BATCH = 1500, 256


@dataclass(frozen=True)
class Examples:
    """Places of texts: features [N, D] of a token, and the mean loss [N, counts] of the block after it, by count."""

    features: Tensor
    losses: Tensor

    def labels(self, gain: float) -> Tensor:
        """The fewest iterations, as an index, of which more would not save ``gain`` nats a token: int64 [N]."""
        enough = self.losses <= self.losses.amin(1, keepdim=True) + gain
        return enough.to(torch.int64).argmax(1)


def train_router(
    plan: Plan, data: DataFolder, processes: Processes, weights: Path | None, tell: Callable[[str], None]
) -> tuple[TrainableModule, dict[str, Any]]:
    """The model of ``weights``, which may lack a router, with a trained one; and what it does on held-out sequences.

    Raises:
        UserError: CHM250, the model has none, or there are no weights; CHM251, too few sequences; CHM258, several
            processes. CHM240 to CHM242 of the weights, CHM25x of the data.
    """
    given = check_beside("a router", processes, weights)
    model = make_module(plan)
    router, loop = model.depth_router(), model.loop_counts()
    if router is None or loop is None:
        message = "this model has no loop-depth router to train"
        raise UserError("CHM250", message, hint="enable entropy_valve with a loop_depth_router, and looping")
    load_beside(model, router, plan, given)
    model.to(processes.device).requires_grad_(False)
    (phase,) = plan.phases
    source = source_of(plan, data)
    block, counts = find_family(plan.family).block(plan.shape), range(loop.minimum, loop.maximum + 1)
    parts: tuple[list[Examples], list[Examples]] = ([], [])
    with PreparedWeights(model, torch.float32):
        for number in range(phase.steps):
            batch = source.batch(np.arange(number * phase.batch, (number + 1) * phase.batch), 0, 1)
            found = look(model, batch.to(processes.device), block, counts)
            parts[number % HELD_OUT == HELD_OUT - 1].append(found)
            if (number + 1) % plan.log_interval == 0:
                tell(f"router: looked at {number + 1} of {phase.steps} batches")
    known, held = map(_joined, parts)
    model.cpu()
    fit(router, known, phase.gain, phase.learning_rate, plan.seed)
    metrics = judge(router, held, phase.gain, loop.minimum)
    metrics |= {"examples": len(known.features), "used": metrics["agreement"] >= router.accuracy_target}
    tell(
        f"router: {metrics['agreement']:.1%} of {metrics['held_out']} held-out blocks as labelled "
        f"({metrics['commonest']:.1%} have the commonest label), {metrics['iterations']:.2f} iterations and "
        f"{metrics['nats']:.4f} nats a token; always "
        + ", ".join(f"{count}: {nats:.4f}" for count, nats in zip(counts, metrics["nats_of_counts"], strict=True))
    )
    if not metrics["used"]:
        tell(f"router: below accuracy_target {router.accuracy_target:g}; it is left closed: levels alone choose")
        router.close()
    return model, metrics


@torch.no_grad()
def look(model: TrainableModule, batch: Batch, block: int, counts: range) -> Examples:
    """The examples of some sequences, each of which is run as a whole with every count."""
    model.eval()
    rows, length = batch.tokens.shape
    device = batch.tokens.device
    places = torch.arange(rows * length, device=device) if batch.positions is None else batch.positions
    ends = torch.arange(STRIDE - 1, length - 1, STRIDE, device=device)
    table = model.table()

    def after(values: Tensor) -> Tensor:
        """Sums [B, E] of what the targets have [M], over the ``block`` places after each end."""
        whole = torch.zeros(rows * length, dtype=torch.float64, device=device)
        whole[places] = values.double()
        sums = F.pad(whole.view(rows, length).cumsum(1), (1, 0))
        return (sums[:, (ends + 1 + block).clamp(max=length)] - sums[:, ends + 1]).float()

    targets = after(torch.ones(len(places), device=device))
    kept = targets >= LEAST_TARGETS
    means = []
    for count in counts:
        hidden = model.hidden(batch.tokens, table, count).flatten(0, 1)[places]
        losses = F.cross_entropy(model.head(hidden, table), batch.targets, reduction="none")
        means.append(after(losses)[kept] / targets[kept])
    return Examples(model.depth_features(batch.tokens, table)[:, ends][kept].cpu(), torch.stack(means, 1).cpu())


def _joined(parts: list[Examples]) -> Examples:
    if not parts or not sum(len(part.features) for part in parts):
        raise UserError("CHM251", f"too few sequences to train and judge a router, which takes {HELD_OUT} batches")
    return Examples(torch.cat([p.features for p in parts]), torch.cat([p.losses for p in parts]))


def fit(router: DepthRouter, examples: Examples, gain: float, rate: float, seed: int) -> None:
    """AdamW on the cross-entropy of the labels, the rate a half cosine."""
    router.requires_grad_(True)
    labels, generator = examples.labels(gain), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(router.parameters(), lr=rate, weight_decay=0.01)
    for step in range(FIT_STEPS):
        chosen = torch.randint(len(labels), (FIT_BATCH,), generator=generator)
        for group in optimizer.param_groups:
            group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / FIT_STEPS))
        optimizer.zero_grad()
        F.cross_entropy(router(examples.features[chosen]), labels[chosen]).backward()
        optimizer.step()
    router.requires_grad_(False)


@torch.no_grad()
def judge(router: DepthRouter, held: Examples, gain: float, fewest: int) -> dict[str, Any]:
    """How the router does on examples that it did not see."""
    labels, chosen = held.labels(gain), router.choice(held.features)
    return {
        "held_out": len(labels),
        "agreement": float((chosen == labels).float().mean()),
        "commonest": float(torch.bincount(labels).max()) / len(labels),
        "iterations": float(chosen.float().mean()) + fewest,
        "labelled_iterations": float(labels.float().mean()) + fewest,
        "nats": float(held.losses.gather(1, chosen[:, None]).mean()),
        "nats_of_counts": held.losses.mean(0).tolist(),
    }
