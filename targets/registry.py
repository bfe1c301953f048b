"""The targets that a build can name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from chimerac.compiler.errors import UserError, did_you_mean


@dataclass(frozen=True)
class Target:
    """A kind of bundle.

    Attributes:
        name: as in ``--target`` and in bundle names.
        isa: key of ``targets.isa.ISAS``.
        package: how the bundle is put together: a shared library, or a folder for a web server.
        library: file name of the code.
        doc: one line for ``chimerac targets``.
        tested: where the test suite executes this target's code.
        aliases: other spellings, those of configs among them.
        cpu: what a processor must have to run the code, as Linux names it.
    """

    name: str
    isa: str
    package: Literal["native", "web"]
    library: str
    doc: str
    tested: str
    aliases: tuple[str, ...] = ()
    cpu: tuple[str, ...] = ()


TARGETS: dict[str, Target] = {
    t.name: t
    for t in (
        Target(
            "x86_64-avx2",
            "x86_64-avx2",
            "native",
            "libchimera.so",
            "Linux on x86-64 processors with AVX2 (2013 and later): a shared library with a C API",
            "natively",
            ("x86_64_avx2", "x86-64-avx2", "x86_64", "linux"),
            ("avx2", "bmi2", "f16c", "fma", "movbe"),
        ),
        Target(
            "wasm",
            "wasm32-simd128",
            "web",
            "chimera.wasm",
            "browsers and Node: a static folder with a WebAssembly (SIMD) module, an ES module and a page",
            "in Node, wasmtime and Chromium",
            ("wasm_simd128", "wasm-simd128", "wasm32", "web"),
        ),
    )
}

#: Targets of the config language that this version does not build yet.
PLANNED = {
    "aarch64_neon": "AArch64 with NEON",
    "apple_silicon_amx": "Apple silicon",
    "onnx": "ONNX Runtime",
}


def find_target(name: str) -> Target:
    """The target of a name or alias.

    Raises:
        UserError: CHM300, unknown or not built by this version.
    """
    wanted = name.strip().lower()
    for target in TARGETS.values():
        if wanted in (target.name, *target.aliases):
            return target
    if wanted.replace("-", "_") in PLANNED:
        raise UserError(
            "CHM300", f"target {name!r} is not built by this version", hint=f"targets: {', '.join(TARGETS)}"
        )
    known = [*TARGETS, *(alias for t in TARGETS.values() for alias in t.aliases)]
    near = did_you_mean(wanted, known)
    hint = f"{near} " if near else ""
    raise UserError("CHM300", f"unknown target {name!r}", hint=f"{hint}targets: {', '.join(TARGETS)}")
