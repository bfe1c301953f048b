"""``audit``: a config's claims on its own size, beside the numbers computed from its shape."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from chimerac.frontends.config.model import ModelConfig
from chimerac.frontends.families.chimera.from_config import shape as shape_of
from chimerac.frontends.families.chimera.shape import ChimeraShape
from chimerac.frontends.families.chimera.sizes.parameters import Counts, count_parameters
from chimerac.frontends.families.chimera.sizes.state import StreamState, stream_state
from chimerac.frontends.families.chimera.sizes.storage import weight_bytes
from chimerac.frontends.families.chimera.sizes.stores import (
    MIB,
    certificate_bytes,
    memory_bytes,
    router_parameters,
    ttt_bytes,
)

MB = 1_000_000
TOLERANCE = 0.02  #: of a computed number; claims are rounded


@dataclass(frozen=True)
class Claim:
    """A number a config states, and the same number computed. ``unit``: "" for parameters, MB (10**6 bytes) or MiB."""

    path: str
    claimed: float
    computed: float
    unit: str
    basis: str  #: what the computed number counts
    limit: bool = False  #: the claim is a ceiling, so more than the computed number is right too

    @property
    def ratio(self) -> float:
        return self.claimed / self.computed if self.computed else float("inf")

    @property
    def holds(self) -> bool:
        """Within 2 percent, or above where the claim is a ceiling."""
        short = self.computed - self.claimed
        return short <= TOLERANCE * self.computed and (self.limit or -short <= TOLERANCE * self.computed)


@dataclass(frozen=True)
class Audit:
    """Everything that was counted."""

    shape: ChimeraShape
    counts: Counts
    states: tuple[StreamState, ...]  #: for 1, 2, 4 and 6 iterations, as far as the loop allows, and for its default
    claims: tuple[Claim, ...]

    def claim(self, path: str) -> Claim | None:
        return next((claim for claim in self.claims if claim.path == path), None)


def audit(config: ModelConfig) -> Audit:
    """Counts a model and holds its config's claims against the counts.

    Raises:
        UserErrors: CHM120 when the config has no shape.
    """
    shape = shape_of(config)
    counts = count_parameters(shape)
    loop = shape.loop
    wanted = {1, 2, 4, 6, loop.default} if loop else {1}
    states = tuple(stream_state(shape, n) for n in sorted(wanted) if not loop or n == 1 or n <= loop.maximum)
    claims = tuple(_parameter_claims(config, counts)) + tuple(_memory_claims(config, shape, counts))
    return Audit(shape, counts, states, claims)


def default_state(config: ModelConfig, shape: ChimeraShape) -> StreamState:
    """State of a stream at the default number of iterations."""
    return stream_state(shape, shape.loop.default if shape.loop else 1)


def budget_total(config: ModelConfig, shape: ChimeraShape, counts: Counts) -> float:
    """Sum of the memory buckets in MB, with computed weights and streams in place of the claimed ones."""
    budget = config.memory_budget_mb
    resident, routed = weight_bytes(shape, counts)
    buckets = dict(zip(budget.keys or (), budget.values or (), strict=False))
    computed = {"ternary_weights": resident / MB, "moe_experts": routed / MB}
    computed["braid"] = default_state(config, shape).built * config.deployment.max_streams / MB
    return sum(computed.get(name, size) for name, size in buckets.items())


def _parameter_claims(config: ModelConfig, counts: Counts) -> Iterator[Claim]:
    params, moe = config.params, config.backbone.moe
    experts = counts.routed + counts.shared
    learning = config.self_evolution.tier3.loop_depth_learning
    width = max(64, round((learning.classifier_params or 0) / (config.hidden_size + 1) / 64) * 64)
    rows: tuple[tuple[str, float | None, float, str], ...] = (
        ("params.base", params.base, counts.base, "all but routed experts"),
        ("params.moe_total", params.moe_total, experts, "routed and shared experts"),
        ("params.physical", params.physical, counts.physical, "everything stored"),
        ("params.effective_2loops", params.effective_2loops, counts.effective(2), "looped layers twice"),
        ("params.effective_6loops", params.effective_6loops, counts.effective(6), "looped layers six times"),
        ("params.active_per_token", params.active_per_token, counts.active, "one token, one iteration"),
        ("backbone.moe.total_params", moe.total_params, experts, "routed and shared experts"),
        (
            "backbone.moe.active_params_per_tok",
            moe.active_params_per_tok,
            counts.active_routed + counts.shared,
            "chosen and shared experts",
        ),
        (
            "self_evolution.tier3.loop_depth_learning.classifier_params",
            learning.classifier_params,
            router_parameters(config, width),
            f"{config.hidden_size} x {width} x {config.looping.loop_range[1] - config.looping.loop_range[0] + 1}",
        ),
    )
    for path, claimed, computed, basis in rows:
        if claimed is not None:
            yield Claim(path, claimed, computed, "", basis)


def _memory_claims(config: ModelConfig, shape: ChimeraShape, counts: Counts) -> Iterator[Claim]:
    resident, routed = weight_bytes(shape, counts)
    state = default_state(config, shape)
    stream, loops = state.built / MB, f"state, {state.iterations} iterations"
    buckets = dict(zip(config.memory_budget_mb.keys or (), config.memory_budget_mb.values or (), strict=False))
    bank, memory = config.span_inference, config.semantic_memory
    certificates = certificate_bytes(config) * bank.bank_entries / MIB
    tiers = {tier.name: tier.mb for tier in config.context_tiers}
    ttt = ttt_bytes(config, config.resolutions.ttt_delta_format or "int8")
    total = budget_total(config, shape, counts)
    streams = config.deployment.max_streams
    rows: tuple[tuple[str, float | None, float, str, str], ...] = (
        ("params.weight_mb", config.params.weight_mb, (resident + routed) / MB, "MB", "base 3, embedding included"),
        ("params.total_mb", config.params.total_mb, total, "MB", "buckets with computed weights"),
        ("memory_budget_mb: ternary_weights", buckets.get("ternary_weights"), resident / MB, "MB", "with embedding"),
        ("memory_budget_mb: moe_experts", buckets.get("moe_experts"), routed / MB, "MB", "routed experts"),
        ("memory_budget_mb: braid", buckets.get("braid"), stream * streams, "MB", f"{streams} streams"),
        ("memory_budget_mb.total", config.memory_budget_mb.total, total, "MB", "buckets with computed weights"),
        ("braid_state.per_stream_mb", config.braid_state.per_stream_mb, stream, "MB", loops),
        ("deployment.per_stream_mb", config.deployment.per_stream_mb, stream, "MB", loops),
        ("span_inference.bank_memory_mb", bank.bank_memory_mb, certificates, "MiB", "certificates alone"),
        ("semantic_memory.memory_mb", memory.memory_mb, memory_bytes(config).compact / MIB, "MiB", "id triples"),
        ("context_tiers: ttt_compressed", tiers.get("ttt_compressed"), ttt / MB, "MB", "changed matrices"),
    )
    for path, claimed, computed, unit, basis in rows:
        if claimed is not None and computed:
            yield Claim(path, claimed, computed, unit, basis, limit=True)
