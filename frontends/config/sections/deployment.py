"""``memory_budget_mb``, ``deployment``, ``diagnostics``, ``files``, ``params``: budgets, operation and claims."""

# ruff: noqa: RUF009  (key() makes a dataclasses.field)

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chimerac.frontends.config.fields import key
from chimerac.frontends.config.sections.common import count, fraction, names, switch, text

_MB: dict[str, Any] = {"default": None, "minimum": 0, "claim": True}
#: A file beside the others of a bundle: no folders, nothing hidden.
_FILE: dict[str, Any] = {"pattern": r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}"}


@dataclass(frozen=True, kw_only=True)
class MemoryBudget:
    """Memory at run time, in MB."""

    keys: tuple[str, ...] | None = key("Names of the buckets.", name="_keys", default=None, claim=True)
    values: tuple[float, ...] | None = key("Size of each bucket, in MB.", name="_vals", **_MB)
    total: float | None = key("Claim: sum of the buckets, in MB.", **_MB)
    headroom_8gb: float | None = key("Claim: what is left of 8 GB, in MB.", **_MB)
    growth_ceiling: float | None = key("Claim: sum of self_evolution.safety.max_growth_mb, in MB.", **_MB)
    max_with_growth: float | None = key("Claim: total and growth, in MB.", **_MB)


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """How a bundle runs."""

    batch_size: int = key("Sequences per call; one.", default=1, minimum=1, maximum=1, status="checked")
    max_streams: int = key("Most conversations at a time.", default=1, minimum=1, maximum=65536, status="checked")
    per_stream_mb: float | None = key("Claim: memory of one stream, in MB.", **_MB)
    shared: tuple[str, ...] = names("What all streams share.", status="checked")
    mmap: tuple[str, ...] = names("What is mapped from files.", status="checked")
    cold_start_s: float | None = key("Aim: seconds to the first token.", default=None, minimum=0, status="described")
    watchdog_tick_ms: int | None = count("Time between two looks of the watchdog, in milliseconds.", status="not yet")
    watchdog_max_overruns: int | None = count("Looks without progress before it stops a stream.", status="not yet")
    deterministic: bool = switch("The same input and seed give the same text.", default=True, status="checked")
    seed_controls_all: bool = switch("Nothing random escapes the seed.", default=True, status="described")
    platforms: tuple[str, ...] = names("Targets the config is meant for.", status="checked")


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Limits that raise a warning."""

    min_span_accept: float | None = fraction("Least acceptance rate of spans.")
    max_cert_fail: float | None = fraction("Greatest failure rate of certificates.")
    max_rollback: float | None = fraction("Greatest rate of withdrawn knots.")
    min_contrastive_benefit: float | None = key("Least mean benefit of a memory entry, in nats.", default=None)
    max_moe_imbalance: float | None = key("Greatest load of an expert over the mean, less 1.", default=None, minimum=0)


@dataclass(frozen=True, kw_only=True)
class Diagnostics:
    """What a session counts."""

    telemetry: bool = switch("Report metrics.")
    report_interval_tokens: int = count("Tokens between reports.", default=256, minimum=1)
    metrics: tuple[str, ...] = names("Metrics reported.")
    thresholds: Thresholds = key("Limits that raise a warning.", factory=Thresholds)


@dataclass(frozen=True, kw_only=True)
class Files:
    """Names of the files of a bundle."""

    weights: str | None = text("Weights.", **_FILE, status="compiled")
    moe: str | None = text("Routed experts.", **_FILE, status="not yet")
    spans: str | None = text("Span bank.", **_FILE, status="not yet")
    grammar: str | None = text("Grammar tables.", **_FILE, status="compiled")
    memory_seed: str | None = text("Semantic memory as shipped.", **_FILE, status="not yet")
    tokenizer: str | None = text("Tokenizer.", **_FILE, status="compiled")
    evolution: str | None = text("What self-evolution changed.", **_FILE, status="not yet")
    multimodal: str | None = text("Encoders of pictures and sound.", **_FILE, own=True, status="not yet")


_PARAMETERS: dict[str, Any] = {"default": None, "minimum": 0, "maximum": 1 << 50, "quantity": "decimal", "claim": True}


@dataclass(frozen=True, kw_only=True)
class Params:
    """Claims on the size of the model; `chimerac check` computes them."""

    base: int | None = key("Claim: parameters without routed experts.", **_PARAMETERS)
    moe_total: int | None = key("Claim: parameters of the experts.", **_PARAMETERS)
    physical: int | None = key("Claim: all parameters.", **_PARAMETERS)
    effective_2loops: int | None = key("Claim: parameters visited with two loop iterations.", **_PARAMETERS)
    effective_6loops: int | None = key("Claim: parameters visited with six loop iterations.", **_PARAMETERS)
    active_per_token: int | None = key("Claim: parameters one token uses, with one iteration.", **_PARAMETERS)
    weight_mb: float | None = key("Claim: memory of all weights, in MB.", **_MB)
    total_mb: float | None = key("Claim: memory of everything, in MB.", **_MB)
