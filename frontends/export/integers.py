"""Buffers that hold a weight as integers with scales, checked and as numpy arrays."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.quantised import Kind, check_codes, check_scales


def integer_weight(codes: Tensor, scales: Tensor, kind: Kind, group: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Codes i8 [N, K] and scales f16 [N, ceil(K/group)].

    Args:
        scales: float16, or float32 whose numbers are float16 ones, as ``module.float()`` makes them.
        name: of the codes, for messages.

    Raises:
        UserError: CHM213, shapes that do not go together; CHM216, other types; CHM242, numbers out of range.
    """
    expected = (codes.shape[0], -(-codes.shape[-1] // group)) if codes.ndim == 2 and group > 0 else None
    if tuple(scales.shape) != expected:
        message = f"{name}: codes {list(codes.shape)} in groups of {group} and scales {list(scales.shape)}"
        raise UserError("CHM213", message, hint="codes are [N, K] and scales [N, ceil(K/group)]")
    halves = scales.detach().cpu().to(torch.float16)
    exact = scales.dtype in (torch.float16, torch.float32) and torch.equal(halves.to(scales.dtype), scales.cpu())
    if codes.dtype != torch.int8 or not (exact or not bool(halves.isfinite().all())):
        message = f"{name}: codes are {codes.dtype}, scales {scales.dtype}"
        raise UserError(
            "CHM216", message, hint="codes are int8; scales are float16, or float32 with numbers of float16"
        )
    arrays = codes.detach().cpu().contiguous().numpy(), halves.contiguous().numpy()
    check_codes(arrays[0], kind, name)
    check_scales(arrays[1], name)
    return arrays
