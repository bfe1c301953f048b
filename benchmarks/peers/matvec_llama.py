"""Worker: matrix-vector products of llama.cpp (TQ2_0 and TQ1_0), by the libraries inside llama-cpp-python.

Peer, in an environment of its own; the first build is for this machine, the second uses AVX2 at most:

    python -m venv native && native/bin/pip install --no-binary llama-cpp-python llama-cpp-python==0.3.36 gguf==0.19.0
    python -m venv avx2 && CMAKE_ARGS="-DGGML_NATIVE=OFF -DGGML_AVX512=OFF -DGGML_AVX2=ON -DGGML_FMA=ON \\
        -DGGML_F16C=ON -DGGML_BMI2=ON" avx2/bin/pip install --no-binary llama-cpp-python --no-cache-dir \\
        llama-cpp-python==0.3.36 gguf==0.19.0

    usage: native/bin/python matvec_llama.py ROWS COLUMNS BYTES    (see worker.py)

One graph holds a product for every copy of the matrix, all with the same activations, so the time of a product has no
part of starting the graph. The activations are quantised in each product, as in a model.
"""

from __future__ import annotations

import ctypes as ct
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf.quants import quantize
from matrices import SCALE, activations, check, copies_of, trits
from worker import CLOCK, serve

FORMATS = {"tq2_0": gguf.GGMLQuantizationType.TQ2_0, "tq1_0": gguf.GGMLQuantizationType.TQ1_0}
F32 = 0


class InitParams(ct.Structure):
    """ggml_init_params: whole size, own memory or NULL, and whether to leave tensors without memory."""

    _fields_ = (("mem_size", ct.c_size_t), ("mem_buffer", ct.c_void_p), ("no_alloc", ct.c_bool))


def libraries() -> tuple[ct.CDLL, ct.CDLL]:
    """ggml's tensors and graphs, and its processor backend."""
    spec = find_spec("llama_cpp")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "lib"
    base, cpu = (ct.CDLL(str(folder / f"libggml-{name}.so"), ct.RTLD_GLOBAL) for name in ("base", "cpu"))
    pointers = {
        base: (
            "ggml_init",
            "ggml_new_tensor_2d",
            "ggml_mul_mat",
            "ggml_new_graph_custom",
            "ggml_get_data",
        ),
        cpu: ("ggml_backend_cpu_init",),
    }
    for library, names in pointers.items():
        for name in names:
            getattr(library, name).restype = ct.c_void_p
    base.ggml_init.argtypes = (InitParams,)
    base.ggml_new_tensor_2d.argtypes = (ct.c_void_p, ct.c_int, ct.c_int64, ct.c_int64)
    base.ggml_mul_mat.argtypes = (ct.c_void_p,) * 3
    base.ggml_new_graph_custom.argtypes = (ct.c_void_p, ct.c_size_t, ct.c_bool)
    base.ggml_build_forward_expand.argtypes = (ct.c_void_p,) * 2
    base.ggml_get_data.argtypes = (ct.c_void_p,)
    base.ggml_backend_graph_compute.argtypes = (ct.c_void_p,) * 2
    cpu.ggml_backend_cpu_set_n_threads.argtypes = (ct.c_void_p, ct.c_int)
    return base, cpu


class Products:
    """A graph of products with distinct copies of the matrix in one format."""

    def __init__(self, name: str, rows: int, columns: int, memory: int) -> None:
        self.base, self.cpu = libraries()
        tile = quantize(trits(columns).astype(np.float32) * SCALE, FORMATS[name])
        self.bytes = rows * tile.shape[1]
        self.copies = copies_of(self.bytes, memory)
        size = self.copies * (self.bytes + 4 * rows + 4096) + 4 * columns + (1 << 20)
        context = self.base.ggml_init(InitParams(size, None, False))
        x = self.base.ggml_new_tensor_2d(context, F32, columns, 1)
        self._fill(x, activations(columns))
        graph = self.base.ggml_new_graph_custom(context, 2 * self.copies + 8, False)
        self.results = []
        for copy in range(self.copies):
            weights = self.base.ggml_new_tensor_2d(context, int(FORMATS[name]), columns, rows)
            self._fill(weights, np.resize(np.roll(tile, copy, axis=0), (rows, tile.shape[1])))
            self.results.append(self.base.ggml_mul_mat(context, weights, x))
            self.base.ggml_build_forward_expand(graph, self.results[-1])
        self.graph, self.backend = graph, self.cpu.ggml_backend_cpu_init()
        self.sweep(1)
        for copy in (0, self.copies - 1):
            output = (ct.c_float * rows).from_address(self.base.ggml_get_data(self.results[copy]))
            check(name, np.frombuffer(output, np.float32), columns, copy)

    def _fill(self, tensor: int, values: np.ndarray) -> None:
        whole = np.ascontiguousarray(values)
        ct.memmove(self.base.ggml_get_data(tensor), whole.ctypes.data, whole.nbytes)

    def sweep(self, threads: int) -> float:
        """Seconds of one product, the mean over all copies."""
        self.cpu.ggml_backend_cpu_set_n_threads(self.backend, threads)
        begun = CLOCK()
        status = self.base.ggml_backend_graph_compute(self.backend, self.graph)
        seconds = CLOCK() - begun
        if status:
            raise RuntimeError(f"ggml_backend_graph_compute: {status}")
        return seconds / self.copies


def main(rows: int, columns: int, memory: int) -> None:
    products = {name: Products(name, rows, columns, memory) for name in FORMATS}

    def run(request: dict[str, Any]) -> list[float]:
        return [products[request["case"]].sweep(request["threads"]) for _ in range(request["sweeps"])]

    cases = {name: {"bytes": one.bytes, "copies": one.copies} for name, one in products.items()}
    serve({"versions": {"llama-cpp-python": version("llama-cpp-python")}, "cases": cases}, run)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
