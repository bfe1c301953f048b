"""A GPT of 98 million parameters, whose keys and values are kept from token to token, in four systems."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from system import System, compiled_bundle, onnx_options
from torch import Tensor, nn

VOCABULARY, WIDTH, HEADS, LAYERS, CONTEXT = 16_384, 768, 12, 12, 256
HEAD = WIDTH // HEADS


class Attention(nn.Module):
    """Causal attention of 12 heads."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def parts(self, x: Tensor) -> list[Tensor]:
        """x: [T, D] -> q, k, v: [heads, T, d]."""
        return [part.unflatten(-1, (HEADS, HEAD)).transpose(0, 1) for part in self.qkv(x).split(WIDTH, dim=-1)]

    def forward(self, x: Tensor) -> Tensor:
        """x: [T, D] -> [T, D]."""
        y: Tensor = self.out(F.scaled_dot_product_attention(*self.parts(x), is_causal=True).transpose(0, 1).flatten(1))
        return y

    def step(self, x: Tensor, keys: Tensor, values: Tensor, position: Tensor, mask: Tensor | None) -> Tensor:
        """x: [1, D]; keys, values: [heads, rows, d], in which the token's are written; mask: [1, rows] -> [1, D]."""
        q, k, v = self.parts(x)
        keys.index_copy_(1, position, k)
        values.index_copy_(1, position, v)
        y: Tensor = self.out(F.scaled_dot_product_attention(q, keys, values, attn_mask=mask).transpose(0, 1).flatten(1))
        return y


