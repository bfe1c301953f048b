"""The loop-depth router of a compiled model: what PyTorch makes of the same tokens, on every target, guessed or not."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from beside import CHOICES, PROMPT, TARGETS, odd_bundles, skip_without_emulator
from made_once import Once
from nano_model import lowered_nano, nano, nano_model
from onnx_tools import assert_agrees

import chimerac
from chimerac.compiler.build import pipeline
from chimerac.compiler.build.importing import read_description
from chimerac.compiler.ir.interpreter import Session
from chimerac.frontends.export.importer import import_module
from chimerac.frontends.families.chimera.family import BLOCK, FAMILY
from chimerac.frontends.families.chimera.model import ChimeraModel
from chimerac.frontends.families.chimera.stateful import Stateful
from chimerac.frontends.layers.shapes import RouterShape
from chimerac.frontends.weights.checkpoint import load_safetensors
from chimerac.frontends.weights.sources import RandomWeights
from chimerac.runtime.bundle_format.constants import ROUTER_STATE
from chimerac.runtime.reference.valve import routed_loops
from chimerac.runtime.sessions.native import NativeSession

MOST, TOKENS = 6, 90
CHANGES = ["entropy_valve.loop_depth_router.width=70", "entropy_valve.levels.high.loops=6", "seed=4"]


def stirred(model: ChimeraModel) -> ChimeraModel:
    """The model with a router that chooses now this count, now that one."""
    assert model.router is not None
    for parameter in model.router.parameters():
        torch.nn.init.normal_(parameter, std=0.3 if parameter.ndim > 1 else 0.02)
    return model


def test_the_state_holds_the_scores_of_the_last_token(tmp_path: Path) -> None:
    """In the interpreter, close to PyTorch's, and in ONNX with the interpreter's bits; the logits are as without."""
    model = ChimeraModel(nano(router=RouterShape(30))).eval()
    model.load_state_dict(nano_model().state_dict(), strict=False)
    stirred(model)
    module = import_module(Stateful(model, BLOCK).eval(), name="routed", block=BLOCK)
    lowered, _ = pipeline.run(module, pipeline.passes())
    session, plain, rng = Session(lowered), Session(lowered_nano()), random.Random(3)
    tokens: list[int] = []
    for count in (1, 15, 5, 1, 16, 3):
        tokens += (more := [rng.randrange(200) for _ in range(count)])
        assert session.forward(more).tobytes() == plain.forward(more).tobytes()
        with torch.no_grad():
            features = model.depth_features(torch.tensor([tokens]), model.table())
            expected = model.depth_router()(features)[0, -1].numpy()  # type: ignore[misc]
        np.testing.assert_allclose(session.states[ROUTER_STATE].reshape(-1), expected, atol=2e-2 * np.ptp(expected))
    assert_agrees(lowered, tmp_path, [(1, 2, 3), (0,), (3, 1)])


@pytest.fixture(scope="module")
def routed(once: Once) -> dict[str, Path]:
    """Bundles of a small model with a router."""

    def make(shape: Any) -> ChimeraModel:
        model = ChimeraModel(shape)
        RandomWeights(FAMILY, shape, shape.seed).fill(model)
        torch.manual_seed(7)
        return stirred(model)

    return odd_bundles(once, "routed", CHANGES, make)


@pytest.mark.slow
@pytest.mark.parametrize("choice", CHOICES)
def test_blocks_take_what_the_router_predicts(choice: dict[str, Any], routed: dict[str, Path]) -> None:
    """Prompt and text, greedy and sampled: the counts that PyTorch predicts give the same state."""
    shape = read_description(routed["weights"].parent / "odd.chimera", overrides=CHANGES).description.shape
    model = ChimeraModel(shape)
    load_safetensors(model, FAMILY.tensors(shape), routed["weights"])
    with chimerac.load(routed["x86_64-avx2"]) as session:
        assert isinstance(session, NativeSession)
        list(session.generate(PROMPT, speculate=False, grammar="none", max_tokens=TOKENS, loops=MOST, **choice))
        text, found = PROMPT + session.tokens(), session.state_hash()
        session.reset()
        session.invoke("chm_session_set_valve", *chimerac.runtime.bundle_format.NO_VALVE)
        counts = []
        with torch.no_grad():
            scores = model.depth_router()(model.depth_features(torch.tensor([text]), model.table()))[0]  # type: ignore[misc]
        for begin in range(0, len(text), BLOCK):
            seen = scores[begin - 1].numpy() if begin else np.zeros(MOST, np.float32)
            counts.append(routed_loops(seen, MOST) or MOST)
            session.invoke("chm_session_set_loops", counts[-1])
            session.prefill(text[begin : begin + BLOCK])
        assert session.state_hash() == found
        assert len(set(counts)) > 1


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_every_target_routes_alike(target: str, routed: dict[str, Path]) -> None:
    """With and without guesses, saved on the way."""
    skip_without_emulator(target)
    with chimerac.load(routed["x86_64-avx2"]) as native, chimerac.load(routed[target]) as session:
        for choice in CHOICES:
            options = {"max_tokens": TOKENS, "loops": MOST, **choice}
            for grammar in ("none", chimerac.compile_grammar(regex="(turn (on|off) the [a-z]+ light[.] )*")):
                list(native.generate(PROMPT, speculate=False, grammar=grammar, **options))
                expected = native.tokens(), native.snapshot()
                for guesses in (False,) if target == "onnx" else (False, True):
                    list(session.generate(PROMPT, speculate=guesses, grammar=grammar, **options))
                    assert (session.tokens(), session.snapshot()) == expected
            for cut in (9, 11, 40):  # the last choice has no end of its own before
                list(session.generate(PROMPT, grammar="none", **options | {"max_tokens": cut}))
                session.restore(session.snapshot())
                list(session.generate([], reset=False, grammar="none", **options | {"max_tokens": TOKENS - cut}))
                list(native.generate(PROMPT, speculate=False, grammar="none", **options))
                assert session.state_hash() == native.state_hash()
