"""Kernels of the expert dispatch against the numpy references: ties, experts without tokens, edge sizes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from kernel_harness import IN_TURN, Case, case, check, check_in_turn, native_isas

from chimerac.compiler.ir.layouts import pack_scales, pack_ternary, scale_layout, ternary_layout
from chimerac.compiler.ir.ops.experts import sort_pairs
from chimerac.compiler.ir.ops.linear import quantise_rows, ternarise, to_bfloat16
from chimerac.compiler.ir.ops.norms import quantise_blocks
from chimerac.compiler.ir.types import TensorType
from chimerac.targets.isa import load_isa

RANDOM = np.random.default_rng(31)
#: (tokens, experts, experts per token, width)
SIZES = ((1, 4, 2, 12), (5, 16, 2, 64), (16, 5, 3, 20), (2, 1, 1, 8), (16, 9, 4, 300), (3, 3, 3, 7))


def normal(*shape: int, scale: float = 1.0) -> np.ndarray:
    return (RANDOM.standard_normal(shape) * scale).astype(np.float32)


def choices(n: int, experts: int, top_k: int) -> list[np.ndarray]:
    """Ways to choose different experts per token: at random, all tokens alike, and away from the first and last."""
    random = np.array([RANDOM.permutation(experts)[:top_k] for _ in range(n)], np.int32)
    alike = np.tile(RANDOM.permutation(experts)[:top_k].astype(np.int32), (n, 1))
    inner = np.clip(random, 1, experts - 2) if experts > 2 and top_k == 1 else random[::-1].copy()
    return [random, alike, inner]


def test_route(tmp_path: Path) -> None:
    cases: list[Case] = []
    for n, experts, top_k, width in SIZES:
        x, router, bias = normal(n, width), normal(experts, width), normal(experts)
        odd = bias.copy()
        odd[-1], odd[0] = np.nan, -np.inf
        repeated = np.tile(router[:1], (experts, 1))
        for operands in (
            [x, router, bias],
            [x * 0, router, bias * 0],  # every score is equal
            [x, repeated, np.where(np.arange(experts) % 2, 0, -0.0).astype(np.float32)],
            [x, router, odd],
            [x * np.float32(np.nan), router, bias],
            [x * 100, router, bias * 0],  # scores that saturate at 0 and 1
        ):
            cases.append(case("route", operands, {"top_k": top_k}, tokens=[0]))
    check(cases, native_isas(), tmp_path)


def test_weights_of_vanishing_scores(tmp_path: Path) -> None:
    """All chosen scores are +0, so only the small constant is left in the denominator."""
    x, router = np.full((2, 8), 1e4, np.float32), np.full((4, 8), -1.0, np.float32)
    check([case("route", [x, router, normal(4)], {"top_k": 2}, tokens=[0])], native_isas(), tmp_path)


def test_sort_gather_combine(tmp_path: Path) -> None:
    cases: list[Case] = []
    for n, experts, top_k, width in SIZES:
        for chosen in choices(n, experts, top_k):
            order, place, _ = sort_pairs(chosen, experts)
            cases.append(case("sort_pairs", [chosen], {"experts": experts}, tokens=[0]))
            cases.append(case("gather_rows", [normal(n, width), order], tokens=[0, 1]))
            codes = RANDOM.integers(-127, 128, (n, width)).astype(np.int8)
            cases.append(case("gather_rows", [codes, order], tokens=[0, 1]))
            rows = normal(n, top_k, width)
            cases.append(case("combine_experts", [rows, place, normal(n, top_k)], tokens=[0, 1, 2]))
    check(cases, native_isas(), tmp_path)


def test_grouped_rms_norm(tmp_path: Path) -> None:
    cases = []
    for n, experts, top_k, width in SIZES:
        for chosen in choices(n, experts, top_k):
            offsets = sort_pairs(chosen, experts)[2]
            operands = [normal(n, top_k, width), normal(experts, width), offsets]
            cases.append(case("grouped_rms_norm", operands, {"eps": 1e-5}, tokens=[0]))
    check(cases, native_isas(), tmp_path)


def grouped_product(
    n: int, chosen: np.ndarray, experts: int, rows: int, columns: int, panel_rows: int, form: str = "t2"
) -> Case:
    order, _, offsets = sort_pairs(chosen, experts)
    codes, scales = quantise_blocks(normal(n, columns), 64)
    tokens = order // chosen.shape[1]
    trits, weight_scales = ternarise(normal(experts, rows, columns), 128)
    attributes = {"rows": rows, "columns": columns, "group": 128, "block": 64}
    operands = [codes[tokens], scales[tokens], trits, weight_scales, offsets]
    plain = case("grouped_ternary_matmul", operands, attributes, tokens=[0, 1])
    packed, panels = pack_ternary(trits, panel_rows, form), pack_scales(weight_scales, panel_rows)
    types = list(plain.types)
    types[2] = TensorType("u8", packed.shape, ternary_layout(panel_rows, form))
    types[3] = TensorType("f16", panels.shape, scale_layout(panel_rows))
    return replace(plain, types=tuple(types), packed={2: packed, 3: panels})


def sorted_rows(n: int, chosen: np.ndarray, experts: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows [n, k, columns] in the order of their experts, and where each expert's begin."""
    order, _, offsets = sort_pairs(chosen, experts)
    return normal(n, columns)[order // chosen.shape[1]], offsets


@IN_TURN
def test_grouped_products_of_other_formats(every: int, tmp_path: Path) -> None:
    """Float32, bfloat16 and int8; more than the columns that a row is multiplied with at a time among them."""
    cases = []
    for n, experts, top_k, rows, columns in ((1, 4, 2, 8, 64), (5, 6, 2, 33, 20), (16, 3, 2, 9, 136), (2, 1, 1, 3, 8)):
        for chosen in choices(n, experts, top_k):
            x, offsets = sorted_rows(n, chosen, experts, columns)
            weight = normal(experts, rows, columns)
            cases.append(case("grouped_linear", [x, weight, offsets], tokens=[0]))
            cases.append(case("grouped_linear", [x, to_bfloat16(weight), offsets], tokens=[0]))
            cases.append(case("grouped_linear", [x, weight.astype(np.float16), offsets], tokens=[0]))
            operands = [*quantise_blocks(x, 64), *quantise_rows(weight, 128), offsets]
            sizes = {"rows": rows, "columns": columns, "group": 128, "block": 64}
            cases.append(case("grouped_int8_matmul", operands, sizes, tokens=[0, 1]))
    check_in_turn(cases, native_isas(), tmp_path, every)


@IN_TURN
def test_grouped_ternary_matmul(every: int, tmp_path: Path) -> None:
    sizes = ((1, 4, 2, 8, 64), (5, 6, 2, 33, 128), (16, 3, 2, 9, 200), (16, 8, 4, 20, 72), (2, 1, 1, 7, 320))
    for turn, isa in enumerate(native_isas()):
        cases = [
            grouped_product(n, chosen, experts, rows, columns, load_isa(isa).panel_rows)
            for n, experts, top_k, rows, columns in sizes
            for chosen in choices(n, experts, top_k)
        ]
        check(cases[turn % every :: every], [isa], tmp_path)
