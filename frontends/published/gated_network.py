"""The gated networks of published models."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chimerac.frontends.layers.norm import RMSNorm
from chimerac.frontends.matrices.forms import Form
from chimerac.frontends.published.products import Projection
from chimerac.frontends.published.shape import LlamaShape


class GatedNetwork(nn.Module):
    """down(act(gate(x)) * up(x)).

    Args:
        inner, hidden: channels within, and of what comes and goes.
        path: what the names of its matrices begin with in ``forms``.
        squared: act is relu squared, and silu otherwise.
        sub_norm: epsilon of a norm before ``down``; None for none.
        norm: epsilon of a norm that each projection has; None for none.
    """

    def __init__(
        self,
        inner: int,
        hidden: int,
        path: str,
        forms: Mapping[str, Form],
        *,
        bias: bool = False,
        squared: bool = False,
        sub_norm: float | None = None,
        norm: float | None = None,
    ) -> None:
        super().__init__()
        sizes = {"gate_proj": (inner, hidden), "up_proj": (inner, hidden), "down_proj": (hidden, inner)}
        for name, (rows, columns) in sizes.items():
            self.add_module(name, Projection(rows, columns, forms[f"{path}{name}.weight"], bias=bias, norm=norm))
        self.sub_norm = None if sub_norm is None else RMSNorm(inner, sub_norm)
        self.squared = squared

    def forward(self, x: Tensor) -> Tensor:
        """x: [T, D] -> [T, D]."""
        gate = self.get_submodule("gate_proj")(x)
        gate = torch.relu(gate).square() if self.squared else F.silu(gate)
        inner = gate * self.get_submodule("up_proj")(x)
        out: Tensor = self.get_submodule("down_proj")(inner if self.sub_norm is None else self.sub_norm.step(inner))
        return out


def gated_network(shape: LlamaShape, path: str, forms: Mapping[str, Form]) -> GatedNetwork:
    """That of a layer without experts."""
    return GatedNetwork(
        shape.inner,
        shape.hidden,
        path,
        forms,
        bias=shape.inner_bias,
        squared=shape.activation == "relu2",
        sub_norm=shape.epsilon if shape.sub_norms else None,
        norm=shape.product_norms,
    )
