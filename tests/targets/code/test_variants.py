"""Kernel variants: which kernels are compiled, and the C code that chooses among them."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path

from project import ROOT

from chimerac.compiler.ir.ops import OPS
from chimerac.compiler.ir.types import TensorType, f32, i32
from chimerac.targets.code.variants import KernelSet, choice, compile_variants, declaration, kernel_sets, kernels_of
from chimerac.targets.isa import ISAS, load_isa
from chimerac.targets.kernel_spec import KernelSpec

PRODUCT = KernelSpec(
    "int8_matmul",
    (TensorType("i8", ("T", 16)), f32("T", 1), TensorType("i8", (8, 16)), TensorType("f16", (8, 1))),
    (f32("T", 8),),
    (("block", 16), ("columns", 16), ("group", 16), ("rows", 8)),
)
OTHER = KernelSpec("silu", (f32("T", 8),), (f32("T", 8),), ())
SETS = (KernelSet("plain"), KernelSet("better", ("dotprod",)), KernelSet("best", ("dotprod", "amx")))


def test_products_are_compiled_for_every_variant(tmp_path: Path) -> None:
    isa = load_isa("aarch64-neon")
    seen: list[tuple[str, int, int]] = []
    made = compile_variants([PRODUCT, OTHER, PRODUCT], isa, tmp_path, lambda o, n, of: seen.append((o.symbol, n, of)))
    symbols = {OTHER.symbol, f"{PRODUCT.symbol}__neon", f"{PRODUCT.symbol}__dotprod"}
    assert {o.symbol for o in made} == symbols
    assert all(o.object_path.name == f"{o.symbol}.o" and o.symbol.encode() in o.object_path.read_bytes() for o in made)
    assert [(n, of) for _, n, of in seen] == [(1, 3), (2, 3), (3, 3)]


def test_without_variants_names_are_plain(tmp_path: Path) -> None:
    isa = replace(load_isa("aarch64-neon"), variants=())
    assert [o.symbol for o in compile_variants([PRODUCT, OTHER], isa, tmp_path)] == [PRODUCT.symbol, OTHER.symbol]
    assert kernel_sets(isa) == (KernelSet("neon"),)
    types = "const void *, const void *, const void *, const void *, void *, int32_t, int32_t, int32_t"
    assert list(declaration(PRODUCT, kernel_sets(isa))) == [f"extern void {PRODUCT.symbol}({types});"]


def test_variants_read_the_same_weights_and_need_something() -> None:
    for name in ISAS:
        isa = load_isa(name)
        for variant in isa.variants:
            assert variant.panel_rows == isa.panel_rows
            assert variant.needs
            assert not variant.variants
            assert load_isa(variant.name) == variant
        names = [one.name for one in kernel_sets(isa)]
        assert len(set(names)) == len(names)


def test_only_products_are_dispatched() -> None:
    assert list(declaration(OTHER, SETS)) == [
        f"extern void {OTHER.symbol}(const void *, void *, int32_t);",
    ]
    products = {op.name for op in OPS.values() if op.integer_product}
    assert products == {f"{kind}{name}_matmul" for kind in ("", "grouped_") for name in ("ternary", "int8")} | {
        "ternary_chosen_matmul",
        "int8_chosen_matmul",
    }


def test_wide_kernels_are_those_of_sets_with_wider_registers() -> None:
    cache = f32(2, 40, 16)
    operands = (f32("T", 4, 16), f32("T", 2, 16), f32("T", 2, 16), cache, cache, i32())
    attention = KernelSpec("cached_attention", operands, (f32("T", 4, 16), cache, cache), (("window", 0),))
    isa = load_isa("x86_64-avx2")
    compiled = {i.kernels: specs for specs, i in kernels_of([attention, PRODUCT, OTHER], isa) if i.symbol_suffix}
    assert {name for name, specs in compiled.items() if attention in specs} == {"avx2", "avx512vnni"}
    assert all(PRODUCT in specs and OTHER not in specs for specs in compiled.values())
    text = "\n".join(declaration(attention, kernel_sets(isa)))
    called = re.findall(r"(\d|default): \w+__(\w+)\(", text)
    assert called == [("1", "avx2"), ("2", "avx512vnni"), ("3", "avx512vnni"), ("default", "avx2")]
    narrow = replace(attention, operands=(f32("T", 4, 24), *attention.operands[1:]))
    for spec, sets in ((narrow, kernel_sets(isa)), (attention, SETS)):
        assert not spec.wide or not any(one.wide for one in sets)
        assert [line.split()[0] for line in declaration(spec, sets)] == ["extern"]


def test_the_chosen_kernel_is_called_with_all_arguments(tmp_path: Path) -> None:
    """The generated C, compiled with kernels that print what they are called with."""
    lines = ["#include <stdint.h>", "#include <stdio.h>", '#include "chm_cpu.h"', *choice(SETS)]
    lines += declaration(PRODUCT, SETS)
    for one in SETS:
        types = [f"{t}{'' if t.endswith('*') else ' '}p{i}" for i, t in enumerate(PRODUCT.c_parameters)]
        lines.append(f"void {PRODUCT.symbol}__{one.name}({', '.join(types)}) {{")
        lines.append(f'  printf("{one.name}");')
        lines += [f'  printf(" %d", (int)(intptr_t)p{i});' for i in range(len(types))]
        lines += ['  printf("\\n");', "}"]
    lines.append("int main(void) {")
    arguments = [f"(void *){i}" if t.endswith("*") else str(i) for i, t in enumerate(PRODUCT.c_parameters)]
    for chosen in (0, 1, 2, 7):
        lines.append(f"  kernel_set = {chosen}; {PRODUCT.symbol}({', '.join(arguments)});")
    lines.append('  for (int i = 0; i < 3; ++i) printf("%s %d\\n", kernel_sets[i].name, (int)kernel_sets[i].needs);')
    lines.append("}")
    source, program = tmp_path / "choice.c", tmp_path / "choice"
    source.write_text("\n".join(lines) + "\n")
    native = ROOT / "runtime" / "native"
    subprocess.run(["gcc", "-Wall", "-Wextra", "-Werror", f"-I{native}", str(source), "-o", str(program)], check=True)
    printed = subprocess.run([str(program)], capture_output=True, text=True, check=True).stdout.splitlines()
    counted = " ".join(map(str, range(len(arguments))))
    assert printed[:4] == [f"{name} {counted}" for name in ("plain", "better", "best", "plain")]
    assert printed[4:] == ["plain 0", "better 1", "best 3"]
