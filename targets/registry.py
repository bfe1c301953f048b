"""The targets that a build can name."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass

from chimerac.compiler.errors import UserError, did_you_mean


@dataclass(frozen=True)
class WebModule:
    """Another module of a web bundle; the loader takes the best one that runs. The file name says what it needs.

    Attributes:
        file: ``chimera.<feature>….wasm``, with features that runtime/web/variants.mjs knows.
        isa: key of ``targets.isa.ISAS``; its packed weights are those of the target.
        threads: whether several threads share its memory.
        kernels: name of the only kernel set that it holds; all of the instruction set's if empty.
    """

    file: str
    isa: str
    threads: bool = False
    kernels: str = ""


@dataclass(frozen=True)
class Target:
    """A kind of bundle.

    Attributes:
        name: as in ``--target`` and in bundle names.
        isa: key of ``targets.isa.ISAS``; for ONNX the target of the manifest.
        package: how the bundle is put together: key of ``compiler.packaging.package.PACKAGES``.
        library: file name of the code.
        doc: one line for ``chimerac targets``.
        tested: where the test suite executes this target's code.
        aliases: other spellings, those of configs among them.
        cpu: what a processor must have to run the code, as Linux names it.
        modules: beside ``library``, in a web bundle.
        runner: file name of a program that runs the bundle without Python; empty if the bundle has none.
    """

    name: str
    isa: str
    package: str
    library: str
    doc: str
    tested: str
    aliases: tuple[str, ...] = ()
    cpu: tuple[str, ...] = ()
    modules: tuple[WebModule, ...] = ()
    runner: str = ""


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
            "x86_64-avx512",
            "x86_64-avx512",
            "native",
            "libchimera.so",
            "Linux on x86-64 with AVX-512 VNNI and VBMI (Ice Lake, Zen 4 and later), fast at 1.6 bits a weight, too",
            "natively, where the processor has it",
            ("x86_64_avx512", "x86-64-avx512", "avx512"),
            (
                *("avx2", "bmi2", "f16c", "fma", "movbe"),
                *("avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512vbmi"),
            ),
        ),
        Target(
            "aarch64-neon",
            "aarch64-neon",
            "native",
            "libchimera.so",
            "Linux on 64-bit Arm (Raspberry Pi 3 and later, servers): a shared library with a C API, and a program",
            "in qemu as Cortex-A53, Cortex-A76 and with all features",
            ("aarch64_neon", "aarch64", "arm64", "arm64-linux", "linux-arm64"),
            ("asimd",),
            runner="chimera-run",
        ),
        Target(
            "apple-amx",
            "macos-arm64",
            "apple",
            "libchimera.dylib",
            "macOS 11 and later on Apple's processors (NEON; AMX on M1 to M3): a dylib with a C API, for Swift too",
            "in an emulator of the processor with a model of AMX, not on hardware",
            ("apple_amx", "apple_silicon_amx", "macos-arm64", "macos"),
        ),
        Target(
            "ios-arm64",
            "ios-arm64",
            "apple",
            "libchimera.dylib",
            "iOS and iPadOS 15 and later (NEON; AMX on A14 to A17 and M1 to M3): a dylib with a C API, for Swift too",
            "in an emulator of the processor with a model of AMX, not on hardware",
            ("ios",),
        ),
        Target(
            "wasm",
            "wasm32-simd128",
            "web",
            "chimera.wasm",
            "browsers and Node: a static folder with a WebAssembly (SIMD) module, an ES module and a page",
            "in Node, wasmtime and Chromium",
            ("wasm_simd128", "wasm-simd128", "wasm32", "web"),
            modules=(
                WebModule("chimera.relaxed.wasm", "wasm32-relaxed", kernels="relaxed"),
                WebModule("chimera.dot4.wasm", "wasm32-relaxed", kernels="dot4"),
                WebModule("chimera.threads.wasm", "wasm32-simd128", threads=True),
                WebModule("chimera.relaxed.threads.wasm", "wasm32-relaxed", True, "relaxed"),
                WebModule("chimera.dot4.threads.wasm", "wasm32-relaxed", True, "dot4"),
                WebModule("chimera.scalar.wasm", "wasm32-scalar"),
            ),
        ),
        Target(
            "onnx",
            "onnx",
            "onnx",
            "model.onnx",
            "ONNX Runtime 1.31 and later: a model with explicit state that gives the bits of the other targets",
            "in ONNX Runtime, on x86-64 and in Node",
            ("onnxruntime",),
        ),
        Target(
            "onnx-fused",
            "onnx-fused",
            "onnx",
            "model.onnx",
            "ONNX Runtime 1.31 and later: a faster model of large operators, whose last bits differ",
            "in ONNX Runtime, on x86-64",
            ("onnx_fused",),
        ),
    )
}


def host_target() -> str:
    """The target for the machine that this runs on."""
    if sys.platform == "darwin":
        return "apple-amx"
    return "aarch64-neon" if platform.machine().lower() in ("aarch64", "arm64") else "x86_64-avx2"


def find_target(name: str) -> Target:
    """The target of a name or alias.

    Raises:
        UserError: CHM300, unknown.
    """
    wanted = name.strip().lower()
    for target in TARGETS.values():
        if wanted in (target.name, *target.aliases):
            return target
    known = [*TARGETS, *(alias for t in TARGETS.values() for alias in t.aliases)]
    near = did_you_mean(wanted, known)
    hint = f"{near} " if near else ""
    raise UserError("CHM300", f"unknown target {name!r}", hint=f"{hint}targets: {', '.join(TARGETS)}")
