"""The eager session: the same numbers as the training form, for any calls, with a state per iteration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from chimerac.compiler.errors import UserError
from chimerac.frontends.families.chimera.model import ChimeraModel
from chimerac.frontends.families.chimera.session import EagerSession
from chimerac.frontends.families.chimera.shape import ChimeraShape
from chimerac.frontends.layers.shapes import TitansShape

Make = Callable[[ChimeraShape], ChimeraModel]


@pytest.mark.usefixtures("exact_activations")
@pytest.mark.parametrize("loops", [*(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2)), 3])
def test_session_equals_training_form(shape: ChimeraShape, make_model: Make, loops: int) -> None:
    model = make_model(shape).eval()
    depth = loops if shape.loop is not None else None
    tokens = torch.randint(0, shape.vocabulary, (50,))
    with torch.no_grad():
        expected = model(tokens[None], depth)[0]
    for most in (None, 1, 5):
        session = EagerSession(model, depth)
        torch.testing.assert_close(session.run(tokens, most=most), expected, rtol=1e-3, atol=1e-3)
        assert session.position == 50


@pytest.mark.usefixtures("exact_activations")
def test_runs_may_be_cut_anywhere(nano: ChimeraShape, make_model: Make) -> None:
    model, tokens = make_model(nano), torch.randint(0, nano.vocabulary, (45,))
    whole = EagerSession(model).run(tokens)
    session = EagerSession(model)
    parts = [session.run(part) for part in tokens.split([1, 15, 2, 20, 7])]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-3, atol=1e-4)


def test_rounding_stays_a_small_noise(nano: ChimeraShape, make_model: Make) -> None:
    """With the activations' rounding on, two orders of addition part ways at the first turned rounding; the distance
    stays near that of int8 itself and does not grow with the text."""
    model, tokens = make_model(nano).eval(), torch.randint(0, nano.vocabulary, (96,))
    with torch.no_grad():
        expected = model(tokens[None])[0]
    error = (EagerSession(model).run(tokens) - expected).abs().mean(-1) / (expected.max() - expected.min())
    assert error[:48].mean() < 0.01
    assert error[48:].mean() < 0.01


def test_each_iteration_has_its_state_and_slow_writers_have_one(nano: ChimeraShape, make_model: Make) -> None:
    session = EagerSession(make_model(nano), 3)
    session.run(torch.arange(5))
    assert sorted(session.states) == sorted(
        [(layer, 0) for layer in (0, 1, 3, 6, 7)] + [(layer, r) for layer in (2, 4, 5) for r in range(3)]
    )


def test_skipped_iterations_keep_their_state_and_new_ones_copy(nano: ChimeraShape, make_model: Make) -> None:
    session = EagerSession(make_model(nano), 2)
    session.run(torch.arange(10))
    second = session.states[2, 1]
    session.run(torch.arange(3), loops=1)
    assert session.states[2, 1] is second
    before = session.states[2, 1]
    session.run(torch.arange(1), loops=3)
    fresh = EagerSession(make_model(nano), 3)
    fresh.run(torch.arange(1))
    # depth 3 was never used before: it starts from depth 2's state, not from zeros
    assert not torch.allclose(session.states[2, 2]["state"], fresh.states[2, 2]["state"])
    assert torch.equal(session.states[2, 2]["q_tail"][:2], before["q_tail"][1:])
    assert session.depths == [2] * 10 + [1] * 3 + [3]


def test_adaptive_exit_compares_with_the_previous_iterate(nano: ChimeraShape, make_model: Make) -> None:
    assert nano.loop is not None
    tokens = torch.randint(0, nano.vocabulary, (6,))
    for threshold, depth in [(0.0, 3), (1e9, 2)]:
        shape = replace(nano, loop=replace(nano.loop, exit_threshold=threshold))
        session = EagerSession(make_model(shape), 3, adaptive_exit=True)
        logits = session.run(tokens)
        assert session.depths == [depth] * 6
        assert torch.equal(logits, EagerSession(make_model(shape), depth).run(tokens, most=1))


def test_greedy_continues_from_the_last_logits(nano: ChimeraShape, make_model: Make) -> None:
    model, prompt = make_model(nano), torch.tensor([3, 1, 4])
    chosen = EagerSession(model).greedy(prompt, 4)
    session, expected, tokens = EagerSession(model), [], prompt
    for _ in range(4):
        expected.append(int(session.run(tokens)[-1].argmax()))
        tokens = torch.tensor(expected[-1:])
    assert chosen == expected


def test_reset_forgets(nano: ChimeraShape, make_model: Make) -> None:
    session, tokens = EagerSession(make_model(nano)), torch.arange(9)
    first = session.run(tokens)
    session.reset()
    assert torch.equal(session.run(tokens), first)


def test_no_tokens_give_no_logits(nano: ChimeraShape, make_model: Make) -> None:
    assert EagerSession(make_model(nano)).run(torch.zeros(0, dtype=torch.int32)).shape == (0, nano.vocabulary)


def test_blocks_must_fit_the_anchor_chunk(nano: ChimeraShape, make_model: Make) -> None:
    shape = replace(nano, titans=TitansShape(persistent_slots=8, window=48, chunk=8))
    with pytest.raises(UserError, match="multiple of the block") as error:
        EagerSession(make_model(shape))
    assert error.value.code == "CHM222"
    EagerSession(make_model(shape), block=8).run(torch.arange(20))
