"""Compiles what all bundles of a target have in common while their model is still being read.

That is the C runtime and the libraries that zig makes for a processor: some seconds the first time, then cached.
A model without kernels is linked just as the real one will be, and thrown away.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType

from chimerac.compiler.errors import UserError
from chimerac.runtime.bundle_format import APPLE_DIRECTORY, NATIVE_DIRECTORY
from chimerac.targets.code.codegen import cache_directory
from chimerac.targets.code.library import CodeFile, code_files, link_library, runner_files
from chimerac.targets.code.link import COMPILE_FLAGS, ZigRuns
from chimerac.targets.registry import Target

#: A driver without a model.
EMPTY_DRIVER = '#include "chm_model.h"\nconst chm_model_desc chm_model = {0};\n'


def _key(file: CodeFile) -> str:
    """Digest of all that decides what of a file can be compiled ahead; files with the same one share it."""
    isa = file.isa
    flags = (isa.triple, isa.compile_flags, isa.definitions, isa.link_flags, isa.suffix, file.threads, file.is_runner)
    digest = hashlib.sha256(repr((COMPILE_FLAGS, flags, _zig_version())).encode())
    for path in sorted((*NATIVE_DIRECTORY.iterdir(), *APPLE_DIRECTORY.iterdir())):
        if path.is_file():
            digest.update(f"{path.name}\0".encode() + path.read_bytes())
    return digest.hexdigest()


class RuntimeAhead:
    """Compiles the runtimes of targets in the background; a context manager, at whose end nothing of it runs any more.

    What fails here is not reported: the same will fail when the model is linked.

    Args:
        threads: compilers that run at a time; with 0 nothing is done.
    """

    def __init__(self, targets: Sequence[Target], threads: int) -> None:
        files = {_key(file): file for target in targets for file in code_files(target)} if threads else {}
        self._pool = ThreadPoolExecutor(max(1, threads), thread_name_prefix="runtime")
        self._zig = ZigRuns()
        self._ready = cache_directory() / "zig" / "ready"
        missing = [(key, file) for key, file in files.items() if not (self._ready / key).exists()]
        self._work = [self._pool.submit(self._compile, key, file) for key, file in missing]

    def __enter__(self) -> RuntimeAhead:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._zig.__exit__(kind, error, trace)
        self._pool.shutdown(cancel_futures=True)

    def finish(self) -> None:
        """Wait until everything is compiled."""
        wait(self._work)

    def _compile(self, key: str, file: CodeFile) -> None:
        driver = EMPTY_DRIVER + (runner_files("a", "b", "") if file.is_runner else "")
        with contextlib.suppress(UserError, OSError), tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / "linked" / file.name
            output.parent.mkdir()
            link_library(driver, [], file.target, file.isa, Path(folder), output, threads=file.threads, run=self._zig)
            self._ready.mkdir(parents=True, exist_ok=True)
            (self._ready / key).touch()


def _zig_version() -> str:
    try:
        return version("ziglang")
    except PackageNotFoundError:
        return ""
