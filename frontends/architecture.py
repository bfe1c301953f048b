"""The shape of a Chimera model: every number that the PyTorch module needs, and nothing else.

A config of any form is reduced to this before a model is made, so that models never read config syntax.
Symbols in comments follow docs/model.md: D hidden size, H heads, d head width, F MLP width, E experts, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

MixerKind = Literal["gated_deltanet", "xlstm_m", "titans_mac", "tsp_span_knot"]
#: How the tied embedding and head are stored; docs/model.md.
EmbeddingFormat = Literal["int8", "ternary", "bfloat16", "float32"]


@dataclass(frozen=True)
class QuantizationShape:
    """Ternary weights and int8 activations (BitNet b1.58, arXiv 2402.17764, with groups and blocks)."""

    group_size: int = 128  #: input channels that share one weight scale
    block_size: int = 64  #: channels that share one activation scale


@dataclass(frozen=True)
class MoeShape:
    """Mixture of experts with bias routing (arXiv 2408.15664)."""

    layers: tuple[int, ...]
    experts: int  #: E, routed experts
    shared_experts: int
    experts_per_token: int
    width: int  #: F of one expert


@dataclass(frozen=True)
class LoopShape:
    """Layers that run several times per token (Parcae, arXiv 2604.12946). Ranges are inclusive."""

    first: int
    last: int
    minimum: int
    maximum: int
    default: int
    exit_threshold: float  #: adaptive exit when |h_r - h_{r-1}| <= threshold * |h_r|
    exact_input: bool = False  #: zero-order hold of the input (1-exp(-dt a))/a instead of Euler's dt


@dataclass(frozen=True)
class TitansShape:
    """Neural memory with attention over a bounded window (arXiv 2501.00663)."""

    persistent_slots: int
    window: int
    chunk: int = 16  #: tokens that share one anchor memory, aligned to the absolute position
    rope_theta: float = 1e4


@dataclass(frozen=True)
class KnotShape:
    """Discrete relaxation of the span-knot layers (docs/model.md)."""

    sketch_bits: int = 8192
    max_iterations: int = 3
    flip_fraction: float = 0.02
    early_exit: float = 1e-4
    memory_weight: float = 0.3
    binding_weight: float = 0.2


@dataclass(frozen=True)
class ChimeraShape:
    """A whole model. ``mixers[i]`` is the kind of layer i."""

    vocabulary: int
    hidden: int
    width: int  #: F, the MLP width of layers without experts
    heads: int
    head_width: int
    mixers: tuple[MixerKind, ...]
    moe: MoeShape | None
    loop: LoopShape | None
    titans: TitansShape
    knot: KnotShape = field(default_factory=KnotShape)
    quantization: QuantizationShape = field(default_factory=QuantizationShape)
    embedding_format: EmbeddingFormat = "int8"
    norm_eps: float = 1e-6
    init_std: float = 0.006
    conv_size: int = 4
    efla: bool = False  #: exact-flow update (arXiv 2512.12602) in the span-knot layers
    seed: int = 0

    @property
    def layers(self) -> int:
        return len(self.mixers)
