"""Ternary and int8 weights per group, int8 activations per block, and their straight-through forms.

Groups and blocks are runs of consecutive input channels (the last axis); the last run may be shorter. The recipe is
BitNet b1.58 (arXiv 2402.17764) with one scale per group and block instead of one per matrix and token; docs/model.md
says how the numbers are rounded. Rounding is half to even everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from chimerac.frontends.models.precision import float32_island

FLOOR = 1e-5  #: least mean or maximum that a scale is made from, so that an all-zero group has a scale
SPARSE_THRESHOLD = 0.3  #: |W/s| under which ``sparse_gradient`` stops the gradient

WeightFormat = Literal["ternary", "int8"]
FrozenWeights = dict[tuple[int, tuple[int, ...], int, WeightFormat], tuple[Tensor, Tensor, Tensor]]
_frozen: ContextVar[FrozenWeights | None] = ContextVar("frozen_weights", default=None)
_input_hook: ContextVar[Callable[[Tensor, int], Tensor] | None] = ContextVar("input_hook", default=None)


def _runs(x: Tensor, size: int) -> Tensor:
    """``x`` [..., K] as [..., ceil(K/size), size], zero-filled at the end."""
    padded = F.pad(x, (0, -x.shape[-1] % size))
    return padded.reshape(*x.shape[:-1], padded.shape[-1] // size, size)


def _per_channel(scales: Tensor, size: int, channels: int) -> Tensor:
    """Scales [..., G] repeated to [..., channels]."""
    return scales.repeat_interleave(size, dim=-1)[..., :channels]


def round_to_half(x: Tensor) -> Tensor:
    """Positive float64 values rounded once to the nearest float16 (ties to even), returned as float32.

    torch converts float64 to float16 by way of float32, which rounds twice. Truncating to float32 with the lost bits
    kept in the lowest bit (round to odd) makes the second rounding the only one.
    """
    single = x.float()
    truncated = torch.where(single.double() > x, torch.nextafter(single, torch.zeros_like(single)), single)
    inexact = (truncated.double() != x).to(torch.int32)
    return (truncated.view(torch.int32) | inexact).view(torch.float32).half().float()


def ternary_codes(weight: Tensor, group: int) -> tuple[Tensor, Tensor]:
    """Weights [..., K] as trits and scales.

    Returns:
        codes: int8 [..., K] in {-1, 0, 1}: round(W / s), clamped.
        scales: float32 [..., ceil(K/group)], each exactly a float16: max(mean |W|, 1e-5), mean in float64.
    """
    weight = weight.detach().float()
    channels = weight.shape[-1]
    sums = _runs(weight.abs().double(), group).sum(-1)
    counts = _runs(torch.ones(channels, dtype=torch.float64, device=weight.device), group).sum(-1)
    scales = round_to_half((sums / counts).clamp(min=FLOOR))
    codes = torch.round(weight / _per_channel(scales, group, channels)).clamp(-1, 1)
    return codes.to(torch.int8), scales


def int8_codes(weight: Tensor, group: int) -> tuple[Tensor, Tensor]:
    """Weights [..., K] as int8 and scales.

    Returns:
        codes: int8 [..., K] in [-127, 127]: round(W / s), clamped.
        scales: float32 [..., ceil(K/group)], each exactly a float16: max(max |W|, 1e-5) / 127, quotient in float32.
    """
    weight = weight.detach().float()
    largest = _runs(weight.abs(), group).amax(-1).clamp(min=FLOOR)
    scales = (largest / 127).half().float()
    codes = torch.round(weight / _per_channel(scales, group, weight.shape[-1])).clamp(-127, 127)
    return codes.to(torch.int8), scales


def activation_codes(x: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """Activations [..., K] as integers and scales.

    Returns:
        codes: float32 [..., K], whole numbers in [-127, 127]: round(x / a), clamped.
        scales: float32 [..., ceil(K/block)]: a = max(max |x|, 1e-5) / 127, in float32.
    """
    x = x.detach().float()
    scales = _runs(x.abs(), block).amax(-1).clamp(min=FLOOR) / 127
    codes = torch.round(x / _per_channel(scales, block, x.shape[-1])).clamp(-127, 127)
    return codes, scales


def dequantize(codes: Tensor, scales: Tensor, size: int) -> Tensor:
    """Codes [..., K] times their scales [..., ceil(K/size)], float32."""
    return codes.float() * _per_channel(scales, size, codes.shape[-1])


@float32_island
def straight_through_ternary(weight: Tensor, group: int, sparse_gradient: bool = False) -> Tensor:
    """Ternary weights, dequantised, with the identity as gradient (arXiv 2402.17764).

    With ``sparse_gradient`` weights nearer to zero than 0.3 scales get no gradient: about a fifth of a Gaussian's.
    They then leave zero only through weight decay or their group's scale, so it is off by default.
    """
    codes, scales = ternary_codes(weight, group)
    quantized = dequantize(codes, scales, group)
    if sparse_gradient:
        small = weight.detach().abs() < SPARSE_THRESHOLD * _per_channel(scales, group, weight.shape[-1])
        weight = torch.where(small, weight.detach(), weight)
    return weight + (quantized - weight).detach()


@float32_island
def straight_through_int8(weight: Tensor, group: int) -> Tensor:
    """Int8 weights, dequantised, with the identity as gradient."""
    codes, scales = int8_codes(weight, group)
    return weight + (dequantize(codes, scales, group) - weight).detach()


@float32_island
def straight_through_activations(x: Tensor, block: int) -> Tensor:
    """Int8 activations, dequantised, with the identity as gradient."""
    codes, scales = activation_codes(x, block)
    return x + (dequantize(codes, scales, block) - x).detach()


def quantized_product(x: Tensor, codes: Tensor, scales: Tensor, group: int, block: int) -> Tensor:
    """The product every target computes: integers inside a block, float32 from there on, in a fixed order.

    Args:
        x: [T, K] float32.
        codes: int8 [N, K]; scales: float32 [N, ceil(K/group)]. ``block`` divides ``group``.

    Returns:
        [T, N]: sum over groups g, ascending, of s_g * (sum over the blocks b of g, ascending, of a_b * acc_b).
        The sums acc_b stay below 2^24, so float32 holds them exactly whatever the order of the additions.
    """
    hook = _input_hook.get()
    q, a = activation_codes(x if hook is None else hook(x, codes.shape[0]), block)
    columns, channels = codes.float().t(), x.shape[-1]
    y = x.new_zeros(x.shape[0], codes.shape[0])
    for g, first in enumerate(range(0, channels, group)):
        partial: Tensor | None = None
        for start in range(first, min(first + group, channels), block):
            end = min(start + block, first + group, channels)
            term = a[:, start // block, None] * (q[:, start:end] @ columns[start:end])
            partial = term if partial is None else partial + term
        assert partial is not None
        y = y + scales[:, g] * partial
    return y


def weight_codes(weight: Tensor, group: int, weight_format: WeightFormat) -> tuple[Tensor, Tensor]:
    """Codes and scales of a weight; remembered inside ``frozen_weights``."""
    quantize = ternary_codes if weight_format == "ternary" else int8_codes
    store = _frozen.get()
    if store is None:
        return quantize(weight, group)
    key = (weight.data_ptr(), tuple(weight.shape), group, weight_format)
    if key not in store:
        # the weight is kept with its codes so that its address can't be given to another tensor meanwhile
        store[key] = (weight, *quantize(weight, group))
    return store[key][1:]


@contextmanager
def frozen_weights(store: FrozenWeights) -> Iterator[None]:
    """Quantise each weight once and keep the result in ``store``. The weights must not change while it is in use."""
    token = _frozen.set(store)
    try:
        yield
    finally:
        _frozen.reset(token)


@contextmanager
def product_inputs(hook: Callable[[Tensor, int], Tensor]) -> Iterator[None]:
    """Pass every input x [T, K] of ``quantized_product``, with the rows N of its weight, through ``hook``.

    The hook returns what is quantised in place of x.
    """
    token = _input_hook.set(hook)
    try:
        yield
    finally:
        _input_hook.reset(token)
