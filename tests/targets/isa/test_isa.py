"""Instruction sets: each primitive's numpy meaning against the compiled instruction."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from emulated import emulator, link_server
from kernel_harness import Library, emulated, product_isas
from tvm import ir, tirx

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.types import TensorType
from chimerac.targets.code.link import link
from chimerac.targets.isa import Isa, Primitive, load_isa
from chimerac.targets.kernel_spec import KernelSpec
from chimerac.targets.kernels.tensorir import lanes_of, lower

#: of operands, about what kernels use; bytes of codes may be in place, multiplied by up to 64
RANGES = {
    "uint8": (0, 129),
    "int8": (-128, 128),
    "int16": (-20000, 20000),
    "int32": (-(2**24), 2**24),
    "uint32": (0, 2**24),
    "float32": (-99, 100),
}
IR_DTYPES = {"uint8": "u8", "int8": "i8", "int32": "i32"}


def instruction(primitive: Primitive) -> tuple[Any, KernelSpec]:
    """A function that applies the primitive once; types that the IR has not travel as bytes."""
    spec_types = []
    parameters: list[Any] = []
    statements: list[Any] = []
    values = []
    for i, dtype in enumerate((*primitive.arguments, primitive.result)):
        base, lanes = lanes_of(dtype)
        pointer = tirx.Var(f"p{i}", ir.PointerType(ir.PrimType(base)))
        buffer = tirx.decl_buffer((lanes,), base, data=pointer, name=f"p{i}")
        parameters.append(pointer)
        statements.append(tirx.DeclBuffer(buffer, data=pointer))
        values.append((buffer, [tirx.Ramp(tirx.IntImm("int32", 0), tirx.IntImm("int32", 1), lanes)]))
        known = base in IR_DTYPES
        spec_types.append(TensorType(IR_DTYPES.get(base, "i8"), (lanes * (1 if known else np.dtype(base).itemsize),)))
    *arguments, (result, places) = values
    value = primitive.build(*(tirx.BufferLoad(buffer, places) for buffer, places in arguments))
    statements.append(tirx.BufferStore(result, value, places))
    spec = KernelSpec("reshape", tuple(spec_types[:-1]), (spec_types[-1],), (("primitive", primitive.name),))
    function = tirx.PrimFunc(parameters, tirx.SeqStmt(statements))
    return function.with_attr({"global_symbol": spec.symbol, "tirx.noalias": True}), spec


def samples(isa: Isa, primitive: Primitive) -> list[list[np.ndarray]]:
    """Random operands."""
    random = np.random.default_rng(3)
    found = []
    for _ in range(20):
        arrays = []
        for dtype in primitive.arguments:
            base, lanes = lanes_of(dtype)
            low, high = RANGES[base]
            arrays.append(random.integers(low, high, lanes).astype(base))
        found.append(arrays)
    return found


@pytest.mark.parametrize("name", product_isas())
def test_primitives_mean_what_they_say(name: str, tmp_path: Path) -> None:
    isa = load_isa(name)
    functions = {p.name: instruction(p) for p in isa.primitives.values()}
    objects = []
    for function, spec in functions.values():
        objects.append(tmp_path / f"{spec.symbol}.o")
        lower(function, isa).write_to_file(str(objects[-1]), "o")
    path = tmp_path / f"primitives{isa.suffix}"
    specs = [spec for _, spec in functions.values()]
    exports = [spec.symbol for spec in specs]
    if emulated(isa):
        link_server(objects, specs, isa, path)
    else:
        link(objects, [], isa, path, exports + (["__heap_base"] if isa.suffix == ".wasm" else []))
    library = Library(isa, path, specs)
    for primitive in isa.primitives.values():
        spec = functions[primitive.name][1]
        for arrays in samples(isa, primitive):
            operands = [a.view(t.numpy) for a, t in zip(arrays, spec.operands, strict=True)]
            (got,) = library.run(spec, operands, 1)
            np.testing.assert_array_equal(got.view(lanes_of(primitive.result)[0]), primitive.meaning(*arrays))
    library.close()


def test_emulated_processors_have_no_more_than_they_should(tmp_path: Path) -> None:
    """Otherwise, running kernels on them would prove nothing."""
    isa = load_isa("aarch64-neon+dotprod")
    if emulator("aarch64") is None or not emulated(isa):
        pytest.skip("AArch64 code is not emulated here")
    primitive = isa.primitives["dot4_i8"]
    function, spec = instruction(primitive)
    lower(function, isa).write_to_file(str(tmp_path / "dot.o"), "o")
    link_server([tmp_path / "dot.o"], [spec], isa, tmp_path / "dot")
    operands = [a.view(t.numpy) for a, t in zip(samples(isa, primitive)[0], spec.operands, strict=True)]
    Library(isa, tmp_path / "dot", [spec]).run(spec, operands, 1)
    with pytest.raises(AssertionError, match=rf"ended with status -{signal.SIGILL:d}"):
        Library(replace(isa, needs=()), tmp_path / "dot", [spec]).run(spec, operands, 1)


def test_unknown_instruction_set() -> None:
    with pytest.raises(UserError) as caught:
        load_isa("x86_64-avx3")
    assert caught.value.code == "CHM303"
    assert "x86_64-avx2" in caught.value.render()
