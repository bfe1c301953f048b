"""``MODEL_CARD.md``: what the model in a bundle is, what it was trained on, and what not to expect of it."""

from __future__ import annotations

from collections.abc import Iterator

from chimerac.compiler.ir.module import Module
from chimerac.compiler.model import Model
from chimerac.compiler.packaging.facts import facts_of
from chimerac.targets.registry import Target


def _called(model: Model) -> Iterator[str]:
    """What a module that is no language model is called with."""
    for entry in model.entries:
        yield f"takes {'; '.join(map(str, entry.inputs)) or 'nothing'}"
        yield f"returns {'; '.join(map(str, entry.results)) or 'nothing'}"
        if entry.varies:
            yield f"T is from 1 to {entry.most}"


def render_model_card(model: Model, module: Module, target: Target) -> str:
    """The card as Markdown; ``module`` is the model as lowered for the target."""
    lines = [
        f"# {model.name}",
        "",
        f"Built for {target.name} by chimerac.",
        "",
        "## Weights",
        "",
        "The weights are random. The model has learnt nothing: its text is noise and good for testing only."
        if model.has_random_weights
        else f"The weights come from `{model.weights}`.",
        "",
        "## Architecture",
        "",
        *(f"- {line}" for line in _called(model)),
        *(f"- {line}" for line in facts_of(module).lines()),
    ]
    return "\n".join([*lines, "", model.notes] if model.notes else [*lines, ""])
