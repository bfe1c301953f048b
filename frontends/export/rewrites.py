"""PyTorch ops that are not supported → what to write instead."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

_NUMBERS = "a compiled model has no random numbers: take them as an input, or out of forward"
_IN_PLACE = "let it return the new value, and forward overwrite the buffer with that: self.state.copy_(new)"
_ALONE = "compute it once outside of forward, and register the result as a buffer"
_RECURRENT = "give the layer a tensor [T, B, size], not a PackedSequence"
_SHAPE = "its shape depends on values: use torch.where or a mask, which keep the shape"

#: What is in messages about ops that mix the tokens of a call, and what to do.
TOKENS_OF_A_CALL = "the tokens of a call"
ALONG_TOKENS = (
    "a call has some of a text's tokens, at any place: carry what is needed from token to token, in a buffer or with "
    "chimerac.scan; a module that is no language model has axes of fixed sizes, given by an example"
)

#: About values that each token puts at a place of its own.
EACH_ITS_OWN = (
    "where each token has a row of its own, x.scatter(-1, places[:, None], values) writes to it; what is read later is "
    "carried from token to token, in a buffer or with chimerac.scan"
)

#: Name of an op, without its overload → advice.
REWRITES: Mapping[str, str] = {
    "auto_functionalized_v2": _IN_PLACE,
    "auto_functionalized": _IN_PLACE,
    "aten.kthvalue": "torch.topk(x, k)[0][..., -1] is the k-th largest; of -x, negated, the k-th smallest",
    "aten.median": "torch.sort(x)[0][..., n // 2]",
    "aten.mode": "count with (x[..., None] == x[..., None, :]).sum(-1), and take topk",
    "aten.argsort": "torch.sort(x)[1]",
    "aten.cumprod": "of an axis of fixed size it is supported; along the tokens carry the product in chimerac.scan",
    "aten.logcumsumexp": "torch.log(torch.cumsum(torch.exp(x - m), -1)) + m with m = x.amax(-1, keepdim=True)",
    "aten.logsumexp": "torch.log(torch.sum(torch.exp(x - m), -1)) + m with m = x.amax(-1)",
    "aten.nanmedian": "torch.sort(torch.nan_to_num(x))[0][..., n // 2]",
    "aten.cummax": "carry the largest from row to row in chimerac.scan",
    "aten.cummin": "carry the smallest from row to row in chimerac.scan",
    "aten.digamma": _ALONE,
    "aten.polygamma": _ALONE,
    "aten.igamma": _ALONE,
    "aten.igammac": _ALONE,
    "aten.special_bessel_j0": _ALONE,
    "aten.special_bessel_j1": _ALONE,
    "aten.i0": _ALONE,
    "aten.special_zeta": _ALONE,
    "aten.special_erfcx": _ALONE,
    "aten.nextafter": _ALONE,
    "aten.frexp": _ALONE,
    "aten.lgamma": _ALONE,
    "aten.erfinv": _ALONE,
    "aten.erfc": "1 - torch.erf(x)",
    "aten.sinh": "(torch.exp(x) - torch.exp(-x)) / 2",
    "aten.cosh": "(torch.exp(x) + torch.exp(-x)) / 2",
    "aten.asinh": "torch.log(x + torch.sqrt(x * x + 1))",
    "aten.acosh": "torch.log(x + torch.sqrt(x * x - 1))",
    "aten.atanh": "0.5 * (torch.log1p(x) - torch.log1p(-x))",
    "aten.hypot": "torch.sqrt(x * x + y * y)",
    "aten.fmod": "x - torch.trunc(x / y) * y",
    "aten.logaddexp": "m + torch.log1p(torch.exp(-(x - y).abs())) with m = torch.maximum(x, y)",
    "aten.linalg_qr": _ALONE,
    "aten._linalg_svd": _ALONE,
    "aten._linalg_eigh": _ALONE,
    "aten.linalg_inv_ex": _ALONE,
    "aten.linalg_cholesky_ex": _ALONE,
    "aten._linalg_solve_ex": _ALONE,
    "aten._linalg_det": _ALONE,
    "aten.linalg_lu_factor_ex": _ALONE,
    "aten.linalg_matrix_exp": _ALONE,
    "aten.matrix_exp": _ALONE,
    "aten.linalg_solve_triangular": _ALONE,
    "aten._fft_r2c": "multiply by the matrix of the Fourier transform, a buffer: x @ cos and x @ sin",
    "aten._fft_c2r": "multiply by the matrix of the inverse Fourier transform, a buffer",
    "aten._fft_c2c": "multiply by the matrix of the Fourier transform, a buffer, real and imaginary parts apart",
    "aten.complex": "keep real and imaginary parts in two tensors",
    "aten.view_as_complex": "keep real and imaginary parts in two tensors; a rotation is x * cos + rotated(x) * sin",
    "aten.view_as_real": "keep real and imaginary parts in two tensors",
    "aten.polar": "keep cos and sin in two tensors",
    "aten._local_scalar_dense": "compute with the tensor in place of .item(), int() and float() of it",
    "aten.nonzero": _SHAPE,
    "aten.masked_select": _SHAPE,
    "aten._unique2": _SHAPE,
    "aten.bincount": "torch.nn.functional.one_hot(x, n).sum(0), which has a fixed size",
    "aten.histc": "compare with the edges of the bins, and sum",
    "aten.searchsorted": "(edges < x[..., None]).sum(-1)",
    "aten.bucketize": "(edges < x[..., None]).sum(-1)",
    "aten.put": "x.flatten().scatter(0, index, values).view_as(x), which keeps the last value of a place",
    "aten.masked_scatter": "n = mask.flatten().cumsum(0) - 1, and torch.where(mask, source.flatten()[n].view_as(x), x)",
    "aten.diagonal_scatter": "torch.where(torch.eye(n, dtype=torch.bool), new[:, None], x)",
    "aten.repeat_interleave": "an int for repeats, or gather with places that are computed: " + _SHAPE,
    "aten.rand": _NUMBERS,
    "aten.rand_like": _NUMBERS,
    "aten.randn": _NUMBERS,
    "aten.randn_like": _NUMBERS,
    "aten.randint": _NUMBERS,
    "aten.randint_like": _NUMBERS,
    "aten.normal": _NUMBERS,
    "aten.randperm": _NUMBERS,
    "aten.poisson": _NUMBERS,
    "aten.uniform": _NUMBERS,
    "aten.bernoulli": _NUMBERS,
    "aten.multinomial": "choose outside of the module: a bundle samples from the logits by itself",
    "aten.native_dropout": "leave it out of forward, or call module.eval(): dropout does nothing then",
    "aten.lstm": _RECURRENT,
    "aten.gru": _RECURRENT,
    "aten.rnn_tanh": _RECURRENT,
    "aten.rnn_relu": _RECURRENT,
    "aten.cdist": "torch.sqrt(((x[..., :, None, :] - y[..., None, :, :]) ** 2).sum(-1))",
    "aten._cdist_forward": "torch.sqrt(((x[..., :, None, :] - y[..., None, :, :]) ** 2).sum(-1))",
    "aten.upsample_bilinear2d": "repeat_interleave along both axes for whole factors, or a matrix along each axis",
    "aten.grid_sampler_2d": "gather with indices that are computed, four times for a bilinear sample",
    "aten._ctc_loss": "a loss is no part of a compiled model: return the logits",
    "aten.nll_loss_forward": "a loss is no part of a compiled model: return the logits",
}


def advice(op: str, known: Iterable[str]) -> str:
    """What to write in place of an op.

    Args:
        op: as PyTorch prints it, ``aten.kthvalue.default``.
        known: the ops that are supported.
    """
    name = _name(op)
    if name in REWRITES:
        return REWRITES[name]
    overloads = sorted(other for other in known if _name(other) == name)
    if overloads:
        return f"supported is {', '.join(overloads)}"
    near = difflib.get_close_matches(name, sorted({_name(other) for other in known}), n=1, cutoff=0.75)
    return f"the nearest that is supported by its name is {near[0]}" if near else ""


def _name(op: str) -> str:
    """``aten.add`` of ``aten.add.Tensor``."""
    return op.rpartition(".")[0] if op.count(".") > 1 else op
