"""Kernels: one TensorIR body for each op, for every instruction set; each file has a table ``KERNELS`` of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.custom import CUSTOM
from chimerac.compiler.ir.ops import OPS
from chimerac.targets.isa import Isa
from chimerac.targets.kernel_spec import KernelSpec


def require_kernel(op: str) -> None:
    """Raise UserError CHM301 if an op has no kernel; loads nothing."""
    if op in CUSTOM:
        if CUSTOM[op].kernel is None:
            message = f"op {CUSTOM[op].torch} has no kernel, so it can be built for onnx only"
            raise UserError("CHM301", message, hint="register it with one: docs/modules.md, Your own op")
    elif op not in OPS or not OPS[op].has_kernel:
        raise UserError("CHM301", f"op {op!r} has no kernel, so it cannot be compiled for a target")


def find_kernel(op: str) -> Callable[[KernelSpec, Isa], Any]:
    """The builder of an op's kernel, which is no C.

    Raises:
        UserError: CHM301, the op has no kernel.
    """
    from chimerac.targets.kernels.table import KERNELS

    require_kernel(op)
    own = CUSTOM[op].kernel if op in CUSTOM else None
    return own if callable(own) else KERNELS[op]
