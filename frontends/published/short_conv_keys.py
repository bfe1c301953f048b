"""The keys of a config.json of a model with short convolutions, some of which say again what others say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from chimerac.frontends.config.fields import key
from chimerac.frontends.published.delta_keys import ATTENTION

CONV: Final = "conv"  #: in ``layer_types``


@dataclass(frozen=True, kw_only=True)
class ConvKeys:
    """What configs of LFM2 say beside the keys of all."""

    conv_L_cache: int | None = key("Tokens that a convolution sees.", default=None, minimum=2, maximum=64)
    conv_bias: bool = key("Convolutions and their projections have no biases.", default=False, only=False)
    full_attn_idxs: tuple[int, ...] | None = key("Layers that are attention, where no types are said.", default=None)
    norm_eps: float | None = key("Epsilon of all norms.", default=None, above=0, maximum=1)
    tie_embedding: bool | None = key("Whether the embedding is the head.", default=None)
    theta: float | None = key("Base of the frequencies.", default=None, above=1)
    block_ff_dim: int | None = key("In place of intermediate_size.", default=None, minimum=1, maximum=1 << 22)
    block_auto_adjust_ff_dim: bool = key("Whether two thirds of it are meant, rounded up.", default=True)
    block_ffn_dim_multiplier: float | None = key("What these are multiplied with.", default=1.0, above=0, maximum=64)
    block_multiple_of: int = key("What they are a multiple of then.", default=256, minimum=1, maximum=1 << 16)
    block_use_swiglu: bool = key("Networks have gates.", default=True, only=True)
    use_pos_enc: bool = key("Heads turn.", default=True, only=True)
    block_dim: int | None = key("Channels between layers, again.", default=None)
    conv_dim: int | None = key("Of convolutions, the same.", default=None)
    conv_dim_out: int | None = key("The same.", default=None)
    num_heads: int | None = key("Heads of queries, again.", default=None)
    block_norm_eps: float | None = key("Epsilon, again.", default=None)
    block_mlp_init_scale: float | None = key("Of the first values.", default=None)
    block_out_init_scale: float | None = key("Of the first values.", default=None)
    block_use_xavier_init: bool | None = key("Of the first values.", default=None)
    conv_use_xavier_init: bool | None = key("Of the first values.", default=None)

    def inner(self, given: int) -> int:
        """Channels of the gated network where the config says so many."""
        given = self.block_ff_dim or given
        if not self.block_auto_adjust_ff_dim:
            return given
        inner = int(2 * given / 3)
        if self.block_ffn_dim_multiplier is None:
            return inner
        steps = -(-int(self.block_ffn_dim_multiplier * inner) // self.block_multiple_of)
        return steps * self.block_multiple_of


def conv_layers(keys: ConvKeys, types: tuple[str, ...] | None, layers: int) -> tuple[int, ...]:
    """Which layers are convolutions, by their types or by those that are attention."""
    if types is not None:
        return tuple(layer for layer, kind in enumerate(types) if kind != ATTENTION)
    attention = set(range(layers) if keys.full_attn_idxs is None else keys.full_attn_idxs)
    return tuple(layer for layer in range(layers) if layer not in attention)
