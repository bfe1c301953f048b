"""Where the weights of a model come from, one tensor after the other: random numbers or a checkpoint."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch.overrides import TorchFunctionMode

from chimerac.compiler.errors import UserError
from chimerac.frontends.families.chimera.initialization import initial_parts, initialise
from chimerac.frontends.families.chimera.model import ChimeraModel
from chimerac.frontends.families.chimera.naming import tensor_specs
from chimerac.frontends.families.chimera.shape import ChimeraShape
from chimerac.frontends.weights.checkpoint import check_checkpoint, load_safetensors
from chimerac.frontends.weights.packed import PackedReader

MOST_IN_MEMORY = 400_000_000  #: parameters of a model that is held in memory whole, as float32
PART_ELEMENTS = 1 << 20  #: about how many numbers of a tensor are in memory at a time


class WeightSource(Protocol):
    """The weights of one model.

    Attributes:
        origin: what the report says of them.
    """

    origin: str

    def fill(self, model: ChimeraModel) -> None:
        """Overwrite all weights of ``model``."""

    def parts(self, name: str) -> Iterator[np.ndarray]:
        """One tensor, float32, in parts along its first axis; the same each time."""


class RandomWeights:
    """Seeded random numbers."""

    def __init__(self, shape: ChimeraShape, seed: int) -> None:
        self.shape, self.seed, self.origin = shape, seed, f"random, seed {seed}"

    def fill(self, model: ChimeraModel) -> None:
        initialise(model, self.seed)

    def parts(self, name: str) -> Iterator[np.ndarray]:
        yield from initial_parts(name, tensor_specs(self.shape)[name].shape, self.shape, self.seed, PART_ELEMENTS)


class CheckpointWeights:
    """A safetensors file, plain or packed.

    Raises:
        UserError: CHM240, CHM241, as ``load_safetensors``; CHM242 when a tensor with NaN or infinity is read.
    """

    def __init__(self, shape: ChimeraShape, path: str | os.PathLike[str]) -> None:
        self.shape, self.path, self.origin = shape, Path(path), Path(path).name
        self.packed = PackedReader(path, shape) if check_checkpoint(shape, path) else None

    def fill(self, model: ChimeraModel) -> None:
        load_safetensors(model, self.path)

    def parts(self, name: str) -> Iterator[np.ndarray]:
        rows = tensor_specs(self.shape)[name].shape
        step = max(1, PART_ELEMENTS // max(1, int(np.prod(rows[1:]))))
        for start in range(0, rows[0], step):
            part = self._part(name, start, min(start + step, rows[0]))
            if not np.isfinite(part).all():
                raise UserError(
                    "CHM242", f"{self.path} has numbers that no model can use: {name} holds NaN or infinity"
                )
            yield part

    def _part(self, name: str, start: int, end: int) -> np.ndarray:
        if self.packed is not None:
            return self.packed.rows(name, start, end)
        try:
            with safe_open(self.path, framework="pt") as reader:
                part: np.ndarray = reader.get_slice(name)[start:end].float().numpy()
                return part
        except (SafetensorError, OSError, ValueError) as error:
            raise UserError("CHM240", f"{self.path} is no valid safetensors file: {error}") from error


def large_names(shape: ChimeraShape) -> list[str]:
    """The matrices that are quantised, all that is large in a model; none if the whole model may be in memory."""
    specs = tensor_specs(shape)
    if sum(math.prod(spec.shape) for spec in specs.values()) <= MOST_IN_MEMORY:
        return []
    return [name for name, spec in specs.items() if spec.format != "float32"]


def unfilled_model(shape: ChimeraShape) -> ChimeraModel:
    """A model whose matrices are memory that nothing has been written to, so that it takes up none."""
    with _Untouched():
        return ChimeraModel(shape)


class _Untouched(TorchFunctionMode):
    """``torch.zeros`` reserves memory without filling it."""

    def __torch_function__(
        self, function: Any, types: Any, arguments: tuple[Any, ...] = (), options: dict[str, Any] | None = None
    ) -> Any:
        return (torch.empty if function is torch.zeros else function)(*arguments, **(options or {}))


def fill_small(model: ChimeraModel, source: WeightSource, large: Collection[str]) -> None:
    """Overwrite the weights of ``model`` but those named in ``large``, whose memory is never touched."""
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name not in large:
                tensor.copy_(torch.from_numpy(np.concatenate(list(source.parts(name)))))
