"""Layers of matrix LSTMs as frontends/export takes them: the form of xLSTM 7B (arXiv 2503.13427)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chimerac.frontends.layers import ops
from chimerac.frontends.matrices.forms import Form
from chimerac.frontends.published.products import Projection, untouched
from chimerac.frontends.published.shape import MlstmShape


def capped(x: Tensor, cap: float) -> Tensor:
    """cap * tanh(x / cap), elementwise: x where it is small, never beyond the cap."""
    return cap * torch.tanh(x / cap)


class MatrixLstm(nn.Module):
    """out(sigmoid(o) * norm(h)), with h of an mLSTM; each head has its own layer norm.

    transformers adds an epsilon of 1e-6 to what h is divided by, which is at least exp(-m); here nothing is added.

    Attributes:
        norm: [H * value width].
    """

    def __init__(self, lstm: MlstmShape, hidden: int, epsilon: float, path: str, forms: Mapping[str, Form]) -> None:
        super().__init__()
        self.lstm, self.epsilon = lstm, epsilon
        keys, values = lstm.heads * lstm.key_width, lstm.heads * lstm.value_width
        rows = {"q_proj": keys, "k_proj": keys, "v_proj": values, "z_proj": values}
        for name, count in rows.items():
            self.add_module(name, Projection(count, hidden, forms[f"{path}{name}.weight"]))
        for name in ("i_proj", "f_proj"):
            self.add_module(name, Projection(lstm.heads, hidden, forms[f"{path}{name}.weight"], bias=True))
        self.o_proj = Projection(hidden, values, forms[f"{path}o_proj.weight"])
        self.norm = nn.Parameter(torch.ones(values), requires_grad=False)
        self.register_buffer("cell", untouched(lstm.heads, lstm.key_width, lstm.value_width))
        self.register_buffer("normaliser", untouched(lstm.heads, lstm.key_width))
        self.register_buffer("maximum", untouched(lstm.heads))

    def forward(self, x: Tensor) -> Tensor:
        """x: [T, D] -> [T, D]."""
        lstm = self.lstm
        q, k, v = (self.get_submodule(f"{name}_proj")(x).unflatten(-1, (lstm.heads, -1)) for name in "qkv")
        write, keep = (capped(self.get_submodule(f"{name}_proj")(x), lstm.cap) for name in "if")
        states = [self.get_buffer(name) for name in ("cell", "normaliser", "maximum")]
        y, *after = ops.mlstm(q, k, v, write, keep, *states, lstm.key_width**-0.5)
        for state, new in zip(states, after, strict=True):
            state.copy_(new)
        y = F.layer_norm(y, (lstm.value_width,), eps=self.epsilon).flatten(1) * self.norm
        out: Tensor = self.o_proj(torch.sigmoid(self.get_submodule("z_proj")(x)) * y)
        return out
