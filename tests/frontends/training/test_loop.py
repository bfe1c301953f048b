"""The training step: parts of a step add up, recomputation changes nothing, depths, balance, float form, precision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from training_tools import ALONE, TINY, model_of

from chimerac.compiler.errors import UserError
from chimerac.frontends.layers.moe import MixtureOfExperts, imbalance
from chimerac.frontends.layers.quantization import large_enough
from chimerac.frontends.training import Plan
from chimerac.frontends.training.data import DataFolder
from chimerac.frontends.training.loop import PhaseRunner, prepare

Make = Callable[..., Plan]


def runner_of(plan: Plan, folder: DataFolder) -> PhaseRunner:
    model = model_of(plan)
    return PhaseRunner(plan, 0, model, prepare(model, plan, ALONE), folder.source(plan.phases[0], 260, 0), ALONE)


def gradients(runner: PhaseRunner) -> dict[str, Tensor]:
    return {name: p.grad for name, p in runner.model.named_parameters() if p.grad is not None}


def loads(runner: PhaseRunner) -> list[list[int]]:
    return [load.tolist() for load in runner.loads]


def test_micro_batches_add_up_to_the_step(make_plan: Make, folder: DataFolder) -> None:
    for fields in ({}, {"kind": "sft", "sequence_length": 24}):
        # the float form: in the ternary one, a rounding that another order of additions turns would spread
        fields = {**fields, "plan": {"ternary": False}}
        whole = runner_of(make_plan(**fields), folder)
        parts = runner_of(make_plan(**fields, micro_tokens=50), folder)
        assert float(whole.step(0)[0]) == pytest.approx(float(parts.step(0)[0]), rel=1e-5)
        assert loads(whole) == loads(parts)
        for name, gradient in gradients(whole).items():
            torch.testing.assert_close(gradients(parts)[name], gradient, rtol=2e-3, atol=2e-5)


def test_checkpointing_changes_no_gradient_and_no_load(make_plan: Make, folder: DataFolder) -> None:
    plain = runner_of(make_plan(), folder)
    recomputed = runner_of(make_plan(plan={"checkpointing": True}), folder)
    assert float(plain.step(0)[0]) == float(recomputed.step(0)[0])
    assert loads(plain) == loads(recomputed)
    assert sum(map(sum, loads(plain))) > 0
    for name, gradient in gradients(plain).items():
        assert torch.equal(gradients(recomputed)[name], gradient)


def test_every_phase_kind_lowers_its_loss(make_plan: Make, folder: DataFolder) -> None:
    for fields in ({"steps": 25}, {"steps": 25, "kind": "sft", "sequence_length": 24}):
        runner = runner_of(make_plan(**fields, learning_rate=1e-2), folder)
        losses = [float(runner.step(number)[0]) for number in range(25)]
        assert losses[-1] < 0.7 * losses[0]
        assert runner.norm is not None
        assert runner.norm > 0


def test_depths_follow_the_policy(make_plan: Make, folder: DataFolder) -> None:
    def drawn(depth: str) -> list[list[int] | None]:
        runner = runner_of(make_plan(depth=depth), folder)
        return [None if d is None else d.tolist() for d in (runner._depths(n, 4) for n in range(30))]

    assert drawn("default") == [None] * 30
    together = drawn("batch")
    assert all(len(set(row or [])) == 1 for row in together)
    assert {row[0] for row in together if row} == {1, 2, 3}
    apart = drawn("sequence")
    assert any(len(set(row or [])) > 1 for row in apart)
    assert apart == drawn("sequence")


def test_clipping_bounds_the_move(make_plan: Make, folder: DataFolder) -> None:
    runner = runner_of(make_plan(clip=1e-3), folder)
    runner.step(0)
    total = torch.stack([g.square().sum() for g in gradients(runner).values()]).sum().sqrt()
    assert float(total) == pytest.approx(1e-3, rel=1e-2)
    assert runner.norm is not None
    assert float(runner.norm) > 0.01


def test_biases_move_in_pretraining_only(make_plan: Make, folder: DataFolder) -> None:
    for fields, moves in (({}, True), ({"balance": False}, False), ({"kind": "sft", "sequence_length": 24}, False)):
        runner = runner_of(make_plan(**fields), folder)
        runner.step(0)
        mixtures = [m for m in runner.model.modules() if isinstance(m, MixtureOfExperts)]
        assert all(bool((m.router_bias != 0).any()) == moves for m in mixtures)
        assert all(int(m.load.sum()) == 0 for m in mixtures)


def test_sparse_gradients_leave_small_weights_where_they_are(make_plan: Make, folder: DataFolder) -> None:
    plan = make_plan(weight_decay=0.0, plan={"sparse_gradient": True})
    model = model_of(plan)
    runner = PhaseRunner(plan, 0, model, prepare(model, plan, ALONE), folder.source(plan.phases[0], 260, 0), ALONE)
    group = model.shape.quantization.group_size
    names = ("layers.0.mixer.q_proj.weight", "layers.1.ffn.up_proj", "layers.3.ffn.shared.down_proj.weight")
    before = {name: model.get_parameter(name).detach().clone() for name in names}
    runner.step(0)
    for name, old in before.items():
        moved, large = model.get_parameter(name) != old, large_enough(old, group)
        assert not bool((moved & ~large).any())
        assert 0.5 < float(moved.float().mean()) / float(large.float().mean()) <= 1


@pytest.mark.slow
def test_balancing_evens_out_the_experts(make_plan: Make, folder: DataFolder) -> None:
    def last_imbalance(rate: float) -> float:
        runner = runner_of(make_plan(bias_rate=rate, steps=20, learning_rate=1e-4), folder)
        for mixture in (m for m in runner.model.modules() if isinstance(m, MixtureOfExperts)):
            mixture.router_bias += torch.tensor([0.3, 0.0, 0.0, -0.3])
        found = []
        for number in range(20):
            runner.step(number)
            found.append(max(imbalance(load) for load in runner.loads))
        return sum(found[-5:]) / 5

    assert last_imbalance(4e-2) < 0.5 * last_imbalance(0.0)


def test_the_float_form_rounds_nothing(make_plan: Make) -> None:
    model, rounded = model_of(make_plan(plan={"ternary": False}), 0), model_of(make_plan(), 0)
    tokens = torch.randint(0, 260, (1, 12))
    model(tokens).sum().backward()
    weight = model.get_parameter("layers.0.ffn.up_proj.weight")
    with torch.no_grad():
        before, other = model(tokens), rounded(tokens)
        weight.mul_(1 + 1e-4)  # no trit changes: a ternary model sees at most another scale
        assert not torch.equal(model(tokens), before)
    assert (before - other).abs().max() > 1e-3
    assert weight.grad is not None
    assert set(model.state_dict()) == set(rounded.state_dict())


def test_bfloat16_is_near_float32(make_plan: Make, folder: DataFolder) -> None:
    exact = runner_of(make_plan(), folder)
    short = runner_of(make_plan(plan={"precision": "bfloat16"}), folder)
    for number in range(3):
        assert float(short.step(number)[0]) == pytest.approx(float(exact.step(number)[0]), rel=0.02)
    assert all(p.dtype == torch.float32 for p in short.model.parameters())


def test_a_phase_without_steps_is_refused(make_plan: Make, folder: DataFolder) -> None:
    with pytest.raises(UserError, match="no steps"):
        runner_of(make_plan(steps=0), folder)
    assert runner_of(make_plan(steps=0, epochs=2.0), folder).steps == 2 * 130 // 4


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch.compile gives several, of parts of torch that torch uses
def test_compiled_steps_are_near_eager_ones(make_plan: Make, folder: DataFolder) -> None:
    assert TINY.loop is not None
    fields = {"shape": replace(TINY, loop=replace(TINY.loop, maximum=2)), "depth": "batch"}
    eager = runner_of(make_plan(**fields), folder)
    compiled = runner_of(make_plan(**fields, plan={"compile": True}), folder)
    for number in range(3):
        assert float(compiled.step(number)[0]) == pytest.approx(float(eager.step(number)[0]), rel=0.01)
        if number == 0:  # later, weights that differ in their last bits choose other experts here and there
            visits = [torch.tensor(loads(runner)) for runner in (compiled, eager)]
            assert int((visits[0] - visits[1]).abs().max()) <= 3
