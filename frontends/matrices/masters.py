"""Masters of quantisation-aware training: floats that are rounded to trits at each use, by the largest of each group.

The rule is that of the package ternary-qat, with which Ternary-Bonsai models are trained further: trits are w / a
rounded half to even and clamped to ±1, where a is the largest magnitude of a group. The quotient is rounded to the type
of the masters, as PyTorch divides in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.ops.linear import LEAST_SCALE, to_bfloat16, wide
from chimerac.compiler.ir.quantised import check_scales
from chimerac.frontends.matrices.forms import Form
from chimerac.frontends.matrices.matrix import Matrix, floats_of

_Rounding = Callable[[np.ndarray], np.ndarray]


def _to_bfloat16(x: np.ndarray) -> np.ndarray:
    return wide(to_bfloat16(x))


def _to_float16(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float16).astype(np.float32)


def _as_it_is(x: np.ndarray) -> np.ndarray:
    return x


#: Type of the masters, as files call it → rounding to it; that of others is float32.
_ROUNDED: Mapping[str, _Rounding] = {"BF16": _to_bfloat16, "F16": _to_float16}


def by_largest(masters: Matrix, group: int, type_name: str) -> Matrix:
    """Masters as the trits that their products take. Scales are rounded to float16, which those of F16 are already, and
    those of BF16 from 2**-14 on.

    Args:
        group: columns of a row that share a scale.
        type_name: of the masters.

    Raises:
        UserError: CHM236, rows are no whole groups; CHM242, when they are read, numbers that are NaN, infinite, or over
            65,504.
    """
    rows, columns = masters.size
    if columns % group:
        raise UserError("CHM236", f"{masters.place} has rows of {columns} weights, which are no groups of {group}")
    rounded = _ROUNDED.get(type_name, _as_it_is)

    def codes(start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        part = masters.floats(start, end).reshape(end - start, -1, group)
        largest = np.abs(part).max(axis=2, keepdims=True)
        with np.errstate(over="ignore", invalid="ignore"):
            quotients = rounded(part / np.where(largest == 0, np.float32(1), largest))
            scales = np.where(largest == 0, 0, np.maximum(largest, np.float32(LEAST_SCALE))).astype(np.float16)
        check_scales(scales, masters.place)
        found = np.clip(np.rint(quotients), -1, 1).astype(np.int8)
        return found.reshape(end - start, columns), scales[:, :, 0]

    told = f"{type_name} rounded to trits by the largest of {group}, as ternary-qat does"
    form = Form("ternary", group)
    return Matrix(
        masters.name, masters.place, (rows, columns), form, told, floats_of(codes, group), codes, step=masters.step
    )
