"""The keys of a config.json that say which layers have experts, how many, and of what size."""

from __future__ import annotations

from dataclasses import dataclass

from chimerac.frontends.config.fields import key


@dataclass(frozen=True, kw_only=True)
class ExpertKeys:
    """What configs of mixtures say beside the keys of all."""

    num_experts: int | None = key("Experts of a layer.", default=None, minimum=0, maximum=1 << 14)
    num_local_experts: int | None = key("The same in newer configs.", default=None, minimum=0, maximum=1 << 14)
    num_experts_per_tok: int | None = key("Experts that a token visits.", default=None, minimum=1, maximum=1 << 10)
    moe_intermediate_size: int | None = key("Channels within an expert.", default=None, minimum=1, maximum=1 << 22)
    shared_expert_intermediate_size: int | None = key(
        "Channels within the expert of all tokens.", default=None, minimum=1, maximum=1 << 22
    )
    norm_topk_prob: bool | None = key("Whether a token's experts weigh one together.", default=None)
    decoder_sparse_step: int = key("Every so many layers one has experts.", default=1, minimum=1)
    mlp_only_layers: tuple[int, ...] | None = key("Layers without experts.", default=None)


def expert_layers(keys: ExpertKeys, layers: int) -> tuple[int, ...]:
    """Which layers have experts, where there are some."""
    without = set(keys.mlp_only_layers or ())
    every = keys.decoder_sparse_step
    return tuple(layer for layer in range(layers) if layer not in without and (layer + 1) % every == 0)
