"""Linking kernels and C sources into a library, with zig as compiler and linker for every target."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from chimerac.compiler.errors import UserError
from chimerac.runtime.bundle_format import APPLE_DIRECTORY, cache_directory
from chimerac.targets.code.children import Children
from chimerac.targets.code.macho import hide_symbols
from chimerac.targets.isa import Isa

RunZig = Callable[[Sequence[str]], None]

#: A library needs the system's libc and nothing of the compiler's own, which zig would first compile for each system.
SYSTEM_ONLY = {".so": ("-nostdlib", "-lc", "-lm", "-Wl,-z,defs"), ".dylib": ("-nostdlib", "-lc")}

#: no fast-math and no fused multiply-add: C code computes the same bits as the kernels
COMPILE_FLAGS = ("-std=c11", "-O3", "-ffp-contract=off", "-fno-fast-math", "-ffunction-sections", "-fdata-sections")


def link(
    objects: Sequence[Path],
    c_sources: Sequence[Path],
    isa: Isa,
    output: Path,
    exports: Sequence[str],
    include_dirs: Sequence[Path] = (),
    extra_flags: Sequence[str] = (),
    run: RunZig | None = None,
) -> None:
    """Make ``output``, a shared library or wasm module that exports these symbols; the same bytes for the same inputs.

    Args:
        run: what runs zig; ``run_zig`` by default.

    Raises:
        UserError: CHM302, the C compiler or linker failed; shows the end of what it said.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        command = [
            *("-target", isa.triple, *COMPILE_FLAGS, *isa.compile_flags, *isa.link_flags, "-s", *extra_flags),
            *(f"-I{directory}" for directory in include_dirs),
            *_export_flags(isa, Path(work), exports),
            *(_ios_flags() if "-ios" in isa.triple else ()),
            *map(str, c_sources),
            *map(str, _prepared(isa, Path(work), objects, exports)),
            *(SYSTEM_ONLY.get(isa.suffix, ()) if "-shared" in isa.link_flags else ()),
            *("-o", str(output)),
        ]
        (run or run_zig)(["cc", *command])


def _export_flags(isa: Isa, work: Path, exports: Sequence[str]) -> list[str]:
    if not exports:
        return []
    if isa.export_flag:
        return [isa.export_flag.format(name) for name in exports]
    if isa.suffix == ".dylib":
        return []
    # kernels have default visibility, so an ELF library needs a list to keep them to itself
    script = work / "exports.txt"
    script.write_text("{ global: " + "".join(f"{name}; " for name in exports) + "local: *; };\n", encoding="ascii")
    return [f"-Wl,--version-script={script}"]


def _prepared(isa: Isa, work: Path, objects: Sequence[Path], exports: Sequence[str]) -> Sequence[Path]:
    """The objects; of a dylib, copies whose symbols are private."""
    if isa.suffix != ".dylib":
        return objects
    copies = []
    for path in objects:
        copies.append(work / path.name)
        copies[-1].write_bytes(hide_symbols(path.read_bytes(), exports))
    return copies


def _ios_flags() -> list[str]:
    """What zig lacks for iOS: its headers for macOS serve, and a list of functions stands for libSystem."""
    package = find_spec("ziglang")
    if package is None or package.origin is None:
        raise UserError("CHM302", "zig is not installed", hint="python -m pip install 'chimerac[build]'")
    headers = Path(package.origin).parent / "lib" / "libc" / "include" / "any-darwin-any"
    return ["-isystem", str(headers), f"-L{APPLE_DIRECTORY}", "-lAppleHost"]


def run_zig(arguments: Sequence[str]) -> None:
    """``python -m ziglang …`` with its caches under ours.

    Raises:
        UserError: CHM302.
    """
    finish_zig(start_zig(arguments))


def start_zig(arguments: Sequence[str]) -> subprocess.Popen[str]:
    """``run_zig`` without waiting for its end, which ``finish_zig`` does."""
    caches = cache_directory() / "zig"
    environment = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": str(caches), "ZIG_LOCAL_CACHE_DIR": str(caches)}
    command = [sys.executable, "-m", "ziglang", *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish_zig(process: subprocess.Popen[str]) -> None:
    """Wait for the end of zig.

    Raises:
        UserError: CHM302.
    """
    with process:
        try:
            said, complained = process.communicate()
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        tail = "\n".join((complained or said).splitlines()[-20:])
        raise UserError("CHM302", f"the C compiler failed:\n{tail}", hint="python -m pip install 'chimerac[build]'")


class ZigRuns:
    """``run_zig`` for several threads; a context manager, at whose end none of its compilers runs any more."""

    def __init__(self) -> None:
        self._running: Children[subprocess.Popen[str]] = Children()

    def __enter__(self) -> ZigRuns:
        return self

    def __exit__(self, *error: object) -> None:
        self._running.end()

    def __call__(self, arguments: Sequence[str]) -> None:
        """Run zig.

        Raises:
            UserError: CHM302, it failed or was ended.
        """
        process = self._running.start(lambda: start_zig(arguments))
        if process is None:
            raise UserError("CHM302", "the build has ended")
        try:
            finish_zig(process)
        finally:
            self._running.forget(process)
