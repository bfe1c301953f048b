"""The content of a parameter or buffer as the IR holds it: float32, or integers of 32 bits."""

from __future__ import annotations

import numpy as np
import torch

from chimerac.compiler.errors import UserError


def array_of(tensor: torch.Tensor, target: str) -> np.ndarray:
    """The content of the tensor ``target``: float32 or int32, one element where a float has no axis.

    Other floats become float32, truth values 0 and 1.

    Raises:
        UserError: CHM216 for complex or quantised numbers, or an integer over 32 bits.
    """
    if tensor.dtype.is_complex or tensor.is_quantized:
        raise UserError("CHM216", f"{target} is {tensor.dtype}", hint="make the module float32: module.float()")
    held = tensor.detach().cpu()
    if held.dtype.is_floating_point:
        data = np.asarray(held.to(torch.float32).numpy(), order="C")
        return data.reshape(data.shape or (1,))  # float scalars are f32[1] throughout, integer ones stay i32[]
    data = np.asarray(held.numpy(), order="C")
    narrow = data.astype(np.int32)
    if not np.array_equal(narrow, data):
        lost = int(data[narrow != data].flat[0])
        message = f"{target} holds {lost}, which has no place in 32 bits"
        raise UserError("CHM216", message, hint="keep integers below 2**31")
    return narrow
