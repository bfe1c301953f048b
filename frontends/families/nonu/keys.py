"""The keys of a config with ``model_type: "nonu"``."""

# ruff: noqa: RUF009  (key() makes a dataclasses.field)

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from chimerac.frontends.config.fields import key
from chimerac.frontends.families.grammars import GrammarKeys
from chimerac.frontends.families.nonu.shape import CHOICES, NONU, OPEN, NonuConfig


def _size(doc: str, maximum: int, **details: Any) -> Any:
    return key(doc, minimum=1, maximum=maximum, **details)


@dataclass(frozen=True, kw_only=True)
class NonuKeys:
    """What a config may say: names and defaults are those of ``NonuConfig``."""

    model_type: str = key("Model family.", default="nonu", choices=("nonu",))
    name: str = key("Name of the model and of its bundles.", default="nonu", pattern=r"[a-z][a-z0-9-]{0,30}")
    total_params: int = _size("Numbers of all matrices; decides the neurons.", 1 << 42, default=7 * 10**9)
    active_threshold: float = key("A neuron is open if its sigmoid is more.", default=100 * NONU, above=0)
    hidden_size: int = _size("Channels.", 1 << 16, default=1024)
    num_layers: int = _size("Layers.", 1 << 14, default=48)
    num_heads: int = _size("Heads.", 1 << 12, default=16)
    use_multiplicative_residuals: bool = key("Residuals are scaled by 1 + 1e-7 s, s learned.", default=True)
    vocab_size: int = _size("Entries of the vocabulary.", 1 << 24, default=50_000)
    embedding_dim: int = _size("Numbers of a token's embedding.", 1 << 16, default=100)
    embedding_levels: int = key("Levels of such a number.", default=10**7, minimum=2, maximum=1 << 24)
    embedding_range: float = key("Its largest magnitude.", default=1.0, above=0)
    nonu_drop: float = key("Probability that training leaves a layer out.", default=100 * NONU, minimum=0, maximum=1)
    intermediate_size: int | None = key("Neurons of a layer, in place of `total_params`.", default=None, minimum=1)
    max_position: int = _size("Most tokens of a text.", 1 << 20, default=8192)
    tie: bool = key("Whether the head reads the table of tokens.", default=True)
    thresholds: tuple[float, ...] | None = key("One for each layer.", default=None)
    dynamic_threshold: bool = key("Thresholds are learned (v2).", default=False)
    adaptive_precision: tuple[float, float] | None = key("Bounds of learned thresholds (Infinity).", default=None)
    gate_on: str = key("What is gated.", default="neuron", choices=CHOICES["gate_on"])
    attention: str = key("`linear` has no cache.", default="softmax", choices=CHOICES["attention"])
    ste: str = key("Gradient of the gate.", default="shifted", choices=CHOICES["ste"])
    weights: str = key("Format of the matrices of layers.", default="f32", choices=CHOICES["weights"])
    initial_open: float = key("Share of the neurons that are open at first.", default=OPEN, above=0)
    predictor_rank: int = key("Rank of the guess of open neurons; 0: none.", default=0, minimum=0, maximum=1 << 16)
    predictor_exact: bool = key("Rows that a bound shuts are not read.", default=False)
    grammar: GrammarKeys = key("What answers of its bundles follow.", factory=GrammarKeys)
    seed: int = key("Of random weights.", default=0, minimum=0)

    def numbers(self) -> dict[str, Any]:
        """The arguments of ``NonuConfig``."""
        return {field.name: getattr(self, field.name) for field in fields(NonuConfig)}
