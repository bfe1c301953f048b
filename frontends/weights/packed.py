"""Trained weights as small as they are deployed: trits and int8 codes with their scales, in a safetensors file.

A matrix ``name`` [..., N, K] of trits becomes ``name.t2`` (U8 [..., N, ceil(K/4)], four trits a byte, trit i of a byte
as code t + 1 at bits 2i) and ``name.scales`` (F16 [..., N, ceil(K/group)]); the embedding becomes ``name.i8`` and
``name.scales``; everything else stays F32. As floats a weight is its codes times their scales, which rounds to exactly
these (docs/decisions/0008-already-ternary.md). Such weights are for compiling and evaluating; to train on, keep the
full checkpoint.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.module import Constant
from chimerac.compiler.ir.ops.linear import quantise_rows, ternarise
from chimerac.compiler.ir.quantised import Kind, Quantised, check_codes, dequantise
from chimerac.compiler.ir.types import TensorType
from chimerac.frontends.families.protocol import TensorSpec, TensorTable
from chimerac.frontends.weights.files import weights_file
from chimerac.runtime.bundle_format.regular import check_input

if TYPE_CHECKING:
    from torch import nn

FORMAT = "chimera-packed-1"


def packed_bytes(model: nn.Module, table: TensorTable) -> bytes:
    """The file of a model's weights, which ``table`` lists; equal weights give equal bytes."""
    group = table.group
    tensors: dict[str, np.ndarray] = {}
    state = {name: tensor.detach().cpu().float().numpy() for name, tensor in model.state_dict().items()}
    for name, spec in table.specs.items():
        if spec.format == "ternary":
            trits, scales = ternarise(state[name], group)
            tensors[f"{name}.t2"], tensors[f"{name}.scales"] = pack_trits(trits), scales
        elif spec.format == "int8":
            tensors[f"{name}.i8"], tensors[f"{name}.scales"] = quantise_rows(state[name], group)
        else:
            tensors[name] = np.ascontiguousarray(state[name])
    data: bytes = save(tensors, {"format": FORMAT})
    return data


def is_packed(path: str | os.PathLike[str]) -> bool:
    """Whether a readable safetensors file is a packed checkpoint."""
    try:
        check_input(path)
        with safe_open(path, framework="np") as reader:
            return (reader.metadata() or {}).get("format") == FORMAT
    except (SafetensorError, OSError, ValueError, OverflowError):
        return False


def load_packed(path: str | os.PathLike[str], table: TensorTable) -> dict[str, np.ndarray]:
    """Float weights by name that quantise to what the file holds.

    Raises:
        UserError: CHM240, not a whole file; CHM241, tensors that do not fit the table; CHM242, NaN, infinity, or codes
            that are none.
    """
    reader = PackedReader(path, table)
    return {name: reader.rows(name, 0, spec.shape[0]) for name, spec in reader.specs.items()}