class Block(nn.Module):
    """Attention and a network of four times the width, each behind a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attention = Attention()
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def network(self, x: Tensor) -> Tensor:
        """x: [T, D] -> [T, D]."""
        y: Tensor = x + self.down(F.gelu(self.up(self.norm_2(x)), approximate="tanh"))
        return y

    def forward(self, x: Tensor) -> Tensor:
        """x: [T, D] -> [T, D]."""
        return self.network(x + self.attention(self.norm_1(x)))


class GptModel(nn.Module):
    """The model; its head is its table."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.places = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02 if "down" not in name else 0.02 / math.sqrt(2 * LAYERS))

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: [T] -> logits [T, V]."""
        x = self.table(tokens) + self.places(torch.arange(tokens.shape[-1]))
        for block in self.blocks:
            x = block(x)
        return self.norm(x) @ self.table.weight.T

    def step(self, token: Tensor, caches: Tensor, position: Tensor, mask: Tensor | None) -> Tensor:
        """token, position: i64 [1]; caches: [layers, 2, heads, rows, d] -> logits [1, V]."""
        x = self.table(token) + self.places(position)
        for block, (keys, values) in zip(self.blocks, caches.unbind(), strict=True):
            assert isinstance(block, Block)
            x = block.network(x + block.attention.step(block.norm_1(x), keys, values, position, mask))
        return self.norm(x) @ self.table.weight.T


def in_torch(model: GptModel, *, compiled: bool) -> System:
    """PyTorch: only rows in use are read; compiled, all rows behind a mask, for which nothing is compiled anew."""
    step = torch.compile(model.step, fullgraph=True) if compiled else model.step
    caches, at = torch.zeros(LAYERS, 2, HEADS, CONTEXT, HEAD), [0]
    rows = torch.arange(CONTEXT)

    def reset() -> None:
        at[0] = 0

    def run(token: int) -> np.ndarray:
        position = torch.tensor([at[0]])
        used, mask = (caches, (rows <= position)[None]) if compiled else (caches[:, :, :, : at[0] + 1], None)
        at[0] += 1
        with torch.inference_mode():
            found: np.ndarray = step(torch.tensor([token]), used, position, mask)[0].numpy()
            return found

    return System(run, reset)


def in_onnx(model: GptModel, threads: int) -> System:
    """ONNX Runtime with its own operator for cached attention, ``GroupQueryAttention``."""
    tensors: dict[str, np.ndarray] = {}
    nodes: list[onnx.NodeProto] = []

    def weight(name: str, parameter: Tensor, *, turned: bool = False) -> str:
        tensors[name] = np.ascontiguousarray(parameter.detach().numpy().T if turned else parameter.detach().numpy())
        return name

    def node(kind: str, inputs: list[str], output: str, **attributes: object) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def norm(x: str, module: nn.LayerNorm, name: str) -> str:
        inputs = [x, weight(f"{name}.w", module.weight), weight(f"{name}.b", module.bias)]
        return node("LayerNormalization", inputs, name, axis=-1, epsilon=module.eps)

    def linear(x: str, module: nn.Linear, name: str) -> str:
        product = node("MatMul", [x, weight(f"{name}.w", module.weight, turned=True)], f"{name}.p")
        return node("Add", [product, weight(f"{name}.b", module.bias)], name)

    rows = node("Gather", [weight("table", model.table.weight), "token"], "rows")
    x = node("Add", [rows, node("Gather", [weight("places", model.places.weight), "position"], "place")], "x")
    tensors["total"] = np.array(CONTEXT, np.int32)
    caches = [(f"keys{i}", f"values{i}") for i in range(LAYERS)]
    for i, block in enumerate(model.blocks):
        assert isinstance(block, Block)
        qkv = linear(norm(x, block.norm_1, f"n{i}"), block.attention.qkv, f"qkv{i}")
        nodes.append(
            helper.make_node(
                "GroupQueryAttention",
                [qkv, "", "", *caches[i], "last", "total"],
                [f"y{i}", *(f"new_{name}" for name in caches[i])],
                domain="com.microsoft",
                num_heads=HEADS,
                kv_num_heads=HEADS,
            )
        )
        x = node("Add", [x, linear(f"y{i}", block.attention.out, f"o{i}")], f"a{i}")
        up = node("Gelu", [linear(norm(x, block.norm_2, f"m{i}"), block.up, f"up{i}")], f"g{i}", approximate="tanh")
        x = node("Add", [x, linear(up, block.down, f"down{i}")], f"x{i}")
    node("MatMul", [norm(x, model.norm, "final"), weight("head", model.table.weight, turned=True)], "logits")
    names = [name for pair in caches for name in pair]
    shape = [1, HEADS, CONTEXT, HEAD]
    graph = helper.make_graph(
        nodes,
        "gpt",
        [
            *(helper.make_tensor_value_info(name, TensorProto.INT64, [1, 1]) for name in ("token", "position")),
            helper.make_tensor_value_info("last", TensorProto.INT32, [1]),
            *(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in names),
        ],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 1, VOCABULARY]),
            *(helper.make_tensor_value_info(f"new_{name}", TensorProto.FLOAT, shape) for name in names),
        ],
        [numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )
    domains = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    made = helper.make_model(graph, opset_imports=domains, ir_version=10)
    session = onnxruntime.InferenceSession(made.SerializeToString(), onnx_options(threads))
    binding, at = session.io_binding(), [0]
    for name in names:  # written in place
        held = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros(shape, np.float32))
        binding.bind_ortvalue_input(name, held)
        binding.bind_ortvalue_output(f"new_{name}", held)
    binding.bind_output("logits")

    def reset() -> None:
        at[0] = 0

    def run(token: int) -> np.ndarray:
        binding.bind_cpu_input("token", np.array([[token]]))
        binding.bind_cpu_input("position", np.array([[at[0]]]))
        binding.bind_cpu_input("last", np.array([at[0]], np.int32))
        session.run_with_iobinding(binding)
        at[0] += 1
        found: np.ndarray = binding.get_outputs()[-1].numpy()[0, 0]
        return found

    return System(run, reset)


def systems(folder: Path, threads: int) -> dict[str, System]:
    """The systems of the GPT, PyTorch first."""
    torch.manual_seed(1)
    model = GptModel().eval().requires_grad_(False)
    return {
        "PyTorch": in_torch(model, compiled=False),
        "torch.compile": in_torch(model, compiled=True),
        "onnxruntime": in_onnx(model, threads),
        "chimerac": compiled_bundle(model, folder, threads),
    }
