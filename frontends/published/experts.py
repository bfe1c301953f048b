"""Experts as frontends/export takes them: a router chooses some for each token, whose matrices alone are read."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chimerac.frontends.layers import ops
from chimerac.frontends.matrices.forms import BLOCK, Form
from chimerac.frontends.published.gated_network import GatedNetwork
from chimerac.frontends.published.products import Projection, untouched
from chimerac.frontends.published.shape import ExpertShape


class ExpertMatrices(nn.Module):
    """A matrix [N, K] for each of E experts, all in a form without a factor."""

    def __init__(self, count: int, rows: int, columns: int, form: Form) -> None:
        super().__init__()
        self.form = form
        self.weight = nn.Parameter(untouched(count, rows, columns), requires_grad=False)

    def forward(self, x: Tensor, offsets: Tensor) -> Tensor:
        """Rows x [T, k, K], sorted by expert, times the matrix of each: [T, k, N]."""
        y: Tensor
        match self.form.kind:
            case "ternary":
                y = ops.grouped_ternary_linear(x, self.weight, offsets, self.form.group, BLOCK)
            case "int8":
                y = ops.grouped_int8_linear(x, self.weight, offsets, self.form.group, BLOCK)
            case "bfloat16":
                y = ops.grouped_bfloat16_linear(x, self.weight, offsets)
            case "float16":
                y = ops.grouped_float16_linear(x, self.weight, offsets)
            case "float32":
                y = ops.grouped_linear(x, self.weight, offsets)
        return y


class Mixture(nn.Module):
    """The sum of a token's experts, each by its probability among all or among the chosen, and of one for all tokens.

    Of equally likely experts the lower numbers are chosen.
    """

    def __init__(self, experts: ExpertShape, hidden: int, path: str, forms: Mapping[str, Form]) -> None:
        super().__init__()
        self.experts = experts
        self.router = Projection(experts.count, hidden, forms[f"{path}router.weight"])
        sizes = {"gate_proj": (experts.width, hidden), "up_proj": (experts.width, hidden)}
        for name, (rows, columns) in (sizes | {"down_proj": (hidden, experts.width)}).items():
            self.add_module(name, ExpertMatrices(experts.count, rows, columns, forms[f"{path}{name}.weight"]))
        self.shared = GatedNetwork(experts.shared, hidden, f"{path}shared.", forms) if experts.shared else None
        self.shared_gate = nn.Parameter(torch.zeros(1, hidden), requires_grad=False) if experts.shared else None

    def forward(self, x: Tensor) -> Tensor:
        """x: [T, D] -> [T, D]."""
        likely, chosen = torch.sort(torch.softmax(self.router(x), -1), dim=-1, descending=True, stable=True)
        weights, chosen = likely[:, : self.experts.chosen], chosen[:, : self.experts.chosen].to(torch.int32)
        if self.experts.normalised:
            weights = weights / weights.sum(-1, keepdim=True)
        order, place, offsets = ops.sort_pairs(chosen, self.experts.count)
        rows = ops.gather_rows(x, order)
        gate, up, down = (self.get_submodule(f"{side}_proj") for side in ("gate", "up", "down"))
        inner = F.silu(gate(rows, offsets)) * up(rows, offsets)
        y: Tensor = ops.combine_experts(down(inner, offsets), place, weights)
        if self.shared is not None and self.shared_gate is not None:
            y = y + torch.sigmoid(F.linear(x, self.shared_gate)) * self.shared(x)
        return y
