"""The keys of config.json that say how positions turn."""

from __future__ import annotations

from dataclasses import dataclass

from chimerac.frontends.config.fields import key


@dataclass(frozen=True, kw_only=True)
class RotaryKeys:
    """``rope_scaling`` of older configs, ``rope_parameters`` of newer ones."""

    rope_theta: float | None = key("Base of the frequencies.", default=None, above=1)
    rope_type: str | None = key("How positions are scaled.", default=None)
    type: str | None = key("The same in older configs.", default=None)
    factor: float | None = key("How much positions are stretched.", default=None, minimum=1)
    low_freq_factor: float | None = key("Of llama3.", default=None, above=0)
    high_freq_factor: float | None = key("Of llama3.", default=None, above=0)
    original_max_position_embeddings: float | None = key("Positions before scaling.", default=None, above=0)
    beta_fast: float | None = key("Of yarn.", default=None, above=0)
    beta_slow: float | None = key("Of yarn.", default=None, above=0)
    mscale: float | None = key("Of yarn.", default=None, above=0)
    mscale_all_dim: float | None = key("Of yarn.", default=None, above=0)
    attention_factor: float | None = key("Of yarn.", default=None, above=0)
    truncate: bool = key("Of yarn.", default=True)
    partial_rotary_factor: float | None = key("Share of a head's channels that turn.", default=None, above=0, maximum=1)
    mrope_section: tuple[int, ...] | None = key(
        "Pairs that turn by place in a picture; in texts all the same.", default=None
    )
    mrope_interleaved: bool | None = key("In which order.", default=None)
