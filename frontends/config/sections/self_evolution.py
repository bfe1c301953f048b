"""``self_evolution``: what changes while the model is used."""

# ruff: noqa: RUF009  (key() makes a dataclasses.field)

from __future__ import annotations

from dataclasses import dataclass

from chimerac.frontends.config.fields import key
from chimerac.frontends.config.sections.common import count, fraction, one_of, papers, switch, text


@dataclass(frozen=True, kw_only=True)
class Ttt:
    """In-place test-time training of MLP matrices (arXiv 2604.06169)."""

    enabled: bool = switch("Train while reading.")
    target_layers: tuple[int, ...] = key("Layers it changes.", default=(), minimum=0, maximum=4095)
    target_param: str = one_of("Matrix it changes.", "mlp_w_down")
    inner_lr: float = key("Step size.", default=0.3, minimum=0)
    inner_optimizer: str = one_of("Rule of the step.", "sgd", "sgd_momentum")
    momentum: float = fraction("Momentum of the step.", default=0.0)
    objective: str = one_of("What it learns.", "next_token_prediction")
    chunk_size: int = count("Tokens per update.", default=1024, minimum=1)
    update_scope: str = one_of("Part of the matrix that changes.", "full_w_down")
    reset_decay: float = fraction("Part of the change kept at the start of a session.", default=0.95)
    persistence: str = text("Where the change lives.", default="per_user_session_file")
    papers: tuple[str, ...] = papers()


@dataclass(frozen=True, kw_only=True)
class MemoryGrowth:
    """Writing to the semantic memory while reading."""

    enabled: bool = switch("Write surprising text to the memory.")
    surprise_threshold: str | None = text("When text is surprising; `…_above_2_sigma` of the Titans gradient.")
    contrastive_validation: bool = switch("Keep only what lowers the loss.")
    user_explicit_store: bool = switch("Store what the user asks for.")
    max_per_session: int = count("Most entries written per session.", default=1000)
    pool_fixed: bool = switch("The pool never grows.")
    forgetting: str | None = text("What is dropped when the pool is full.")
    persistent: bool = switch("Keep entries after the session.")
    pruning: str | None = text("What is dropped besides.")
    papers: tuple[str, ...] = papers()


@dataclass(frozen=True, kw_only=True)
class Tier1:
    """Every token."""

    ttt: Ttt = key("Test-time training.", factory=Ttt)
    memory_growth: MemoryGrowth = key("Growth of the semantic memory.", factory=MemoryGrowth)


@dataclass(frozen=True, kw_only=True)
class MetaGuidelines:
    """Advice distilled from bad answers (arXiv 2602.02369)."""

    enabled: bool = switch("Keep guidelines.")
    max: int = count("Most guidelines.", default=256)
    format: str = text("Form of a guideline.", default="8192bit_xor")
    trigger: str | None = text("What makes one.")
    papers: tuple[str, ...] = papers()


@dataclass(frozen=True, kw_only=True)
class EpisodicCases:
    """Past cases that guide the choice (arXiv 2508.16153)."""

    enabled: bool = switch("Keep cases.")
    retrieval: str = text("How a case is found.", default="soft_q_learning")
    max_cases: int = count("Most cases.", default=4096)
    case_bytes: int = count("Bytes of a case.", default=2048)
    weight_update: str = text("How a case's weight changes.", default="outcome_based_ema")
    papers: tuple[str, ...] = papers()


@dataclass(frozen=True, kw_only=True)
class SelfFeedback:
    """A second look at answers the model is unsure of (arXiv 2310.00533)."""

    enabled: bool = switch("Refine unsure answers before they are shown.")
    confidence_threshold: float = fraction("Confidence below which an answer is refined.", default=0.6)
    max_refinement_rounds: int = count("Most rounds.", default=1, maximum=16)
    papers: tuple[str, ...] = papers()


@dataclass(frozen=True, kw_only=True)
class Tier2:
    """Every answer."""

    meta_guidelines: MetaGuidelines = key("Guidelines.", factory=MetaGuidelines)
    episodic_cases: EpisodicCases = key("Cases.", factory=EpisodicCases)
    self_feedback: SelfFeedback = key("Refinement.", factory=SelfFeedback)


@dataclass(frozen=True, kw_only=True)
class SpanBankExpansion:
    """New spans learned from what was accepted."""

    enabled: bool = switch("Learn spans.")
    min_span_len: int = count("Shortest span, in tokens.", default=4)
    max_new_per_session: int = count("Most spans per session.", default=256)
    acceptance: str | None = text("What makes a span worth keeping.")
    persistent: bool = switch("Keep spans after the session.")
    compression: str | None = text("How alike spans are merged.")


@dataclass(frozen=True, kw_only=True)
class LoopDepthLearning:
    """Training of the loop-count predictor."""

    enabled: bool = switch("Learn loop counts.")
    classifier: str = one_of("Form of the predictor.", "int8_2layer_mlp")
    classifier_params: int | None = count("Claim: parameters of the predictor.", claim=True)
    signal: str | None = text("What it learns from.")
    persistent: bool = switch("Keep it after the session.")


@dataclass(frozen=True, kw_only=True)
class Tier3:
    """Every session."""

    span_bank_expansion: SpanBankExpansion = key("New spans.", factory=SpanBankExpansion)
    loop_depth_learning: LoopDepthLearning = key("Loop counts.", factory=LoopDepthLearning)


@dataclass(frozen=True, kw_only=True)
class MaxGrowthMb:
    """Most growth on disk, in MiB."""

    memory: float = key("Of the semantic memory.", default=0.0, minimum=0)
    span_bank: float = key("Of the span bank.", default=0.0, minimum=0)
    episodic: float = key("Of the cases.", default=0.0, minimum=0)
    guidelines: float = key("Of the guidelines.", default=0.0, minimum=0)


@dataclass(frozen=True, kw_only=True)
class EvolutionSafety:
    """Limits of self-evolution."""

    max_growth_mb: MaxGrowthMb = key("Most growth on disk, in MiB.", factory=MaxGrowthMb)
    rollback_on_degradation: bool = switch("Go back when answers get worse.")
    monitor: str | None = text("What is watched.")
    freeze_threshold: float | None = fraction("Failure rate at which changes stop.")
    user_reset: bool = switch("The user can forget everything.")
    state_file: str | None = text("File of all changes.")


@dataclass(frozen=True, kw_only=True)
class SelfEvolution:
    """Everything that changes while the model is used, in three tiers by how often."""

    num_mechanisms: int | None = count("Claim: number of mechanisms in the tiers.", maximum=64)
    tier1: Tier1 = key("Every token.", factory=Tier1)
    tier2: Tier2 = key("Every answer.", factory=Tier2)
    tier3: Tier3 = key("Every session.", factory=Tier3)
    safety: EvolutionSafety = key("Limits.", factory=EvolutionSafety)
