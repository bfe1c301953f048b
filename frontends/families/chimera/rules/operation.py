"""Deployment, diagnostics and files."""

from __future__ import annotations

import math

from chimerac.frontends.families.chimera.rules.base import Facts, Findings, Found, Rule, listing, planned

#: Mean of the largest of n normal draws, in standard deviations, for some n; between them it is interpolated.
_LARGEST = ((2, 0.56), (4, 1.03), (8, 1.42), (16, 1.77), (32, 2.07), (64, 2.34), (256, 2.83))


def wall_clock(facts: Facts) -> Findings:
    """A deterministic text can't depend on limits of time."""
    deployment, spans = facts.config.deployment, facts.config.span_inference
    limits = []
    if deployment.watchdog_tick_ms:
        limits.append(f"a watchdog of {deployment.watchdog_tick_ms} ms")
    if spans.enabled and spans.certificate_verify_max_us:
        limits.append(f"certificates checked in {spans.certificate_verify_max_us} us")
    if spans.enabled and spans.tree_verify.enabled and spans.tree_verify.hardware_aware:
        limits.append("trees sized by the hardware")
    if deployment.deterministic and limits:
        yield planned(
            f"deterministic, with {listing(limits)}",
            "time differs from run to run and from machine to machine",
            "limits are counted in operations; a watchdog's stop is recorded and reported",
            "deployment.deterministic",
        )


def slow_ticks(facts: Facts) -> Findings:
    """A watchdog's tick must be longer than a knot."""
    tick = facts.config.deployment.watchdog_tick_ms
    periods = {name: 1000 / mode.neural_hz for name, mode in facts.modes.items() if mode.neural_hz}
    over = [f"{name} {period:.0f}" for name, period in periods.items() if tick and period > tick]
    if over:
        yield planned(
            f"a tick of {tick} ms",
            f"knots take longer (ms): {', '.join(over)}; each would be an overrun",
            "progress is counted per layer, not per knot",
        )


def unshared_stores(facts: Facts) -> Findings:
    """Large read-only stores must be shared by the streams."""
    config = facts.config
    missing = []
    if config.semantic_memory.capacity and config.semantic_memory.memory_mb != 0:
        missing += [] if "semantic_memory" in config.deployment.shared else ["semantic_memory"]
    if facts.shape.moe:
        missing += [] if "experts" in config.deployment.shared else ["experts"]
    if config.deployment.max_streams >= 2 and missing:
        yield Found(
            f"shared: {', '.join(config.deployment.shared) or 'nothing'}",
            f"{listing(missing)} would be there {config.deployment.max_streams} times",
            "sessions of a bundle share everything that it has; no more stores are compiled yet",
            "deployment.shared",
        )


def mapped_wasm(facts: Facts) -> Findings:
    """Files can't be mapped into WebAssembly memory."""
    deployment = facts.config.deployment
    wasm = [name for name in deployment.platforms if name.startswith("wasm")]
    if wasm and deployment.mmap:
        yield Found(
            f"mmap of {listing(list(deployment.mmap))}",
            f"{listing(wasm)} has no memory-mapped files",
            "files are read whole into the module's memory when a bundle is opened",
            "deployment.mmap",
        )


def missing_files(facts: Facts) -> Findings:
    """What a bundle includes must have a file."""
    config = facts.config
    if config.multimodal.enabled and config.files.multimodal is None:
        yield planned(
            "multimodal encoders, and no file for them",
            "files names none",
            "a pack of their own when a checkpoint has them; other small parts live in the weights file",
            "files",
        )


def model_suffix(facts: Facts) -> Findings:
    """A tokenizer's file name should not promise another format."""
    name = facts.config.files.tokenizer
    if name is not None and name.endswith(".model"):
        yield Found(
            name, "that suffix is SentencePiece's; the tokenizer is byte-level BPE", "the container says what it holds"
        )


