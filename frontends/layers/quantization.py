"""Ternary and int8 weights per group, int8 activations per block, and their straight-through forms.

Groups and blocks are runs of consecutive input channels (the last axis); the last run may be shorter. The recipe is
BitNet b1.58 (arXiv 2402.17764) with one scale per group and block instead of one per matrix and token; docs/model.md
says how the numbers are rounded. Rounding is half to even everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from chimerac.frontends.layers.fusing import fusible, is_fusing

FLOOR = 1e-5  #: least mean or maximum that a scale is made from, so that an all-zero group has a scale
LEAST_SCALE = 2.0**-24  #: the smallest float16 above 0
SPARSE_THRESHOLD = 0.3  #: |W/s| under which ``sparse_gradient`` stops the gradient

WeightFormat = Literal["ternary", "int8"]
FrozenWeights = dict[tuple[int, tuple[int, ...], int, WeightFormat], tuple[Tensor, Tensor, Tensor]]
_frozen: ContextVar[FrozenWeights | None] = ContextVar("frozen_weights", default=None)
_input_hook: ContextVar[Callable[[Tensor, int], Tensor] | None] = ContextVar("input_hook", default=None)
_float_inputs: ContextVar[bool] = ContextVar("float_inputs", default=False)


def _runs(x: Tensor, size: int) -> Tensor:
    """``x`` [..., K] as [..., ceil(K/size), size], zero-filled at the end."""
    missing = -x.shape[-1] % size
    padded = F.pad(x, (0, missing)) if missing else x
    return padded.reshape(*x.shape[:-1], padded.shape[-1] // size, size)


def _joined(runs: Tensor, channels: int) -> Tensor:
    """The inverse of ``_runs``."""
    return runs.flatten(-2)[..., :channels]


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
        scales: float32 [..., ceil(K/group)], each exactly a float16: max(mean |W|, 1e-5), mean in float64; of a group
            that is ternary already, all its numbers being 0 or of one magnitude m, max(m, 2**-24).
    """
    weight = weight.detach().float()
    channels = weight.shape[-1]
    runs = _runs(weight, group)
    magnitudes = runs.abs()
    sums = magnitudes.sum(-1, dtype=torch.float64)
    means = sums / group
    if channels % group:
        means[..., -1] = sums[..., -1] / (channels % group)
    # no number is more than the largest, so the sum tells whether all but the zeros are equal to it
    largest = magnitudes.amax(-1).double()
    ternary = (sums == torch.count_nonzero(magnitudes, -1) * largest) & (largest > 0)
    sizes = torch.where(ternary, largest.clamp(min=LEAST_SCALE), means.clamp_(min=FLOOR))
    scales = round_to_half(sizes)
    codes = torch.div(runs, scales[..., None]).round_().clamp_(-1, 1)
    return _joined(codes.to(torch.int8), channels), scales


def int8_codes(weight: Tensor, group: int) -> tuple[Tensor, Tensor]:
    """Weights [..., K] as int8 and scales.

    Returns:
        codes: int8 [..., K] in [-127, 127]: round(W / s), clamped.
        scales: float32 [..., ceil(K/group)], each exactly a float16: max(max |W|, 1e-5) / 127, quotient in float32.
    """
    weight = weight.detach().float()
    runs = _runs(weight, group)
    scales = (_largest(runs).clamp_(min=FLOOR) / 127).half().float()
    codes = torch.div(runs, scales[..., None]).round_().clamp_(-127, 127)
    return _joined(codes.to(torch.int8), weight.shape[-1]), scales


