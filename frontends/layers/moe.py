"""Mixture of ternary experts with bias-steered routing (arXiv 2408.15664): no token is dropped."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chimerac.frontends.layers import ops
from chimerac.frontends.layers.chains import expert_product_input
from chimerac.frontends.layers.expert_tiles import make_tiles
from chimerac.frontends.layers.fusing import is_fusing
from chimerac.frontends.layers.linear import GateLinear
from chimerac.frontends.layers.mlp import SwiGLU
from chimerac.frontends.layers.norm import rms_norm
from chimerac.frontends.layers.precision import float32_island
from chimerac.frontends.layers.quantization import (
    product_dtype,
    straight_through_activations,
    straight_through_ternary,
)
from chimerac.frontends.layers.shapes import MoeShape, QuantizationShape

EXPERT_MATRICES = ("gate_proj", "up_proj", "down_proj")
BIAS_RATE = 1e-3  #: step of the routing bias per optimiser step

route = float32_island(ops.route_reference)


class MixtureOfExperts(nn.Module):
    """Sum over a token's experts of weight * expert(x), plus a shared expert that every token visits.

    Several shared experts are one SwiGLU of their joint width. ``router_bias`` is a buffer: no gradient reaches it,
    ``update_router_bias`` moves it, and checkpoints hold it.

    Attributes:
        load: int64 [E], visits counted in training mode since the last ``update_router_bias``; every loop iteration
            of a token counts.
        sparse_gradient, ternary: see TernaryLinear.
        ready: the experts' dequantised matrices by name while PreparedWeights is in use.
    """

    router_bias: Tensor

    def __init__(self, hidden: int, moe: MoeShape, quantization: QuantizationShape, norm_eps: float) -> None:
        super().__init__()
        experts, width = moe.experts, moe.width
        self.top_k, self.eps = moe.experts_per_token, norm_eps
        self.group, self.block = quantization.group_size, quantization.block_size
        self.router = GateLinear(hidden, experts, bias=False)
        self.register_buffer("router_bias", torch.zeros(experts))
        self.gate_proj = nn.Parameter(torch.zeros(experts, width, hidden))
        self.up_proj = nn.Parameter(torch.zeros(experts, width, hidden))
        self.down_proj = nn.Parameter(torch.zeros(experts, hidden, width))
        self.down_norm = nn.Parameter(torch.ones(experts, width))
        shared = moe.shared_experts * width
        self.shared = SwiGLU(hidden, shared, quantization, norm_eps) if shared else None
        self.sparse_gradient, self.ternary = False, True
        self.ready: dict[str, Tensor] = {}
        self.load = torch.zeros(experts, dtype=torch.int64)

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, T, D], normed -> [B, T, D]."""
        rows = x.flatten(0, -2)
        weights, chosen = route(rows, self.router.weight, self.router_bias, self.top_k)
        y = self._routed(rows, weights, chosen).view_as(x)
        return y if self.shared is None else y + self.shared(x)

    def _routed(self, x: Tensor, weights: Tensor, chosen: Tensor) -> Tensor:
        tiles = make_tiles(chosen, self.router_bias.shape[0])
        if self.training:
            self.load = self.load.to(tiles.counts.device)
            self.load += tiles.counts  # in place: a recorded CUDA graph adds to the same tensor again
        rows = tiles.gather(self._activations(x), self.top_k)
        gate, up, down = (tiles.weights(self._quantized(name)) for name in EXPERT_MATRICES)
        hidden = self._down_input(rows @ gate.mT, rows @ up.mT, tiles.weights(self.down_norm)[:, None])
        back = tiles.collect((hidden @ down.mT).float()).view(-1, self.top_k, x.shape[1])
        return (weights[..., None] * back).sum(1)

    def _down_input(self, gate: Tensor, up: Tensor, weight: Tensor) -> Tensor:
        """What the last product of the experts reads. gate, up: [tiles, rows, width]; weight: [tiles, 1, width]."""
        if is_fusing() and self.ternary:
            return expert_product_input(gate, up, weight, self.eps, self.block, product_dtype(gate))
        return self._activations(rms_norm(F.silu(gate.float()) * up.float(), weight, self.eps))

    def _quantized(self, name: str) -> Tensor:
        weight, ready = self.get_parameter(name), self.ready.get(name)
        if self.ternary or ready is not None:
            return straight_through_ternary(weight, self.group, self.sparse_gradient, ready)
        return weight

    def _activations(self, x: Tensor) -> Tensor:
        return straight_through_activations(x, self.block) if self.ternary else x

    def step(self, x: Tensor) -> Tensor:
        """x: [T, D], normed -> [T, D] as custom operations."""
        y: Tensor = ops.moe(
            x,
            self.router.weight,
            self.router_bias,
            self.gate_proj,
            self.up_proj,
            self.down_proj,
            self.down_norm,
            self.top_k,
            self.group,
            self.block,
            self.eps,
        )
        return y if self.shared is None else y + self.shared.step(x)


def router_loads(model: nn.Module) -> dict[str, Tensor]:
    """Visits per expert, int64 [E], of every mixture in ``model`` since its last bias update, by module name."""
    return {name: m.load.clone() for name, m in model.named_modules() if isinstance(m, MixtureOfExperts)}


def imbalance(load: Tensor) -> float:
    """The most visited expert's excess over the mean, max c / mean c - 1; 0 without any visit."""
    total = int(load.sum())
    return float(load.max()) * load.numel() / total - 1 if total else 0.0


@torch.no_grad()
def update_router_bias(model: nn.Module, rate: float = BIAS_RATE) -> None:
    """Raise the bias of every expert below the mean load and lower those above it; start counting anew.

    Call once per optimiser step in pre-training, after summing ``load`` over data-parallel ranks; fine-tuning leaves
    the bias alone.
    """
    for module in model.modules():
        if isinstance(module, MixtureOfExperts):
            load = module.load.to(module.router_bias)
            module.router_bias += rate * torch.sign(load.mean() - load)
            module.load.zero_()
