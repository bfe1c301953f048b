"""Instruction sets, one file each: a new one is a new file and a line here."""

from __future__ import annotations

from importlib import import_module

from chimerac.compiler.errors import UserError, did_you_mean
from chimerac.targets.isa.definition import Blocks, CKernels, Int8Dot, Isa, Primitive, TernaryDot

#: name → module that defines it as ``ISA``
ISAS: dict[str, str] = {
    "x86_64-avx2": "chimerac.targets.isa.x86_64_avx2",
    "x86_64-avx512": "chimerac.targets.isa.x86_64_avx512",
    "aarch64-neon": "chimerac.targets.isa.aarch64_neon",
    "macos-arm64": "chimerac.targets.isa.apple_macos",
    "ios-arm64": "chimerac.targets.isa.apple_ios",
    "wasm32-simd128": "chimerac.targets.isa.wasm_simd128",
    "wasm32-relaxed": "chimerac.targets.isa.wasm_relaxed",
    "wasm32-scalar": "chimerac.targets.isa.wasm_scalar",
}


def load_isa(name: str) -> Isa:
    """The instruction set of that name, or the variant ``<name>+<variant>`` of one.

    Raises:
        UserError: CHM303, there is none.
    """
    base, plus, _ = name.partition("+")
    variants = load_isa(base).variants if plus and base in ISAS else ()
    for variant in variants:
        if variant.name == name:
            return variant
    if name not in ISAS:
        hint = did_you_mean(name, ISAS) or f"known: {', '.join(ISAS)}"
        raise UserError("CHM303", f"no instruction set {name!r}", hint=hint)
    isa: Isa = import_module(ISAS[name]).ISA
    return isa


__all__ = ["ISAS", "Blocks", "CKernels", "Int8Dot", "Isa", "Primitive", "TernaryDot", "load_isa"]
