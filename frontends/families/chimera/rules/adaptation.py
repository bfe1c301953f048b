"""Test-time training, loop-count prediction and the entropy valve."""

from __future__ import annotations

from chimerac.frontends.families.chimera.rules.base import (
    Facts,
    Findings,
    Found,
    Rule,
    listing,
    megabytes,
    millions,
    planned,
)
from chimerac.frontends.families.chimera.sizes.claims import MB
from chimerac.frontends.families.chimera.sizes.stores import router_parameters, ttt_bytes
from chimerac.runtime.bundle_format.generation import METRICS

_TIMING = ("span_energy_margin", "queue_depth")


def ttt_without_mlp(facts: Facts) -> Findings:
    """Test-time training of a dense MLP needs layers that have one."""
    ttt = facts.config.self_evolution.tier1.ttt
    without = [layer for layer in ttt.target_layers if layer in facts.expert_layers]
    if not ttt.enabled or ttt.target_param != "mlp_w_down" or not without:
        return
    index = ttt.target_layers.index(without[0])
    yield planned(
        f"{ttt.target_param} of layers {list(ttt.target_layers)}",
        f"layer {listing([str(layer) for layer in without])} has experts and no dense MLP",
        "the shared expert's down matrix in its place",
        f"self_evolution.tier1.ttt.target_layers.{index}",
    )


def ttt_memory(facts: Facts) -> Findings:
    """The tier of test-time training must hold the change of its matrices."""
    ttt = facts.config.self_evolution.tier1.ttt
    tier = next((tier for tier in facts.config.context_tiers if tier.name == "ttt_compressed"), None)
    if not ttt.enabled or tier is None or tier.mb is None:
        return
    stated = facts.config.resolutions.ttt_delta_format or "float32"
    needed = ttt_bytes(facts.config, stated)
    if needed > tier.mb * MB:
        yield planned(
            f"{tier.mb:g} MB for {ttt.update_scope} of layers {list(ttt.target_layers)}",
            f"{megabytes(needed)} in {stated}, {megabytes(ttt_bytes(facts.config, 'int8'))} in int8 with scales",
            "int8 with a scale per group, no momentum",
            f"context_tiers.{facts.config.context_tiers.index(tier)}.mb",
        )


def ttt_rate(facts: Facts) -> Findings:
    """Step size and momentum should be those of the paper named."""
    ttt = facts.config.self_evolution.tier1.ttt
    references = facts.config.references
    if (
        ttt.enabled
        and "2604.06169" in [references.get(name) for name in ttt.papers]
        and (ttt.momentum != 0 or not 0.03 <= ttt.inner_lr <= 30)
    ):
        yield planned(
            f"step {ttt.inner_lr:g}, momentum {ttt.momentum:g}",
            "the paper named has no momentum and steps of 0.3 to 3 on the sum over a chunk",
            "the sum over a chunk with the config's numbers",
            "self_evolution.tier1.ttt.inner_lr",
        )


def ttt_projection(facts: Facts) -> Findings:
    """The projections that test-time training learns with are parameters too."""
    ttt, hidden = facts.config.self_evolution.tier1.ttt, facts.config.hidden_size
    if not ttt.enabled or not ttt.target_layers:
        return
    count = len(ttt.target_layers) * hidden * hidden
    yield planned(
        f"test-time training of layers {list(ttt.target_layers)}",
        f"its target projections, {millions(count)} parameters, are in no count and no training phase",
        "left out when a checkpoint has none",
    )


def ttt_shared_weights(facts: Facts) -> Findings:
    """Streams that share weights can't each change them."""
    deployment, ttt = facts.config.deployment, facts.config.self_evolution.tier1.ttt
    if ttt.enabled and deployment.max_streams >= 2 and "weights" in deployment.shared:
        yield planned(
            f"{deployment.max_streams} streams share weights that one of them trains",
            "a shared matrix can't carry a change per stream",
            "the change is apart and added; the first stream of a profile has it",
            "self_evolution.tier1.ttt.enabled",
        )


