"""``backbone``: which layer is of which kind, and where the experts are."""

# ruff: noqa: RUF009  (key() makes a dataclasses.field)

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from chimerac.frontends.config.fields import key
from chimerac.frontends.config.sections.common import MAX_SIZE, count, one_of, papers, size, switch

#: Short names of the layer kinds, the default of ``backbone.layer_aliases``.
ALIASES: Mapping[str, str] = {
    "GD": "gated_deltanet",
    "XM": "xlstm_m",
    "TM": "titans_mac",
    "SK": "tsp_span_knot",
}


@dataclass(frozen=True, kw_only=True)
class Moe:
    """Mixture of experts in place of the dense MLP of some layers (arXiv 2408.15664)."""

    enabled: bool = switch("Use experts in the layers listed.", status="compiled")
    layers: tuple[int, ...] = key(
        "Layers with experts; the first layer is 0.", default=(), minimum=0, maximum=4095, status="compiled"
    )
    n_routed_experts: int = size(
        "Experts a router chooses from, per layer.", default=16, maximum=4096, status="compiled"
    )
    n_shared_experts: int = key(
        "Experts that every token uses, per layer.", default=1, minimum=0, maximum=64, status="compiled"
    )
    num_experts_per_tok: int = size("Routed experts that a token uses.", default=2, maximum=64, status="compiled")
    moe_intermediate_size: int = size("MLP width of one expert, in channels.", default=1728, status="compiled")
    routing: str = one_of(
        "`noaux_bias`: a bias steers the choice of experts and never their weights.", "noaux_bias", status="checked"
    )
    total_params: int | None = count("Claim: parameters of all experts.", quantity="decimal", claim=True)
    active_params_per_tok: int | None = count(
        "Claim: expert parameters one token uses.", quantity="decimal", claim=True
    )
    papers: tuple[str, ...] = papers()


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """The stack of layers (hybrid recurrent, arXiv 2510.04800)."""

    type: str = one_of(
        "Family of the stack; `…_no_attention` denies any attention, `…_windowed_attention` allows a bounded window.",
        "hybrid_recurrent_no_attention",
        "hybrid_recurrent_windowed_attention",
        default="hybrid_recurrent_windowed_attention",
        status="checked",
    )
    layer_pattern: str = key(
        "Aliases of the layer kinds of one pattern, separated by spaces.", pattern=r"\S.{0,4095}", status="compiled"
    )
    layer_pattern_repeat: float = key(
        "How often the pattern is repeated; pattern length times this is a whole number of layers.",
        default=1.0,
        above=0,
        maximum=1024,
        status="compiled",
    )
    layer_aliases: Mapping[str, str] = key(
        "Alias to layer kind.", factory=lambda: dict(ALIASES), choices=tuple(ALIASES.values()), status="compiled"
    )
    layer_counts: Mapping[str, int] | None = key(
        "Claim: number of layers of each alias.", default=None, minimum=0, maximum=MAX_SIZE, claim=True
    )
    kv_cache: str = one_of(
        "`none`: no keys and values are kept; `bounded_window`: those of the Titans window are.",
        "none",
        "bounded_window",
        default="bounded_window",
        status="checked",
    )
    papers: tuple[str, ...] = papers()
    moe: Moe = key("Mixture of experts.", factory=Moe)
