"""Kernels to object files, through TVM and LLVM, with a cache."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

from chimerac.runtime import bundle_format
from chimerac.targets.code.own_kernels import compile_own, is_own, own_digest
from chimerac.targets.isa import Isa
from chimerac.targets.kernel_spec import KernelSpec
from chimerac.targets.kernels import find_kernel

#: how the name ends of an object file that is being written
UNFINISHED = ".tmp.o"


@dataclass(frozen=True)
class KernelObject:
    """A compiled kernel.

    Attributes:
        symbol: the C function: the spec's, and the instruction set's suffix.
        object_path: relocatable object file for the ISA.
        seconds: time to compile; 0 if it came from the cache.
        isa: name of the instruction set.
    """

    spec: KernelSpec
    symbol: str
    object_path: Path
    seconds: float
    isa: str


def cache_directory() -> Path:
    """Where compiled kernels and zig's caches are kept: ``CHIMERAC_CACHE``, else ``~/.cache/chimerac``."""
    return bundle_format.cache_directory()


@cache
def source_digest() -> str:
    """Digest of everything of ours that decides what code a kernel becomes."""
    root = Path(__file__).resolve().parent.parent
    operations = root.parent / "compiler" / "ir"
    files = [
        *sorted(root.glob("kernels/*.py")),
        *sorted(root.glob("isa/*.py")),
        root / "code" / "codegen.py",
        root / "kernel_spec.py",
        operations / "layouts.py",
        operations / "numerics.py",
        *sorted(operations.glob("ops/*.py")),
    ]
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name}\0".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()


def cache_key(spec: KernelSpec, isa: Isa) -> str:
    """Digest of all that an object file depends on."""
    symbol = spec.symbol + isa.symbol_suffix
    parts = (symbol, isa.name, sorted(isa.target.items()), _tvm_version(), source_digest(), own_digest(spec, isa))
    return hashlib.sha256(repr(parts).encode()).hexdigest()


@cache
def _tvm_version() -> str:
    return version("apache-tvm")


def instruction_set_of(spec: KernelSpec, isa: Isa) -> Isa:
    """The instruction set that compiles a kernel of a library: ``isa``, or its base for kernels of float arithmetic."""
    return isa if isa.base is None or spec.integer_product or (isa.wide_lanes and spec.wide) else isa.base


def cached_object(spec: KernelSpec, isa: Isa) -> Path:
    """Where the object file of a kernel is kept, whether it has been compiled or not."""
    return cache_directory() / "kernels" / f"{cache_key(spec, isa)}.o"


def compile_object(spec: KernelSpec, isa: Isa, place: Path) -> float:
    """Compile a kernel to ``place``, which is written whole or not at all.

    Returns:
        seconds that it took.

    Raises:
        UserError: CHM307, a kernel of another package that cannot be compiled.
    """
    started = time.perf_counter()
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = place.with_name(f"{place.stem}.{os.getpid()}{UNFINISHED}")
    try:
        if is_own(spec):
            compile_own(spec, isa, temporary)
        else:
            from chimerac.targets.kernels.tensorir import lower

            lower(find_kernel(spec.op)(spec, isa), isa).write_to_file(str(temporary), "o")
        temporary.replace(place)
    finally:
        temporary.unlink(missing_ok=True)
    return time.perf_counter() - started
