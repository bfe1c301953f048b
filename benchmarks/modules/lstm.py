"""An LSTM of 512 units in two layers, in four systems."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from system import System, compiled_bundle, onnx_options
from torch import Tensor, nn


class LstmModel(nn.Module):
    """A character model: embedding, LSTM of 512 units in two layers, head."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(256, 512)
        self.lstm = nn.LSTM(512, 512, num_layers=2)
        self.head = nn.Linear(512, 256)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: [T] -> logits [T, 256]."""
        x, _ = self.lstm(self.embedding(tokens))
        logits: Tensor = self.head(x)
        return logits

    def step(self, token: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """token: i64 [1]; h, c: [2, 512] -> logits [1, 256], and the next state."""
        x, (h, c) = self.lstm(self.embedding(token), (h, c))
        return self.head(x), h, c


def in_torch(model: LstmModel, *, compiled: bool) -> System:
    """PyTorch, a step a token."""
    torch._dynamo.config.allow_rnn = True
    step = torch.compile(model.step, fullgraph=True) if compiled else model.step
    state = [torch.zeros(2, 512), torch.zeros(2, 512)]

    def reset() -> None:
        state[:] = [torch.zeros(2, 512), torch.zeros(2, 512)]

    def run(token: int) -> np.ndarray:
        with torch.inference_mode():
            logits, *state[:] = step(torch.tensor([token]), *state)
            found: np.ndarray = logits[0].numpy()
            return found

    return System(run, reset)


def in_onnx(model: LstmModel, threads: int) -> System:
    """ONNX Runtime with its own LSTM operator, whose gates are in the order i, o, f, c; PyTorch's are i, f, c, o."""
    weights = {name: p.detach().numpy() for name, p in model.named_parameters()}

    def gates(name: str) -> np.ndarray:
        i, f, c, o = np.split(weights[f"lstm.{name}"], 4)
        return np.concatenate([i, o, f, c])[None]

    tensors = {"table": weights["embedding.weight"], "head": weights["head.weight"].T, "bias": weights["head.bias"]}
    nodes = [helper.make_node("Gather", ["table", "token"], ["x_0"])]
    for layer in range(2):
        tensors[f"w{layer}"], tensors[f"r{layer}"] = gates(f"weight_ih_l{layer}"), gates(f"weight_hh_l{layer}")
        tensors[f"b{layer}"] = np.concatenate([gates(f"bias_ih_l{layer}"), gates(f"bias_hh_l{layer}")], axis=1)
        inputs = [f"x_{layer}", f"w{layer}", f"r{layer}", f"b{layer}", "", f"h{layer}", f"c{layer}"]
        outputs = [f"y{layer}", f"new_h{layer}", f"new_c{layer}"]
        nodes.append(helper.make_node("LSTM", inputs, outputs, hidden_size=512))
        nodes.append(helper.make_node("Squeeze", [f"y{layer}", "axis"], [f"x_{layer + 1}"]))
    tensors["axis"] = np.array([1])
    nodes.append(helper.make_node("MatMul", ["x_2", "head"], ["product"]))
    nodes.append(helper.make_node("Add", ["product", "bias"], ["logits"]))
    states = [f"{kind}{layer}" for kind in "hc" for layer in range(2)]

    def value(name: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, 512])

    graph = helper.make_graph(
        nodes,
        "lstm",
        [helper.make_tensor_value_info("token", TensorProto.INT64, [1, 1]), *map(value, states)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 1, 256]), *(value(f"new_{s}") for s in states)],
        [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in tensors.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    session = onnxruntime.InferenceSession(made.SerializeToString(), onnx_options(threads))
    zeros = np.zeros((1, 1, 512), np.float32)
    state: dict[str, np.ndarray] = {}

    def reset() -> None:
        state.update(dict.fromkeys(states, zeros))

    def run(token: int) -> np.ndarray:
        logits, *after = session.run(None, {"token": np.array([[token]]), **state})
        state.update(zip(states, after, strict=True))
        found: np.ndarray = logits[0, 0]
        return found

    return System(run, reset)


def systems(folder: Path, threads: int) -> dict[str, System]:
    """The systems of the LSTM, PyTorch first."""
    torch.manual_seed(1)
    model = LstmModel().eval().requires_grad_(False)
    return {
        "PyTorch": in_torch(model, compiled=False),
        "torch.compile": in_torch(model, compiled=True),
        "onnxruntime": in_onnx(model, threads),
        "chimerac": compiled_bundle(model, folder, threads),
    }
