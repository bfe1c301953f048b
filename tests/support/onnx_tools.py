"""Runs a lowered module in ONNX Runtime beside the interpreter, in tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from chimerac.compiler.ir.interpreter import Session
from chimerac.compiler.ir.module import Module
from chimerac.targets.onnx.model import emit

DATA = "model.onnx.data"
STATE_TYPES = {
    "tensor(float)": "f4",
    "tensor(int32)": "i4",
    "tensor(float16)": "f2",
    "tensor(int8)": "i1",
    "tensor(uint8)": "u1",
}


class OnnxModule:
    """The ONNX form of a module in a folder, with the states of one sequence; every call is checked for its types."""

    def __init__(self, module: Module, folder: Path, **how: Any) -> None:
        self.module = module
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "model.onnx"
        emit(module, **how).write(self.path, DATA)
        onnx.checker.check_model(str(self.path))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.enable_mem_reuse = False
        self.session = onnxruntime.InferenceSession(str(self.path), options, providers=["CPUExecutionProvider"])
        self.inputs = {i.name: i for i in self.session.get_inputs()}
        self.outputs = [o.name for o in self.session.get_outputs()]
        self.position, self.deepest = 0, 0
        self.states: dict[str, np.ndarray] = {
            n: np.zeros(i.shape, STATE_TYPES[i.type]) for n, i in self.inputs.items() if n.startswith("state.")
        }

    def _spread(self, loops: int) -> None:
        """What docs/onnx.md asks of a caller who lets loops end early."""
        for name, state in self.module.states.items():
            if state.iterations > 1 and 0 < self.deepest < loops:
                copies = self.states[f"state.{name}"].copy()
                copies[self.deepest : loops] = copies[self.deepest - 1]
                self.states[f"state.{name}"] = copies

    def call(self, tokens: Sequence[int], loops: int | None = None, exit_threshold: float = 0.0) -> np.ndarray:
        """Logits f32[V] after some tokens, which must not cross a multiple of the block."""
        self._spread(loops or self.module.loops[0])
        feeds = {"tokens": np.array(tokens, np.int32), "position": np.array(self.position, np.int32), **self.states}
        if "loops" in self.inputs:
            feeds["loops"] = np.array(loops or self.module.loops[0], np.int64)
            feeds["exit_threshold"] = np.array(exit_threshold, np.float32)
        made = dict(zip(self.outputs, self.session.run(self.outputs, feeds), strict=True))
        self.position += len(tokens)
        self.deepest = max(self.deepest, int(made.get("iterations", self.module.loops[1])))
        self.states = {name: made["present." + name.removeprefix("state.")] for name in self.states}
        logits: np.ndarray = made["logits"]
        return logits


def assert_agrees(
    module: Module,
    folder: Path,
    calls: Sequence[Sequence[int]],
    *,
    loops: int | None = None,
    exit_threshold: float = 0.0,
) -> None:
    """After every call, logits and states are those of the interpreter; only zeros may differ in their sign."""
    model = OnnxModule(module, folder)
    reference = Session(module, loops=loops, exit_threshold=exit_threshold)
    for number, tokens in enumerate(calls):
        expected = reference.call("decode" if len(tokens) == 1 else "prefill", np.array(tokens, np.int32))
        logits = model.call(tokens, loops, exit_threshold)
        different = int(np.count_nonzero(logits != expected.reshape(-1)))
        assert different == 0, f"call {number}: {different} of {logits.size} logits differ"
        for name, copies in reference.states.items():
            found = model.states[f"state.{name}"].reshape(copies.shape)
            assert np.array_equal(found, copies), f"call {number}: state {name} differs"
