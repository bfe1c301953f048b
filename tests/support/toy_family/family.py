"""The family ``toy`` as chimerac.frontends.families.protocol asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from chimerac.compiler.model import ReferenceSession
from chimerac.frontends.config.document import Document
from chimerac.frontends.config.fields import key
from chimerac.frontends.families.drawing import generator_of, normal_parts
from chimerac.frontends.families.protocol import Description, TensorSpec, TensorTable
from chimerac.frontends.families.reading import read_keys

if TYPE_CHECKING:
    from torch import nn

BLOCK: Final = 16  #: most tokens of a call
GROUP: Final = 32  #: channels that share a scale, of a ternary weight and of int8 activations


@dataclass(frozen=True, kw_only=True)
class ToyKeys:
    """The keys of a description: what a config may say, with what it is checked for."""

    model_type: str = key("Model family.", default="toy", choices=("toy",))
    name: str = key("Name of the model and of its bundles.", default="toy", pattern=r"[a-z][a-z0-9-]{0,30}")
    vocabulary: int = key("Entries of the vocabulary: bytes first.", default=256, minimum=256, maximum=65536)
    heads: int = key("Heads; one gate each.", minimum=1, maximum=64)
    head_width: int = key("Channels of a head.", minimum=1, maximum=256)
    layers: int = key("Layers.", minimum=1, maximum=64)
    seed: int = key("Of random weights.", default=0, minimum=0)


@dataclass(frozen=True)
class ToyShape:
    """All that the module is made from; plan.json of a training holds it."""

    vocabulary: int
    heads: int
    head_width: int
    layers: int
    seed: int

    @property
    def channels(self) -> int:
        return self.heads * self.head_width


@dataclass(frozen=True)
class Toy:
    """The family."""

    name: str = "toy"
    shape_type: type[ToyShape] = ToyShape

    def describe(self, document: Document) -> Description[ToyShape]:
        """Keys to shape. Tokenizer, grammars and training are the usual ones of a description that says nothing."""
        reading = read_keys(document, ToyKeys)
        keys = reading.keys
        shape = ToyShape(keys.vocabulary, keys.heads, keys.head_width, keys.layers, keys.seed)
        summary = f"{shape.layers} recurrences of {shape.channels} channels"
        return Description(
            keys.name, reading.digest, shape, summary, quantization=((GROUP, GROUP),), place=reading.place
        )

    def block(self, shape: ToyShape) -> int:
        """The same for every shape."""
        return BLOCK

    def tensors(self, shape: ToyShape) -> TensorTable:
        """The tensors in the order of the module's ``state_dict``."""
        channels = shape.channels
        square = TensorSpec((channels, channels), "ternary", decayed=True)
        specs = {"embedding.weight": TensorSpec((shape.vocabulary, channels), "int8")}
        for layer in range(shape.layers):
            prefix = f"layers.{layer}."
            specs[f"{prefix}norm.weight"] = TensorSpec((channels,), "float32")
            specs[f"{prefix}gate.weight"] = TensorSpec((shape.heads, channels), "float32")
            specs[f"{prefix}gate.bias"] = TensorSpec((shape.heads,), "float32")
            specs |= {f"{prefix}value.weight": square, f"{prefix}out.weight": square}
            specs[f"{prefix}out.in_norm.weight"] = TensorSpec((channels,), "float32")
        specs["norm.weight"] = TensorSpec((channels,), "float32")
        return TensorTable(specs, GROUP)

    def initial_parts(self, name: str, shape: ToyShape, seed: int, elements: int) -> Iterator[np.ndarray]:
        """Norms are ones, gates start at a half of a half, matrices are N(0, 1/sqrt K)."""
        size = self.tensors(shape).specs[name].shape
        if len(size) == 1:
            yield np.full(size, -1.0 if name.endswith("bias") else 1.0, np.float32)
        else:
            yield from normal_parts(generator_of(seed, name), size, size[-1] ** -0.5, elements)

    def make(self, shape: ToyShape, *, sparse_gradient: bool = False, ternary: bool = True) -> nn.Module:
        """The training form."""
        from toy_family.model import ToyModel

        return ToyModel(shape, sparse_gradient=sparse_gradient, ternary=ternary)

    def export_form(self, module: nn.Module) -> nn.Module:
        """The step form with its state in buffers."""
        from toy_family.model import ToyModel, ToySteps

        assert isinstance(module, ToyModel)
        return ToySteps(module).eval()

    def reference_session(self, module: nn.Module, loops: int | None) -> ReferenceSession:
        """The step form, run by PyTorch."""
        from toy_family.model import ToyModel, ToySession

        assert isinstance(module, ToyModel)
        return ToySession(module)


FAMILY: Final = Toy()
