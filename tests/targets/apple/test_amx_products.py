"""Products on AMX, as a linked dylib computes them in the emulator, against the numpy references."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import pytest
from apple_kernels import AppleKernels, build_kernels
from kernel_harness import Case, assert_same_bits, case

from chimerac.compiler.ir.layouts import pack_scales, pack_ternary, scale_layout, ternary_layout
from chimerac.compiler.ir.ops import OPS
from chimerac.compiler.ir.ops.experts import sort_pairs
from chimerac.compiler.ir.ops.linear import ternarise
from chimerac.compiler.ir.ops.norms import quantise_blocks
from chimerac.compiler.ir.types import TensorType
from chimerac.runtime.bundle_format import APPLE_DIRECTORY
from chimerac.targets.isa import apple_arm64, load_isa
from chimerac.targets.kernel_spec import KernelSpec

ISA = load_isa("macos-arm64")
PANEL = ISA.panel_rows
LEAST = 4  #: CHM_AMX_LEAST
NEON, AMX = "dotprod", "amx"
RANDOM = np.random.default_rng(23)


def normal(*shape: int) -> np.ndarray:
    return (RANDOM.standard_normal(shape) * 3).astype(np.float32)


def packed(plain: Case) -> Case:
    """With trits and scales as the kernels want them."""
    trits, scales = pack_ternary(plain.arrays[2], PANEL), pack_scales(plain.arrays[3], PANEL)
    types = list(plain.types)
    types[2] = TensorType("u8", trits.shape, ternary_layout(PANEL))
    types[3] = TensorType("f16", scales.shape, scale_layout(PANEL))
    return Case(plain.op, tuple(types), plain.arrays, plain.attributes, plain.n, packed={2: trits, 3: scales})


def product(x: np.ndarray, trits: np.ndarray, scales: np.ndarray, group: int, block: int) -> Case:
    attributes = {"rows": trits.shape[0], "columns": trits.shape[1], "group": group, "block": block}
    return packed(case("ternary_matmul", [*quantise_blocks(x, block), trits, scales], attributes, tokens=[0, 1]))


def random_product(*shape: int, rows: int, group: int = 128, block: int = 64) -> Case:
    return product(normal(*shape), *ternarise(normal(rows, shape[-1]), group), group, block)


def grouped(chosen: np.ndarray, experts: int, rows: int, columns: int) -> Case:
    order, _, offsets = sort_pairs(chosen, experts)
    codes, scales = quantise_blocks(normal(len(chosen), columns), 64)
    tokens = order // chosen.shape[1]
    operands = [codes[tokens], scales[tokens], *ternarise(normal(experts, rows, columns), 128), offsets]
    attributes = {"rows": rows, "columns": columns, "group": 128, "block": 64}
    return packed(case("grouped_ternary_matmul", operands, attributes, tokens=[0, 1]))


def extremes() -> Case:
    """The largest sums of a block, equal and opposite in the two rows of a lane; unusual scales."""
    x = np.full((6, 256), 2.0, np.float32)
    x[1] = -2
    x[2] = np.where(np.arange(256) % 2, 2, -2)
    x[3, 70], x[3, 130] = np.nan, np.inf
    x[4] = np.nan
    trits = np.ones((64, 256), np.int8)
    trits[16:32] = -1
    trits[32:48, 1::2] = -1
    scales = np.tile(np.array([[6e-8, 65504], [1e-5, 1], [0.5, 3e-7], [1, -2]], np.float16), (16, 1))
    return product(x, trits, scales, 128, 64)


CASES = {
    "one tile": random_product(16, 128, rows=64),
    "three rows": random_product(4, 65, rows=3),
    "rows that fill no panel": random_product(5, 200, rows=70),
    "few columns": random_product(16, 7, rows=8),
    "17 tokens": random_product(17, 64, rows=130),
    "three rows of each of 6 tokens": random_product(6, 3, 100, rows=9),
    "other blocks": random_product(7, 330, rows=33, group=96, block=32),
    "blocks of 16": random_product(4, 50, rows=17, group=16, block=16),
    "several slabs": random_product(6, 2100, rows=40),
    "slabs of odd groups": random_product(4, 1500, rows=12, group=448),
    "extremes": extremes(),
    "experts": grouped(np.array([RANDOM.permutation(5)[:2] for _ in range(16)], np.int32), 5, 37, 136),
    "one busy expert": grouped(np.tile(np.array([[3, 0]], np.int32), (9, 1)), 5, 64, 64),
    "few tokens for each": grouped(np.array([[0, 4], [1, 4], [2, 4], [2, 4], [0, 4]], np.int32), 5, 20, 200),
}
SPECS = {name: KernelSpec.of(one.ir_op) for name, one in CASES.items()}


def run(
    kernels: AppleKernels, name: str, kernel_set: str, parts: Sequence[tuple[int, int]] = ()
) -> tuple[np.ndarray, int]:
    one = CASES[name]
    operands = [one.packed.get(i, array) for i, array in enumerate(one.arrays)]
    (found,), outer = kernels.run(SPECS[name], operands, one.n, kernel_set, parts)
    return found, outer


@pytest.fixture(scope="module")
def products(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppleKernels]:
    kernels = build_kernels(SPECS.values(), ISA, tmp_path_factory.mktemp("products"))
    yield kernels
    assert kernels.machine.blocks == 0


def expected(one: Case) -> np.ndarray:
    reference = OPS[one.op].reference
    assert reference is not None
    with np.errstate(all="ignore"):
        result: np.ndarray = reference(one.ir_op, [np.array(a) for a in one.arrays])[0]
    return result


@pytest.mark.parametrize("kernel_set", [NEON, AMX])
@pytest.mark.parametrize("name", CASES)
def test_products_equal_the_reference(products: AppleKernels, name: str, kernel_set: str) -> None:
    found, outer = run(products, name, kernel_set)
    assert_same_bits(expected(CASES[name]), found, name)
    assert (outer > 0) == (kernel_set == AMX)


@pytest.mark.parametrize("name", ["17 tokens", "rows that fill no panel", "experts"])
def test_parts_add_up_to_the_whole_and_repeat_nothing(products: AppleKernels, name: str) -> None:
    """However a kernel's panels are cut, and in any order; a part without the start of a tile computes no tile."""
    sharing = SPECS[name].sharing
    assert sharing is not None
    count = sharing.units
    whole, outer = run(products, name, AMX)
    for cuts in ({0, count}, {0, 1, count}, set(range(count + 1)), {0, count // 2, count}, {0, count - 1, count}):
        parts = list(pairwise(sorted(cuts)))[::-1]
        found, again = run(products, name, AMX, parts)
        assert_same_bits(whole, found, f"{name} in {parts}")
        assert again == outer


def test_one_outer_product_serves_64_rows_and_16_tokens(products: AppleKernels) -> None:
    assert run(products, "one tile", AMX)[1] == 128
    assert run(products, "17 tokens", AMX)[1] == 2 * 3 * 64


def test_few_tokens_are_left_to_neon(products: AppleKernels) -> None:
    """Only the last expert has as many as it takes."""
    assert run(products, "few tokens for each", AMX)[1] == 13 * 16
    counts = np.diff(CASES["few tokens for each"].arrays[4])
    assert counts.tolist() == [2, 1, 2, 0, 5]


def test_one_token_and_unusual_sizes_have_no_kernel_of_their_own() -> None:
    body = apple_arm64.amx_of(ISA).c_kernels
    assert body is not None

    def lines(one: Case) -> list[str] | None:
        return body.body(KernelSpec.of(one.ir_op), "before")

    assert lines(CASES["one tile"]) is not None
    assert lines(random_product(4, 256, rows=8, group=256, block=128)) is None
    assert lines(random_product(4, 4096, rows=8, group=2048)) is None
    assert lines(grouped(np.zeros((4, 1), np.int32), 257, 8, 16)) is None
    single = CASES["one tile"]
    static = Case(single.op, tuple(t.bind(1) for t in single.types), single.arrays, single.attributes)
    assert lines(static) is None
    assert lines(case("int8_matmul", single.arrays, single.attributes, tokens=[0, 1])) is None


def test_limits_are_those_of_the_header() -> None:
    header = (APPLE_DIRECTORY / "chm_amx.h").read_text()
    limits = dict(re.findall(r"#define CHM_AMX_(\w+)\s+(\d+)", header))
    ours = {"BLOCK": apple_arm64.MOST_BLOCK, "GROUP": apple_arm64.MOST_GROUP, "EXPERTS": apple_arm64.MOST_EXPERTS}
    assert {name: int(limits[name]) for name in ours} == ours
    assert int(limits["LEAST"]) == LEAST
