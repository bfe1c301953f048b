"""The keys of a config.json that say which layers are gated delta rules, and of what size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from chimerac.frontends.config.fields import key

INTERVAL: Final = 4  #: every so many layers one is attention, where nothing says how many
ATTENTION: Final = "full_attention"  #: in ``layer_types``
DELTA: Final = "linear_attention"


@dataclass(frozen=True, kw_only=True)
class DeltaKeys:
    """What configs of hybrids say beside the keys of all."""

    linear_num_key_heads: int | None = key("Heads of queries and keys.", default=None, minimum=1, maximum=1 << 14)
    linear_num_value_heads: int | None = key("Heads of values.", default=None, minimum=1, maximum=1 << 14)
    linear_key_head_dim: int | None = key("Channels of a head of keys.", default=None, minimum=1, maximum=1 << 12)
    linear_value_head_dim: int | None = key("Of a head of values.", default=None, minimum=1, maximum=1 << 12)
    linear_conv_kernel_dim: int | None = key("Tokens that the convolution sees.", default=None, minimum=2, maximum=64)
    full_attention_interval: int | None = key("Every so many layers one is attention.", default=None, minimum=1)
    partial_rotary_factor: float | None = key("Share of a head that turns.", default=None, above=0, maximum=1)
    attn_output_gate: bool = key("Attention has gates.", default=True, only=True)
    mamba_ssm_dtype: str = key("In what the rule is computed.", default="float32", choices=("float32",))
    mtp_num_hidden_layers: int | None = key("Layers that guess further tokens; not compiled.", default=None)
    mtp_use_dedicated_embeddings: bool | None = key("Whether these have a table.", default=None)


def delta_layers(keys: DeltaKeys, types: tuple[str, ...] | None, layers: int) -> tuple[int, ...]:
    """Which layers are gated delta rules, by their types or the interval."""
    if types is not None:
        return tuple(layer for layer, kind in enumerate(types) if kind == DELTA)
    every = keys.full_attention_interval or INTERVAL
    return tuple(layer for layer in range(layers) if (layer + 1) % every)
