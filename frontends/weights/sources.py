"""Where the weights of a model come from, one tensor after the other: random numbers or a checkpoint."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.module import Parts
from chimerac.compiler.ir.quantised import Quantised
from chimerac.frontends.families.protocol import Family, S, TensorTable
from chimerac.frontends.weights.checkpoint import load_safetensors, open_fitting, unusable
from chimerac.frontends.weights.packed import PackedReader, row_ranges

MOST_IN_MEMORY = 400_000_000  #: parameters of a model that is held in memory whole, as float32
PART_ELEMENTS = 1 << 20  #: about how many numbers of a tensor are in memory at a time


class WeightSource(Protocol):
    """The weights of one model.

    Attributes:
        origin: what the report says of them.
    """

    origin: str

    def fill(self, model: nn.Module) -> None:
        """Overwrite all weights of ``model``."""

    def parts(self, name: str) -> Iterator[np.ndarray]:
        """One tensor, float32, in parts along its first axis; the same each time."""

    def integers(self, whole: bool) -> Mapping[str, Quantised]:
        """The weights that are codes and scales already, by name: held, or read part by part when they are needed."""


class RandomWeights:
    """Seeded random numbers."""

    def __init__(self, family: Family[S], shape: S, seed: int) -> None:
        self.origin = f"random, seed {seed}"

        def values(name: str, elements: int) -> Iterator[np.ndarray]:
            return family.initial_parts(name, shape, seed, elements)

        self._parts = values

    def fill(self, model: nn.Module) -> None:
        with torch.no_grad():
            for name, tensor in model.state_dict().items():
                _overwrite(tensor, self._parts(name, tensor.numel()))

    def parts(self, name: str) -> Iterator[np.ndarray]:
        yield from self._parts(name, PART_ELEMENTS)

    def integers(self, whole: bool) -> Mapping[str, Quantised]:
        return {}


class CheckpointWeights:
    """A safetensors file, plain or packed.

    Raises:
        UserError: CHM240, CHM241, as ``load_safetensors``; CHM242 when a tensor with NaN or infinity is read.
    """

    def __init__(self, table: TensorTable, path: str | os.PathLike[str]) -> None:
        self.table, self.path = table, Path(path)
        self.plain = open_fitting(table, path)
        self.packed = PackedReader(path, table) if self.plain is None else None
        self.origin = self.path.name + (self.plain.note if self.plain else "")

    def fill(self, model: nn.Module) -> None:
        load_safetensors(model, self.table, self.path)

    def parts(self, name: str) -> Iterator[np.ndarray]:
        spec = self.table.specs[name]
        for start, end in row_ranges(spec.shape, PART_ELEMENTS):
            if self.plain is None:
                assert self.packed is not None
                yield self.packed.rows(name, start, end)
                continue
            part = self.plain.rows(name, start, end)
            if problem := unusable(part, spec.format, self.table.group):
                raise UserError("CHM242", f"{self.path} has numbers that no model can use: {name} {problem}")
            yield part.numpy()

    def integers(self, whole: bool) -> Mapping[str, Quantised]:
        """The weights that the file has as codes and scales: held, or read part by part when they are needed."""
        return {} if self.packed is None else self.packed.integers(None if whole else PART_ELEMENTS)


@dataclass(frozen=True)
class FilledModule:
    """A family's module in eval mode, with its weights.

    Attributes:
        origin: where the weights come from.
        computed: parameters whose values are not in the module, because they would not fit in memory together, and
            what makes them.
        integers: parameters that come as codes and scales; where they are not computed, the module has their floats.
    """

    module: nn.Module
    origin: str
    computed: Mapping[str, Parts]
    integers: Mapping[str, Quantised] = field(default_factory=dict)

    @property
    def parameters(self) -> int:
        """How many numbers are trained."""
        return sum(parameter.numel() for parameter in self.module.parameters())


def filled_module(family: Family[S], shape: S, path: str | os.PathLike[str] | None = None) -> FilledModule:
    """The module of a shape with the weights of a file, or random ones from the shape's seed.

    Raises:
        UserError: CHM240 to CHM242, as ``load_safetensors``.
    """
    table = family.tensors(shape)
    source: WeightSource = RandomWeights(family, shape, shape.seed) if path is None else CheckpointWeights(table, path)
    large = large_names(table)
    integers = source.integers(whole=not large)
    if not large:
        module = family.make(shape).eval()
        source.fill(module)
        return FilledModule(module, source.origin, {}, integers)
    with _Untouched():
        module = family.make(shape).eval()
    fill_small(module, source, large)
    parts = {name: partial(source.parts, name) for name in large}
    return FilledModule(module, source.origin, parts, integers)


def large_names(table: TensorTable) -> list[str]:
    """The matrices that are quantised, all that is large in a model; none if the whole model may be in memory."""
    if sum(math.prod(spec.shape) for spec in table.specs.values()) <= MOST_IN_MEMORY:
        return []
    return [name for name, spec in table.specs.items() if spec.format != "float32"]


class _Untouched(TorchFunctionMode):
    """``torch.zeros`` reserves memory without filling it, so that what nothing is written to takes up none."""

    def __torch_function__(
        self, function: Any, types: Any, arguments: tuple[Any, ...] = (), options: dict[str, Any] | None = None
    ) -> Any:
        return (torch.empty if function is torch.zeros else function)(*arguments, **(options or {}))


def fill_small(model: nn.Module, source: WeightSource, large: Collection[str]) -> None:
    """Overwrite the weights of ``model`` but those named in ``large``, whose memory is never touched."""
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name not in large:
                _overwrite(tensor, source.parts(name))


def _overwrite(tensor: torch.Tensor, parts: Iterator[np.ndarray]) -> None:
    end = 0
    for part in parts:
        tensor[end : end + len(part)] = torch.from_numpy(part)
        end += len(part)
