"""Functions that the IR has no op for, written with those that it has: angles, products, transposed convolutions.

Each takes and gives what the PyTorch op of its name does, and ``NotImplemented`` for a form that it has not, which is
then refused as an op that is not supported.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor

aten = torch.ops.aten

#: (arctan(t) / t - 1) / t² as a polynomial in t², the least power first: fitted by least squares to numbers in float64
#: at the 400 Chebyshev nodes of t² within tan(π/8)², with a largest relative error of 3e-9 there.
_ARCTAN: Final = (-0.33333332, 0.1999955, -0.14264233, 0.107463, -0.0645938)


def _first_octant(t: Tensor) -> Tensor:
    """arctan of numbers from 0 to 1."""
    far = t > math.tan(math.pi / 8)
    t = torch.where(far, (t - 1) / (t + 1), t)
    z = t * t
    sum_ = torch.full_like(z, _ARCTAN[-1])
    for factor in reversed(_ARCTAN[:-1]):
        sum_ = sum_ * z + factor
    return torch.where(far, math.pi / 4, 0.0) + (t + t * z * sum_)


def atan(x: Tensor) -> Tensor:
    """arctan, within 3e-7 of it."""
    x = x if x.dtype.is_floating_point else x.float()
    size = x.abs()
    angle = _first_octant(torch.where(size > 1, 1 / size, size))
    angle = torch.where(size > 1, math.pi / 2 - angle, angle)
    return torch.where(x < 0, -angle, angle)


def atan2(y: Tensor, x: Tensor) -> Tensor:
    """The angle of the point (x, y), within 5e-7 of it; zeros of both signs are alike."""
    y, x = (n if n.dtype.is_floating_point else n.float() for n in torch.broadcast_tensors(y, x))
    height, width = y.abs(), x.abs()
    least, most = torch.minimum(height, width), torch.maximum(height, width)
    share = torch.where(least == most, 1.0, least / most)  # infinite or not
    angle = _first_octant(torch.where(most == 0, 0.0, share))
    angle = torch.where(height > width, math.pi / 2 - angle, angle)
    angle = torch.where(x < 0, math.pi - angle, angle)
    return torch.where(torch.isnan(x) | torch.isnan(y), x + y, torch.where(y < 0, -angle, angle))


def cumprod(x: Tensor, dim: int, *, dtype: torch.dtype | None = None) -> Any:
    """Products of all elements up to each, of an axis of fixed size: pairs first, then fours, and so on."""
    x = x if dtype is None else x.to(dtype)
    if x.ndim == 0:
        return x
    count = x.shape[dim]
    if not isinstance(count, int):
        return NotImplemented
    x, step = x.movedim(dim, -1), 1
    while step < count:
        x = x * F.pad(x[..., :-step], (step, 0), value=1)
        step *= 2
    return x.movedim(-1, dim)


def _transposed(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sequence[int] = (1,),
    padding: Sequence[int] = (0,),
    output_padding: Sequence[int] = (0,),
    groups: int = 1,
    dilation: Sequence[int] = (1,),
) -> Any:
    """A convolution of x with zeros between its elements, and the kernels the other way round.

    Args:
        x: [B, C, S…] or [C, S…]; weight: [C, O / groups, K…].
    """
    rank = weight.ndim - 2
    if not all(isinstance(side, int) for side in x.shape[-rank:]):
        return NotImplemented
    sizes = [list(n) * rank if len(n) == 1 else list(n) for n in (stride, padding, output_padding, dilation)]
    first = x.ndim - rank
    edges: list[int] = []
    for i, (s, p, more, d) in enumerate(zip(*sizes, strict=True)):
        axis, side = first + i, x.shape[first + i]
        if s > 1:
            zeros = [0, 0] * (x.ndim - axis - 1)
            x = F.pad(x.unsqueeze(axis + 1), (*zeros, 0, s - 1)).flatten(axis, axis + 1)
            x = x.narrow(axis, 0, (side - 1) * s + 1)
        reach = d * (weight.shape[2 + i] - 1) - p
        edges = [reach, reach + more, *edges]
    apart = weight.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)
    turned = apart.flip(list(range(2, 2 + rank)))
    convolve = F.conv1d if rank == 1 else F.conv2d
    return convolve(F.pad(x, edges), turned, bias, dilation=sizes[3], groups=groups)


#: PyTorch op → what computes it.
FUNCTIONS: dict[Any, Callable[..., Any]] = {
    aten.atan.default: atan,
    aten.atan2.default: atan2,
    aten.cumprod.default: cumprod,
    aten.conv_transpose1d.default: _transposed,
    aten.conv_transpose2d.input: _transposed,
}
