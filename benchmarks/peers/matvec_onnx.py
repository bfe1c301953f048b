"""Worker: matrix-vector products of ONNX Runtime, MatMulNBits with 2 bits, block 128, activations as int8.

Peer, in an environment of its own: ``pip install onnxruntime==1.31.1 onnx==1.23.2 numpy``

    usage: python matvec_onnx.py ROWS COLUMNS BYTES    (see worker.py)

One graph holds a node for every copy of the matrix; the copies differ, because equal ones are merged. Its
``accuracy_level`` 4 asks for int8 activations. The runtime uses AVX-512 where the processor has it, and has no switch
against that.
"""

from __future__ import annotations

import sys
import time
from importlib.metadata import version
from typing import Any

import numpy as np
import onnxruntime as ort
from matrices import SCALE, activations, check, copies_of, trits
from onnx import TensorProto, helper
from worker import serve

BITS, BLOCK = 2, 128
ZERO = 1 << (BITS - 1)  #: code of weight 0 where there are no zero points


class Products:
    """A session per number of threads, with a node per copy."""

    def __init__(self, rows: int, columns: int, memory: int) -> None:
        self.rows, self.columns = rows, columns
        blocks = columns // BLOCK
        codes = (trits(columns) + ZERO).astype(np.uint8).reshape(-1, blocks, BLOCK // 4, 4)
        tile = codes[..., 0] | codes[..., 1] << 2 | codes[..., 2] << 4 | codes[..., 3] << 6
        scales = np.full((rows, blocks), SCALE, np.float32)
        self.bytes = rows * blocks * (BLOCK // 4) + scales.nbytes
        self.copies = copies_of(self.bytes, memory)
        nodes, tensors, outputs = [], [], []
        for copy in range(self.copies):
            weights = np.resize(np.roll(tile, copy, axis=0), (rows, blocks, BLOCK // 4))
            names = [f"{name}{copy}" for name in ("w", "s", "y")]
            # a scale that differs a little in one place keeps the arrays of scales from being one
            scales[0, 0] = SCALE * (1 + copy * 1e-6)
            for name, array, kind in zip(
                names[:2], (weights, scales), (TensorProto.UINT8, TensorProto.FLOAT), strict=True
            ):
                tensors.append(helper.make_tensor(name, kind, array.shape, array.tobytes(), raw=True))
            nodes.append(
                helper.make_node(
                    "MatMulNBits",
                    ["x", *names[:2]],
                    [names[2]],
                    domain="com.microsoft",
                    K=columns,
                    N=rows,
                    bits=BITS,
                    block_size=BLOCK,
                    accuracy_level=4,
                )
            )
            outputs.append(helper.make_tensor_value_info(names[2], TensorProto.FLOAT, [1, rows]))
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, columns])
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
        graph = helper.make_graph(nodes, "products", [x], outputs, tensors)
        self._model = helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
        self._runs: dict[int, tuple[ort.InferenceSession, ort.IOBinding, list[np.ndarray]]] = {}

    def _open(self, threads: int) -> tuple[ort.InferenceSession, ort.IOBinding, list[np.ndarray]]:
        if threads not in self._runs:
            options = ort.SessionOptions()
            options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
            session = ort.InferenceSession(self._model, options, providers=["CPUExecutionProvider"])
            binding = session.io_binding()
            results = [np.zeros((1, self.rows), np.float32) for _ in range(self.copies)]
            binding.bind_cpu_input("x", activations(self.columns).reshape(1, -1))
            for copy, result in enumerate(results):
                binding.bind_output(f"y{copy}", "cpu", 0, np.float32, list(result.shape), result.ctypes.data)
            self._runs[threads] = session, binding, results
            session.run_with_iobinding(binding)
            for copy in (0, self.copies - 1):
                check("MatMulNBits", results[copy][0], self.columns, copy)
        return self._runs[threads]

    def sweep(self, threads: int) -> float:
        """Seconds of one product, the mean over all copies."""
        session, binding, _ = self._open(threads)
        begun = time.perf_counter()
        session.run_with_iobinding(binding)
        return (time.perf_counter() - begun) / self.copies


def main(rows: int, columns: int, memory: int) -> None:
    products = Products(rows, columns, memory)

    def run(request: dict[str, Any]) -> list[float]:
        return [products.sweep(request["threads"]) for _ in range(request["sweeps"])]

    cases = {"2bit": {"bytes": products.bytes, "copies": products.copies}}
    serve({"versions": {"onnxruntime": version("onnxruntime")}, "cases": cases}, run)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
