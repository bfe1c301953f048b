"""Products and tables whose weights have one of the forms of ``forms.py``, in the ops that compiled models have."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chimerac.frontends.layers import ops
from chimerac.frontends.layers.norm import RMSNorm
from chimerac.frontends.matrices.forms import BLOCK, Form


def untouched(*shape: int) -> Tensor:
    """Zeros float32, whose memory is taken only where something else is written: what is large may never be."""
    return torch.from_numpy(np.zeros(shape, np.float32))


class Weight(nn.Module):
    """A matrix [N, K] in a form: ``weight`` holds its floats, without what ``factor`` holds.

    What a rotated matrix multiplies is rotated first, with the ``signs``; its rows are turned back.
    """

    def __init__(self, rows: int, columns: int, form: Form) -> None:
        super().__init__()
        self.form = form
        self.weight = nn.Parameter(untouched(rows, columns), requires_grad=False)
        count = {"none": 0, "tensor": 1, "row": rows}[form.factor]
        self.factor = nn.Parameter(torch.ones(count), requires_grad=False) if count else None
        self.signs = nn.Parameter(torch.ones(columns), requires_grad=False) if form.rotated else None

    def product(self, x: Tensor) -> Tensor:
        """x: [T, K] -> [T, N]."""
        if self.signs is not None:
            x = ops.walsh_hadamard(x * self.signs, self.form.rotated)
        y: Tensor
        match self.form.kind:
            case "ternary":
                product = ops.ternary_row_linear if self.form.activations == "row" else ops.ternary_linear
                y = product(x, self.weight, self.form.group, self.form.block(self.weight.shape[1]))
            case "int8":
                y = ops.int8_linear(x, self.weight, self.form.group, BLOCK)
            case "bfloat16":
                y = ops.bfloat16_linear(x, self.weight)
            case "float16":
                y = ops.float16_linear(x, self.weight)
            case "float32":
                y = F.linear(x, self.weight)
        return y if self.factor is None else y * self.factor

    def rows(self, ids: Tensor) -> Tensor:
        """Rows ids, i32 [T] -> [T, K]; the factor is none or one for all."""
        found: Tensor
        match self.form.kind:
            case "ternary":
                found = ops.ternary_embedding(ids, self.weight, self.form.group)
            case "int8":
                found = ops.int8_embedding(ids, self.weight, self.form.group)
            case "bfloat16":
                found = ops.bfloat16_embedding(ids, self.weight)
            case "float16":
                found = ops.float16_embedding(ids, self.weight)
            case "float32":
                found = F.embedding(ids, self.weight)
        if self.factor is not None:
            found = found * self.factor
        return found if self.signs is None else ops.walsh_hadamard(found, self.form.rotated) * self.signs


class Projection(Weight):
    """y = x W^T + b.

    Args:
        norm: epsilon of a norm of x that is the projection's own; None for none.
    """

    def __init__(self, rows: int, columns: int, form: Form, *, bias: bool = False, norm: float | None = None) -> None:
        super().__init__(rows, columns, form)
        self.bias = nn.Parameter(torch.zeros(rows), requires_grad=False) if bias else None
        self.norm = None if norm is None else RMSNorm(columns, norm)

    def forward(self, x: Tensor) -> Tensor:
        """x: [T, K] -> [T, N]."""
        y = self.product(x if self.norm is None else self.norm.step(x))
        return y if self.bias is None else y + self.bias
