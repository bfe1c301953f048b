"""The family ``nonu`` as frontends/families/protocol.py asks for it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from chimerac.compiler.errors import UserError
from chimerac.compiler.model import ReferenceSession
from chimerac.frontends.config.document import Document
from chimerac.frontends.families.drawing import generator_of, normal_parts, uniform_parts
from chimerac.frontends.families.grammars import refused
from chimerac.frontends.families.nonu.claims import remarks_of
from chimerac.frontends.families.nonu.keys import NonuKeys
from chimerac.frontends.families.nonu.shape import BLOCK as ACTIVATIONS
from chimerac.frontends.families.nonu.shape import GROUP, SPREAD, NonuConfig, gate_bias, logit
from chimerac.frontends.families.protocol import Description, Format, TensorSpec, TensorTable
from chimerac.frontends.families.reading import read_keys

if TYPE_CHECKING:
    from torch import nn

BLOCK: Final = 16  #: most tokens of a call
QUANTIZATION: Final = (ACTIVATIONS, GROUP)


@dataclass(frozen=True)
class NonuFamily:
    """The family."""

    name: str = "nonu"
    shape_type: type[NonuConfig] = NonuConfig

    def describe(self, document: Document) -> Description[NonuConfig]:
        """A config as a description; ``UserError`` as of the protocol."""
        reading = read_keys(document, NonuKeys)
        try:
            shape = NonuConfig(**reading.keys.numbers())
        except UserError as error:
            raise UserError("CHM120", error.message, span=reading.place("model_type")) from None
        return Description(
            reading.keys.name,
            reading.digest,
            shape,
            f"{shape.num_layers} layers of {shape.neurons:,} gated neurons, {shape.hidden_size} channels",
            quantization=()
            if shape.weights == "f32" and not (shape.predictor_rank or shape.predictor_exact)
            else (QUANTIZATION,),
            grammars=partial(reading.keys.grammar.request, reading.place),
            refusal=refused(reading.keys.grammar.refusal),
            remarks=partial(remarks_of, shape),
            place=reading.place,
        )

    def block(self, shape: NonuConfig) -> int:
        """The same for every shape."""
        return BLOCK

    def tensors(self, shape: NonuConfig) -> TensorTable:
        """The tensors of ``NonuModel``'s state dict."""
        return TensorTable(tensor_specs(shape), QUANTIZATION[1])

    def make(self, shape: NonuConfig, *, sparse_gradient: bool = False, ternary: bool = True) -> nn.Module:
        """The training form."""
        from chimerac.frontends.families.nonu.trainable import NonuTrainable

        return NonuTrainable(shape, sparse_gradient=sparse_gradient, ternary=ternary)

    def initial_parts(self, name: str, shape: NonuConfig, seed: int, elements: int) -> Iterator[np.ndarray]:
        """The distributions of ``NonuModel``."""
        return initial_parts(name, shape, seed, elements)

    def export_form(self, module: nn.Module) -> nn.Module:
        """The step form with its state in buffers."""
        from chimerac.frontends.families.nonu.trainable import NonuTrainable

        assert isinstance(module, NonuTrainable)
        return module.export_form().eval()

    def reference_session(self, module: nn.Module, loops: int | None) -> ReferenceSession:
        """The step form, run by PyTorch."""
        from chimerac.frontends.families.nonu.trainable import NonuTrainable
        from chimerac.frontends.families.stepwise import StepSession

        assert isinstance(module, NonuTrainable)
        return StepSession(module.export_form())


def tensor_specs(config: NonuConfig) -> dict[str, TensorSpec]:
    """The tensors in the order of the state dict."""
    width, inner, neurons = config.hidden_size, config.embedding_dim, config.neurons
    formats: dict[str, Format] = {"f32": "float32", "int8": "int8", "ternary": "ternary"}
    matrix = formats[config.weights]
    table = TensorSpec((config.vocab_size, inner), "float32")
    specs = {
        "embedding.weight": table,
        "project.weight": TensorSpec((width, inner), "float32"),
        "unproject.weight": TensorSpec((inner, width), "float32"),
    }
    decayed = config.weights == "ternary"
    norm, number = TensorSpec((width,), "float32"), TensorSpec((1,), "float32")
    for layer in range(config.num_layers):
        within = {
            **({"residual": number} if config.use_multiplicative_residuals else {}),
            "attention_norm.weight": norm,
            "mlp_norm.weight": norm,
            "attention.qkv.weight": TensorSpec((3 * width, width), matrix, decayed=decayed),
            "attention.out.weight": TensorSpec((width, width), matrix, decayed=decayed),
            "mlp.down": TensorSpec((neurons, width), matrix, decayed=decayed),
            **({"mlp.edge": number} if config.learned else {}),
            "mlp.up.weight": TensorSpec((neurons, width), matrix, decayed=decayed),
            "mlp.up.bias": TensorSpec((neurons,), "float32"),
            **(_predictor_specs(config) if config.predictor_rank else {}),
        }
        specs.update((f"layers.{layer}.{name}", spec) for name, spec in within.items())
    specs["norm.weight"] = norm
    if not config.tie:
        specs["output.weight"] = table
    return specs


def _predictor_specs(config: NonuConfig) -> dict[str, TensorSpec]:
    rank, neurons = config.predictor_rank, config.neurons
    return {
        "mlp.predictor.first": TensorSpec((rank, config.hidden_size), "ternary"),
        "mlp.predictor.second": TensorSpec((neurons, rank), "ternary"),
        "mlp.predictor.bias": TensorSpec((neurons,), "float32"),
    }


def initial_parts(name: str, config: NonuConfig, seed: int, elements: int) -> Iterator[np.ndarray]:
    """First values of a tensor."""
    size, layer = tensor_specs(config)[name].shape, int(name.split(".")[1]) if name.startswith("layers.") else 0
    if name.endswith("predictor.bias"):
        yield np.zeros(size, np.float32)
    elif name.endswith("up.bias"):
        yield np.full(size, gate_bias(config, layer), np.float32)
    elif name.endswith("edge"):
        yield np.full(size, logit(config.threshold(layer)), np.float32)
    elif name.endswith(("norm.weight", "residual")):
        yield np.ones(size, np.float32)
    elif name in ("embedding.weight", "output.weight"):
        yield from uniform_parts(generator_of(seed, name), size, config.embedding_range, elements)
    else:
        spread = 1 / math.sqrt(size[1]) if ".predictor." in name else SPREAD
        yield from normal_parts(generator_of(seed, name), size, spread, elements)


FAMILY: Final = NonuFamily()
