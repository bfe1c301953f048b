"""Looping: the injection's closed form, the depth draws, and the gradient window."""

from __future__ import annotations

import math

import pytest
import torch

from chimerac.frontends.layers.looping import LoopInjection, first_recorded, sample_depths
from chimerac.frontends.layers.shapes import LoopShape

LOOP = LoopShape(first=1, last=2, minimum=1, maximum=6, default=2, exit_threshold=0.01)


@pytest.mark.parametrize("exact", [False, True])
def test_injection_with_an_identity_block_has_the_closed_form(exact: bool) -> None:
    injection = LoopInjection(5, 1e-6, exact_input=exact)
    with torch.no_grad():
        for parameter in (injection.A_log, injection.dt_bias, injection.B, injection.C):
            parameter.normal_()
    e, h = torch.randn(3, 5), torch.zeros(3, 5)
    for _ in range(4):
        h = injection.inject(h, e)
    dt, rate = torch.log1p(injection.dt_bias.exp()), injection.A_log.exp()
    decay = torch.exp(-dt * rate)
    gain = (1 - decay) / rate if exact else dt
    torch.testing.assert_close(h, gain * injection.B * e * (1 - decay**4) / (1 - decay))
    torch.testing.assert_close(injection.read_out(h), injection.C * h)


def test_the_injection_decays_for_any_parameters() -> None:
    injection = LoopInjection(4, 1e-6, exact_input=False)
    with torch.no_grad():
        injection.A_log.copy_(torch.tensor([-3.0, 0.0, 2.0, 4.0]))
        injection.dt_bias.copy_(torch.tensor([-6.0, 0.0, 3.0, 30.0]))
        moved = injection.inject(torch.ones(4), torch.zeros(4))
    assert (moved >= 0).all()
    assert (moved < 1).all()


def test_depths_depend_on_seed_step_and_sequence_only() -> None:
    drawn = sample_depths(LOOP, 3, 7, range(64))
    assert torch.equal(drawn[10:20], sample_depths(LOOP, 3, 7, range(10, 20)))
    assert not torch.equal(drawn, sample_depths(LOOP, 3, 8, range(64)))
    assert not torch.equal(drawn, sample_depths(LOOP, 4, 7, range(64)))


def test_depths_are_a_clamped_poisson() -> None:
    count = 4000
    drawn = sample_depths(LOOP, 0, 0, range(count))
    poisson = [math.exp(-2) * 2**n / math.factorial(n) for n in range(6)]
    expected = [poisson[0] + poisson[1], *poisson[2:6], 1 - sum(poisson)]
    for depth, probability in zip(range(1, 7), expected, strict=True):
        share = (drawn == depth).float().mean().item()
        assert share == pytest.approx(probability, abs=4 * math.sqrt(probability / count))


def test_gradients_reach_the_last_half_rounded_up() -> None:
    depths = torch.tensor([1, 2, 3, 4, 5, 6])
    assert first_recorded(depths, truncate=True).tolist() == [1, 2, 2, 3, 3, 4]
    assert first_recorded(depths, truncate=False).tolist() == [1] * 6
