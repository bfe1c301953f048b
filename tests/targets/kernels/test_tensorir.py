"""The kernel builder: exact operations stay exact, sums keep their order, nothing is fused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from emulated import link_server
from kernel_harness import Library, assert_same_bits, emulated, native_isas

from chimerac.compiler.ir.numpy_math import NUMPY, lanes8_sum
from chimerac.compiler.ir.types import TensorType, f32, i32
from chimerac.targets.code.link import link
from chimerac.targets.isa import load_isa
from chimerac.targets.kernel_spec import KernelSpec
from chimerac.targets.kernels import find_kernel
from chimerac.targets.kernels.arithmetic import TirOps, lanes8_sums
from chimerac.targets.kernels.tensorir import Expr, KernelBuilder, lower, strips

RANDOM = np.random.default_rng(13)


def run(
    name: str,
    spec: KernelSpec,
    write: Callable[[KernelBuilder], None],
    arrays: list[np.ndarray],
    tmp_path: Path,
    n: int,
) -> np.ndarray:
    """The result of a kernel whose statements ``write`` emits."""
    isa = load_isa(name)
    builder = KernelBuilder(spec, isa)
    write(builder)
    tmp_path.mkdir(exist_ok=True)
    path = tmp_path / f"kernel{isa.suffix}"
    lower(builder.finish(), isa).write_to_file(str(tmp_path / "kernel.o"), "o")
    exports = [spec.symbol, "__heap_base"] if isa.suffix == ".wasm" else [spec.symbol]
    if emulated(isa):
        link_server([tmp_path / "kernel.o"], [spec], isa, path)
    else:
        link([tmp_path / "kernel.o"], [], isa, path, exports)
    return Library(isa, path, [spec]).run(spec, arrays, n)[0]


@pytest.mark.parametrize("name", native_isas())
def test_roundings_are_kept(name: str, tmp_path: Path) -> None:
    """``(x + c) - c``, ``x + 0`` of a negative zero, ``x * 1`` and division by a constant."""

    def meaning(o: object, x: object) -> object:
        big = o.f32(12582912.0)  # type: ignore[attr-defined]
        rounded = o.sub(o.add(x, big), big)  # type: ignore[attr-defined]
        positive = o.add(o.sub(x, x), o.mul(o.f32(-0.0), o.f32(1.0)))  # type: ignore[attr-defined]
        third = o.div(o.add(x, o.f32(0.0)), o.f32(3.0))  # type: ignore[attr-defined]
        return o.add(o.mul(rounded, third), o.div(o.f32(1.0), o.add(positive, o.f32(0.0))))  # type: ignore[attr-defined]

    def write(b: KernelBuilder) -> None:
        def element(i: Expr, lanes: int) -> None:
            b.store(b.results[0], i, meaning(TirOps(b, lanes), b.operands[0].load(i, lanes)))

        strips(b, 43, element)

    x = (RANDOM.standard_normal(43) * 1000).astype(np.float32)
    x[:3] = 0.0, -0.0, 0.5
    with np.errstate(all="ignore"):
        expected = np.asarray(meaning(NUMPY, x), np.float32)
    assert_same_bits(
        expected, run(name, KernelSpec("reshape", (f32(43),), (f32(43),), ()), write, [x], tmp_path, 1), name
    )


@pytest.mark.parametrize("name", native_isas())
def test_integers_wrap(name: str, tmp_path: Path) -> None:
    x = RANDOM.integers(-(2**31), 2**31, 19).astype(np.int32)

    def write(b: KernelBuilder) -> None:
        def element(i: Expr, lanes: int) -> None:
            ops = TirOps(b, lanes)
            value = b.operands[0].load(i, lanes)
            b.store(b.results[0], i, ops.isub(ops.iadd(value, ops.i32(0x7FFFFFFF)), ops.ishl(value, 7)))

        strips(b, 19, element)

    expected = x + np.int32(0x7FFFFFFF) - np.left_shift(x, np.int32(7))
    spec = KernelSpec("reshape", (i32(19),), (i32(19),), ())
    assert_same_bits(expected, run(name, spec, write, [x], tmp_path, 1), name)


@pytest.mark.parametrize("name", native_isas())
def test_sums_of_a_length_that_depends_on_the_call(name: str, tmp_path: Path) -> None:
    """Every prefix of two rows that start at odd places."""
    spec = KernelSpec("reshape", (f32(100), i32()), (f32(2),), ())
    x = RANDOM.standard_normal(100).astype(np.float32)
    x[5] = -0.0

    def write(b: KernelBuilder) -> None:
        values, length = b.operands
        sums = lanes8_sums(b, length, lambda i, lanes: [values.load(i + 5, lanes), values.load(i + 41, lanes)], 2)
        for place, total in enumerate(sums):
            b.store(b.results[0], place, total)

    for length in (0, 1, 7, 8, 9, 40):
        expected = np.stack([lanes8_sum(x[start : start + length]) for start in (5, 41)])
        got = run(name, spec, write, [x, np.array(length, np.int32)], tmp_path / str(length), 1)
        assert_same_bits(expected, got, f"{name} length {length}")


@pytest.mark.parametrize("op", ["tanh", "gelu", "rms_norm", "linear"])
def test_no_fused_multiply_add(op: str) -> None:
    """Haswell has them and LLVM would use them; rms_norm divides by a power of two, which LLVM makes a product."""
    types = {"rms_norm": (f32("T", 64), f32(64)), "linear": (f32("T", 64), f32(8, 64))}.get(op, (f32("T", 64),))
    attributes = (("eps", 1e-6),) if op == "rms_norm" else ()
    spec = KernelSpec(op, types, (TensorType("f32", ("T", 8 if op == "linear" else 64)),), attributes)
    isa = load_isa("x86_64-avx2")
    assembly = lower(find_kernel(op)(spec, isa), isa).inspect_source("asm")
    assert "vmulps" in assembly
    assert "vfmadd" not in assembly
    assert "vfmsub" not in assembly
    assert "vfnmadd" not in assembly
