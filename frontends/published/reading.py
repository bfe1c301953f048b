"""A model that others made, from its folder or file: shape, matrices in their forms, vectors. Nothing large is read."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

import numpy as np

from chimerac.compiler.errors import UserError, did_you_mean
from chimerac.frontends.matrices.forms import Activations, Form
from chimerac.frontends.matrices.matrix import Matrix, scaled
from chimerac.frontends.matrices.rules import FORMATS, MASTERS, Rules
from chimerac.frontends.published.activations import with_activations
from chimerac.frontends.published.bit_linear import BitLinear, bit_linear
from chimerac.frontends.published.config_keys import shape_of_config
from chimerac.frontends.published.gguf_keys import ROTARY_FACTORS, architecture, beyond, shape_of_gguf
from chimerac.frontends.published.matrices import experts, matrix, packed, rounded
from chimerac.frontends.published.names import parameters
from chimerac.frontends.published.parameter import Change, Parameter, Stored
from chimerac.frontends.published.rotation import Rotation, check_grouped, check_names, rotation_of
from chimerac.frontends.published.rwkv_names import unused
from chimerac.frontends.published.shape import LlamaShape
from chimerac.frontends.published.stored import PACKED, Gathered, InOrder, Interleaved, Rows
from chimerac.frontends.published.text_part import left_out, text_part
from chimerac.frontends.sources.folder import ModelFolder, open_folder
from chimerac.frontends.sources.gguf import GgufFile, open_gguf
from chimerac.frontends.sources.safetensors import FLOATS
from chimerac.frontends.sources.tensor import StoredTensor

MOST_LISTED: Final = 20  #: problems named in one message
PACKED_TYPE: Final = "U8"  #: of BitNet's packed matrices
DEFAULT_RULES: Final = Rules("int8")  #: what becomes of what is not ternary, where nobody says it
MOST_ABSENT: Final = 20_000  #: tensors that are looked for one by one
FUSED: Final = ".mlp.experts.gate_up_proj"  #: of folders that have all experts of a layer in one tensor
STACKED: Final = ".attn.x_x"  #: of folders of RWKV-7 as they were written at first
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
        remarks: what is in the files and left out.
        signs: of rotated matrices, float32 [width] by the width of what they multiply.
    """

    source: Source
    shape: LlamaShape
    matrices: Mapping[str, Matrix]
    vectors: Mapping[str, np.ndarray]
    remarks: tuple[str, ...] = ()
    signs: Mapping[int, np.ndarray] = field(default_factory=dict)

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
    """What a source describes; errors as of ``text_part``, ``bit_linear``, ``shape_of_config``, ``shape_of_gguf``."""
    if isinstance(source, GgufFile):
        return shape_of_gguf(source)
    part = text_part(source)
    rule = bit_linear(part.config)
    shape = shape_of_config(part, product_norms=None if rule is None else rule.norms)
    if shape.experts is not None and any(name.endswith(FUSED) for name in source.tensors):
        return replace(shape, experts=replace(shape.experts, fused=True))
    if shape.rwkv is not None and any(name.endswith(STACKED) for name in source.tensors):
        return replace(shape, rwkv=replace(shape.rwkv, stacked=True))
    return shape


