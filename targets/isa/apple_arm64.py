"""What the instruction sets of Apple's systems share: NEON kernels, Mach-O, and products on the coprocessor AMX."""

from __future__ import annotations

from dataclasses import replace

from chimerac.compiler.ir.layouts import form_of
from chimerac.targets.isa.aarch64_neon import PLAIN
from chimerac.targets.isa.definition import CKernels, Isa
from chimerac.targets.kernel_spec import KernelSpec

#: What ``runtime/apple/chm_amx.c`` takes; as in its header.
MOST_BLOCK, MOST_GROUP, MOST_EXPERTS = 64, 1024, 256


def _amx_body(spec: KernelSpec, before: str) -> list[str] | None:
    """A product of several tokens goes to the coprocessor; one token's, and sizes that it does not take, do not."""
    if spec.op not in ("ternary_matmul", "grouped_ternary_matmul") or not spec.dynamic:
        return None
    if form_of(spec.operands[2].layout) != "t2":
        return None
    rows, columns, group, block = (spec.integer(name) for name in ("rows", "columns", "group", "block"))
    if block > MOST_BLOCK or group > MOST_GROUP:
        return None
    last = len(spec.c_parameters)
    n, begin, end = (f"a{i}" for i in range(last - 3, last))
    sizes = f"{{{rows}, {columns}, {group}, {block}, {PLAIN.panel_rows}}}"
    passed = ", ".join(f"a{i}" for i in range(last))
    matrix = f"static const chm_amx_matrix matrix = {sizes};"
    if spec.op == "grouped_ternary_matmul":
        experts = int(spec.operands[4].shape[0]) - 1
        if experts > MOST_EXPERTS:
            return None
        call = f"chm_amx_grouped(&matrix, a0, a1, a2, a3, a4, a5, {experts}, {n}, {begin}, {end}, {before});"
        return [matrix, call]
    each = _rows_per_token(spec)
    count = n if each == 1 else f"{n} * {each}"
    return [
        matrix,
        f"if ({count} < CHM_AMX_LEAST)",
        f"  {before}({passed});",
        "else",
        f"  chm_amx_product(&matrix, a0, a1, a2, a3, a4, {count}, {begin}, {end});",
    ]


def _rows_per_token(spec: KernelSpec) -> int:
    rows = 1
    for extent in spec.operands[0].shape[:-1]:
        rows *= extent if isinstance(extent, int) else 1
    return rows


def apple(system: str, version: str, cpu: str) -> Isa:
    """Plain NEON for a system from a version on, whose oldest processor LLVM calls ``cpu``."""
    zig_name = cpu.replace("-", "_")
    return replace(
        PLAIN,
        name=f"{system}-arm64",
        target={"kind": "llvm", "mtriple": f"arm64-apple-{system}{version}", "mcpu": cpu},
        triple=f"aarch64-{system}.{version}",
        compile_flags=(
            f"-mcpu={zig_name}",
            "-fPIC",
            "-fvisibility=hidden",
            "-D_FORTIFY_SOURCE=0",  # calls no checking twins of memcpy and the like
        ),
        link_flags=("-shared", "-Wl,-dead_strip", "-Wl,-install_name,@rpath/libchimera.dylib"),
        suffix=".dylib",
        program_triple="",
    )


def amx_of(isa: Isa) -> Isa:
    """The variant with products on the coprocessor."""
    return replace(
        isa,
        name=f"{isa.name}+amx",
        kernels="amx",
        needs=("amx",),
        variants=(),
        c_kernels=CKernels("chm_amx.h", ("apple/chm_amx.c",), _amx_body),
    )
