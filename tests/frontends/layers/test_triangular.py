"""The inverse by matrix products against substitution, its gradient, and its behaviour on bad systems."""

from __future__ import annotations

import pytest
import torch

from chimerac.frontends.layers.triangular import invert_unit_lower, solve_unit_lower


@pytest.mark.parametrize("size", [1, 2, 3, 16, 48, 63])
def test_inverse_equals_substitution(size: int) -> None:
    mixing = (0.5 * torch.randn(2, 3, size, size)).tril(-1).requires_grad_()
    rows = torch.randn(2, 3, size, 4)
    upstream = torch.randn(2, 3, size, 4)
    by_product, by_rows = invert_unit_lower(mixing) @ rows, solve_unit_lower(mixing, rows)
    torch.testing.assert_close(by_product, by_rows, rtol=1e-3, atol=1e-3 * float(by_rows.detach().abs().max()))
    (first,) = torch.autograd.grad((by_product * upstream).sum(), mixing)
    (second,) = torch.autograd.grad((by_rows * upstream).sum(), mixing)
    torch.testing.assert_close(first.tril(-1), second.tril(-1), rtol=1e-3, atol=1e-3 * float(second.abs().max()))


def test_parallel_keys_keep_their_digits() -> None:
    """All keys equal and beta near 1: the worst system of the delta rule, where a power series loses all digits."""
    mixing = (0.999 * torch.ones(64, 64)).tril(-1)
    rows = torch.randn(64, 8)
    exact = torch.linalg.solve_triangular(mixing.double(), rows.double(), upper=False, unitriangular=True)
    error = (invert_unit_lower(mixing) @ rows - exact).abs().max() / exact.abs().max()
    assert error < 1e-5
