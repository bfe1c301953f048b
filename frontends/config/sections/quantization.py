"""``quantization``: how weights and activations are rounded and stored."""

# ruff: noqa: RUF009  (key() makes a dataclasses.field)

from __future__ import annotations

from dataclasses import dataclass

from chimerac.frontends.config.fields import key
from chimerac.frontends.config.sections.common import one_of, papers, size, switch, text


@dataclass(frozen=True, kw_only=True)
class SherryMode:
    """3:4 structured sparsity: of four weights exactly one is zero (arXiv 2601.07892)."""

    enabled: bool = switch("Store ternary weights in the 3:4 sparse form.")
    bits: float = key("Bits per weight of the sparse form, without scales.", default=1.25, above=0, maximum=8)
    papers: tuple[str, ...] = papers()


@dataclass(frozen=True, kw_only=True)
class HgfCorrection:
    """A gated low-rank float path beside each ternary matrix (arXiv 2602.05269)."""

    enabled: bool = switch("Add the low-rank correction path.")
    papers: tuple[str, ...] = papers()


@dataclass(frozen=True, kw_only=True)
class Quantization:
    """Ternary weights and int8 activations (BitNet b1.58, arXiv 2402.17764)."""

    method: str = one_of("Family of the quantisation.", "bitnet", status="checked")
    linear_class: str = one_of(
        "How a quantised linear is held.", "ternary_bitplane", "ternary_packed", status="described"
    )
    weight_bits: float = key(
        "Bits per ternary weight as stored, without scales; 1.58 is the entropy, not a storage format.",
        default=1.6,
        above=0,
        maximum=8,
        status="checked",
    )
    weight_values: tuple[int, int, int] = key(
        "The values a weight takes.", default=(-1, 0, 1), only=[-1, 0, 1], status="checked"
    )
    weight_scale: str = one_of("Rule of the weight scale.", "absmean_per_group", status="checked")
    group_size: int = size(
        "Input channels that share one weight scale; a multiple of the block.", default=128, status="compiled"
    )
    activation_bits: int = key("Bits of a quantised activation.", default=8, minimum=8, maximum=8, status="checked")
    activation_method: str = one_of("Rule of the activation scale.", "absmax_per_block", status="checked")
    activation_block_size: int = size("Channels that share one activation scale.", default=64, status="compiled")
    accumulator_dtype: str = one_of("Type that integer products are summed in.", "int32", status="checked")
    norm_dtype: str = one_of("Type that norms are computed in.", "float32", status="checked")
    runtime_kernel: str = text(
        "Kernel family asked for; `chimerac` means kernels compiled for the bundle's target.",
        default="chimerac",
        status="checked",
    )
    embedding_format: str = one_of(
        "Storage of the tied embedding and head: int8 with one absmax scale per group, ternary as the other matrices, "
        "bfloat16 or float32.",
        "int8",
        "ternary",
        "bfloat16",
        "float32",
        own=True,
        status="compiled",
    )
    papers: tuple[str, ...] = papers()
    sherry_mode: SherryMode = key("3:4 sparse storage.", factory=SherryMode, status="not yet")
    hgf_correction: HgfCorrection = key(
        "Low-rank correction of ternary matrices.", factory=HgfCorrection, status="not yet"
    )
