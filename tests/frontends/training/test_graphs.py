"""Micro-batches in the form of graphs: the same gradients, each counted once, and what happens when recording fails."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from training_tools import ALONE, model_of

from chimerac.frontends.training import Plan
from chimerac.frontends.training.data import DataFolder
from chimerac.frontends.training.graphs import Graphs, Inputs
from chimerac.frontends.training.loop import PhaseRunner, prepare

Make = Callable[..., Plan]
# the float form: in the ternary one, a rounding that another order of multiplications turns would spread
TEXT: dict[str, object] = {"depth": "batch", "micro_tokens": 40, "plan": {"ternary": False}}
ROWS: dict[str, object] = {**TEXT, "kind": "sft", "sequence_length": 24, "micro_tokens": 50}


def runner_of(plan: Plan, folder: DataFolder) -> PhaseRunner:
    model = model_of(plan)
    return PhaseRunner(plan, 0, model, prepare(model, plan, ALONE), folder.source(plan.phases[0], 260, 0), ALONE)


class Pretended(Graphs):
    """Graphs without a GPU: replaying computes eagerly, times ``error``; recording fails if ``broken``."""

    broken, error, replays = False, 1.0, 0

    def _record(self, inputs: Inputs) -> Inputs:  # type: ignore[override]
        if self.broken:
            raise RuntimeError("operation not permitted when stream is capturing\nmore")
        return inputs

    def _replay(self, recorded: Inputs, inputs: Inputs) -> Tensor:  # type: ignore[override]
        assert recorded.key == inputs.key
        self.replays += 1
        loss = self._eagerly(inputs)
        torch._foreach_mul_([p.grad for p in self.parameters if p.grad is not None], self.error)
        return loss


def pretended(runner: PhaseRunner, lines: list[str]) -> Pretended:
    made = runner.make_graphs(lines.append)
    graphs = Pretended(made.loss, made.parameters, made.counters, made.device, made.tell)
    graphs.works = True
    runner.graphs = graphs
    return graphs


def state(runner: PhaseRunner) -> dict[str, Tensor]:
    return {**runner.model.state_dict(), **{f"load {i}": load for i, load in enumerate(runner.loads)}}


@pytest.mark.parametrize("fields", [TEXT, ROWS], ids=["text", "rows"])
def test_graphs_train_what_the_eager_step_trains(
    fields: dict[str, object], make_plan: Make, folder: DataFolder
) -> None:
    plan = make_plan(**fields)
    eager, graphed = runner_of(plan, folder), runner_of(plan, folder)
    lines: list[str] = []
    graphs = pretended(graphed, lines)
    for number in range(5):
        losses = [runner.step(number)[0] for runner in (eager, graphed)]
        torch.testing.assert_close(losses[1], losses[0], rtol=1e-5, atol=1e-5)
    for (name, expected), found in zip(state(eager).items(), state(graphed).values(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5, msg=f"{name} differs")
    assert graphs.replays > 0
    assert not lines


def test_a_model_without_experts_counts_nothing(make_plan: Make, folder: DataFolder) -> None:
    runner = runner_of(make_plan(**TEXT), folder)
    lines: list[str] = []
    graphs = pretended(runner, lines)
    graphs.counters = list
    for number in range(3):
        runner.step(number)
    assert graphs.replays > 0
    assert not lines


@pytest.mark.parametrize("fault", ["broken", "wrong"])
def test_a_graph_that_fails_is_replaced_by_the_eager_pass(fault: str, make_plan: Make, folder: DataFolder) -> None:
    plan = make_plan(**TEXT)
    eager, graphed = runner_of(plan, folder), runner_of(plan, folder)
    lines: list[str] = []
    graphs = pretended(graphed, lines)
    graphs.broken, graphs.error = fault == "broken", 0.9
    for number in range(3):
        for runner in (eager, graphed):
            runner.step(number)
    assert not graphs.works
    assert len(lines) == 1
    assert lines[0].startswith("CUDA graphs are off: ")
    assert "\n" not in lines[0]
    for expected, found in zip(state(eager).values(), state(graphed).values(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_gradient_that_is_not_finite_tells_nothing_of_graphs(make_plan: Make, folder: DataFolder) -> None:
    """What is not a number is not near itself: the shape's next gradient is compared, and graphs stay on."""
    runner = runner_of(make_plan(**TEXT), folder)
    lines: list[str] = []
    graphs = pretended(runner, lines)
    loss, spoiled = graphs.loss, {1}
    number = 0

    def now_and_then(tokens: Tensor, targets: Tensor, loops: int | None) -> Tensor:
        return loss(tokens, targets, loops) * (float("nan") if number in spoiled else 1.0)

    graphs.loss = now_and_then
    for number in range(6):
        runner.step(number)
    assert not lines
    assert graphs.works
    assert graphs.recorded
    assert all(p.isfinite().all() for p in runner.model.parameters())


def test_gradients_stay_where_they_are(make_plan: Make, folder: DataFolder) -> None:
    runner = runner_of(make_plan(**TEXT), folder)
    pretended(runner, [])
    runner.step(0)
    places = {p: p.grad.data_ptr() for p in runner.trained.parameters() if p.grad is not None}
    for number in range(1, 4):
        runner.step(number)
    assert places == {p: p.grad.data_ptr() for p in places if p.grad is not None}


def test_a_cpu_uses_no_graphs(make_plan: Make, folder: DataFolder) -> None:
    assert runner_of(make_plan(**TEXT), folder).graphs is None


def test_what_cannot_be_fused_is_trained_as_it_is(
    make_plan: Make, folder: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chimerac.frontends.training.loop.why_not", lambda device: "there is no compiler")
    plan = make_plan(**TEXT)
    wanted = dataclasses.replace(plan, fused=True)
    assert wanted.digest() == plan.digest()
    lines: list[str] = []
    model = model_of(wanted)
    source = folder.source(wanted.phases[0], 260, 0)
    runner = PhaseRunner(wanted, 0, model, prepare(model, wanted, ALONE), source, ALONE, lines.append)
    assert lines == ["nothing is fused: there is no compiler"]
    usual = runner_of(plan, folder)
    assert torch.equal(runner.step(0)[0], usual.step(0)[0])