def depth_predictor(facts: Facts) -> Findings:
    """A method must not be enabled here and listed as missing there."""
    valve, notes = facts.config.entropy_valve, facts.config.ternary_compute.not_implemented
    method = "" if valve.loop_depth_router is None else valve.loop_depth_router.method
    if not valve.enabled or not method.startswith("mod_") or notes.mixture_of_depths is None:
        return
    both = facts.config.self_evolution.tier3.loop_depth_learning.enabled
    yield Found(
        f"loop_depth_router {method}",
        "P3_ternary_compute.not_implemented lists mixture of depths"
        + ("; loop_depth_learning is a second classifier of the same thing" if both else ""),
        "one small classifier that looks back only; no mixture of depths",
    )


def predictor_width(facts: Facts) -> Findings:
    """A classifier must have a whole number of channels."""
    learning = facts.config.self_evolution.tier3.loop_depth_learning
    claimed = learning.classifier_params
    if claimed is None or facts.shape.loop is None:
        return
    fixed = router_parameters(facts.config, 0)
    each = router_parameters(facts.config, 1) - fixed
    if claimed >= fixed and (claimed - fixed) % each == 0:
        return
    width = max(64, int((claimed - fixed) / each // 64) * 64)
    classes = facts.shape.loop.maximum - facts.shape.loop.minimum + 1
    yield planned(
        f"{claimed:,} parameters",
        f"{facts.config.hidden_size} inputs and {classes} classes allow {each:,} parameters per hidden channel: "
        f"{(claimed - fixed) / each:.2f} channels",
        f"{width} channels, {router_parameters(facts.config, width):,} parameters",
    )


def one_threshold(facts: Facts) -> Findings:
    """Three levels need two thresholds."""
    valve = facts.config.entropy_valve
    levels = facts.levels
    if valve.enabled and len(levels) >= 3 and valve.thresholds_bits is None:
        yield Found(
            f"one threshold, {valve.threshold_bits:g} bits, for {len(levels)} levels",
            f"{len(levels)} levels need {len(levels) - 1}",
            f"medium from {valve.threshold_bits / 2:g} bits, high from {valve.threshold_bits:g}",
        )


def metrics_left_out(facts: Facts) -> Findings:
    """What depends on timing must not choose the computation of a deterministic text; what is not measured can't."""
    valve, path = facts.config.entropy_valve, "entropy_valve.metrics"
    timing = [name for name in valve.metrics if name in _TIMING]
    if valve.enabled and timing and facts.config.deployment.deterministic:
        yield Found(
            f"{listing(timing)} choose the level",
            "they depend on speculation and timing, and the level changes the text",
            "they don't count",
            path,
        )
    others = [name for name in valve.metrics if name not in METRICS and name not in _TIMING]
    if valve.enabled and others:
        yield planned(
            f"{listing(others)} choose the level", "nothing measures them", "they count like the others", path
        )


RULES = (
    Rule("I3", "A", "self_evolution.tier1.ttt.target_layers", ttt_without_mlp, also=("R38",)),
    Rule("I18", "B", "context_tiers", ttt_memory, also=("R39",)),
    Rule("I19", "B", "self_evolution.tier1.ttt.inner_lr", ttt_rate),
    Rule("I26", "B", "entropy_valve.loop_depth_router.method", depth_predictor, also=("R28",)),
    Rule("R26", "C", "entropy_valve.threshold_bits", one_threshold),
    Rule("R29", "C", "self_evolution.tier3.loop_depth_learning.classifier_params", predictor_width),
    Rule("R40", "B", "self_evolution.tier1.ttt", ttt_projection, settled_by="ttt_projection"),
    Rule("R41", "B", "self_evolution.tier1.ttt.enabled", ttt_shared_weights, settled_by="ttt_streams"),
    Rule("R47b", "B", "entropy_valve.metrics", metrics_left_out),
)
