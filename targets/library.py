"""The code of a bundle: generated driver + kernels + C runtime, linked into one library or wasm module."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from chimerac.runtime.bundle_format import (
    NATIVE_DIRECTORY,
    POSIX_SOURCES,
    WASM_C_FLAGS,
    WASM_SOURCES,
    exported_functions,
)
from chimerac.targets.isa import Isa
from chimerac.targets.link import link
from chimerac.targets.registry import Target


def link_library(driver: str, objects: Sequence[Path], target: Target, isa: Isa, work: Path, output: Path) -> None:
    """Compile ``driver`` (the text of model.c) and link everything into ``output``.

    Args:
        objects: the kernels' object files.
        work: folder for intermediate files.

    Raises:
        UserError: CHM302, the C compiler or linker failed.
    """
    web = target.package == "web"
    model = work / "model.c"
    model.write_text(driver, encoding="ascii")
    sources = [NATIVE_DIRECTORY / name for name in (WASM_SOURCES if web else POSIX_SOURCES)]
    linked = work / output.name  # the linker leaves files of its own beside its output
    link(
        objects,
        [model, *sources],
        isa,
        linked,
        exported_functions(wasm=web),
        [NATIVE_DIRECTORY],
        WASM_C_FLAGS if web else (),
    )
    shutil.move(linked, output)
