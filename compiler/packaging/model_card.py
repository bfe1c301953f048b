"""``MODEL_CARD.md``: what the model in a bundle is, what it was trained on, and what not to expect of it."""

from __future__ import annotations

from collections import Counter

from chimerac.compiler.ir.costs import decode_costs
from chimerac.compiler.ir.module import Module
from chimerac.frontends.config import ModelConfig
from chimerac.frontends.families.chimera.from_config import shape as shape_of
from chimerac.targets.registry import Target


def render_model_card(config: ModelConfig, weights: str, module: Module, target: Target, notes: str = "") -> str:
    """The card as Markdown; ``notes`` is what is known of the weights, in Markdown."""
    shape = shape_of(config)
    kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(shape.mixers).items())
    costs = decode_costs(module)
    random = weights.startswith("random")
    lines = [
        f"# {config.name or 'model'}",
        "",
        f"Built for {target.name} by chimerac.",
        "",
        "## Weights",
        "",
        "The weights are random. The model has learnt nothing: its text is noise and good for testing only."
        if random
        else f"The weights come from `{weights}`.",
        "",
        "## Architecture",
        "",
        f"- {shape.layers} layers of {shape.hidden} channels: {kinds}",
        f"- vocabulary of {shape.vocabulary} tokens",
        f"- {sum(c.multiply_adds for c in costs):,} multiply–adds and {sum(c.weight_bytes for c in costs):,} bytes of"
        " weights per token",
    ]
    if shape.moe:
        moe = shape.moe
        lines.append(
            f"- {moe.experts} experts in layers {', '.join(map(str, moe.layers))}, {moe.experts_per_token} a token"
        )
    if shape.loop:
        loop = shape.loop
        lines.append(f"- layers {loop.first} to {loop.last} run {loop.default} times, {loop.maximum} at most")
    return "\n".join([*lines, "", notes] if notes else [*lines, ""])
