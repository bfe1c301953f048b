"""Tokens per second of PyTorch modules: compiled by chimerac, in PyTorch, by torch.compile, and in ONNX Runtime.

    python benchmarks/modules.py [lstm …] [--threads N] [--tokens N] [--rounds N] [--out FILE]

Each system gets the same float32 weights and one token after another, as in decoding, with the state in its own form.
They take turns in one process, with a pause between, so that what else the machine does disturbs all alike; ratios are
medians of the ratios of rounds. Before that, each is checked against PyTorch's logits.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

import chimerac

sys.path.insert(0, str(Path(__file__).parent / "peers"))
from turns import SETTLE, machine, paired_ratio

#: Takes a token; the logits [V] of the next one.
Step = Callable[[int], np.ndarray]


@dataclass(frozen=True)
class System:
    """One of those that take turns."""

    step: Step
    reset: Callable[[], None]


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


def lstm_in_torch(model: LstmModel, *, compiled: bool) -> System:
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


def lstm_in_onnx(model: LstmModel, threads: int) -> System:
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


def onnx_options(threads: int) -> onnxruntime.SessionOptions:
    """As many threads as the others have."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return options


def compiled_bundle(model: nn.Module, folder: Path, threads: int, **more: Any) -> System:
    """The module's bundle."""
    report = chimerac.compile(model, name="benchmark", targets=["x86_64-avx2"], out=folder, **more)
    session = chimerac.load(report.bundles[0].path, threads=threads)

    def run(token: int) -> np.ndarray:
        session.prefill([token])
        found: np.ndarray = session.logits()
        return found

    return System(run, session.reset)


def lstm(folder: Path, threads: int) -> dict[str, System]:
    """The systems of the LSTM, PyTorch first."""
    torch.manual_seed(1)
    model = LstmModel().eval().requires_grad_(False)
    return {
        "PyTorch": lstm_in_torch(model, compiled=False),
        "torch.compile": lstm_in_torch(model, compiled=True),
        "onnxruntime": lstm_in_onnx(model, threads),
        "chimerac": compiled_bundle(model, folder, threads),
    }


MODELS: Mapping[str, Callable[[Path, int], dict[str, System]]] = {"lstm": lstm}


def logits_of(system: System, tokens: list[int]) -> np.ndarray:
    """[T, V]."""
    system.reset()
    return np.stack([np.array(system.step(token)) for token in tokens])


def measure(name: str, given: argparse.Namespace) -> dict[str, Any]:
    """Microseconds a token of each system and round."""
    tokens = [(37 * i + 11) % 256 for i in range(given.tokens)]
    times: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        systems = MODELS[name](Path(folder), given.threads)
        expected = logits_of(systems["PyTorch"], tokens[:20])
        for label, system in systems.items():
            np.testing.assert_allclose(logits_of(system, tokens[:20]), expected, atol=1e-4, rtol=1e-4, err_msg=label)
        for round_ in range(given.rounds + 1):
            for label, system in systems.items():
                time.sleep(SETTLE)
                system.reset()
                system.step(tokens[0])
                begun = time.perf_counter()
                for token in tokens:
                    system.step(token)
                if round_:  # the first one is for caches and clocks
                    times.setdefault(label, []).append((time.perf_counter() - begun) / len(tokens) * 1e6)
    return {"model": name, "threads": given.threads, "microseconds": times}


def report(found: Mapping[str, Any]) -> None:
    """A line for each system."""
    times = found["microseconds"]
    print(f"{found['model']}, {found['threads']} thread(s)")
    for label, rounds in times.items():
        speed = 1e6 / statistics.median(rounds)
        ratio = paired_ratio(rounds, times["chimerac"])
        print(f"  {label:14} {speed:9.0f} tokens/s   chimerac is {ratio:5.2f} times as fast")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=list(MODELS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, help="a JSON file for the results")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    results = []
    for name in given.models:
        results.append(measure(name, given))
        report(results[-1])
    if given.out:
        given.out.write_text(json.dumps({"machine": machine(), "results": results}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
