"""``chimerac doctor``: what a build needs on this machine, and whether it is there and works."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Finding:
    """One thing looked at. ``needed`` is false for what only some commands use."""

    what: str
    ok: bool
    detail: str
    needed: bool = True


@dataclass(frozen=True)
class Diagnosis:
    """Everything that was looked at. ``ok`` tells whether builds work here."""

    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing that is needed is missing."""
        return all(finding.ok for finding in self.findings if finding.needed)

    def lines(self) -> Iterator[str]:
        """A line for each finding: ``ok``, ``no`` for what a build misses, ``--`` for what else is not there."""
        width = max(len(finding.what) for finding in self.findings)
        for finding in self.findings:
            mark = "ok" if finding.ok else "no" if finding.needed else "--"
            yield f"{mark}  {finding.what:<{width}}  {finding.detail}"


#: Packages of the ``build`` extra by their names on PyPI.
BUILD_PACKAGES = ("torch", "apache-tvm", "ziglang", "lark", "safetensors")


def doctor() -> Diagnosis:
    """Look at Python, packages, the C compiler, the cache folder, Node, qemu and the processor; never fails."""
    return Diagnosis(
        (
            Finding("python", sys.version_info >= (3, 11), platform.python_version()),
            *(_package(name) for name in BUILD_PACKAGES),
            _compiler(),
            _cache(),
            _node(),
            _emulator(),
            _processor(),
        )
    )


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
            from chimerac.targets.code.link import run_zig

            run_zig(
                ["cc", "-target", "wasm32-freestanding", "-nostdlib", "-Wl,--no-entry", str(source), "-o", str(output)]
            )
        except (UserError, OSError, ImportError) as error:
            return Finding("C compiler", False, str(error).splitlines()[-1])
    return Finding("C compiler", True, "zig cc compiles and links for wasm")


def _cache() -> Finding:
    from chimerac.targets.code.codegen import cache_directory

    folder = cache_directory()
    existing = next(p for p in (folder, *folder.parents) if p.exists())
    writable = existing.is_dir() and os.access(existing, os.W_OK)
    return Finding("cache", writable, f"{folder}" if writable else f"{folder} is not writable: set CHIMERAC_CACHE")


def _node() -> Finding:
    from chimerac.runtime.errors import BundleError
    from chimerac.runtime.sessions.wasm import find_node

    try:
        return Finding("node", True, find_node()[0], needed=False)
    except BundleError as error:
        return Finding("node", False, f"{error.message}; only `run` and `verify` on wasm need it", needed=False)


def _emulator() -> Finding:
    from chimerac.runtime.sessions.runner import find_emulator

    found = find_emulator("aarch64")
    missing = "not installed; only `run` and `verify` of AArch64 bundles on another machine need it"
    return Finding("qemu-aarch64", found is not None, found or missing, needed=False)


def _processor() -> Finding:
    from chimerac.targets.registry import TARGETS

    try:
        flags = set(Path("/proc/cpuinfo").read_text(errors="replace").split())
    except OSError:
        return Finding("processor", True, platform.machine(), needed=False)
    machine = platform.machine()
    native = [t for t in TARGETS.values() if t.isa.startswith(machine)]
    runnable = [target.name for target in native if flags.issuperset(target.cpu)]
    detail = f"{machine}; runs {', '.join(runnable) or 'no native target'}"
    return Finding("processor", bool(runnable), detail, needed=False)
