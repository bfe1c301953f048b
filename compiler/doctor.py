"""What a build needs on this machine, and whether it is there and works."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Finding:
    """One thing looked at. ``needed`` is false for what only some commands use."""

    what: str
    ok: bool
    detail: str
    needed: bool = True


#: Packages of the ``build`` extra by their names on PyPI.
BUILD_PACKAGES = ("torch", "apache-tvm", "ziglang", "lark", "safetensors")


def examine() -> list[Finding]:
    """Look at Python, packages, the C compiler, the cache folder, Node and the processor."""
    findings = [Finding("python", sys.version_info >= (3, 11), platform.python_version())]
    findings += [_package(name) for name in BUILD_PACKAGES]
    findings.append(_compiler())
    findings.append(_cache())
    findings.append(_node())
    findings.append(_processor())
    return findings


def _package(name: str) -> Finding:
    try:
        return Finding(name, True, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, False, "not installed: pip install 'chimerac[build]'")


def _compiler() -> Finding:
    """Compile and link an empty wasm module."""
    from chimerac.compiler.errors import UserError

    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder) / "empty.c", Path(folder) / "empty.wasm"
        source.write_text("int chimera_empty(void) { return 0; }\n")
        try:
            from chimerac.targets.link import run_zig

            run_zig(
                ["cc", "-target", "wasm32-freestanding", "-nostdlib", "-Wl,--no-entry", str(source), "-o", str(output)]
            )
        except (UserError, OSError, ImportError) as error:
            return Finding("C compiler", False, str(error).splitlines()[-1])
    return Finding("C compiler", True, "zig cc compiles and links for wasm")


def _cache() -> Finding:
    from chimerac.targets.codegen import cache_directory

    folder = cache_directory()
    existing = next(p for p in (folder, *folder.parents) if p.exists())
    writable = os.access(existing, os.W_OK)
    return Finding("cache", writable, f"{folder}" if writable else f"{folder} is not writable: set CHIMERAC_CACHE")


def _node() -> Finding:
    node = shutil.which("node")
    if node is None:
        return Finding("node", False, "not found; only `chimerac run` on wasm bundles needs it", needed=False)
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    major = version.lstrip("v").split(".")[0]
    return Finding("node", major.isdigit() and int(major) >= 20, version, needed=False)


def _processor() -> Finding:
    from chimerac.compiler.bundle import CPU_FEATURES

    try:
        flags = set(Path("/proc/cpuinfo").read_text(errors="replace").split())
    except OSError:
        return Finding("processor", True, platform.machine(), needed=False)
    runnable = [name for name, features in CPU_FEATURES.items() if flags.issuperset(features)]
    detail = f"{platform.machine()}; runs {', '.join(runnable) or 'no native target'}"
    return Finding("processor", bool(runnable), detail, needed=False)
