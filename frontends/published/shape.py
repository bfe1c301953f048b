"""The numbers that a Llama-like model is made of, whatever file they were read from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from chimerac.frontends.published.rotary import Rotary

Activation = Literal["silu", "relu2"]


@dataclass(frozen=True)
class LlamaShape:
    """A decoder of attention and gated networks, each behind an RMS norm, with residuals.

    Attributes:
        architecture: what its makers call it: the ``model_type`` of a config, ``general.architecture`` of a GGUF file.
        vocabulary: rows of the embedding.
        hidden: channels between layers.
        inner: of the gated network.
        heads, kv_heads: of queries; of keys and values, each read by heads / kv_heads heads of queries.
        head_width: channels of a head.
        epsilon: of all norms.
        context: positions that the model was made for, and up to which every layer sees all tokens before.
        rotary: of layers whose entry in ``rotated`` is true.
        activation: of the gate: silu(x), or relu(x) squared.
        qkv_bias, out_bias, inner_bias: whether these projections add one.
        head_norms: queries and keys of each head are normed before they are rotated.
        sub_norms: what attention and the gate give is normed before the projection back.
        product_norms: epsilon of norms that each projection of a layer has for its input; None without them.
        tied: the embedding is the head.
    """

    architecture: str
    vocabulary: int
    hidden: int
    inner: int
    heads: int
    kv_heads: int
    head_width: int
    epsilon: float
    context: int
    rotary: Rotary
    rotated: tuple[bool, ...]
    activation: Activation = "silu"
    qkv_bias: bool = False
    out_bias: bool = False
    inner_bias: bool = False
    head_norms: bool = False
    sub_norms: bool = False
    product_norms: float | None = None
    tied: bool = False

    @property
    def layers(self) -> int:
        return len(self.rotated)
