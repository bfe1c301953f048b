"""The shape of a Chimera model: every number that the PyTorch module needs, and nothing else.

A config of any form is reduced to this before a model is made, so that models never read config syntax.
Symbols in comments follow docs/model.md: D hidden size, H heads, d head width, F MLP width, E experts, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from chimerac.frontends.layers.shapes import (
    DraftShape,
    EmbeddingFormat,
    KnotShape,
    LoopShape,
    MoeShape,
    QuantizationShape,
    RouterShape,
    TitansShape,
)

MixerKind = Literal["gated_deltanet", "xlstm_m", "titans_mac", "tsp_span_knot"]


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
    router: RouterShape | None = None  #: of the loop, where its counts differ
    draft: DraftShape | None = None  #: the head that guesses tokens

    @property
    def layers(self) -> int:
        return len(self.mixers)
