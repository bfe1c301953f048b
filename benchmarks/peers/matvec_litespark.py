"""Worker: matrix-vector products of litespark-inference's kernels, activations as int8 with one scale.

Peer, in an environment of its own: ``CXX=g++ pip install --no-deps litespark-inference==1.0.3 numpy``

    usage: python matvec_litespark.py ROWS COLUMNS BYTES    (see worker.py)

``packed`` has four trits in a byte and is what the package runs where memory matters; ``unpacked`` has one, four times
as many bytes, and is there for AVX-512. One scale holds for the whole matrix. Threads are OpenMP's.
"""

from __future__ import annotations

import ctypes as ct
import sys
from importlib.metadata import version
from typing import Any

import numpy as np
from litespark_inference.torchless import kernel
from litespark_inference.torchless.pack import pack_ternary_4_per_byte
from matrices import SCALE, activations, check, copies_of, trits
from worker import CLOCK, serve


class Products:
    """One kernel, and copies of the matrix as it reads them."""

    def __init__(self, case: str, rows: int, columns: int, memory: int) -> None:
        tile = pack_ternary_4_per_byte(trits(columns)) if case == "packed" else (trits(columns) + 1).astype(np.uint8)
        self.rows, self.columns = rows, columns
        self.bytes = rows * tile.shape[1]
        self.copies = copies_of(self.bytes, memory)
        self._weights = [np.resize(np.roll(tile, copy, axis=0), (rows, tile.shape[1])) for copy in range(self.copies)]
        self._x, self._codes = activations(columns), np.zeros(columns, np.int8)
        self._result = np.zeros(rows, np.float32)
        library = kernel._load()
        self._run = library.matmul_lut_m1 if case == "packed" else library.matmul_unpacked_m1
        self._product(self.copies - 1)
        check(case, self._result, columns, self.copies - 1)

    def _product(self, copy: int) -> None:
        scale = kernel.quantize_activation(self._x, self._codes)
        self._run(self._codes, self._weights[copy], SCALE, scale, self._result, self.rows, self.columns)

    def sweep(self) -> float:
        """Seconds of one product, the mean over all copies."""
        begun = CLOCK()
        for copy in range(self.copies):
            self._product(copy)
        return (CLOCK() - begun) / self.copies


def main(rows: int, columns: int, memory: int) -> None:
    library = kernel._load()
    cases = ["packed"] + (["unpacked"] if hasattr(library, "matmul_unpacked_m1") else [])
    products = {case: Products(case, rows, columns, memory) for case in cases}
    openmp = ct.CDLL("libgomp.so.1")

    def run(request: dict[str, Any]) -> list[float]:
        openmp.omp_set_num_threads(request["threads"])
        return [products[request["case"]].sweep() for _ in range(request["sweeps"])]

    facts = {case: {"bytes": one.bytes, "copies": one.copies} for case, one in products.items()}
    serve({"versions": {"litespark-inference": version("litespark-inference")}, "cases": facts}, run)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
