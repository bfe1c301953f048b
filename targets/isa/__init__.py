"""Instruction sets, one file each: a new one is a new file and a line here."""

from __future__ import annotations

from importlib import import_module

from chimerac.compiler.errors import UserError, did_you_mean
from chimerac.targets.isa.definition import Isa, Primitive

#: name → module that defines it as ``ISA``
ISAS: dict[str, str] = {
    "x86_64-avx2": "chimerac.targets.isa.x86_64_avx2",
    "wasm32-simd128": "chimerac.targets.isa.wasm_simd128",
}


def load_isa(name: str) -> Isa:
    """The instruction set of that name.

    Raises:
        UserError: CHM303, there is none.
    """
    if name not in ISAS:
        hint = did_you_mean(name, ISAS) or f"known: {', '.join(ISAS)}"
        raise UserError("CHM303", f"no instruction set {name!r}", hint=hint)
    isa: Isa = import_module(ISAS[name]).ISA
    return isa


__all__ = ["ISAS", "Isa", "Primitive", "load_isa"]
