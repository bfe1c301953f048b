"""``entropy_valve``, ``modes``, ``generation``: how much is computed per token and how a token is chosen."""

# ruff: noqa: RUF009  (key() makes a dataclasses.field)

from __future__ import annotations

from dataclasses import dataclass

from chimerac.frontends.config.fields import key
from chimerac.frontends.config.sections.common import count, fraction, names, papers, switch, text


@dataclass(frozen=True, kw_only=True)
class LoopDepthRouter:
    """A small classifier that predicts how many loop iterations the next block of tokens needs (docs/valve.md)."""

    method: str = text("Kind of predictor; it looks back only.", default="causal_predictor", status="checked")
    accuracy_target: float | None = key(
        "Least agreement on held-out text; 0.97 where it is not written.",
        default=None,
        minimum=0,
        maximum=1,
        status="compiled",
    )
    width: int = key(
        "Hidden channels of the classifier.", default=192, minimum=1, maximum=65536, own=True, status="compiled"
    )
    papers: tuple[str, ...] = papers()


@dataclass(frozen=True, kw_only=True)
class Level:
    """What one level of the valve allows."""

    loops: int = key(
        "Most loop iterations, as far as the model has so few.", default=1, minimum=1, maximum=64, status="compiled"
    )
    min_span: int = key("Tokens to propose per knot at least.", default=1, minimum=1, maximum=65536, status="not yet")
    audit: float = fraction(
        "Part of proposed tokens that the model checks; 1 is lossless.", default=1.0, status="not yet"
    )


@dataclass(frozen=True, kw_only=True)
class Levels:
    """The three levels of the valve; one that is not written takes all iterations."""

    low: Level | None = key("When the next token is easy.", default=None)
    medium: Level | None = key("In between.", default=None)
    high: Level | None = key("When the next token is hard.", default=None)


@dataclass(frozen=True, kw_only=True)
class EntropyValve:
    """More computation where the next token is uncertain (arXiv 2510.11170)."""

    enabled: bool = switch("Let the valve choose the loop iterations (docs/valve.md).", status="compiled")
    metrics: tuple[str, ...] = names(
        "Signals beside the entropy of the next token, of which `grammar_branching` counts.", status="compiled"
    )
    threshold_bits: float = key(
        "Entropy at which the high level starts, in bits; the medium one starts at half of it.",
        default=2.0,
        minimum=0,
        maximum=64,
        status="compiled",
    )
    thresholds_bits: tuple[float, float] | None = key(
        "Entropies at which the medium and the high level start, in bits.",
        default=None,
        minimum=0,
        own=True,
        status="compiled",
    )
    type: str = text("What the valve allocates.", default="inference_time_compute_allocation", status="described")
    loop_depth_router: LoopDepthRouter | None = key("Predictor of the loop count.", default=None)
    levels: Levels = key("The levels.", factory=Levels)
    papers: tuple[str, ...] = papers()


@dataclass(frozen=True, kw_only=True)
class Mode:
    """A preset of speed against care, chosen by name; today it sets the loop iterations."""

    tps: float = key("Aim: tokens per second; neural_hz times span_avg.", default=0.0, minimum=0, status="checked")
    neural_hz: float = key("Aim: knots per second.", default=0.0, minimum=0, status="checked")
    span_avg: float = key("Aim: tokens accepted per knot.", default=1.0, minimum=0, status="checked")
    loops: int = key(
        "Loop iterations, brought into `looping.loop_range`.", default=1, minimum=1, maximum=64, status="compiled"
    )
    audit: float = fraction(
        "Part of proposed tokens that the model checks; 1 is lossless.", default=1.0, status="not yet"
    )


@dataclass(frozen=True, kw_only=True)
class Modes:
    """The modes of a session."""

    fast: Mode | None = key("Fast mode.", default=None)
    balanced: Mode | None = key("Balanced mode.", default=None)
    reasoning: Mode | None = key("Careful mode.", default=None)


@dataclass(frozen=True, kw_only=True)
class Generation:
    """The bundle's defaults of how the next token is chosen; a call may say otherwise."""

    temperature: float = key(
        "Divisor of the logits, 0.01 and more; 0 takes the best token.",
        default=0.7,
        minimum=0,
        maximum=100,
        status="compiled",
    )
    top_p: float = key(
        "Least probability mass that stays in the draw.", default=0.92, above=0, maximum=1, status="compiled"
    )
    repetition_penalty: float = key(
        "Weakening of tokens of the recent text; 1 is none.", default=1.0, minimum=0.1, maximum=10, status="compiled"
    )
    max_new_tokens: int = count("Longest answer, in tokens.", default=4096, maximum=(1 << 31) - 1, status="compiled")
    do_sample: bool = switch("Draw from the distribution; false takes the best token.", default=True, status="compiled")
    stream: bool = switch("Show tokens as they come.", default=True, status="checked")
