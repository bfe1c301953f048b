"""The numbers that layers are made of. A family's shape holds them; layers take no more than they need.

Symbols in comments follow docs/model.md: H heads, d head width, F expert width, E experts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

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
class RouterShape:
    """A classifier that says how often a block of tokens loops (docs/valve.md)."""

    width: int  #: hidden channels
    accuracy_target: float = 0.97  #: least agreement on held-out text; one that is below is not used


@dataclass(frozen=True)
class DraftShape:
    """A head that guesses tokens (docs/spans.md)."""

    width: int  #: hidden channels
    tokens: int  #: how many of the vocabulary it may guess


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
    reads_memory: bool = False  #: whether compiled layers read a memory where a block begins

    @property
    def flips(self) -> int:
        """Most bits that a round flips."""
        return int(self.flip_fraction * self.sketch_bits)


class MixerShape(Protocol):
    """What a mixer asks of a model's shape."""

    @property
    def hidden(self) -> int: ...
    @property
    def heads(self) -> int: ...
    @property
    def head_width(self) -> int: ...
    @property
    def conv_size(self) -> int: ...
    @property
    def norm_eps(self) -> float: ...
    @property
    def quantization(self) -> QuantizationShape: ...


class TitansMixerShape(MixerShape, Protocol):
    """What a Titans layer asks of a model's shape."""

    @property
    def titans(self) -> TitansShape: ...


class SpanKnotShape(MixerShape, Protocol):
    """What a span-knot layer asks of a model's shape."""

    @property
    def knot(self) -> KnotShape: ...
    @property
    def efla(self) -> bool: ...
    @property
    def seed(self) -> int: ...
