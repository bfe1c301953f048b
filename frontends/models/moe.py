"""Mixture of ternary experts with bias-steered routing (arXiv 2408.15664): dropless, sorted by expert, no scatter."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chimerac.frontends.architecture import MoeShape, QuantizationShape
from chimerac.frontends.models import ops
from chimerac.frontends.models.linear import GateLinear
from chimerac.frontends.models.mlp import SwiGLU
from chimerac.frontends.models.norm import rms_norm
from chimerac.frontends.models.precision import float32_island
from chimerac.frontends.models.quantization import straight_through_activations, straight_through_ternary

BIAS_RATE = 1e-3  #: step of the routing bias per optimiser step

route = float32_island(ops.route_reference)


class MixtureOfExperts(nn.Module):
    """Sum over a token's experts of weight * expert(x), plus a shared expert that every token visits.

    Several shared experts are one SwiGLU of their joint width. ``router_bias`` is a buffer: no gradient reaches it,
    ``update_router_bias`` moves it, and checkpoints hold it.

    Attributes:
        load: int64 [E], visits counted in training mode since the last ``update_router_bias``; every loop iteration
            of a token counts.
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
        self.sparse_gradient = False
        self.load = torch.zeros(experts, dtype=torch.int64)

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, T, D], normed -> [B, T, D]."""
        rows = x.flatten(0, -2)
        weights, chosen = route(rows, self.router.weight, self.router_bias, self.top_k)
        y = self._routed(rows, weights, chosen).view_as(x)
        return y if self.shared is None else y + self.shared(x)

    def _routed(self, x: Tensor, weights: Tensor, chosen: Tensor) -> Tensor:
        experts = self.router_bias.shape[0]
        order = torch.argsort(chosen.flatten(), stable=True)  # pairs (token, slot) by expert, tokens ascending inside
        counts = torch.bincount(chosen.flatten(), minlength=experts)
        if self.training:
            self.load = self.load.to(counts.device) + counts
        gate, up, down = (
            straight_through_ternary(w, self.group, self.sparse_gradient)
            for w in (self.gate_proj, self.up_proj, self.down_proj)
        )
        quantized = straight_through_activations(x, self.block)[order // self.top_k]
        results = []
        for expert, part in enumerate(torch.split(quantized, counts.tolist())):
            hidden = F.silu(F.linear(part, gate[expert]).float()) * F.linear(part, up[expert]).float()
            hidden = rms_norm(hidden, self.down_norm[expert], self.eps)
            results.append(F.linear(straight_through_activations(hidden, self.block), down[expert]).float())
        # the inverse permutation brings each token's results together, so that they are added in slot order
        back = torch.cat(results)[torch.argsort(order)].reshape(x.shape[0], self.top_k, x.shape[1])
        return (weights[..., None] * back).sum(1)

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
    return {name: m.load for name, m in model.named_modules() if isinstance(m, MixtureOfExperts)}


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
            module.load = torch.zeros_like(module.load)
