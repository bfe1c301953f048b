"""``gated_deltanet``, ``efla``, ``xlstm``, ``titans``: the layer kinds."""

from __future__ import annotations

from dataclasses import dataclass

from chimerac.frontends.config.fields import key
from chimerac.frontends.config.sections.common import one_of, papers, size, switch, text


@dataclass(frozen=True, kw_only=True)
class GatedDeltanet:
    """Gated DeltaNet: delta rule with a forget gate (arXiv 2412.06464)."""

    formulation: str | None = text("The state update in words; informative.", status="described")
    alpha_gate: str = one_of("Kind of the forget gate.", "data_dependent_scalar", status="checked")
    beta_gate: str = one_of("Kind of the write gate.", "data_dependent_scalar", status="checked")
    state_size: int | None = size(
        "Width of a head's square state; the head width when absent.", default=None, status="checked"
    )
    chunkwise_parallel: bool = switch("Train in the chunk form; it changes no result.", default=True, status="checked")
    chunk_size: int = size(
        "Tokens per chunk of the chunk form; a schedule, it changes no result.", default=64, status="checked"
    )
    key_norm: str = one_of("Norm of the keys.", "l2", status="checked")
    conv_size: int = key(
        "Width of the causal convolutions over q, k and v, in tokens.",
        default=4,
        minimum=1,
        maximum=64,
        own=True,
        status="compiled",
    )
    papers: tuple[str, ...] = papers()


@dataclass(frozen=True, kw_only=True)
class Efla:
    """Exact-flow update of the delta rule (arXiv 2512.12602)."""

    enabled: bool = switch("Use the exact-flow update in the target layers.", status="compiled")
    target_layers: str = text("Alias of the layers it is for.", default="SK", status="checked")
    papers: tuple[str, ...] = papers()


@dataclass(frozen=True, kw_only=True)
class Xlstm:
    """mLSTM: matrix memory with exponential gates (arXiv 2405.04517)."""

    variant: str = one_of("Kind of the cell.", "mLSTM", status="checked")
    exponential_gating: bool = key("Exponential input gate.", default=True, only=True, status="checked")
    memory_size_per_head: tuple[int, int] | None = size(
        "Rows and columns of a head's memory; the head width twice when absent.", default=None, status="checked"
    )
    covariance_update: bool = key("Outer-product update.", default=True, only=True, status="checked")
    normalizer_state: str = one_of("How the gates are kept in range.", "max_stabilized", status="checked")
    papers: tuple[str, ...] = papers()


@dataclass(frozen=True, kw_only=True)
class Titans:
    """Titans: a memory trained while reading, as context of a bounded attention window (arXiv 2501.00663)."""

    memory_type: str = one_of("`MAC`: memory as context.", "MAC", status="checked")
    memory_depth: int = key("Matrices of the memory MLP.", default=2, minimum=2, maximum=2, status="checked")
    surprise_metric: str = one_of("What the memory learns from.", "gradient_with_momentum", status="checked")
    surprise_formula: str | None = text("The momentum update in words; informative.", status="described")
    forgetting_formula: str | None = text("The memory update in words; informative.", status="described")
    persistent_memory_slots: int = key(
        "Learned keys and values that are always attended.", default=64, minimum=0, maximum=65536, status="compiled"
    )
    local_window_size: int = size("Tokens of the sliding attention window.", default=1024, status="compiled")
    chunk: int = size(
        "Tokens that share one anchor of the memory's gradient, aligned to the absolute position.",
        default=16,
        own=True,
        status="compiled",
    )
    rope_theta: float = key(
        "Base of the rotary positions inside the window.", default=1e4, above=1, own=True, status="compiled"
    )
    papers: tuple[str, ...] = papers()
