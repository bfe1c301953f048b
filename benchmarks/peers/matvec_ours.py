"""Worker: matrix-vector products of this compiler's kernels, and how fast the memory can be read.

    usage: PYTHONPATH=src python matvec_ours.py ROWS COLUMNS BYTES [SET:FORM…]    (see worker.py)

A case is a kernel set, for example ``avx2``, and a form of packed trits, for example ``t2``: by default, all that this
processor runs and compilers choose from. As in a bundle, a product is two
kernels, activations to int8 and the product, and threads share the second one by the runtime's pool. The case ``read``
reads the same amount of memory with 1 or 8 streams per thread.
"""

from __future__ import annotations

import ctypes as ct
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from matrices import SCALE, activations, check, copies_of, trits
from read_speed import memory_of, reader
from worker import CLOCK, serve

from chimerac.compiler.ir.layouts import pack_scales, pack_ternary, scale_layout, ternary_layout
from chimerac.compiler.ir.types import TensorType
from chimerac.runtime.bundle_format import C_FLAGS, NATIVE_DIRECTORY, POSIX_SOURCES
from chimerac.targets.code.kernel_queue import compile_kernels
from chimerac.targets.code.link import link
from chimerac.targets.isa import Isa, load_isa
from chimerac.targets.kernel_spec import KernelSpec
from chimerac.targets.registry import find_target

HERE = Path(__file__).resolve().parent
TARGETS = ("x86_64-avx2", "x86_64-avx512")
GROUP, BLOCK = 128, 64


def kernel_sets() -> dict[str, Isa]:
    """Name → instruction set, of those that this processor runs, from plain to best."""
    line = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags"))
    features = {*line.split(), *line.replace("_", "").split()}
    found: dict[str, Isa] = {}
    for target in map(find_target, TARGETS):
        isa = load_isa(target.isa)
        runs = features.issuperset(target.cpu)
        sets = (one for one in (isa, *isa.variants) if runs and not one.c_kernels)
        found |= {one.kernels: one for one in sets if features.issuperset(one.needs)}
    return found


class Products:
    """The kernels of one case, and copies of the weights."""

    def __init__(self, isa: Isa, form: str, rows: int, columns: int, memory: int, folder: Path) -> None:
        values, scales = trits(columns), np.full((rows, columns // GROUP), SCALE, np.float16)
        weights = pack_ternary(np.resize(values, (rows, columns)), isa.panel_rows, form)
        packed = (weights, pack_scales(scales, isa.panel_rows))
        layouts = (ternary_layout(isa.panel_rows, form), scale_layout(isa.panel_rows))
        x, codes = TensorType("f32", ("T", columns)), TensorType("i8", ("T", columns))
        code_scales = TensorType("f32", ("T", columns // BLOCK))
        types = (
            TensorType("u8", packed[0].shape, layouts[0]),
            TensorType("f16", packed[1].shape, layouts[1]),
        )
        result = TensorType("f32", ("T", rows))
        attributes = (("block", BLOCK), ("columns", columns), ("group", GROUP), ("rows", rows))
        quantise = KernelSpec("quantize", (x,), (codes, code_scales), (("block", BLOCK),))
        product = KernelSpec("ternary_matmul", (codes, code_scales, *types), (result,), attributes)
        self.bytes = sum(array.nbytes for array in packed)
        self.copies = copies_of(self.bytes, memory)
        self._library = self._compiled(quantise, product, isa, folder)
        self._arrays = [
            np.zeros(columns, np.int8),
            np.zeros(columns // BLOCK, np.float32),
            *(memory_of(array.nbytes * self.copies) for array in packed),
            np.zeros(rows, np.float32),
        ]
        for place, array in zip(self._arrays[2:4], packed, strict=True):
            place.reshape(self.copies, -1)[:] = array.reshape(-1).view(np.uint8)
        self._x = activations(columns)
        self._pointers = (ct.c_void_p * 5)(*(array.ctypes.data for array in self._arrays))
        self._strides = (ct.c_uint64 * 5)(0, 0, packed[0].nbytes, packed[1].nbytes, 0)
        assert product.sharing is not None
        self._sizes = (self.copies, 1, product.sharing.units, product.sharing.work)
        self.threads = 0
        self.sweep(1)
        check(f"{isa.kernels} {form}", self._arrays[4], columns)

    @staticmethod
    def _compiled(quantise: KernelSpec, product: KernelSpec, isa: Isa, folder: Path) -> ct.CDLL:
        objects = [made.object_path for made in compile_kernels([quantise, product], isa, folder)]
        sources = [HERE / "matvec_ours.c", *(NATIVE_DIRECTORY / name for name in POSIX_SOURCES)]
        symbols = [f"-DQUANTISE={quantise.symbol}", f"-DPRODUCT={product.symbol}"]
        output = folder / f"products{isa.suffix}"
        link(objects, sources, isa, output, ["set_threads", "sweep"], [NATIVE_DIRECTORY], [*C_FLAGS, *symbols])
        library = ct.CDLL(str(output))
        library.sweep.restype = ct.c_double
        library.sweep.argtypes = (*(ct.c_void_p,) * 3, *(ct.c_int32,) * 4)
        return library

    def sweep(self, threads: int) -> float:
        """Seconds of one product, the mean over all copies."""
        if threads != self.threads:
            status = self._library.set_threads(threads)
            if status:
                raise RuntimeError(f"the threads cannot be started: CHM{status}")
            self.threads = threads
        begun = CLOCK()
        seconds: float = self._library.sweep(self._x.ctypes.data, self._pointers, self._strides, *self._sizes)
        return (CLOCK() - begun) / self.copies if CLOCK is time.process_time else seconds


def main(rows: int, columns: int, memory: int, *cases: str) -> None:
    sets = kernel_sets()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        read = reader()
        products: dict[str, Products] = {}
        for case in cases or [f"{kernels}:{form}" for kernels, isa in sets.items() for form in isa.form_costs]:
            kernels, _, form = case.partition(":")
            own = folder / case.replace(":", "_")
            own.mkdir()
            products[case] = Products(sets[kernels], form, rows, columns, memory, own)

        def run(request: dict[str, Any]) -> list[float]:
            case, threads = request["case"], request["threads"]
            if case == "read":
                return [read(threads, request["streams"]) for _ in range(request["sweeps"])]
            return [products[case].sweep(threads) for _ in range(request["sweeps"])]

        serve({"versions": {}, "cases": {k: {"bytes": p.bytes, "copies": p.copies} for k, p in products.items()}}, run)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]), *sys.argv[4:])
