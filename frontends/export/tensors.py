"""What the tensors of a module must be to be those of a bundle: numbers, and states in a memory of their own."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import torch

from chimerac.compiler.errors import UserError
from chimerac.frontends.export.functional import Mutations

#: Bytes up to which a tensor may stand for more numbers than it has memory for.
_MOST_EXPANDED = 1 << 30


def check_numbers(module: torch.nn.Module, computed: Collection[str] = ()) -> None:
    """Refuse tensors without numbers, and parameters that hold none.

    Args:
        computed: names of parameters whose values come from elsewhere.

    Raises:
        UserError: CHM216 a tensor has no memory, or far less than its numbers need; CHM242 a parameter holds NaN or
            infinity.
    """
    parameters = dict(module.named_parameters())
    for name, tensor in {**parameters, **dict(module.named_buffers())}.items():
        if name in computed:
            continue
        _check_memory(name, tensor)
        if name in parameters and not _is_finite(tensor):
            raise UserError("CHM242", f"{name} holds NaN or infinity", hint="take weights from before that")


def check_apart(module: torch.nn.Module, mutations: Mutations) -> None:
    """Refuse states that are in the memory of other tensors.

    A state of a bundle is a value of its own: what forward writes to a buffer would not be seen in a view of it.

    Args:
        mutations: buffers that forward overwrites.

    Raises:
        UserError: CHM213 with the names of both.
    """
    held = {**dict(module.named_parameters()), **dict(module.named_buffers(remove_duplicate=False))}
    places = {name: _place(tensor) for name, tensor in held.items() if tensor.layout is torch.strided}
    for state in sorted({target for targets in mutations.values() for target in targets}):
        if state not in places:  # one that was made to trace it: carried.py
            continue
        begin, end = places[state]
        for name, (first, last) in places.items():
            if held[name] is held[state] or first >= end or begin >= last:  # PyTorch takes one tensor for one
                continue
            if np.intersect1d(_addresses(held[name]), _addresses(held[state])).size:
                hint = f"give it memory of its own, with clone(): {name} would not see what is written to it"
                raise UserError("CHM213", f"forward overwrites {state}, which shares the memory of {name}", hint=hint)


def _check_memory(name: str, tensor: torch.Tensor) -> None:
    if tensor.is_meta:
        hint = "give it some: module.to_empty(device='cpu'), and load_state_dict"
        raise UserError("CHM216", f"{name} has no numbers: it is on the device meta", hint=hint)
    if tensor.layout is not torch.strided:
        return
    memory, needed = tensor.untyped_storage().nbytes(), tensor.numel() * tensor.element_size()
    if needed > max(memory, _MOST_EXPANDED):
        message = (
            f"{name} stands for {tensor.numel():,} numbers, and has memory for {memory // tensor.element_size():,}"
        )
        raise UserError("CHM216", message, hint="expand it in forward, where it is used")


def _is_finite(tensor: torch.Tensor) -> bool:
    if not tensor.is_floating_point() or tensor.layout is not torch.strided:
        return True
    return bool((tensor if tensor.element_size() > 1 else tensor.float()).isfinite().all())


def _place(tensor: torch.Tensor) -> tuple[int, int]:
    """Addresses from the first number to the end of the last one."""
    if not tensor.numel():
        return 0, 0
    extent = sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.data_ptr(), tensor.data_ptr() + (extent + 1) * tensor.element_size()


def _addresses(tensor: torch.Tensor) -> np.ndarray:
    """Where each number is, as views may lie between one another."""
    found = np.array(tensor.data_ptr() // tensor.element_size(), np.int64)
    for size, step in zip(tensor.shape, tensor.stride(), strict=True):
        found = found[..., None] + np.arange(size) * step
    return found.reshape(-1)
