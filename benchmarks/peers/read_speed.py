"""How fast this machine reads memory, with plain loads (read_speed.c) and the pages that the system gives everyone."""

from __future__ import annotations

import ctypes as ct
import mmap
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

SOURCE = Path(__file__).resolve().with_suffix(".c")
BYTES = 512 << 20
STREAMS = {"read, 1 stream": 1, "read, 8 streams": 8}  #: of each thread


def memory_of(size: int) -> np.ndarray:
    """u8[size] of fresh memory in small pages; numpy would ask for large ones, which peers don't."""
    return np.frombuffer(mmap.mmap(-1, size), np.uint8)


def reader() -> Callable[[int, int], float]:
    """(threads, streams per thread) → bytes per second."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "read_speed.so")
        compiler = [sys.executable, "-m", "ziglang", "cc", "-O3", "-march=x86_64_v3", "-fPIC", "-shared", "-pthread"]
        subprocess.run([*compiler, str(SOURCE), "-o", str(output)], check=True)
        library = ct.CDLL(str(output))
    library.read_all.restype = ct.c_double
    library.read_all.argtypes = (ct.c_void_p, ct.c_uint64, ct.c_int, ct.c_int, ct.c_void_p)
    memory = memory_of(BYTES)
    memory[:] = 1
    total = ct.c_uint64()

    def speed(threads: int, streams: int) -> float:
        seconds = library.read_all(memory.ctypes.data, BYTES, threads, streams, ct.byref(total))
        if seconds <= 0:
            raise RuntimeError("the threads cannot be started")
        return float(BYTES / seconds)

    return speed
