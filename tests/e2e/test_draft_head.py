"""The draft head of a compiled model: what PyTorch makes of the same tokens, and no bit changed by what it guesses."""

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
from chimerac.compiler.build.importing import import_model
from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.interpreter import Session
from chimerac.frontends.export.drafted import with_draft
from chimerac.frontends.export.importer import import_module
from chimerac.frontends.families.chimera.family import BLOCK, FAMILY
from chimerac.frontends.families.chimera.model import ChimeraModel
from chimerac.frontends.families.chimera.stateful import Stateful
from chimerac.frontends.layers.draft_head import begin_with
from chimerac.frontends.layers.shapes import DraftShape
from chimerac.frontends.weights.sources import RandomWeights
from chimerac.runtime.bundle_format.constants import DRAFT_IDS, DRAFT_STATE
from chimerac.runtime.sessions.native import NativeSession

TOKENS, MOST, A = 80, 130, ord("a")
CHANGES = ["span_inference.draft_head.width=70", "span_inference.draft_head.tokens=256", "seed=4"]


def drafting(shape_of: Any) -> ChimeraModel:
    """A model of a shape with a head that says something."""
    model = ChimeraModel(shape_of).eval()
    RandomWeights(FAMILY, shape_of, shape_of.seed).fill(model)
    torch.manual_seed(3)
    assert model.draft is not None
    begin_with(model.draft, model.embedding.weight, torch.randperm(shape_of.vocabulary)[: shape_of.draft.tokens])
    return model


def test_the_head_goes_on_from_what_the_model_leaves(tmp_path: Path) -> None:
    """In the interpreter, close to PyTorch's, also after a tree; logits are as without, and ONNX has no head."""
    model = ChimeraModel(nano(draft=DraftShape(40, 90))).eval()
    model.load_state_dict(nano_model().state_dict(), strict=False)
    assert model.draft is not None
    torch.manual_seed(3)
    begin_with(model.draft, model.embedding.weight)
    form = Stateful(model, BLOCK).eval()
    module = with_draft(import_module(form, name="drafted", block=BLOCK), form)
    lowered, _ = pipeline.run(module, pipeline.passes(speculate=True))
    session, plain, rng = Session(lowered), Session(lowered_nano()), random.Random(3)
    tokens: list[int] = []
    for count in (1, 15, 5, 3):
        tokens += (more := [rng.randrange(200) for _ in range(count)])
        if count == 5:
            logits = session.verify([more[0], 7, *more[1:]], [-1, 0, 0, 2, 3, 4])[-1]
            session.commit([0, 2, 3, 4, 5])
        else:
            logits = session.forward(more)
        assert logits.tobytes() == plain.forward(more).tobytes()
        ahead = [rng.randrange(200) for _ in range(3)]
        before = session.state_bytes()
        with torch.no_grad():
            table = model.table()
            hidden = model.hidden(torch.tensor([tokens]), table)[0, -1]
            np.testing.assert_allclose(
                session.states[DRAFT_STATE].ravel(), hidden, atol=2e-2 * float(hidden.abs().max())
            )
            for token in ahead:
                hidden = model.draft(hidden, table[token])
            expected = model.draft.scores(hidden).numpy()
        np.testing.assert_allclose(session.draft(ahead), expected, atol=3e-2 * np.ptp(expected))
        assert session.state_bytes() == before
    without, _ = pipeline.run(module, pipeline.passes())
    assert "draft" not in without.graphs
    assert DRAFT_IDS not in without.constants
    assert form.draft is not None
    form.draft.ids[3] = form.draft.ids[0]
    with pytest.raises(UserError, match="one twice"):
        with_draft(module, form)
    assert_agrees(without, tmp_path, [(1, 2, 3), (0,), (3, 1)])


@pytest.fixture(scope="module")
def drafted(once: Once) -> dict[str, Path]:
    """Bundles of a small model with a draft head."""
    return odd_bundles(once, "drafted", CHANGES, drafting)


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_no_target_says_another_text(target: str, drafted: dict[str, Path]) -> None:
    """Greedy and sampled, with a grammar, where it guesses as much as pays."""
    skip_without_emulator(target)
    with chimerac.load(drafted["x86_64-avx2"]) as native, chimerac.load(drafted[target]) as session:
        for choice in CHOICES:
            for grammar in ("none", chimerac.compile_grammar(regex="[a-z ]{70,}")):
                options = {"max_tokens": TOKENS, "grammar": grammar, **choice}
                list(native.generate(PROMPT, speculate=False, **options))
                list(session.generate(PROMPT, **options))
                assert (session.tokens(), session.state_hash()) == (native.tokens(), native.state_hash())
                assert session.logits_hash() == native.logits_hash()
                if target != "onnx":  # whose weights have no head, so that its snapshots are of another model
                    assert session.snapshot() == native.snapshot()


@pytest.mark.slow
@pytest.mark.parametrize(("nodes", "seed"), [(2, 1), (5, 1)])
def test_it_guesses_what_the_interpreter_says(nodes: int, seed: int, drafted: dict[str, Path]) -> None:
    """In trees of a fixed size: as many guesses, and right ones, as the best letters of the interpreter's head."""
    config = drafted["weights"].parent / "odd.chimera"
    module = import_model(config, overrides=CHANGES, weights=drafted["weights"]).module
    lowered, _ = pipeline.run(module, pipeline.passes(speculate=True))
    letters = chimerac.compile_grammar(regex="[a-z]{120,}")
    with chimerac.load(drafted["x86_64-avx2"]) as session:
        assert isinstance(session, NativeSession)
        pieces = session.generate(
            PROMPT, grammar=letters, max_tokens=MOST, exit_threshold=0.0, temperature=1.0, seed=seed, loops=2
        )
        next(pieces)
        session.invoke("chm_session_set_speculation", nodes)
        assert len(list(pieces)) > 100
        text, found = session.tokens(), session.speculation()
    reference = Session(lowered, loops=2)
    reference.forward(PROMPT)
    ids = lowered.constants[DRAFT_IDS].data
    guessed = np.flatnonzero((ids >= A) & (ids < A + 26))
    place, proposed, accepted = 0, 0, 0
    while place + 1 < len(text):
        room = min(BLOCK - (len(PROMPT) + place) % BLOCK, MOST - 1 - place)
        chain = [text[place]]
        for _ in range(min(4, nodes - 1, room - 1)):
            chain.append(int(ids[guessed[reference.draft(chain)[guessed].argmax()]]))
        right = 0
        while right + 1 < len(chain) and place + 1 + right < len(text) and text[place + 1 + right] == chain[right + 1]:
            right += 1
        proposed, accepted = proposed + len(chain) - 1, accepted + right
        reference.forward(chain[: right + 1])
        place += right + 1
    assert accepted > 0
    assert found.sources == {"head": (proposed, accepted)}