class PackedReader:
    """What a packed checkpoint holds, some rows at a time: as integers, or as floats that quantise to them.

    Raises:
        UserError: as ``load_packed``.
    """

    def __init__(self, path: str | os.PathLike[str], table: TensorTable) -> None:
        self.path, self.specs, self.group = weights_file(path), table.specs, table.group
        with self._open() as reader:
            found = {name: reader.get_slice(name) for name in reader.keys()}  # noqa: SIM118  (not a mapping)
            kinds = {
                name: (tuple(s.get_shape()), _DTYPES.get(s.get_dtype(), s.get_dtype())) for name, s in found.items()
            }
            problems = _problems(kinds, self.specs, self.group)
            if problems:
                listed = "; ".join(problems[:20]) + (f"; and {len(problems) - 20} more" if len(problems) > 20 else "")
                hint = "was it packed from a model of another config?"
                raise UserError("CHM241", f"{self.path} does not fit this model: {listed}", hint=hint)
            floats = [name for name, (_, dtype) in kinds.items() if dtype.startswith("float")]
            bad = [name for name in floats if not np.isfinite(reader.get_tensor(name).astype(np.float32)).all()]
            if bad:
                message = f"{self.path} has numbers that no model can use: {bad[0]} holds NaN or infinity"
                raise UserError("CHM242", message + (f"; and {len(bad) - 1} more" if bad[1:] else ""))

    def rows(self, name: str, start: int, end: int) -> np.ndarray:
        """Part of a tensor, float32, along its first axis."""
        if self.specs[name].format in ("ternary", "int8"):
            return dequantise(self.codes(name, start, end), self.scales(name, start, end), self.group)
        with self._open() as reader:
            found: np.ndarray = reader.get_slice(name)[start:end]
        return found

    def integers(self, elements: int | None) -> dict[str, Quantised]:
        """The weights that are codes and scales here, by name.

        Args:
            elements: about how many codes are read at a time, whenever they are used; None to read and hold them now.
        """
        made = {}
        for name, spec in self.specs.items():
            if spec.format in ("ternary", "int8"):
                kind: Kind = "trits" if spec.format == "ternary" else "int8"
                types = (
                    TensorType("i8", spec.shape),
                    TensorType("f16", (*spec.shape[:-1], -(-spec.shape[-1] // self.group))),
                )
                sources = (partial(self._parts, read, name, elements) for read in (self.codes, self.scales))
                constants = [Constant(t, s) for t, s in zip(types, sources, strict=True)]
                if elements is None:
                    constants = [replace(c, source=c.data) for c in constants]
                made[name] = Quantised(kind, self.group, *constants)
        return made

    def _parts(self, read: _Read, name: str, elements: int | None) -> Iterator[np.ndarray]:
        for start, end in row_ranges(self.specs[name].shape, elements):
            yield read(name, start, end)

    def codes(self, name: str, start: int, end: int) -> np.ndarray:
        """Codes i8 of a weight, part of them along the first axis.

        Raises:
            UserError: CHM240, the file can't be read any more; CHM242, codes that are none.
        """
        spec = self.specs[name]
        ternary = spec.format == "ternary"
        with self._open() as reader:
            found: np.ndarray = reader.get_slice(name + (".t2" if ternary else ".i8"))[start:end]
        codes = unpack_trits(found, spec.shape[-1]) if ternary else found
        check_codes(codes, "trits" if ternary else "int8", name)
        return codes

    def scales(self, name: str, start: int, end: int) -> np.ndarray:
        """Scales f16 of a weight, part of them along the first axis; errors as of ``codes``."""
        with self._open() as reader:
            found: np.ndarray = reader.get_slice(f"{name}.scales")[start:end]
        return found

    @contextlib.contextmanager
    def _open(self) -> Iterator[Any]:
        try:
            check_input(self.path)
            with safe_open(self.path, framework="np") as reader:
                yield reader
        except (SafetensorError, OSError, ValueError, OverflowError) as error:
            raise UserError("CHM240", f"{self.path} is no valid safetensors file: {error}") from error


#: (name, first row, row behind the last) → that part of a tensor
_Read = Callable[[str, int, int], np.ndarray]


def row_ranges(shape: tuple[int, ...], elements: int | None) -> Iterator[tuple[int, int]]:
    """Ranges of the first axis that hold about so many elements each, at least one row; None for all in one."""
    step = shape[0] if elements is None else max(1, elements // max(1, math.prod(shape[1:])))
    for start in range(0, shape[0], step):
        yield start, min(start + step, shape[0])


#: numpy's names of the types in a packed checkpoint
_DTYPES = {"U8": "uint8", "I8": "int8", "F16": "float16", "F32": "float32"}


def pack_trits(trits: np.ndarray) -> np.ndarray:
    """i8 [..., K] in {-1, 0, 1} to u8 [..., ceil(K/4)]; missing trits at the end count as 0."""
    missing = -trits.shape[-1] % 4
    codes = np.pad(trits + 1, [(0, 0)] * (trits.ndim - 1) + [(0, missing)], constant_values=1).astype(np.uint8)
    four = codes.reshape(*trits.shape[:-1], -1, 4)
    return np.ascontiguousarray(four[..., 0] | four[..., 1] << 2 | four[..., 2] << 4 | four[..., 3] << 6)


def unpack_trits(packed: np.ndarray, columns: int) -> np.ndarray:
    """The inverse of ``pack_trits``: i8 [..., columns]."""
    codes = np.stack([packed >> shift & 3 for shift in (0, 2, 4, 6)], axis=-1).reshape(*packed.shape[:-1], -1)
    return codes[..., :columns].astype(np.int8) - np.int8(1)


def _problems(found: dict[str, tuple[tuple[int, ...], str]], specs: Mapping[str, TensorSpec], group: int) -> list[str]:
    problems = []
    expected: dict[str, tuple[tuple[int, ...], str]] = {}
    for name, spec in specs.items():
        lead, columns = spec.shape[:-1], spec.shape[-1]
        if spec.format == "ternary":
            expected[f"{name}.t2"] = ((*lead, -(-columns // 4)), "uint8")
        elif spec.format == "int8":
            expected[f"{name}.i8"] = (spec.shape, "int8")
        if spec.format in ("bfloat16", "float32"):
            expected[name] = (spec.shape, "float32")
        else:
            expected[f"{name}.scales"] = ((*lead, -(-columns // group)), "float16")
    for name, (shape, dtype) in expected.items():
        if name not in found:
            problems.append(f"missing {name} {list(shape)}")
        elif found[name] != (shape, dtype):
            problems.append(f"{name} is {found[name][1]} {list(found[name][0])}, expected {dtype} {list(shape)}")
    return problems + [f"unexpected {name}" for name in sorted(found.keys() - expected.keys())]
