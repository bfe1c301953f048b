"""Instruction sets, one file each: a new one is a new file and an entry here."""

from __future__ import annotations

from collections.abc import Callable

from chimerac.compiler.errors import UserError, did_you_mean
from chimerac.targets.isa.definition import Blocks, CKernels, Int8Dot, Isa, Primitive, TernaryDot


def _x86_64_avx2() -> Isa:
    from chimerac.targets.isa.x86_64_avx2 import ISA

    return ISA


def _x86_64_avx512() -> Isa:
    from chimerac.targets.isa.x86_64_avx512 import ISA

    return ISA


def _aarch64_neon() -> Isa:
    from chimerac.targets.isa.aarch64_neon import ISA

    return ISA


def _apple_macos() -> Isa:
    from chimerac.targets.isa.apple_macos import ISA

    return ISA


def _apple_ios() -> Isa:
    from chimerac.targets.isa.apple_ios import ISA

    return ISA


def _wasm_simd128() -> Isa:
    from chimerac.targets.isa.wasm_simd128 import ISA

    return ISA


def _wasm_relaxed() -> Isa:
    from chimerac.targets.isa.wasm_relaxed import ISA

    return ISA


def _wasm_scalar() -> Isa:
    from chimerac.targets.isa.wasm_scalar import ISA

    return ISA


#: Name → what loads its file.
ISAS: dict[str, Callable[[], Isa]] = {
    "x86_64-avx2": _x86_64_avx2,
    "x86_64-avx512": _x86_64_avx512,
    "aarch64-neon": _aarch64_neon,
    "macos-arm64": _apple_macos,
    "ios-arm64": _apple_ios,
    "wasm32-simd128": _wasm_simd128,
    "wasm32-relaxed": _wasm_relaxed,
    "wasm32-scalar": _wasm_scalar,
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
    return ISAS[name]()


__all__ = ["ISAS", "Blocks", "CKernels", "Int8Dot", "Isa", "Primitive", "TernaryDot", "load_isa"]
