"""Trained weights as small as they are deployed: trits and int8 codes with their scales, in a safetensors file.

A matrix ``name`` [..., N, K] of trits becomes ``name.t2`` (U8 [..., N, ceil(K/4)], four trits a byte, trit i of a byte
as code t + 1 at bits 2i) and ``name.scales`` (F16 [..., N, ceil(K/group)]); the embedding becomes ``name.i8`` and
``name.scales``; everything else stays F32. As floats a weight is its codes times their scales, which rounds to exactly
these (docs/decisions/0008-already-ternary.md). Such weights are for compiling and evaluating; to train on, keep the
full checkpoint.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.ops.linear import quantise_rows, ternarise
from chimerac.compiler.ir.quantised import dequantise
from chimerac.frontends.families.protocol import TensorSpec, TensorTable

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
        with safe_open(path, framework="np") as reader:
            return (reader.metadata() or {}).get("format") == FORMAT
    except (SafetensorError, OSError, ValueError, OverflowError):
        return False


def load_packed(path: str | os.PathLike[str], table: TensorTable) -> dict[str, np.ndarray]:
    """Float weights by name that quantise to what the file holds.

    Raises:
        UserError: CHM240, not a whole file; CHM241, tensors that do not fit the table.
    """
    reader = PackedReader(path, table)
    return {name: reader.rows(name, 0, spec.shape[0]) for name, spec in reader.specs.items()}


class PackedReader:
    """Float weights that quantise to what a packed checkpoint holds, some rows at a time.

    Raises:
        UserError: as ``load_packed``.
    """

    def __init__(self, path: str | os.PathLike[str], table: TensorTable) -> None:
        self.path, self.specs, self.group = Path(path), table.specs, table.group
        with self._open() as reader:
            found = {name: reader.get_slice(name) for name in reader.keys()}  # noqa: SIM118  (not a mapping)
            kinds = {
                name: (tuple(s.get_shape()), _DTYPES.get(s.get_dtype(), s.get_dtype())) for name, s in found.items()
            }
            problems = _problems(kinds, self.specs, self.group)
            if not problems:
                small = [name for name, (_, dtype) in kinds.items() if dtype.startswith("float")]
                bad = [name for name in small if not np.isfinite(reader.get_tensor(name).astype(np.float32)).all()]
                problems = [f"{name} holds NaN or infinity" for name in bad]
        if problems:
            listed = "; ".join(problems[:20]) + (f"; and {len(problems) - 20} more" if len(problems) > 20 else "")
            hint = "was it packed from a model of another config?"
            raise UserError("CHM241", f"{self.path} does not fit this model: {listed}", hint=hint)

    def rows(self, name: str, start: int, end: int) -> np.ndarray:
        """Part of a tensor, float32, along its first axis."""
        spec = self.specs[name]
        with self._open() as reader:

            def part(suffix: str) -> np.ndarray:
                found: np.ndarray = reader.get_slice(name + suffix)[start:end]
                return found

            if spec.format == "ternary":
                return dequantise(unpack_trits(part(".t2"), spec.shape[-1]), part(".scales"), self.group)
            if spec.format == "int8":
                return dequantise(part(".i8"), part(".scales"), self.group)
            return part("")

    @contextlib.contextmanager
    def _open(self) -> Iterator[Any]:
        try:
            with safe_open(self.path, framework="np") as reader:
                yield reader
        except (SafetensorError, OSError, ValueError, OverflowError) as error:
            raise UserError("CHM240", f"{self.path} is no valid safetensors file: {error}") from error


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
