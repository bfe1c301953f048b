"""Kernels of ops of other packages (compiler/ir/custom.py): C, which zig compiles, or TensorIR like ours."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.custom import CUSTOM, CustomOp
from chimerac.compiler.ir.types import TensorType
from chimerac.runtime.bundle_format import NATIVE_DIRECTORY, WASM_C_FLAGS
from chimerac.targets.code.link import COMPILE_FLAGS, run_zig
from chimerac.targets.isa import Isa
from chimerac.targets.kernel_spec import KernelSpec

_C_TYPES = {"f32": "float", "i32": "int32_t", "i8": "int8_t", "u8": "uint8_t", "f16": "uint16_t", "bf16": "uint16_t"}


def is_own(spec: KernelSpec) -> bool:
    """Whether a kernel is of an op of another package."""
    return spec.op in CUSTOM


def own_digest(spec: KernelSpec, isa: Isa) -> str:
    """Digest of what such a kernel becomes code from; empty of kernels of ours."""
    if not is_own(spec):
        return ""
    op = CUSTOM[spec.op]
    if isinstance(op.kernel, str):
        made = repr((c_source(spec, isa), isa.triple, isa.compile_flags, version("ziglang")))
    else:
        made = str(_tensorir(op, spec, isa).script())
    return hashlib.sha256(made.encode()).hexdigest()


def compile_own(spec: KernelSpec, isa: Isa, place: Path) -> None:
    """Compile such a kernel to an object file; raises UserError CHM307."""
    op = CUSTOM[spec.op]
    if not isinstance(op.kernel, str):
        from chimerac.targets.kernels.tensorir import lower

        function = _tensorir(op, spec, isa)
        try:
            lower(function, isa).write_to_file(str(place), "o")
        except Exception as error:
            raise _failed(op, isa, error) from None
        return
    with tempfile.TemporaryDirectory() as work:
        source = Path(work) / "kernel.c"
        source.write_text(c_source(spec, isa), "utf-8")
        flags = WASM_C_FLAGS if isa.suffix == ".wasm" else ()
        command = [
            "cc",
            "-c",
            "-target",
            isa.triple,
            *COMPILE_FLAGS,
            *isa.compile_flags,
            *flags,
            f"-I{NATIVE_DIRECTORY}",
        ]
        try:
            run_zig([*command, str(source), "-o", str(place)])
        except UserError as error:
            said = error.message.replace(f"{source}:", "kernel, line ")
            raise UserError("CHM307", f"the kernel of {op.torch} does not compile for {isa.name}: {said}") from None


def c_source(spec: KernelSpec, isa: Isa) -> str:
    """The file of a C kernel; errors are counted from the first line of its body."""
    op = CUSTOM[spec.op]
    names = [*op.operands, *_result_names(spec)]
    parameters = [_parameter(kind, name) for kind, name in zip(spec.operands, op.operands, strict=True)]
    parameters += [
        f"{_C_TYPES[t.dtype]} *restrict {name}" for t, name in zip(spec.results, names[len(parameters) :], strict=True)
    ]
    parameters += ["int32_t n"] if spec.dynamic else []
    lines = [
        "#include <stdint.h>",
        '#include "chm_math.h"',
        '__attribute__((visibility("default")))',
        f"void {spec.symbol}{isa.symbol_suffix}({', '.join(parameters)}) {{",
        *(f"  {line}" for line in _sizes(spec, names)),
        *(f"  const {_number(name, value)}; (void){name};" for name, value in spec.attributes),
        "#line 1",
        str(op.kernel),
        "}",
        "",
    ]
    return "\n".join(lines)


def _result_names(spec: KernelSpec) -> list[str]:
    count = len(spec.results)
    return ["out"] if count == 1 else [f"out{i}" for i in range(count)]


def _parameter(kind: TensorType, name: str) -> str:
    if kind.dtype == "i32" and kind.shape == ():
        return f"int32_t {name}"
    return f"const {_C_TYPES[kind.dtype]} *restrict {name}"


def _sizes(spec: KernelSpec, names: list[str]) -> Iterator[str]:
    """How many elements each tensor has, and in its last axis."""
    for kind, name in zip((*spec.operands, *spec.results), names, strict=True):
        if kind.dtype == "i32" and kind.shape == ():
            continue
        size, tokens = kind.elements(), " * n" if kind.is_dynamic else ""
        last = kind.shape[-1] if kind.shape else 1
        yield f"const int32_t {name}_size = {size}{tokens}; (void){name}_size;"
        yield f"const int32_t {name}_last = {last if isinstance(last, int) else 'n'}; (void){name}_last;"


def _number(name: str, value: object) -> str:
    if isinstance(value, str):
        text = "".join(f"\\{byte:03o}" for byte in value.encode())
        return f'char *const {name} = "{text}"'
    return f"int32_t {name} = {value}" if isinstance(value, int) else f"float {name} = {float(str(value)).hex()}f"


def _tensorir(op: CustomOp, spec: KernelSpec, isa: Isa) -> Any:
    assert callable(op.kernel)
    try:
        return op.kernel(spec, isa)
    except Exception as error:
        raise _failed(op, isa, error) from error


def _failed(op: CustomOp, isa: Isa, error: Exception) -> UserError:
    said = " ".join(str(error).split())[:400]
    return UserError(
        "CHM307", f"the kernel of {op.torch} cannot be built for {isa.name}: {type(error).__name__}: {said}"
    )
