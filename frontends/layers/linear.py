"""Linear layers: ternary projections, float32 gates, and the tied embedding and head."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chimerac.frontends.layers import ops
from chimerac.frontends.layers.norm import RMSNorm
from chimerac.frontends.layers.precision import float32_island
from chimerac.frontends.layers.products import product_of_rounded, stacked_product
from chimerac.frontends.layers.quantization import (
    dequantize,
    straight_through_activations,
    straight_through_bfloat16,
    straight_through_int8,
    straight_through_ternary,
    ternary_codes,
)
from chimerac.frontends.layers.shapes import EmbeddingFormat, QuantizationShape


class TernaryLinear(nn.Module):
    """y = x W^T with ternary weights and int8 activations; ``weight`` [N, K] holds the latent float32 weights.

    The input must be normed already, or ``in_norm`` is given: one norm per input tensor, so projections that read the
    same tensor share the norm before them and only the projection with an input of its own carries one.

    Attributes:
        sparse_gradient: see quantization.straight_through_ternary.
        ternary: False trains the plain float model of the same shape, to compare with; its step form stays ternary.
        ready: what ``dequantized`` returns while PreparedWeights is in use.
    """

    def __init__(
        self, inputs: int, outputs: int, quantization: QuantizationShape, *, norm_eps: float | None = None
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outputs, inputs))
        self.in_norm = None if norm_eps is None else RMSNorm(inputs, norm_eps)
        self.group, self.block = quantization.group_size, quantization.block_size
        self.sparse_gradient, self.ternary = False, True
        self.ready: Tensor | None = None

    def dequantized(self) -> Tensor:
        """The matrix [N, K] that products see."""
        if self.ready is not None:
            return self.ready
        return dequantize(*ternary_codes(self.weight, self.group), self.group) if self.ternary else self.weight

    def forward(self, x: Tensor) -> Tensor:
        """x: [..., K] -> float32 [..., N]."""
        return stacked_product(x if self.in_norm is None else self.in_norm(x), [self])

    def of_rounded(self, x: Tensor) -> Tensor:
        """``forward`` behind the norm and the rounding of its input. x: [..., K] -> float32 [..., N]."""
        return product_of_rounded(x, [self])

    def step(self, x: Tensor) -> Tensor:
        """x: [T, K] -> [T, N] as custom operations."""
        if self.in_norm is not None:
            x = self.in_norm.step(x)
        y: Tensor = ops.ternary_linear(x, self.weight, self.group, self.block)
        return y


class GateLinear(nn.Module):
    """A float32 projection to a few gates. Gates set exponents, where int8 activations would cost quality."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """x: [..., K] -> [..., N]."""
        return float32_linear(x, self.weight, self.bias)

    def step(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


def joint_gates(x: Tensor, layers: Sequence[GateLinear]) -> Tensor:
    """The gates of several layers that read the same x, one after the other along the last axis, in one product."""
    weight = torch.cat(tuple(layer.weight for layer in layers))
    biases: list[Tensor] = [layer.bias for layer in layers if layer.bias is not None]
    return float32_linear(x, weight, torch.cat(biases) if biases else None)


@float32_island
def float32_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """F.linear in float32 even under autocast."""
    return F.linear(x, weight, bias)


class TiedEmbedding(nn.Module):
    """Token embedding and output head that share ``weight`` [V, D].

    In the formats ``int8`` and ``ternary`` the rows are fake-quantised per group in both uses and the head's input per
    block; in ``bfloat16`` the rows are rounded to it, and in ``float32`` nothing is.
    """

    def __init__(self, vocabulary: int, hidden: int, quantization: QuantizationShape, format: EmbeddingFormat) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(vocabulary, hidden))
        self.group, self.block = quantization.group_size, quantization.block_size
        self.format = format

    def table(self) -> Tensor:
        """The table as both uses see it [V, D]; make it once per forward pass."""
        if self.format == "ternary":
            return straight_through_ternary(self.weight, self.group, dtype=torch.float32)
        if self.format == "bfloat16":
            return straight_through_bfloat16(self.weight)
        return straight_through_int8(self.weight, self.group) if self.format == "int8" else self.weight

    def embed(self, tokens: Tensor, table: Tensor) -> Tensor:
        """tokens: [B, T] -> [B, T, D]."""
        return F.embedding(tokens, table)

    def head(self, x: Tensor, table: Tensor) -> Tensor:
        """x: [B, T, D], normed -> logits [B, T, V], float32."""
        if self.format in ("int8", "ternary"):
            x = straight_through_activations(x, self.block, torch.float32)
        return float32_linear(x, table)

    def embed_step(self, tokens: Tensor) -> Tensor:
        """tokens: i32 [T] -> [T, D]."""
        if self.format == "float32":
            return F.embedding(tokens, self.weight)
        if self.format == "bfloat16":
            wide: Tensor = ops.bfloat16_embedding(tokens, self.weight)
            return wide
        look_up = ops.ternary_embedding if self.format == "ternary" else ops.int8_embedding
        rows: Tensor = look_up(tokens, self.weight, self.group)
        return rows

    def head_step(self, x: Tensor) -> Tensor:
        """x: [T, D], normed -> logits [T, V]."""
        if self.format == "float32":
            return F.linear(x, self.weight)
        if self.format == "bfloat16":
            scores: Tensor = ops.bfloat16_linear(x, self.weight)
            return scores
        product = ops.ternary_linear if self.format == "ternary" else ops.int8_linear
        logits: Tensor = product(x, self.weight, self.group, self.block)
        return logits
