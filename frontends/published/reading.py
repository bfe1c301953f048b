"""A model that others made, from its folder or file: shape, matrices in their forms, vectors. Nothing large is read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from chimerac.compiler.errors import UserError, did_you_mean
from chimerac.frontends.matrices.forms import Form, Kind
from chimerac.frontends.matrices.matrix import Matrix, scaled
from chimerac.frontends.published.bit_linear import BitLinear, bit_linear
from chimerac.frontends.published.config_keys import shape_of_folder
from chimerac.frontends.published.gguf_keys import ROTARY_FACTORS, architecture, shape_of_gguf
from chimerac.frontends.published.matrices import matrix, packed, rounded
from chimerac.frontends.published.names import Parameter, parameters
from chimerac.frontends.published.shape import LlamaShape
from chimerac.frontends.published.stored import PACKED, InOrder, Interleaved
from chimerac.frontends.sources.folder import ModelFolder, open_folder
from chimerac.frontends.sources.gguf import GgufFile, open_gguf
from chimerac.frontends.sources.safetensors import FLOATS
from chimerac.frontends.sources.tensor import StoredTensor

MOST_LISTED: Final = 20  #: problems named in one message
PACKED_TYPE: Final = "U8"  #: of BitNet's packed matrices
LARGEST: Final = 2.0**63  #: of a number of a vector: norms square it

Source = ModelFolder | GgufFile


@dataclass(frozen=True)
class Published:
    """A model of others, ready to become a module.

    Attributes:
        source: the folder or file.
        shape: what its module is made of.
        matrices: by the name of the parameter.
        vectors: the other parameters, float32.
    """

    source: Source
    shape: LlamaShape
    matrices: Mapping[str, Matrix]
    vectors: Mapping[str, np.ndarray]

    @property
    def forms(self) -> dict[str, Form]:
        """Of all matrices."""
        return {name: found.form for name, found in self.matrices.items()}

    @property
    def digest(self) -> str:
        """SHA-256 of what the files say of the model, in hexadecimal; its numbers have a digest of their own."""
        return hashlib.sha256(repr((self.shape, sorted(self.forms.items()))).encode()).hexdigest()


def open_source(path: str | Path) -> Source:
    """The folder or file; errors as of ``open_folder`` and ``open_gguf``."""
    return open_folder(path) if Path(path).is_dir() else open_gguf(path)


def shape_of(source: Source) -> LlamaShape:
    """What a source describes; errors as of ``shape_of_folder``, ``shape_of_gguf`` and ``bit_linear``."""
    if isinstance(source, GgufFile):
        return shape_of_gguf(source)
    rule = bit_linear(source)
    return shape_of_folder(source, product_norms=None if rule is None else rule.norms)


def read_published(source: Source, wanted: Kind = "int8") -> Published:
    """The model of a source.

    Args:
        wanted: what becomes of matrices that are not ternary.

    Raises:
        UserError: as of ``shape_of``; CHM241, tensors that are missing, unexpected, or of another shape or type;
            CHM242, numbers that no model can use; CHM233, types that are not read.
    """
    shape = shape_of(source)
    tensors, rule, interleaved = dict(source.tensors), None, False
    if isinstance(source, GgufFile):
        interleaved = architecture(source).interleaved
        tensors.pop(ROTARY_FACTORS, None)
    else:
        rule = bit_linear(source)
        tensors = {name: t for name, t in tensors.items() if not name.endswith(".rotary_emb.inv_freq")}
        if shape.tied:  # some files have the table twice
            tensors.pop("lm_head.weight", None)
    wanted_of = [(p, p.gguf if isinstance(source, GgufFile) else p.folder) for p in parameters(shape)]
    scales = _take_scales(source, tensors, [name for p, name in wanted_of if p.use == "matrix"], rule)
    _check(source, wanted_of, tensors, rule)
    matrices, vectors = {}, {}
    for parameter, name in wanted_of:
        tensor = tensors[name]
        head = shape.head_width if interleaved and parameter.heads else 0
        if parameter.use == "vector":
            vectors[parameter.name] = _vector(tensor, head)
        else:
            matrices[parameter.name] = _matrix(parameter, tensor, head, wanted, rule, scales.get(name))
    return Published(source, shape, matrices, vectors)


def _matrix(
    parameter: Parameter,
    tensor: StoredTensor,
    head: int,
    wanted: Kind,
    rule: BitLinear | None,
    scale: np.float32 | None,
) -> Matrix:
    projection = rule is not None and parameter.name.startswith("layers.")
    if projection and tensor.type_name == PACKED_TYPE:
        assert rule is not None
        return packed(parameter.name, tensor, np.float32(1) if scale is None else scale, rule.rule)
    if projection and rule is not None and rule.rule == "online":
        return rounded(parameter.name, tensor)
    found = matrix(parameter.name, tensor, Interleaved(tensor, head) if head else InOrder(tensor), wanted)
    if parameter.use == "table" and found.form.factor == "row":
        told = f"{tensor.type_name} as {wanted}: ternary with scales of rows that float16 has not"
        found = Matrix(found.name, found.place, found.size, Form(wanted), told, InOrder(tensor).floats)
    return found if scale is None else scaled(found, scale)


def _take_scales(
    source: Source, tensors: dict[str, StoredTensor], names: Iterable[str], rule: BitLinear | None
) -> dict[str, np.float32]:
    """The ``weight_scale`` of each matrix that has one, which is then no tensor of its own any more."""
    found: dict[str, np.float32] = {}
    for name in names:
        scale = tensors.get(f"{name}_scale")
        if scale is None or rule is None or rule.rule == "online":
            continue
        del tensors[f"{name}_scale"]
        value = scale.floats().reshape(-1)
        if value.size != 1 or not np.isfinite(value[0]) or value[0] <= 0:
            raise UserError("CHM242", f"{scale.file}: {scale.name} is not one number above 0")
        found[name] = value[0]
    return found


def _check(
    source: Source, wanted: Iterable[tuple[Parameter, str]], tensors: Mapping[str, StoredTensor], rule: BitLinear | None
) -> None:
    """Raise UserError CHM241 for all tensors that do not fit."""
    problems, names = [], set()
    for parameter, name in wanted:
        names.add(name)
        tensor = tensors.get(name)
        if tensor is None:
            problems.append(f"missing {name} {list(parameter.shape)}")
            continue
        shape = tensor.shape
        types = _types(source, parameter, rule)
        if types and tensor.type_name not in types:
            problems.append(f"{name} has type {tensor.type_name}, expected {' or '.join(types)}")
        elif tensor.type_name == PACKED_TYPE:
            shape = (shape[0] * PACKED, *shape[1:])
        if shape != parameter.shape:
            problems.append(f"{name} has shape {list(tensor.shape)}, expected {list(parameter.shape)}")
    missing = [name for _, name in wanted if name not in tensors]
    for name in [name for name in tensors if name not in names]:
        near = did_you_mean(name, missing) if len(problems) < MOST_LISTED and len(name) <= 200 else None
        problems.append(f"unexpected {name[:200]}" + (f" ({near})" if near else ""))
    if problems:
        more = [f"and {len(problems) - MOST_LISTED} more"] if len(problems) > MOST_LISTED else []
        listed = "; ".join(problems[:MOST_LISTED] + more)
        hint = "the tensors are not those of the model that the config or the metadata describe"
        raise UserError("CHM241", f"{source.path} does not hold the model that it describes: {listed}", hint=hint)


def _types(source: Source, parameter: Parameter, rule: BitLinear | None) -> tuple[str, ...]:
    """The types that a tensor of a folder may have; none of a GGUF file, whose types name an encoding each."""
    if isinstance(source, GgufFile):
        return ()
    if rule is None or rule.rule == "online" or parameter.use != "matrix" or not parameter.name.startswith("layers."):
        return tuple(FLOATS)
    return (PACKED_TYPE,) if rule.rule == "divided" else (PACKED_TYPE, *FLOATS)


def _vector(tensor: StoredTensor, head: int) -> np.ndarray:
    numbers = Interleaved(tensor, head).floats(0, tensor.shape[0]) if head else tensor.floats()
    if not np.isfinite(numbers).all() or np.abs(numbers).max() > LARGEST:
        message = f"{tensor.file}: {tensor.name} has numbers that are NaN, infinite, or over 2**63"
        raise UserError("CHM242", message)
    return numbers
