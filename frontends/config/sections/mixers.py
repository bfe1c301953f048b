"""``gated_deltanet``, ``efla``, ``xlstm``, ``titans``: the layer kinds."""

from __future__ import annotations

from dataclasses import dataclass

from chimerac.frontends.config.fields import key
from chimerac.frontends.config.sections.common import papers, size, switch, text


@dataclass(frozen=True, kw_only=True)
class GatedDeltanet:
    """Gated DeltaNet: delta rule with a forget gate (arXiv 2412.06464)."""

    formulation: str | None = text("The state update in words; informative.")
    alpha_gate: str = text(
        "Kind of the forget gate.", default="data_dependent_scalar", choices=("data_dependent_scalar",)
    )
    beta_gate: str = text(
        "Kind of the write gate.", default="data_dependent_scalar", choices=("data_dependent_scalar",)
    )
    state_size: int | None = size("Width of a head's square state; the head width when absent.", default=None)
    chunkwise_parallel: bool = switch("Train in the chunk form; it changes no result.", default=True)
    chunk_size: int = size("Tokens per chunk of the chunk form; a schedule, it changes no result.", default=64)
    key_norm: str = text("Norm of the keys.", default="l2", choices=("l2",))
    conv_size: int = key(
        "Width of the causal convolutions over q, k and v, in tokens.", default=4, minimum=1, maximum=64, own=True
    )
    papers: tuple[str, ...] = papers()


@dataclass(frozen=True, kw_only=True)
class Efla:
    """Exact-flow update of the delta rule (arXiv 2512.12602)."""

    enabled: bool = switch("Use the exact-flow update in the target layers.")
    target_layers: str = text("Alias of the layers it is for.", default="SK")
    papers: tuple[str, ...] = papers()


@dataclass(frozen=True, kw_only=True)
class Xlstm:
    """mLSTM: matrix memory with exponential gates (arXiv 2405.04517)."""

    variant: str = text("Kind of the cell.", default="mLSTM", choices=("mLSTM",))
    exponential_gating: bool = key("Exponential input gate; the only form there is.", default=True)
    memory_size_per_head: tuple[int, int] | None = size(
        "Rows and columns of a head's memory; the head width twice when absent.", default=None
    )
    covariance_update: bool = key("Outer-product update; the only form there is.", default=True)
    normalizer_state: str = text(
        "How the gates are kept in range.", default="max_stabilized", choices=("max_stabilized",)
    )
    papers: tuple[str, ...] = papers()


@dataclass(frozen=True, kw_only=True)
class Titans:
    """Titans: a memory trained while reading, as context of a bounded attention window (arXiv 2501.00663)."""

    memory_type: str = text("`MAC`: memory as context.", default="MAC", choices=("MAC",))
    memory_depth: int = key("Matrices of the memory MLP.", default=2, minimum=2, maximum=2)
    surprise_metric: str = text(
        "What the memory learns from.", default="gradient_with_momentum", choices=("gradient_with_momentum",)
    )
    surprise_formula: str | None = text("The momentum update in words; informative.")
    forgetting_formula: str | None = text("The memory update in words; informative.")
    persistent_memory_slots: int = key(
        "Learned keys and values that are always attended.", default=64, minimum=0, maximum=65536
    )
    local_window_size: int = size("Tokens of the sliding attention window.", default=1024)
    chunk: int = size(
        "Tokens that share one anchor of the memory's gradient, aligned to the absolute position.", default=16, own=True
    )
    rope_theta: float = key("Base of the rotary positions inside the window.", default=1e4, above=1, own=True)
    papers: tuple[str, ...] = papers()
