"""Sixty things that no compiled model can do, each in a submodule of a small language model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH, VOCABULARY = 8, 300


class Inner(nn.Module):
    """x [T, 8] → x and something of the function."""

    table: Tensor

    def __init__(self, function: Callable[[Inner, Tensor], Any]) -> None:
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(torch.ones(WIDTH), requires_grad=False)
        self.lstm = nn.LSTM(WIDTH, 4, bidirectional=True, batch_first=True)
        self.register_buffer("table", torch.eye(WIDTH))

    def image(self, x: Tensor) -> Tensor:
        """The last token's, [1, 2, 2, 2]."""
        return x[-1:].reshape(1, 2, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        found = self.function(self, x)
        found = found[0] if isinstance(found, tuple) else found
        return x + found.float().sum() if isinstance(found, Tensor) and found.dim() != 2 else x + found


class Outer(nn.Module):
    """Embedding, the submodule ``inner``, head."""

    def __init__(self, function: Callable[[Inner, Tensor], Any]) -> None:
        super().__init__()
        self.embedding, self.inner = nn.Embedding(VOCABULARY, WIDTH), Inner(function)
        self.head = nn.Linear(WIDTH, VOCABULARY)

    def forward(self, tokens: Tensor) -> Tensor:
        result: Tensor = self.head(self.inner(self.embedding(tokens)))
        return result


@dataclass(frozen=True)
class Refused:
    """What a function's module is told.

    Attributes:
        function: given the submodule and x [T, 8]; written on one line.
        code: of the error.
        op: that it is about, without ``aten.`` and overload; "" where PyTorch cannot trace it.
        advice: words of it.
        path: of the submodule.
    """

    function: Callable[[Inner, Tensor], Any]
    code: str
    op: str
    advice: str
    path: str = "inner"


def op(name: str, advice: str, function: Callable[[Inner, Tensor], Any]) -> Refused:
    return Refused(function, "CHM211", name, advice)


def untraced(advice: str, function: Callable[[Inner, Tensor], Any]) -> Refused:
    return Refused(function, "CHM210", "", advice)


REFUSED = (
    # reductions and orders
    op("kthvalue", "torch.topk", lambda m, x: x.kthvalue(2, -1)[0]),
    op("median", "torch.sort", lambda m, x: x.median(-1)[0]),
    op("mode", "topk", lambda m, x: x.mode(-1)[0]),
    op("cumprod", "chimerac.scan", lambda m, x: x.cumprod(0)),
    op("logcumsumexp", "torch.cumsum", lambda m, x: x.logcumsumexp(0)),
    op("nanmedian", "torch.sort", lambda m, x: x.nanmedian(-1)[0]),
    op("cummax", "chimerac.scan", lambda m, x: x.cummax(-1)[0]),
    op("searchsorted", "edges", lambda m, x: torch.searchsorted(m.weight, x)),
    op("bucketize", "edges", lambda m, x: torch.bucketize(x, m.weight)),
    op("histc", "bins", lambda m, x: x.histc(4)),
    # functions of numbers
    op("digamma", "outside of forward", lambda m, x: x.digamma()),
    op("lgamma", "outside of forward", lambda m, x: x.lgamma()),
    op("erfinv", "outside of forward", lambda m, x: x.erfinv()),
    op("polygamma", "outside of forward", lambda m, x: torch.polygamma(1, x)),
    op("igamma", "outside of forward", lambda m, x: torch.igamma(x, x)),
    op("special_bessel_j0", "outside of forward", lambda m, x: torch.special.bessel_j0(x)),
    op("special_zeta", "outside of forward", lambda m, x: torch.special.zeta(x, x)),
    op("special_erfcx", "outside of forward", lambda m, x: torch.special.erfcx(x)),
    op("nextafter", "outside of forward", lambda m, x: torch.nextafter(x, x + 1)),
    op("frexp", "outside of forward", lambda m, x: torch.frexp(x)[0]),
    op("poisson", "no random numbers", lambda m, x: torch.poisson(x.exp())),
    # linear algebra, Fourier transforms, complex numbers
    op("linalg_qr", "outside of forward", lambda m, x: torch.linalg.qr(m.table + x[-1])[0].sum()),
    op("_linalg_svd", "outside of forward", lambda m, x: torch.linalg.svd(m.table + x[-1])[0].sum()),
    op("_linalg_eigh", "outside of forward", lambda m, x: torch.linalg.eigh(m.table + x[-1])[0]),
    op("linalg_inv_ex", "outside of forward", lambda m, x: torch.linalg.inv(m.table + x[-1]).sum()),
    op("linalg_cholesky_ex", "outside of forward", lambda m, x: torch.linalg.cholesky(m.table + x[-1]).sum()),
    op("_linalg_solve_ex", "outside of forward", lambda m, x: torch.linalg.solve(m.table + x[-1], m.weight)),
    op("_linalg_det", "outside of forward", lambda m, x: torch.linalg.det(m.table + x[-1])),
    op("linalg_lu_factor_ex", "outside of forward", lambda m, x: torch.linalg.lu_factor(m.table + x[-1])[0].sum()),
    op("linalg_matrix_exp", "outside of forward", lambda m, x: torch.linalg.matrix_exp(m.table + x[-1]).sum()),
    op("_fft_r2c", "matrix of the Fourier transform", lambda m, x: torch.fft.rfft(x).real),
    op("complex", "two tensors", lambda m, x: torch.complex(x, x).real),
    op("polar", "two tensors", lambda m, x: torch.polar(x, x).real),
    op("view_as_complex", "two tensors", lambda m, x: torch.view_as_complex(x.reshape(-1, 4, 2)).real.sum()),
    # random numbers
    op("rand_like", "no random numbers", lambda m, x: torch.rand_like(x)),
    op("randn", "no random numbers", lambda m, x: torch.randn(WIDTH)),
    op("randint", "no random numbers", lambda m, x: torch.randint(0, 3, (WIDTH,))),
    op("rand", "no random numbers", lambda m, x: torch.bernoulli(x.sigmoid())),
    op("multinomial", "outside of the module", lambda m, x: torch.multinomial(x.sigmoid(), 1)),
    op("randperm", "no random numbers", lambda m, x: m.table[torch.randperm(WIDTH)].sum()),
    op("normal", "no random numbers", lambda m, x: torch.normal(x, 1.0)),
    # shapes and places that depend on values
    op("nonzero", "torch.where", lambda m, x: x.nonzero().sum()),
    op("masked_select", "torch.where", lambda m, x: x.masked_select(x > 0)),
    op("_unique2", "torch.where", lambda m, x: x.unique()),
    op("bincount", "one_hot", lambda m, x: (x[:, 0] > 0).long().bincount()),
    op("scatter", "from token to token", lambda m, x: x.scatter(0, (x > 0).long(), x)),
    op("masked_scatter", "cumsum", lambda m, x: m.table.masked_scatter(x[-1:] > 0, m.table).sum()),
    op("put", "scatter", lambda m, x: m.weight.put((x[-1] > 0).long(), m.weight)),
    op("index_put", "a row of its own", lambda m, x: m.table.index_put(((x[:, 0] > 0).long(),), x).sum()),
    # images
    op("upsample_bilinear2d", "a matrix along", lambda m, x: F.interpolate(m.image(x), None, 2, "bilinear")),
    op("grid_sampler_2d", "gather", lambda m, x: F.grid_sample(m.image(x), m.image(x))),
    op("_cdist_forward", "torch.sqrt", lambda m, x: torch.cdist(m.table, m.table + x[-1]).sum()),
    # what mixes the tokens of a text
    op("sum", "from token to token", lambda m, x: x.sum(0)),
    op("flip", "from token to token", lambda m, x: x.flip(0)),
    op("sort", "from token to token", lambda m, x: x.sort(0)[0]),
    Refused(lambda m, x: m.lstm(x[None])[0][0], "CHM211", "flip", "from token to token", "inner.lstm"),
    # Python that is not traced
    untraced("torch.where", lambda m, x: x if x.sum() > 0 else -x),
    untraced("torch.where", lambda m, x: x[: int(x[0, 0])]),
    untraced("torch alone", lambda m, x: torch.from_numpy(np.sin(x.numpy()))),
    untraced("torch alone", lambda m, x: x * x[0].numpy().max()),
)
