"""N4 as training asks for a module, and the table of its tensors with their first values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from chimerac.frontends.families.drawing import generator_of, normal_parts, uniform_parts
from chimerac.frontends.families.n4.body import logits_of
from chimerac.frontends.families.n4.model import N4C, UNUSED
from chimerac.frontends.families.n4.shape import N4Config
from chimerac.frontends.families.protocol import Format, TensorSpec
from chimerac.frontends.families.trainable import TrainableModule
from chimerac.frontends.layers.linear import TernaryLinear, TiedEmbedding

#: Gain of ``kaiming_normal_`` with a = sqrt(0.5).
KAIMING = math.sqrt(2 / 1.5)


class N4Trainable(TrainableModule):
    """Shares its parameters, and their names, with an ``N4C``."""

    shape: N4Config

    def __init__(self, config: N4Config, *, sparse_gradient: bool = False, ternary: bool = True) -> None:
        super().__init__()
        made = N4C.of(config)
        self.shape, self.n4b, self.lm_head = config, made.n4b, made.lm_head
        for module in self.modules():
            if isinstance(module, TernaryLinear):
                module.sparse_gradient, module.ternary = sparse_gradient, ternary
            elif isinstance(module, TiedEmbedding) and not ternary:
                module.format = "float32"

    def table(self) -> Tensor:
        return self.n4b.table()

    def hidden(
        self, tokens: Tensor, table: Tensor, loops: int | Tensor | None = None, *, truncate: bool = True
    ) -> Tensor:
        x = F.embedding(tokens, table)
        for layer in self.n4b.n4d:
            x = layer(x)
        return x

    def head(self, hidden: Tensor, table: Tensor) -> Tensor:
        return logits_of(self.lm_head, hidden)

    def blocks(self) -> Sequence[nn.Module]:
        return self.n4b.layers()


def tensor_specs(config: N4Config) -> dict[str, TensorSpec]:
    """The tensors in the order of the state dict. Training lets all of them decay, as the document does."""
    width, inner = config.hidden_size, config.inter_size
    matrix: Format = "ternary" if config.ternary else "float32"
    table = TensorSpec((config.vocab_size, width), "int8" if config.ternary else "float32", decayed=True)
    norm = TensorSpec((width,), "float32", decayed=True)
    products = {
        "n4.qkvh_linear": (3 * width + config.heads, width),
        "n4.out_linear": (width, width),
        "mlp.up_proj": (3 * inner, width),
        "mlp.down_proj": (width, inner),
    }
    specs = {"n4b.embedding.weight": table}
    for layer in range(config.layers):
        prefix = f"n4b.n4d.{layer}."
        for name, size in products.items():
            specs[f"{prefix}{name}.weight"] = TensorSpec(size, matrix, decayed=True)
            if config.bias:
                specs[f"{prefix}{name}.bias"] = TensorSpec(size[:1], "float32", decayed=True)
            if name == "n4.out_linear":
                specs[f"n4b.n4d.{layer}{UNUSED}"] = TensorSpec((config.head_width,), "float32", trained=False)
        for name in ("pre_mlp_norm", "post_mlp_norm", "pre_n4_norm", "post_n4_norm"):
            specs[f"{prefix}{name}.weight"] = norm
    specs["lm_head.weight"] = table
    if config.bias:
        specs["lm_head.bias"] = TensorSpec((config.vocab_size,), "float32", decayed=True)
    return specs


def initial_parts(name: str, config: N4Config, seed: int, elements: int) -> Iterator[np.ndarray]:
    """The distributions of the official code: tables N(0, 1), the network's matrices Kaiming's, others uniform."""
    specs = tensor_specs(config)
    size, generator = specs[name].shape, generator_of(seed, name)
    owner, _, leaf = name.rpartition(".")
    if owner.endswith("norm"):
        yield np.ones(size, np.float32)
        return
    inputs = specs[f"{owner}.weight"].shape[1]
    if owner.endswith("embedding"):
        yield from normal_parts(generator, size, 1.0, elements)
    elif owner.endswith("_proj") and leaf == "weight":
        yield from normal_parts(generator, size, KAIMING / math.sqrt(inputs), elements)
    else:
        yield from uniform_parts(generator, size, 1 / math.sqrt(inputs), elements)
