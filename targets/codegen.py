"""Kernels to object files, through TVM and LLVM, with a cache."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

from chimerac.targets.isa import Isa
from chimerac.targets.kernel_spec import INTEGER_PRODUCTS, KernelSpec
from chimerac.targets.kernels import find_kernel


@dataclass(frozen=True)
class KernelObject:
    """A compiled kernel.

    Attributes:
        symbol: the C function: the spec's, and the instruction set's suffix.
        object_path: relocatable object file for the ISA.
        seconds: time to compile; 0 if it came from the cache.
    """

    spec: KernelSpec
    symbol: str
    object_path: Path
    seconds: float


def cache_directory() -> Path:
    """Where compiled kernels and zig's caches are kept: ``CHIMERAC_CACHE``, else ``~/.cache/chimerac``."""
    chosen = os.environ.get("CHIMERAC_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "chimerac"


@cache
def source_digest() -> str:
    """Digest of everything of ours that decides what code a kernel becomes."""
    root = Path(__file__).resolve().parent
    operations = root.parent / "compiler" / "ir"
    files = [
        *sorted(root.glob("kernels/*.py")),
        *sorted(root.glob("isa/*.py")),
        root / "codegen.py",
        root / "kernel_spec.py",
        root / "tensorir.py",
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
    parts = (symbol, isa.name, sorted(isa.target.items()), version("apache-tvm"), source_digest())
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def compile_kernels(
    specs: Iterable[KernelSpec],
    isa: Isa,
    directory: Path,
    progress: Callable[[KernelObject, int, int], None] | None = None,
) -> list[KernelObject]:
    """One object file per distinct spec, in order of first appearance; the same bytes for the same inputs.

    Args:
        directory: gets ``<symbol>.o`` files; created if missing.
        progress: called with each finished kernel, how many are done, and of how many.

    Raises:
        UserError: CHM301, an op without a kernel.
    """
    distinct = list(dict.fromkeys(specs))
    builders = [find_kernel(spec.op) for spec in distinct]  # complain before compiling anything
    directory.mkdir(parents=True, exist_ok=True)
    store = cache_directory() / "kernels"
    store.mkdir(parents=True, exist_ok=True)
    done = []
    for spec, build in zip(distinct, builders, strict=True):
        started = time.perf_counter()
        used = isa if isa.base is None or spec.op in INTEGER_PRODUCTS else isa.base
        kept = store / f"{cache_key(spec, used)}.o"
        seconds = 0.0
        if not kept.exists():
            from chimerac.targets.tensorir import lower

            temporary = kept.with_name(f"{kept.stem}.{os.getpid()}.tmp.o")
            lower(build(spec, used), used).write_to_file(str(temporary), "o")
            temporary.replace(kept)
            seconds = time.perf_counter() - started
        symbol = spec.symbol + isa.symbol_suffix
        path = directory / f"{symbol}.o"
        path.write_bytes(kept.read_bytes())
        done.append(KernelObject(spec, symbol, path, seconds))
        if progress is not None:
            progress(done[-1], len(done), len(distinct))
    return done
