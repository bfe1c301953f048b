"""``extends``, ``scale``, ``overrides``: keys that say how a config is put together; none stays in the result."""

# ruff: noqa: RUF009  (key() makes a dataclasses.field)

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chimerac.frontends.config.fields import key
from chimerac.frontends.config.sections.common import size

PRESET_NAMES = ("nano", "tiny", "small", "full")


@dataclass(frozen=True, kw_only=True)
class ScaleBlock:
    """A preset, and sizes that replace some of the preset's."""

    preset: str = key("Preset to start from.", choices=PRESET_NAMES, own=True)
    hidden_size: int | None = size("Hidden size.", default=None, own=True)
    head_dim: int | None = size("Head width.", default=None, own=True)
    num_heads: int | None = size("Heads; hidden size over head width when absent.", default=None, own=True)
    intermediate_size: int | None = size("MLP width; follows the hidden size when absent.", default=None, own=True)
    moe_intermediate_size: int | None = size(
        "MLP width of an expert; follows the hidden size when absent.", default=None, own=True
    )
    num_hidden_layers: int | None = size(
        "Layers; the pattern is repeated and cut to it.", default=None, maximum=4096, own=True
    )
    n_routed_experts: int | None = size("Routed experts.", default=None, maximum=4096, own=True)
    n_shared_experts: int | None = key("Shared experts.", default=None, minimum=0, maximum=64, own=True)
    num_experts_per_tok: int | None = size("Experts per token.", default=None, maximum=64, own=True)
    vocab_size: int | None = size("Entries of the vocabulary.", default=None, minimum=258, own=True)
    local_window_size: int | None = size("Tokens of the attention window.", default=None, own=True)
    persistent_memory_slots: int | None = key("Persistent slots.", default=None, minimum=0, maximum=65536, own=True)
    vector_bits: int | None = size("Bits of the sketch.", default=None, minimum=64, maximum=1 << 17, own=True)


@dataclass(frozen=True, kw_only=True)
class Directives:
    """How a config is put together."""

    extends: str | None = key(
        "Config to start from: a built-in's name, or a path from this file.", default=None, own=True
    )
    scale: str | ScaleBlock | None = key(
        "Size of the model: a preset, or a block with a preset and sizes.", default=None, choices=PRESET_NAMES, own=True
    )
    overrides: Mapping[str, Any] | None = key(
        "Dotted keys and their values; they have the last word, also over `scale`.", default=None, own=True
    )