def freeze_threshold(facts: Facts) -> Findings:
    """A warning must come before the stop it warns of."""
    freeze, warn = (
        facts.config.self_evolution.safety.freeze_threshold,
        facts.config.diagnostics.thresholds.max_cert_fail,
    )
    if freeze is not None and warn is not None and warn >= freeze:
        yield planned(
            f"changes stop at {freeze:g}, warning at {warn:g}",
            "no warning before the stop",
            f"warning at {0.8 * freeze:g}",
            "self_evolution.safety.freeze_threshold",
        )


def rollback_rate(facts: Facts) -> Findings:
    """A threshold between 0 and 1 needs a rate to compare with."""
    diagnostics = facts.config.diagnostics
    limit = diagnostics.thresholds.max_rollback
    if (
        limit is not None
        and limit < 1
        and "rollback_rate" not in diagnostics.metrics
        and "rollback_count" in diagnostics.metrics
    ):
        yield planned(
            f"max_rollback {limit:g}, metric rollback_count",
            "a count is compared with a rate",
            "the count over the knots",
            "diagnostics.thresholds.max_rollback",
        )


def fair_imbalance(facts: Facts) -> Findings:
    """A limit on the experts' imbalance must be above that of a fair router."""
    diagnostics, moe = facts.config.diagnostics, facts.shape.moe
    limit = diagnostics.thresholds.max_moe_imbalance
    if limit is None or moe is None or moe.experts < 2:
        return
    share = moe.experts_per_token / moe.experts
    deviation = math.sqrt((1 - share) / (diagnostics.report_interval_tokens * share))
    fair = deviation * _largest(moe.experts)
    if fair > limit:
        yield planned(
            f"max_moe_imbalance {limit:g} over {diagnostics.report_interval_tokens} tokens",
            f"a perfectly fair router shows {fair:.2f} over so few",
            "counted over at least 8192 tokens",
            "diagnostics.thresholds.max_moe_imbalance",
        )


def _largest(draws: int) -> float:
    below = max((pair for pair in _LARGEST if pair[0] <= draws), default=_LARGEST[0])
    above = min((pair for pair in _LARGEST if pair[0] >= draws), default=_LARGEST[-1])
    if above[0] == below[0]:
        return below[1]
    part = math.log(draws / below[0]) / math.log(above[0] / below[0])
    return below[1] + part * (above[1] - below[1])


def telemetry(facts: Facts) -> Findings:
    """Metrics of a private model must say where they go."""
    if facts.config.diagnostics.telemetry:
        yield planned(
            "telemetry true", "nothing says where it goes", "to a callback of the program; never over a network"
        )


def missing_modality(facts: Facts) -> Findings:
    """Encoders need the size of what they read."""
    media = facts.config.multimodal
    missing = []
    if media.vision and media.vision.image_size is None:
        missing.append("the picture's size")
    if media.audio:
        missing += [
            name
            for name, value in (
                ("sample rate", media.audio.sample_rate),
                ("mel bands", media.audio.mel_bins),
                ("frame step", media.audio.hop_ms),
            )
            if value is None
        ]
    if media.enabled and missing:
        yield planned(
            listing([name for name in ("vision", "audio") if getattr(media, name)]),
            f"without {listing(missing)}",
            "pictures of 224 pixels; 16 kHz, 80 mel bands every 10 ms",
        )


RULES = (
    Rule("I25", "B", "deployment.deterministic", wall_clock, also=("R47",), settled_by="wall_clock"),
    Rule("I38", "C", "multimodal", missing_modality),
    Rule("R43", "C", "self_evolution.safety.freeze_threshold", freeze_threshold),
    Rule("R44", "C", "diagnostics.thresholds.max_rollback", rollback_rate),
    Rule("R45", "B", "diagnostics.thresholds.max_moe_imbalance", fair_imbalance),
    Rule("R46", "B", "deployment.watchdog_tick_ms", slow_ticks),
    Rule("R48", "B", "deployment.shared", unshared_stores),
    Rule("R49", "C", "deployment.mmap", mapped_wasm, settled_by="wasm_files"),
    Rule("R55", "C", "files", missing_files),
    Rule("R56", "C", "files.tokenizer", model_suffix),
    Rule("R60", "C", "diagnostics.telemetry", telemetry, settled_by="telemetry"),
)