def activation_codes(x: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """Activations [..., K] as integers and scales.

    Returns:
        codes: float32 [..., K], whole numbers in [-127, 127]: round(x / a), clamped.
        scales: float32 [..., ceil(K/block)]: a = max(max |x|, 1e-5) / 127, in float32.
    """
    x = x.detach().float()
    runs = _runs(x, block)
    scales = _largest(runs).clamp_(min=FLOOR).div_(127)
    codes = torch.div(runs, scales[..., None]).round_().clamp_(-127, 127)
    return _joined(codes, x.shape[-1]), scales


def activation_row_codes(x: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """Activations [..., K] as integers with one scale for all channels, as BitNet's published models have them.

    Returns:
        codes: float32 [..., K], whole numbers in [-127, 127]: round(x * s), clamped, with
            s = 1 / max(max |x|, 1e-5) * 127, which is how PyTorch divides 127 by a tensor.
        scales: float32 [..., ceil(K/block)]: 1 / s, as often as there are blocks.
    """
    x = x.detach().float()
    factor = _largest(x)[..., None].clamp_(min=FLOOR).reciprocal() * 127
    codes = torch.mul(x, factor).round_().clamp_(-127, 127)
    return codes, (1 / factor).expand(*x.shape[:-1], -(-x.shape[-1] // block))


def _largest(runs: Tensor) -> Tensor:
    """max |x| of each run [..., size] -> [...]."""
    largest: Tensor = torch.linalg.vector_norm(runs, float("inf"), dim=-1)
    return largest


def dequantize(codes: Tensor, scales: Tensor, size: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Codes [..., K] times their scales [..., ceil(K/size)], the float32 product rounded to ``dtype``."""
    runs = _runs(codes.float(), size)
    products = torch.empty(runs.shape, dtype=dtype, device=runs.device)
    return _joined(torch.mul(runs, scales[..., None], out=products), codes.shape[-1])


def product_dtype(x: Tensor) -> torch.dtype:
    """What matrix products of the training form read: autocast's type where it is on, else float32."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else torch.float32


def straight_through_ternary(
    weight: Tensor,
    group: int,
    sparse_gradient: bool = False,
    ready: Tensor | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Ternary weights, dequantised, with the identity as gradient (arXiv 2402.17764).

    With ``sparse_gradient`` weights nearer to zero than 0.3 scales get no gradient: about a fifth of a Gaussian's.
    They then leave zero only through weight decay or their group's scale, so it is off by default.

    Args:
        ready: the result, when the caller has it already.
        dtype: of the result; None for ``product_dtype``.
    """
    kind = dtype or product_dtype(weight)
    rounded: Tensor = _Ternary.apply(weight, group, sparse_gradient, kind, ready)  # type: ignore[no-untyped-call]
    return rounded


def straight_through_int8(weight: Tensor, group: int) -> Tensor:
    """Int8 weights, dequantised float32, with the identity as gradient."""
    rounded: Tensor = _Int8.apply(weight, group)  # type: ignore[no-untyped-call]
    return rounded


def straight_through_bfloat16(weight: Tensor) -> Tensor:
    """Weights rounded to bfloat16, as float32, with the identity as gradient."""
    rounded: Tensor = _Bfloat16.apply(weight)  # type: ignore[no-untyped-call]
    return rounded


def straight_through_activations(x: Tensor, block: int, dtype: torch.dtype | None = None) -> Tensor:
    """Int8 activations, dequantised, with the identity as gradient. ``dtype``: None for ``product_dtype``."""
    rounded: Tensor = _Activations.apply(x, block, dtype or product_dtype(x))  # type: ignore[no-untyped-call]
    return rounded


def large_enough(weight: Tensor, group: int) -> Tensor:
    """Where ``sparse_gradient`` lets gradients through: |W| >= 0.3 s, bool [..., K]."""
    _, scales = ternary_codes(weight, group)
    return _joined(_runs(weight.detach().abs(), group) >= SPARSE_THRESHOLD * scales[..., None], weight.shape[-1])


class _Ternary(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, group: int, sparse_gradient: bool, dtype: torch.dtype, ready: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(large_enough(weight, group) if sparse_gradient else None)
        ctx.dtype = weight.dtype
        if ready is not None:
            return ready.detach()
        return dequantize(*ternary_codes(weight, group), group, dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        (kept,) = ctx.saved_tensors
        gradient = gradient.to(ctx.dtype)
        return gradient if kept is None else gradient * kept, None, None, None, None


class _Int8(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, group: int) -> Tensor:
        return dequantize(*int8_codes(weight, group), group)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


class _Bfloat16(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor) -> Tensor:
        return weight.bfloat16().float()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


class _Activations(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, block: int, dtype: torch.dtype) -> Tensor:
        ctx.dtype = x.dtype
        if is_fusing():
            return _rounded_rows(x.detach().flatten(0, -2), block, dtype).view(x.shape)
        if torch.compiler.is_compiling():
            return _rounded(x, block, dtype)
        return dequantize(*activation_codes(x, block), block, dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient.to(ctx.dtype), None, None


def _rounded(x: Tensor, block: int, dtype: torch.dtype) -> Tensor:
    """``activation_codes`` and ``dequantize`` as a chain that a compiler fuses."""
    runs = _runs(x.float(), block)
    scales = runs.abs().amax(-1, keepdim=True).clamp(min=FLOOR) / 127
    return _joined((runs / scales).round().clamp(-127, 127) * scales, x.shape[-1]).to(dtype)


_rounded_rows = fusible(x=1)(_rounded)


def quantized_product(x: Tensor, codes: Tensor, scales: Tensor, group: int, block: int, *, row: bool = False) -> Tensor:
    """The product every target computes: integers inside a block, float32 from there on, in a fixed order.

    Args:
        x: [T, K] float32.
        codes: int8 [N, K]; scales: float32 [N, ceil(K/group)]. ``block`` divides ``group``.
        row: whether activations have one scale for all channels; trits only.

    Returns:
        [T, N]: sum over groups g, ascending, of s_g * (sum over the blocks b of g, ascending, of a_b * acc_b).
        The sums acc_b stay below 2^24, so float32 holds them exactly whatever the order of the additions.
    """
    if _float_inputs.get():
        return F.linear(x, dequantize(codes, scales, group))
    hook = _input_hook.get()
    q, a = (activation_row_codes if row else activation_codes)(x if hook is None else hook(x, codes.shape[0]), block)
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


@contextmanager
def float_inputs() -> Iterator[None]:
    """Multiply the dequantised weights of ``quantized_product`` with inputs that are not quantised at all."""
    token = _float_inputs.set(True)
    try:
        yield
    finally:
        _float_inputs.reset(token)
