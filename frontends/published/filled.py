"""The module of a published model with its weights, in memory or read part by part when they are needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import torch

from chimerac.compiler.ir.module import Constant, Parts
from chimerac.compiler.ir.quantised import Quantised
from chimerac.compiler.ir.types import TensorType
from chimerac.frontends.matrices.forms import Form
from chimerac.frontends.matrices.matrix import Matrix
from chimerac.frontends.published.model import LlamaLike
from chimerac.frontends.published.reading import Published
from chimerac.frontends.published.rwkv import RwkvModel
from chimerac.frontends.published.shape import LlamaShape

Decoder = LlamaLike | RwkvModel
MOST_IN_MEMORY: Final = 100_000_000  #: parameters of a model whose floats are held whole


@dataclass(frozen=True)
class FilledModel:
    """A module in eval mode.

    Attributes:
        computed: parameters whose values come from here when they are needed, by name: codes and scales, or floats that
            are not in the module.
        whole: whether the module has all floats, so that PyTorch can run it.
    """

    module: Decoder
    computed: Mapping[str, Parts]
    whole: bool

    @property
    def parameters(self) -> int:
        """How many numbers there are."""
        return sum(parameter.numel() for parameter in self.module.parameters())


def decoder(shape: LlamaShape, forms: Mapping[str, Form], context: int) -> Decoder:
    """The module of a shape, without numbers; arguments as of ``LlamaLike``."""
    return LlamaLike(shape, forms, context) if shape.rwkv is None else RwkvModel(shape, shape.rwkv, forms)


def filled(published: Published, context: int) -> FilledModel:
    """The module of a model for texts of at most ``context`` tokens.

    Raises:
        UserError: CHM230, a file that can't be read any more; CHM242, numbers that no model can use; both when they are
            read, which may be later.
    """
    whole = sum(m.size[0] * m.size[1] for m in published.matrices.values()) <= MOST_IN_MEMORY
    module = decoder(published.shape, published.forms, context).eval()
    computed: dict[str, Parts] = {}
    with torch.no_grad():
        for name, numbers in published.vectors.items():
            module.get_parameter(name).copy_(torch.from_numpy(numbers))
        for name, matrix in published.matrices.items():
            weight, path = module.get_parameter(name), name.removesuffix("weight")
            if matrix.form.rotated:
                module.get_parameter(f"{path}signs").copy_(torch.from_numpy(published.signs[matrix.size[1]]))
            if matrix.factor is not None:
                module.get_parameter(f"{path}factor").copy_(torch.from_numpy(matrix.factor))
            if whole:
                for (start, end), part in zip(matrix.ranges(), matrix.parts(), strict=True):
                    weight.flatten(0, -2)[start:end] = torch.from_numpy(part)
            if matrix.codes is not None:
                computed[name] = _integers(matrix, tuple(weight.shape), whole=whole)
            elif not whole:
                computed[name] = partial(_floats, matrix, tuple(weight.shape))
    return FilledModel(module, computed, whole)


def _floats(matrix: Matrix, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    return (part.reshape(-1, *shape[1:]) for part in matrix.parts())


def _integers(matrix: Matrix, shape: tuple[int, ...], *, whole: bool) -> Quantised:
    """Codes and scales of a matrix, or of those of experts, that the file has as such."""
    *lead, columns = shape
    groups = -(-columns // matrix.form.group)
    types = TensorType("i8", (*lead, columns)), TensorType("f16", (*lead, groups))
    codes, scales = (Constant(kind, partial(_parts, matrix, kind, index)) for index, kind in enumerate(types))
    if whole:
        codes, scales = (Constant(constant.type, constant.data) for constant in (codes, scales))
    return Quantised("trits", matrix.form.group, codes, scales)


def _parts(matrix: Matrix, kind: TensorType, index: int) -> Iterator[np.ndarray]:
    assert matrix.codes is not None
    for start, end in matrix.ranges():
        yield matrix.codes(start, end)[index].reshape(-1, *(int(extent) for extent in kind.shape[1:]))