def read_published(source: Source, rules: Rules = DEFAULT_RULES, activations: Activations = "blocks") -> Published:
    """The model of a source.

    Args:
        rules: what becomes of matrices that are not ternary.
        activations: of the layers' ternary matrices.

    Raises:
        UserError: as of ``shape_of``; CHM241, tensors that are missing, unexpected, or of another shape or type;
            CHM242, numbers that no model can use; CHM233, types that are not read; CHM236, experts with another choice
            of activations.
    """
    shape = shape_of(source)
    needed = [(parameter, _stored(source, parameter)) for parameter in parameters(shape)]
    tensors, remarks = _tensors(source, shape)
    rule, interleaved, scale_names = None, False, ""
    if isinstance(source, GgufFile):
        found = architecture(source)
        interleaved, scale_names = found.interleaved, ".scale" if found.scales else ""
    else:
        rule = bit_linear(text_part(source).config)
        scale_names = ".weight_scale" if rule is not None and rule.rule != "online" else ""
    if rule is not None and (shape.experts is not None or shape.endless):
        what = shape.architecture if shape.endless else "experts"
        raise UserError("CHM234", f"{source.path}: {what} of BitNet's rules are not supported")
    if activations != "blocks" and shape.experts is not None:
        message = "activations of experts have scales for blocks, not for rows"
        raise UserError("CHM236", message, hint="leave the choice out")
    names = [stored.name for parameter, stored in needed if parameter.use == "matrix"]
    scales = _take_scales(tensors, names, scale_names) if scale_names else {}
    _check(source, needed, tensors, rule)
    rotation = _rotation(source, shape, needed)
    matrices, vectors = {}, {}
    for parameter, stored in needed:
        if parameter.use == "experts":
            parts = [tensors[name] for name in stored.names(parameter.shape[0])]
            asked = rules.format_of(parameter.names)
            kind = FORMATS.get(asked, "float32")
            masters = MASTERS.get(asked, 0)
            matrices[parameter.name] = experts(parameter.name, parameter.shape, parts, stored.first, kind, masters)
            continue
        tensor = tensors[stored.name]
        head = shape.head_width if interleaved and parameter.heads else 0
        rows: Rows = Interleaved(tensor, head) if head else InOrder(tensor)
        if stored.runs is not None:
            rows = Gathered(tensor, stored.runs)
        if parameter.use == "vector":
            vectors[parameter.name] = _vector(parameter, tensor, rows, stored.change)
        else:
            asked = "f32" if parameter.use == "gate" else rules.format_of(parameter.names)
            made = _matrix(parameter, tensor, rows, asked, rule, scales.get(stored.name))
            matrices[parameter.name] = with_activations(made, activations)
    if rotation is None:
        return Published(source, shape, matrices, vectors, remarks)
    for parameter, stored in needed:
        if stored.name in rotation.names:
            plain = matrices[parameter.name]
            matrices[parameter.name] = replace(plain, form=replace(plain.form, rotated=rotation.block))
    return Published(source, shape, matrices, vectors, remarks, rotation.signs)


def _rotation(source: Source, shape: LlamaShape, needed: Iterable[tuple[Parameter, Stored]]) -> Rotation | None:
    """The rotation of a file, which fits its matrices."""
    rotation = rotation_of(source) if isinstance(source, GgufFile) else None
    if rotation is None or not isinstance(source, GgufFile):
        return None
    able = {stored.name: p.shape[1] for p, stored in needed if p.use in ("matrix", "table")}
    check_names(source, rotation, able)
    check_grouped(source, rotation, (f"blk.{layer}.ssm_out.weight" for layer in shape.delta_layers))
    return rotation


def _stored(source: Source, parameter: Parameter) -> Stored:
    """Where a parameter is in a source."""
    if isinstance(source, GgufFile):
        return parameter.gguf
    stored, prefix = parameter.folder, text_part(source).prefix
    return replace(stored, name=re.sub(r"^model\.", prefix, stored.name))


def _tensors(source: Source, shape: LlamaShape) -> tuple[dict[str, StoredTensor], tuple[str, ...]]:
    """The tensors that are to be the model's, and lines on those that are left out."""
    tensors = dict(source.tensors)
    if isinstance(source, GgufFile):
        tensors.pop(ROTARY_FACTORS, None)
        others = beyond(tensors, shape)
    else:
        tensors = {name: t for name, t in tensors.items() if not name.endswith(".rotary_emb.inv_freq")}
        if shape.tied:  # some files have the table twice
            tensors.pop("lm_head.weight", None)
        others = left_out(tensors)
    others |= unused(tensors, shape)
    counted = Counter(others.values())
    remarks = tuple(f"{count} tensors left out: {what}" for what, count in counted.items())
    return {name: tensor for name, tensor in tensors.items() if name not in others}, remarks


def check_rules(rules: Rules, shape: LlamaShape) -> None:
    """Raise UserError CHM236 if a pattern fits no matrix of a model."""
    matrices = [parameter for parameter in parameters(shape) if parameter.use in ("matrix", "table", "experts")]
    for pattern, _ in rules.patterns:
        if not any(fnmatchcase(name, pattern) for parameter in matrices for name in parameter.names):
            near = did_you_mean(pattern, [name for parameter in matrices for name in parameter.names])
            hint = near or f"its matrices are {', '.join(parameter.name for parameter in matrices[:2])}, …"
            raise UserError("CHM236", f"no matrix of the model is called {pattern[:80]!r}", hint=hint)


