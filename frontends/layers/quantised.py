"""Layers whose weights are integers with scales from the start: for models that are finished, in plain PyTorch.

Nothing here is trained; the ternary layers that are hold floats (linear.py). docs/weights.md shows a model.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from chimerac.compiler.errors import UserError
from chimerac.frontends.layers import ops
from chimerac.frontends.layers.quantization import weight_codes

Kind = Literal["ternary", "int8"]


class QuantisedLinear(nn.Module):
    """y = x W^T with W = codes times scales: one scale for ``group`` columns of a row; activations int8 by ``block``.

    A compiled model multiplies exactly these integers. One object may be the embedding and the head of a model.

    Args:
        codes: integers [N, K], from -1 to 1 (ternary) or from -127 to 127 (int8).
        scales: [N, ceil(K/group)], or anything that broadcasts to it, for example one number; rounded to float16.
        group: columns that share a scale, a multiple of ``block``.
        block: activations that share a scale.

    Raises:
        UserError: CHM213, sizes that do not go together; CHM242, codes or scales out of range.
    """

    codes: Tensor
    scales: Tensor

    def __init__(
        self, codes: Tensor, scales: Tensor | float, *, kind: Kind = "ternary", group: int = 128, block: int = 64
    ) -> None:
        super().__init__()
        if codes.ndim != 2 or group < 1 or block < 1 or group % block:
            message = f"a weight {list(codes.shape)} in groups of {group} and blocks of {block}"
            raise UserError("CHM213", message, hint="codes are [N, K], and a group has whole blocks")
        shape = codes.shape[0], -(-codes.shape[1] // group)
        try:
            halves = torch.as_tensor(scales).expand(shape).to(torch.float16).clone()
        except RuntimeError as error:
            raise UserError("CHM213", f"scales for groups {list(shape)}: {error}") from None
        most = 1 if kind == "ternary" else 127
        if codes.is_floating_point() or bool((codes.abs() > most).any()) or not bool(halves.isfinite().all()):
            raise UserError("CHM242", f"{kind} codes are integers within ±{most}, and scales within ±65504")
        self.kind, self.group, self.block = kind, group, block
        self.register_buffer("codes", codes.to(torch.int8).contiguous())
        self.register_buffer("scales", halves)

    @staticmethod
    def of(weight: Tensor, *, kind: Kind = "ternary", group: int = 128, block: int = 64) -> QuantisedLinear:
        """A float weight [N, K] rounded once; one that is ternary already keeps its numbers."""
        codes, scales = weight_codes(weight, group, kind)
        return QuantisedLinear(codes, scales, kind=kind, group=group, block=block)

    def forward(self, x: Tensor) -> Tensor:
        """x: float32 [T, K] -> [T, N]."""
        product = ops.ternary_codes_linear if self.kind == "ternary" else ops.int8_codes_linear
        y: Tensor = product(x, self.codes, self.scales, self.group, self.block)
        return y

    def embed(self, ids: Tensor) -> Tensor:
        """ids: i32 [T] -> rows of W, float32 [T, K]."""
        look_up = ops.ternary_codes_embedding if self.kind == "ternary" else ops.int8_codes_embedding
        rows: Tensor = look_up(ids, self.codes, self.scales, self.group)
        return rows
