"""Parts of the C runtime as a library of their own, compiled as in bundles: what benchmarks of them share."""

from __future__ import annotations

import ctypes as ct
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from chimerac.runtime.bundle_format import C_FLAGS, NATIVE_DIRECTORY

#: A tokenizer and what it needs.
TOKENIZER_SOURCES = ("tokenizer", "encoder", "pretokenizer", "container", "crc32", "error")
#: What every driver begins with; blocks are aligned as a pack of grammars wants it.
ALLOCATOR = """
#include <stdlib.h>
#include "chm_internal.h"
static void *allocate(void *user, size_t bytes) { (void)user; return aligned_alloc(64, (bytes + 63) / 64 * 64); }
static void release(void *user, void *block, size_t bytes) { (void)user; (void)bytes; free(block); }
const chm_allocator chm_default_allocator = {allocate, release, NULL};
"""


def compile_parts(folder: Path, driver: str, sources: Iterable[str]) -> ct.CDLL:
    """The library of some runtime sources (``tokenizer`` is chm_tokenizer.c) and a driver's C text."""
    file, library = folder / "driver.c", folder / "parts.so"
    file.write_text(ALLOCATOR + driver)
    files = [str(file), *(str(NATIVE_DIRECTORY / f"chm_{name}.c") for name in sources)]
    compiler = [sys.executable, "-m", "ziglang", "cc", *C_FLAGS, f"-I{NATIVE_DIRECTORY}", "-shared", "-fPIC"]
    subprocess.run([*compiler, *files, "-o", str(library)], check=True)
    return ct.CDLL(str(library))
