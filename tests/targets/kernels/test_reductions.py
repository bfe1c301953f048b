"""Kernels of reductions and of products of matrices against the numpy references."""

from __future__ import annotations

from pathlib import Path

from kernel_harness import IN_TURN, check_in_turn, native_isas
from reduction_cases import OF_FLOATS, REDUCTIONS, norms, orders, patches, products, reductions, with_nan


@IN_TURN
def test_reductions(every: int, tmp_path: Path) -> None:
    with_nans = [with_nan(name) for name in (*REDUCTIONS, *OF_FLOATS, "sort")]
    check_in_turn([*reductions(), *norms(), *orders(), *with_nans], native_isas(), tmp_path, every)


@IN_TURN
def test_products_and_patches(every: int, tmp_path: Path) -> None:
    check_in_turn([*products(), *patches()], native_isas(), tmp_path, every)
