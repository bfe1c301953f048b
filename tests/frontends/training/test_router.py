"""The phase of the loop-depth router: what it looks at, what it learns, what it leaves, and its mistakes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from beside import assert_refused, run_phase, trained_part
from safetensors.torch import load_file, save_file
from training_tools import TINY, model_of

from chimerac.compiler.errors import UserError
from chimerac.frontends.layers.depth_router import DepthRouter
from chimerac.frontends.layers.shapes import QuantizationShape, RouterShape
from chimerac.frontends.training import Plan
from chimerac.frontends.training.data import Batch, DataFolder
from chimerac.frontends.training.router import LEAST_TARGETS, STRIDE, Examples, fit, judge, look
from chimerac.frontends.training.run import PLAN_FILE, WEIGHTS_FILE

ROUTED = replace(TINY, router=RouterShape(24, accuracy_target=0.0))
PHASE: dict[str, Any] = {"name": "router", "kind": "router", "steps": 8, "batch": 2, "sequence_length": 24}


@pytest.mark.parametrize("rows", [False, True])
def test_examples_are_the_losses_of_the_blocks_after_them(rows: bool, make_plan: Callable[..., Plan]) -> None:
    model, block, counts = model_of(make_plan(shape=ROUTED)), 6, range(1, 4)
    tokens = torch.randint(256, (3, 22))
    places = torch.tensor([5, 6, 7, 8, 30, 31, 60]) if rows else None
    wanted = torch.arange(3 * 22) if places is None else places
    targets = torch.randint(256, (len(wanted),))
    found = look(model, Batch(torch.arange(3).numpy(), tokens, places, targets, len(wanted)), block, counts)
    expected, features = [], []
    with torch.no_grad():
        every = model.depth_features(tokens, model.table())
        logits = [model(tokens, count).flatten(0, 1) for count in counts]
    for row in range(3):
        for place in range(STRIDE - 1, 21, STRIDE):
            first, last = row * 22 + place + 1, row * 22 + min(place + block, 21)
            inside = [n for n, at in enumerate(wanted.tolist()) if first <= at <= last]
            if len(inside) >= LEAST_TARGETS:
                expected.append([float(F.cross_entropy(part[wanted[inside]], targets[inside])) for part in logits])
                features.append(every[row, place])
    assert len(expected) > (0 if rows else 9)
    torch.testing.assert_close(found.losses, torch.tensor(expected), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.features, torch.stack(features))


def test_a_label_is_the_fewest_iterations_that_do() -> None:
    losses = torch.tensor([[3.0, 2.0, 1.0], [1.01, 1.5, 1.0], [1.1, 1.01, 1.0], [0.5, 1.0, 2.0]])
    assert Examples(losses, losses).labels(0.02).tolist() == [2, 0, 1, 0]


def test_what_can_be_known_is_learnt() -> None:
    torch.manual_seed(1)
    features = torch.randn(1200, 32)
    best = (features[:, 0] > 0).long() + (features[:, 1] > 0).long()
    losses = torch.full((1200, 3), 2.0).scatter(1, best[:, None], 1.0)
    router = DepthRouter(32, RouterShape(48), 3, QuantizationShape(32, 16))
    torch.nn.init.normal_(router.inner.weight, std=0.05)
    assert router.choice(features[:5]).tolist() == [2] * 5  # of scores that are all equal
    fit(router, Examples(features[:1000], losses[:1000]), 0.02, 5e-3, 0)
    found = judge(router, Examples(features[1000:], losses[1000:]), 0.02, 1)
    assert found["agreement"] > 0.85 > 0.6 > found["commonest"]
    assert found["nats"] < 1.15
    assert found["nats_of_counts"] == pytest.approx(losses[1000:].mean(0).tolist())
    assert min(found["nats_of_counts"]) > 1.5 > found["nats"]


def test_only_the_router_changes(
    make_plan: Callable[..., Plan], folder: DataFolder, weights: Path, tmp_path: Path
) -> None:
    """From weights with and without one; below the target it stands for all iterations."""
    plan = make_plan(shape=ROUTED, **PHASE)
    metrics, made = trained_part("router", plan, folder, tmp_path, weights)
    assert metrics["router"]["used"] is True
    assert made["router.scores.weight"].abs().sum() > 0
    assert json.loads((tmp_path / "out" / PLAN_FILE).read_text())["phases"][0]["kind"] == "router"
    strict = make_plan(shape=replace(ROUTED, router=RouterShape(24, accuracy_target=1.0)), **PHASE)
    metrics = run_phase(strict, folder, tmp_path / "closed", tmp_path / "out" / "packed.safetensors")
    assert metrics["router"]["used"] is (metrics["router"]["agreement"] == 1)
    closed = load_file(tmp_path / "closed" / WEIGHTS_FILE)
    assert (closed["router.scores.weight"].abs().sum() == 0) == (not metrics["router"]["used"])


def test_mistakes(make_plan: Callable[..., Plan], folder: DataFolder, weights: Path, tmp_path: Path) -> None:
    plan = make_plan(shape=ROUTED, **PHASE)
    cases: list[tuple[Plan, Path | None, dict[str, Any], str, str]] = [
        (make_plan(**PHASE), weights, {}, "CHM250", "no loop-depth router"),
        (plan, None, {}, "CHM250", "a model that is trained"),
        (plan, weights, {"stop_after": 1.0}, "CHM250", "is not stopped"),
        (replace(plan, phases=plan.phases * 2), weights, {}, "CHM250", "a plan of its own"),
        (make_plan(shape=ROUTED, **PHASE | {"gain": -1.0}), weights, {}, "CHM250", "gain must not be negative"),
        (make_plan(shape=ROUTED, **PHASE | {"steps": 7}), weights, {}, "CHM251", "too few sequences"),
    ]
    assert_refused(cases, folder, tmp_path)
    broken = load_file(weights)
    broken["router.inner.bias"] = torch.zeros(24)
    save_file(broken, tmp_path / "part.safetensors")
    with pytest.raises(UserError, match=r"missing router\.inner\.weight"):
        run_phase(plan, folder, tmp_path / "part", tmp_path / "part.safetensors")
