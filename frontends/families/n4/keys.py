"""The keys of a config with ``model_type: "n4"``."""

# ruff: noqa: RUF009  (key() makes a dataclasses.field)

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chimerac.frontends.config.fields import key
from chimerac.frontends.families.grammars import GrammarKeys


def _size(doc: str, maximum: int, **details: Any) -> Any:
    return key(doc, minimum=1, maximum=maximum, **details)


@dataclass(frozen=True, kw_only=True)
class TrainingKeys:
    """``training``: defaults are the document's."""

    steps: int = _size("Steps.", 1 << 40, default=976)
    sequence_length: int = key("Tokens of a sequence.", default=512, minimum=2, maximum=1 << 20)
    batch: int = _size("Sequences of a forward pass.", 1 << 20, default=8)
    accumulation: int = _size("Forward passes of a step.", 1 << 20, default=16)
    learning_rate: float = key("At its peak, behind the warm-up.", default=6e-4, above=0)
    betas: tuple[float, float] = key("Momenta of AdamW.", default=(0.9, 0.95), minimum=0, maximum=0.999999)
    weight_decay: float = key("Decay per step, of all parameters.", default=0.1, minimum=0)
    warmup_steps: int = key("Steps of rising learning rate.", default=2000, minimum=0)
    schedule: str = key(
        "Course of the learning rate behind its warm-up.",
        default="constant",
        choices=("constant", "cosine", "linear", "wsd"),
    )
    grad_clip: float = key("Longest gradient. The document says nothing of it.", default=1.0, above=0)
    precision: str = key("Type of factors in products.", default="bfloat16", choices=("bfloat16", "float32"))


@dataclass(frozen=True, kw_only=True)
class N4Keys:
    """What a config may say; names of sizes are those of ``N4C``."""

    model_type: str = key("Model family.", default="n4", choices=("n4",))
    name: str = key("Name of the model and of its bundles.", default="n4", pattern=r"[a-z][a-z0-9-]{0,30}")
    vocab_size: int = _size("Entries of the vocabulary; a token per byte without a tokenizer.", 1 << 20)
    hidden_size: int = _size("Channels.", 1 << 16)
    inter_size: int = _size("Width of the gated network.", 1 << 18)
    heads: int = _size("Heads.", 1 << 12)
    layers: int = _size("Decoder layers.", 1 << 12)
    bias: bool = key("Whether products have a bias.", default=False)
    counter: str = key(
        "How the running means count tokens; `bf16` as bfloat16 holds the numbers.",
        default="exact",
        choices=("exact", "bf16"),
    )
    context: int = key("Most tokens of a text: the rows of the caches.", default=512, minimum=2, maximum=1 << 20)
    quantization: str = key(
        "`ternary`: matrices of -1, 0 and 1, tables and activations of int8.",
        default="none",
        choices=("none", "ternary"),
    )
    grammar: GrammarKeys = key("What answers of its bundles follow.", factory=GrammarKeys)
    training: TrainingKeys | None = key("How it is trained; without it, the usual short phases.", default=None)
    seed: int = key("Of random weights, and of the order of the data.", default=0, minimum=0)