def _matrix(
    parameter: Parameter,
    tensor: StoredTensor,
    rows: Rows,
    asked: str,
    rule: BitLinear | None,
    scale: np.float32 | None,
) -> Matrix:
    projection = rule is not None and parameter.use == "matrix" and parameter.name.startswith("layers.")
    if projection and tensor.type_name == PACKED_TYPE:
        assert rule is not None
        return packed(parameter.name, tensor, np.float32(1) if scale is None else scale, rule.rule)
    if projection and rule is not None and rule.rule == "online":
        return rounded(parameter.name, tensor)
    wanted = FORMATS.get(asked, "float32")
    found = matrix(parameter.name, parameter.shape, tensor, rows, wanted, MASTERS.get(asked, 0))
    if parameter.use == "table" and found.form.factor == "row":
        told = f"{tensor.type_name} as {wanted}: ternary with scales of rows that float16 has not"
        found = Matrix(found.name, found.place, found.size, Form(wanted), told, InOrder(tensor).floats)
    return found if scale is None else scaled(found, scale)


def _take_scales(tensors: dict[str, StoredTensor], names: Iterable[str], ending: str) -> dict[str, np.float32]:
    """What each matrix that has such a number is multiplied with, which is then no tensor of its own any more."""
    found: dict[str, np.float32] = {}
    for name in names:
        scale = tensors.pop(name.removesuffix(".weight") + ending, None)
        if scale is None:
            continue
        value = scale.floats().reshape(-1)
        if value.size != 1 or not np.isfinite(value[0]) or value[0] <= 0:
            raise UserError("CHM242", f"{scale.file}: {scale.name} is not one number above 0")
        found[name] = value[0]
    return found


def _check(
    source: Source,
    needed: Sequence[tuple[Parameter, Stored]],
    tensors: Mapping[str, StoredTensor],
    rule: BitLinear | None,
) -> None:
    """Raise UserError CHM241 for all tensors that do not fit."""
    count = sum(p.shape[0] if p.use == "experts" else 1 for p, _ in needed)
    if count > MOST_ABSENT + 2 * len(tensors):
        message = f"{source.path} has {len(tensors):,} tensors, far fewer than the model that it describes"
        raise UserError("CHM241", message, hint="the config is that of another model, or files are missing")
    problems, names = [], set()
    expected_of = [(p, name, stored.shape or p.shape) for p, stored in needed for name in stored.names(p.shape[0])]
    for parameter, name, expected in expected_of:
        if name in names:
            continue  # another part of the same tensor
        names.add(name)
        tensor = tensors.get(name)
        if tensor is None:
            problems.append(f"missing {name} {list(expected)}")
            continue
        shape = tensor.shape
        types = _types(source, parameter, rule)
        if types and tensor.type_name not in types:
            problems.append(f"{name} has type {tensor.type_name}, expected {' or '.join(types)}")
        elif tensor.type_name == PACKED_TYPE:
            shape = (shape[0] * PACKED, *shape[1:])
        if shape != expected:
            problems.append(f"{name} has shape {list(tensor.shape)}, expected {list(expected)}")
    missing = [name for _, name, _ in expected_of if name not in tensors]
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


def _vector(parameter: Parameter, tensor: StoredTensor, rows: Rows, change: Change) -> np.ndarray:
    stored = tensor.floats() if isinstance(rows, InOrder) else rows.floats(0, parameter.shape[0])
    numbers = _changed(stored, change).reshape(parameter.shape)
    if not np.isfinite(numbers).all() or np.abs(numbers).max() > LARGEST:
        message = f"{tensor.file}: {tensor.name} has numbers that are NaN, infinite, or over 2**63"
        raise UserError("CHM242", message)
    return numbers


def _changed(numbers: np.ndarray, change: Change) -> np.ndarray:
    """In double precision, so that every machine rounds to the same float32."""
    match change:
        case "plus one":
            return numbers + np.float32(1)
        case "minus exp":
            with np.errstate(over="ignore"):
                return -np.exp(numbers.astype(np.float64)).astype(np.float32)
        case "":
            return numbers
