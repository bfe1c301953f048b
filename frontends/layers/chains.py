"""What stands between the matrix products of the training form, as chains that ``fusing`` makes one kernel of each.

Each is the composition of the layers' own functions, for inputs of float32 or of what products left, and ends in the
rounded activations that the next product reads.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from chimerac.frontends.layers.fusing import fusible
from chimerac.frontends.layers.norm import L2_EPS, l2_norm, rms_norm
from chimerac.frontends.layers.precision import float32_island
from chimerac.frontends.layers.quantization import straight_through_activations


@float32_island
@fusible(gate=1, up=1)
def gated_product_input(gate: Tensor, up: Tensor, weight: Tensor, eps: float, block: int, dtype: torch.dtype) -> Tensor:
    """round(norm(silu(gate) * up)). gate, up: [N, K]; weight: [K]."""
    return straight_through_activations(rms_norm(F.silu(gate) * up, weight, eps), block, dtype)


@float32_island
@fusible(gate=1, up=1, weight=1)
def expert_product_input(
    gate: Tensor, up: Tensor, weight: Tensor, eps: float, block: int, dtype: torch.dtype
) -> Tensor:
    """The same of experts: gate, up [tiles, rows, K]; weight [tiles, 1, K]."""
    hidden = F.silu(gate.float()) * up.float()
    return straight_through_activations(rms_norm(hidden, weight, eps), block, dtype)


@float32_island
@fusible(o=1, gate=1)
def head_product_input(
    o: Tensor,
    gate: Tensor,
    head_weight: Tensor,
    weight: Tensor,
    eps: tuple[float, float],
    smooth: bool,
    block: int,
    dtype: torch.dtype,
) -> Tensor:
    """round(norm(norm(o) * f(gate))), f being SiLU if ``smooth``, else the sigmoid.

    Args:
        o: [N, H, d]. gate: [N, H * d]. head_weight: [d]. weight: [H * d]. eps: of the norm of heads, and of all.
    """
    opened = F.silu(gate) if smooth else torch.sigmoid(gate)
    mixed = rms_norm(o, head_weight, eps[0]).flatten(-2) * opened
    return straight_through_activations(rms_norm(mixed, weight, eps[1]), block, dtype)


@float32_island
@fusible(history=2)
def delta_inputs(history: Tensor, weight: Tensor, heads: int, normed_keys: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values [B, T, H, d]: SiLU of a causal convolution, queries and keys of length one.

    Args:
        history: [B, W-1+T, 3 * H * d]. weight: [3 * H * d, W].
    """
    tokens = history.shape[1] - weight.shape[1] + 1
    mixed = history[:, :tokens] * weight[:, 0]
    for tap in range(1, weight.shape[1]):
        mixed = mixed + history[:, tap : tap + tokens] * weight[:, tap]
    mixed = F.silu(mixed)
    q, k, v = (part.unflatten(-1, (heads, -1)) for part in mixed.chunk(3, dim=-1))
    return l2_norm(q, L2_EPS), l2_norm(k, L2_EPS) if normed_keys else k, v
