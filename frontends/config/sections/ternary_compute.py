"""``P3_ternary_compute``: the authors' notes on training and inference speed; informative."""

# ruff: noqa: RUF009  (key() makes a dataclasses.field)

from __future__ import annotations

from dataclasses import dataclass

from chimerac.frontends.config.fields import key
from chimerac.frontends.config.sections.common import papers, text


@dataclass(frozen=True, kw_only=True)
class Optimization:
    """Note on one optimisation."""

    status: str | None = text("Whether it exists.")
    description: str | None = text("What it does.")
    benefit: str | None = text("What it brings.")
    limitation: str | None = text("What it doesn't do.")
    implementation: str | None = text("How it is made.")
    note: str | None = text("Remark.")
    papers: tuple[str, ...] = papers()


@dataclass(frozen=True, kw_only=True)
class ImplementedOptimizations:
    """Notes on what is implemented."""

    mezo_optimizer: Optimization | None = key("Training by forward passes only.", default=None, status="checked")
    bf16_autocast: Optimization | None = key("Mixed precision.", default=None)
    torch_compile: Optimization | None = key("Compiled training.", default=None)
    parallel_mlstm: Optimization | None = key("Chunk form of mLSTM.", default=None)
    parallel_titans_mac: Optimization | None = key("Chunk form of Titans.", default=None, status="checked")
    sort_based_moe: Optimization | None = key("Tokens sorted by expert.", default=None)
    gradient_checkpointing: Optimization | None = key("Recomputed activations.", default=None)
    cpu_thread_tuning: Optimization | None = key("Threads.", default=None)
    ipex_integration: Optimization | None = key("Intel's extension.", default=None)
    ternary_qat_ste: Optimization | None = key("Training with rounded weights.", default=None, status="checked")
    two_bit_packed_weights: Optimization | None = key("Four weights a byte.", default=None)
    zero_multiply_forward: Optimization | None = key("Products without multiplying.", default=None, status="checked")
    ternary_mezo_sparse: Optimization | None = key(
        "Forward-only training that skips zeros.", default=None, status="checked"
    )
    sparse_grad_w_masking: Optimization | None = key("Gradients that skip deep zeros.", default=None, status="checked")


@dataclass(frozen=True, kw_only=True)
class NotImplementedNotes:
    """Notes on what is not implemented."""

    elut_training: str | None = text("Lookup tables in training.")
    mixture_of_depths: str | None = text("Tokens that skip layers.", status="checked")
    sparse_backprop: str | None = text("Sparse gradients.")


@dataclass(frozen=True, kw_only=True)
class PerformanceNote:
    """A speed somebody saw."""

    hardware: str | None = text("Machine.")
    throughput: str | None = text("Tokens per second.")
    note: str | None = text("Remark.")


@dataclass(frozen=True, kw_only=True)
class RealisticPerformance:
    """Speeds somebody saw."""

    cpu_training_tiny_35M: PerformanceNote | None = key("Training 35 M parameters.", default=None)
    cpu_training_small_150M: PerformanceNote | None = key("Training 150 M parameters.", default=None)
    cpu_inference_ternary: PerformanceNote | None = key("Inference.", default=None)
    gpu_training_comparison: str | None = text("Against a GPU.")


@dataclass(frozen=True, kw_only=True)
class TernaryCompute:
    """Notes; chimerac reads them only to compare their numbers with the config's."""

    note: str | None = text("Remark.", name="_note")
    thesis: str | None = text("The argument.", status="checked")
    implemented_optimizations: ImplementedOptimizations = key("What is implemented.", factory=ImplementedOptimizations)
    not_implemented: NotImplementedNotes = key("What is not.", factory=NotImplementedNotes)
    realistic_performance: RealisticPerformance = key("Speeds.", factory=RealisticPerformance)
    paradigm_papers: tuple[str, ...] = key(
        "Papers of the argument.", name="§_paradigm", default=(), single=True, status="checked"
    )
