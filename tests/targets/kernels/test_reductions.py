"""Kernels of reductions and of products of matrices against the numpy references."""

from __future__ import annotations

from pathlib import Path

from kernel_harness import check, native_isas
from reduction_cases import OF_FLOATS, REDUCTIONS, norms, orders, patches, products, reductions, with_nan


def test_reductions(tmp_path: Path) -> None:
    with_nans = [with_nan(name) for name in (*REDUCTIONS, *OF_FLOATS, "sort")]
    check([*reductions(), *norms(), *orders(), *with_nans], native_isas(), tmp_path)


def test_products_and_patches(tmp_path: Path) -> None:
    check([*products(), *patches()], native_isas(), tmp_path)
