"""Products on the tiles of Intel's AMX, against the numpy reference, where the processor has them."""

from __future__ import annotations

import ctypes as ct
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from kernel_harness import GUARD, Case, assert_same_bits, case, processor_flags

from chimerac.compiler.ir.layouts import pack_scales, pack_ternary, scale_layout, ternary_layout
from chimerac.compiler.ir.ops import OPS
from chimerac.compiler.ir.ops.linear import ternarise
from chimerac.compiler.ir.ops.norms import quantise_blocks
from chimerac.compiler.ir.types import TensorType
from chimerac.runtime.bundle_format import NATIVE_DIRECTORY
from chimerac.targets.code.link import COMPILE_FLAGS, run_zig
from chimerac.targets.isa import load_isa, x86_64_amx
from chimerac.targets.kernel_spec import KernelSpec

ISA = load_isa("x86_64-avx2")
AMX = load_isa("x86_64-avx2+amxint8")
RANDOM = np.random.default_rng(29)
#: Asks for tiles, as chm_cpu.c does, and multiplies in a thread whose registers nobody else has touched.
DRIVER = """
#include <sys/syscall.h>
#include "chm_amxint8.h"
long syscall(long number, ...);
int ask(void) { return (int)syscall(SYS_arch_prctl, 0x1023, 18); }
"""


class Matrix(ct.Structure):
    _fields_ = [(name, ct.c_int32) for name in ("rows", "columns", "group", "block")]


def product(tokens: int, rows: int, columns: int, group: int, block: int = 64, form: str = "t2") -> Case:
    x = (RANDOM.standard_normal((tokens, columns)) * 3).astype(np.float32)
    trits, scales = ternarise(RANDOM.standard_normal((rows, columns)).astype(np.float32), group)
    attributes = {"rows": rows, "columns": columns, "group": group, "block": block}
    plain = case("ternary_matmul", [*quantise_blocks(x, block), trits, scales], attributes, tokens=[0, 1])
    packed = {2: pack_ternary(trits, 8, form), 3: pack_scales(scales, 8)}
    types = list(plain.types)
    types[2] = TensorType("u8", packed[2].shape, ternary_layout(8, form))
    types[3] = TensorType("f16", packed[3].shape, scale_layout(8))
    return Case(plain.op, tuple(types), plain.arrays, plain.attributes, plain.n, packed=packed)


def extremes() -> Case:
    """The largest sums; scales of activations that are not numbers; sums and results of -0."""
    one = product(5, 16, 512, 256)
    one.arrays[0][:] = np.where(np.arange(512) % 3, 127, -127)
    one.arrays[1][1:] = np.array([[np.nan], [np.inf], [-0.0], [1e38]], np.float32)
    return one


CASES = {
    "groups of two blocks": product(16, 24, 384, 128),
    "a group is a batch": product(16, 16, 1024, 256),
    "groups of a block, three at the end": product(7, 13, 448, 64),
    "groups of several batches": product(17, 40, 1792, 768),
    "a group that ends early": product(33, 9, 1088, 512),
    "one scale a row": product(4, 32, 832, 832),
    "one scale a row and a token": product(50, 11, 704, 704, 704),
    "few columns": product(3, 3, 64, 64),
    "all parts and more": product(83, 17, 320, 128),
    "as many columns as may be": product(19, 8, 8192, 256),
    "rows enough to copy codes": product(39, 803, 320, 128),
    "the same with one scale a row and a token": product(19, 803, 192, 192, 192),
    "extremes": extremes(),
}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ct.CDLL:
    if "amx_int8" not in processor_flags():
        pytest.skip("this processor has no tiles")
    folder = tmp_path_factory.mktemp("amxint8")
    driver, output = folder / "driver.c", folder / "amxint8.so"
    driver.write_text(DRIVER)
    sources = (str(driver), str(NATIVE_DIRECTORY / "chm_amxint8.c"), f"-I{NATIVE_DIRECTORY}")
    strict = ("-Wall", "-Wextra", "-Werror", "-shared", "-fvisibility=default")
    run_zig(["cc", "-target", ISA.triple, *COMPILE_FLAGS, *ISA.compile_flags, *strict, *sources, "-o", str(output)])
    found = ct.CDLL(str(output))
    if found.ask():
        pytest.skip("the system does not give tiles to this process")
    return found


def run(library: ct.CDLL, one: Case, cuts: set[int]) -> np.ndarray:
    """The result, of parts between these panels, the last one first."""
    rows, columns, group, block = (int(one.attributes[name]) for name in ("rows", "columns", "group", "block"))
    arrays = [np.ascontiguousarray(one.packed.get(i, array)) for i, array in enumerate(one.arrays)]
    memory = np.full(one.n * rows + GUARD, 77, np.float32)
    for begin, end in list(pairwise(sorted(cuts)))[::-1]:
        pointers = [ct.c_void_p(array.ctypes.data) for array in (*arrays, memory)]
        matrix = Matrix(rows, columns, group, block)
        library.chm_amxint8_product(ct.byref(matrix), *pointers, ct.c_int32(one.n), ct.c_int32(begin), ct.c_int32(end))
    assert (memory[one.n * rows :] == 77).all(), "written behind the result"
    return memory[: one.n * rows].reshape(one.n, rows)


@pytest.mark.parametrize("name", CASES)
def test_products_equal_the_reference(library: ct.CDLL, name: str) -> None:
    one = CASES[name]
    reference = OPS[one.op].reference
    assert reference is not None
    with np.errstate(all="ignore"):
        expected = reference(one.ir_op, [np.array(a) for a in one.arrays])[0]
    panels = -(-int(one.attributes["rows"]) // 8)
    for cuts in ({0, panels}, set(range(panels + 1)), {0, panels // 3, panels}):
        assert_same_bits(expected, run(library, one, cuts), f"{name}, {sorted(cuts)}")


def test_one_token_and_other_sizes_are_left_to_generated_kernels() -> None:
    assert AMX.c_kernels is not None

    def lines(one: Case) -> list[str] | None:
        assert AMX.c_kernels is not None
        return AMX.c_kernels.body(KernelSpec.of(one.ir_op), "before")

    for name, one in CASES.items():
        assert lines(one) is not None, name
    refused = {
        "columns that fill no tile": product(4, 8, 96, 32, 32),
        "blocks that are no tile": product(4, 8, 256, 128, 128),
        "groups that fill no batch": product(4, 8, 384, 192),
        "too many columns": product(4, 8, 8256, 64),
        "base 3": product(4, 8, 128, 128, form="t5"),
    }
    for name, one in refused.items():
        assert lines(one) is None, name
    single = CASES["few columns"]
    assert lines(Case(single.op, tuple(t.bind(1) for t in single.types), single.arrays, single.attributes)) is None
    assert lines(case("int8_matmul", single.arrays, single.attributes, tokens=[0, 1])) is None


def test_limits_are_those_of_the_header() -> None:
    limits = dict(
        re.findall(r"#define CHM_AMXINT8_(\w+)\s+(\d+)", Path(NATIVE_DIRECTORY / "chm_amxint8.h").read_text())
    )
    assert (int(limits["COLUMNS"]), int(limits["MOST"])) == (x86_64_amx.COLUMNS, x86_64_amx.MOST)
