"""The kinds of Llama-like models by the ``model_type`` of their configs: what each means beyond its keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from chimerac.frontends.config.fields import fields_of
from chimerac.frontends.published.delta_keys import DeltaKeys
from chimerac.frontends.published.expert_keys import ExpertKeys
from chimerac.frontends.published.shape import Activation
from chimerac.frontends.published.short_conv_keys import ConvKeys

#: How folders have the projections of gated delta rules: one for each part, or together for each head of keys.
Delta = Literal["apart", "joint"]


@dataclass(frozen=True)
class Experts:
    """What a kind of mixtures means beyond its keys.

    Attributes:
        shared: there is an expert that every token visits.
        normalised: the weights of a token's experts add up to one where nothing says otherwise.
    """

    shared: bool
    normalised: bool


@dataclass(frozen=True)
class Kind:
    """What a ``model_type`` means beyond its keys.

    Attributes:
        keys: of ``PARTICULAR``, those that its configs may have.
        fixed_bias: queries, keys and values have biases, whatever the keys say.
        window: positions that attention sees of configs that say nothing of windows; None for all.
        delta: layers may be gated delta rules, and three of four are where nothing says which; None where none are.
            Heads of attention then have gates and turn in part, and norms are centred.
        conv: layers may be short convolutions.
        experts: layers may have experts, which GGUF files always have; None where none do.
        unrotated_every: every so many layers there is one whose heads do not turn; 0 for none.
    """

    keys: frozenset[str] = frozenset()
    epsilon: float = 1e-6
    theta: float = 10_000.0
    activation: Activation = "silu"
    tied: bool = False
    head_norms: bool = False
    sub_norms: bool = False
    fixed_bias: bool = False
    window: int | None = None
    unrotated_every: int = 0
    delta: Delta | None = None
    conv: bool = False
    experts: Experts | None = None


_WINDOWS: Final = frozenset({"use_sliding_window", "sliding_window", "layer_types"})
_BIASES: Final = frozenset({"attention_bias", "mlp_bias"})
_UNROTATED: Final = frozenset({"no_rope_layers", "no_rope_layer_interval"})
_DELTA: Final = frozenset(item.name for item in fields_of(DeltaKeys)) | {"layer_types", "attention_bias"}
_EXPERTS: Final = frozenset(item.name for item in fields_of(ExpertKeys)) - {"shared_expert_intermediate_size"}
_SHARED: Final = _EXPERTS | {"shared_expert_intermediate_size"}
_CONV: Final = frozenset(item.name for item in fields_of(ConvKeys)) | {"layer_types"}
#: Keys that configs of some kinds may have, of others not.
PARTICULAR: Final = _WINDOWS | _BIASES | _UNROTATED | _DELTA | _SHARED | _CONV
KINDS: Final[Mapping[str, Kind]] = {
    "llama": Kind(_BIASES),
    "mistral": Kind(frozenset({"sliding_window"}), window=4096),
    "qwen2": Kind(_WINDOWS, fixed_bias=True),
    "qwen3": Kind(_WINDOWS | {"attention_bias"}, head_norms=True),
    "smollm3": Kind(_WINDOWS | _BIASES | _UNROTATED, theta=2e6, tied=True, unrotated_every=4),
    "bitnet": Kind(frozenset({"attention_bias"}), epsilon=1e-5, theta=5e5, activation="relu2", sub_norms=True),
    "lfm2": Kind(_CONV, epsilon=1e-5, theta=1e6, tied=True, head_norms=True, conv=True),
    "qwen3_moe": Kind(
        _WINDOWS | {"attention_bias"} | _EXPERTS, head_norms=True, experts=Experts(shared=False, normalised=False)
    ),
    "qwen3_next": Kind(_DELTA | _SHARED, head_norms=True, delta="joint", experts=Experts(shared=True, normalised=True)),
    "qwen3_5_text": Kind(_DELTA | {"mlp_only_layers"}, head_norms=True, delta="apart"),
    "qwen3_5_moe_text": Kind(
        _DELTA | _SHARED, head_norms=True, delta="apart", experts=Experts(shared=True, normalised=True)
    ),
}
