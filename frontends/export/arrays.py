"""The content of a parameter or buffer as the IR holds it: float32, or integers of 32 bits."""

from __future__ import annotations

import numpy as np
import torch

from chimerac.compiler.errors import UserError


def array_of(tensor: torch.Tensor, target: str) -> np.ndarray:
    """The content of the tensor ``target``: float32 or int32, one element where a float has no axis.

    Raises:
        UserError: CHM216 for another type, or an integer over 32 bits.
    """
    if tensor.dtype not in (torch.float32, torch.int32, torch.int64):
        raise UserError("CHM216", f"{target} is {tensor.dtype}", hint="make the module float32: module.float()")
    data = np.asarray(tensor.detach().cpu().numpy(), order="C")
    if data.dtype == np.float32:
        return data.reshape(data.shape or (1,))  # float scalars are f32[1] throughout, integer ones stay i32[]
    narrow = data.astype(np.int32)
    if not np.array_equal(narrow, data):
        lost = int(data[narrow != data].flat[0])
        message = f"{target} holds {lost}, which has no place in 32 bits"
        raise UserError("CHM216", message, hint="keep integers below 2**31")
    return narrow
