"""The tensors of a checkpoint, in one safetensors file or several with an index; what other files are.

Which tensors a model needs is not known here.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from chimerac.compiler.errors import UserError
from chimerac.frontends.sources.other_files import known
from chimerac.runtime.bundle_format.regular import check_input, open_input

MAX_HEADER = 100_000_000  #: bytes; what safetensors itself allows, and more than any index has
DTYPES = ("F32", "F16", "BF16", "F64")  #: what becomes float32
INDEX = "model.safetensors.index.json"  #: names the files of a checkpoint in parts
SINGLE = "model.safetensors"


@dataclass(frozen=True)
class Entry:
    """A tensor of a checkpoint: the file that has it, its name there, its shape, and safetensors' name of its type."""

    file: Path
    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by name.

    Attributes:
        path: as it was given, for messages.
        prefix: that every name has in the files, and none has here.
    """

    path: Path
    entries: Mapping[str, Entry]
    prefix: str = ""

    @property
    def note(self) -> str:
        """What was done to names and numbers, to follow the name of the file; empty if nothing was."""
        doubles = any(entry.dtype == "F64" for entry in self.entries.values())
        said = [f"names without {self.prefix!r}"] if self.prefix else []
        said += ["float64 rounded to float32"] if doubles else []
        return f" ({', '.join(said)})" if said else ""

    def without_prefix(self, expected: Collection[str]) -> Checkpoint:
        """The same with the prefix taken away that all names share, if more names are expected then.

        Wrappers put one before every name: ``module.``, ``_orig_mod.``, ``model.``, or several of them.
        """
        first, last = min(self.entries, default=""), max(self.entries, default="")
        prefixes = [""]  # all that the first and the last name in order share, all others share too
        for mine, theirs in zip(first.split(".")[:-1], last.split(".")[:-1], strict=False):
            if mine != theirs:
                break
            prefixes.append(f"{prefixes[-1]}{mine}.")
        best = max(prefixes, key=lambda p: (sum(name[len(p) :] in expected for name in self.entries), -len(p)))
        return replace(self, entries={n[len(best) :]: e for n, e in self.entries.items()}, prefix=best)

    def rows(self, name: str, start: int, end: int) -> Tensor:
        """Part of a tensor along its first axis, as float32.

        Raises:
            UserError CHM240: the file can't be read any more.
        """
        entry = self.entries[name]
        with opened(entry.file) as reader:
            part: Tensor = reader.get_slice(entry.name)[start:end]
            return part.to(torch.float32)

    def whole(self, name: str) -> Tensor:
        """A tensor as float32; errors as of ``rows``."""
        entry = self.entries[name]
        with opened(entry.file) as reader:
            tensor: Tensor = reader.get_tensor(entry.name)
            return tensor.to(torch.float32)


def open_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """The tensors of a safetensors file, of an index of several, or of a folder that has either.

    Raises:
        UserError CHM240: a file can't be read, or is no whole safetensors file.
    """
    given, file = Path(path), weights_file(path)
    if file.name.endswith(".index.json"):
        return Checkpoint(given, _indexed(file))
    check_frame(file)
    return Checkpoint(given, _entries(file))


def weights_file(path: str | os.PathLike[str]) -> Path:
    """The file to begin with: of a folder, its index or its only safetensors file by the usual names."""
    given = Path(path)
    if not os.path.isdir(given):  # which is asked of whatever path
        return given
    return next((given / name for name in (INDEX, SINGLE) if (given / name).is_file()), given / SINGLE)


@contextlib.contextmanager
def opened(file: Path) -> Iterator[Any]:
    """A safetensors file being read, with PyTorch tensors; what goes wrong is CHM240."""
    try:
        check_input(file)
        with safe_open(file, framework="pt") as reader:
            yield reader
    except (SafetensorError, OSError, ValueError, OverflowError) as error:
        raise UserError("CHM240", f"{file} is no valid safetensors file: {error}") from error


def check_frame(file: Path) -> None:
    """Raise CHM240 when the file is missing, something else, truncated, or has an oversized header."""
    try:
        with open_input(file) as stream:
            begin = stream.read(32)
            size = os.fstat(stream.fileno()).st_size
    except OSError as error:
        raise UserError("CHM240", f"can't read {file}: {error.strerror or error}") from error
    if other := known(begin):
        raise UserError("CHM240", f"{file} is {other[0]}", hint=other[1])
    if len(begin) < 9:
        raise UserError("CHM240", f"{file} is no valid safetensors file: it has {size} bytes and no header")
    header = int.from_bytes(begin[:8], "little")
    if header > MAX_HEADER:
        raise UserError(
            "CHM240",
            f"{file} is no valid safetensors file: its header claims {header} bytes, the most is {MAX_HEADER}",
        )
    if header + 8 > size:
        raise UserError("CHM240", f"{file} is truncated: its header claims {header} bytes, but only {size - 8} follow")


def _entries(file: Path) -> dict[str, Entry]:
    with opened(file) as reader:
        slices = {name: reader.get_slice(name) for name in reader.keys()}  # noqa: SIM118  (not a mapping)
        return {name: Entry(file, name, tuple(s.get_shape()), s.get_dtype()) for name, s in slices.items()}


def _indexed(index: Path) -> dict[str, Entry]:
    """The tensors that an index names, each from the file it says."""
    try:
        with open_input(index) as stream:
            data = stream.read(MAX_HEADER + 1)
        if len(data) > MAX_HEADER:
            raise UserError("CHM240", f"{index} is no index of safetensors files: it has more than {MAX_HEADER} bytes")
        places = json.loads(data)["weight_map"]
    except OSError as error:
        raise UserError("CHM240", f"can't read {index}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError("CHM240", f"{index} is no index of safetensors files: {error!r}") from error
    if not isinstance(places, dict) or not all(isinstance(f, str) and f and Path(f).name == f for f in places.values()):
        raise UserError("CHM240", f"{index} is no index of safetensors files: weight_map must name files beside it")
    found: dict[str, dict[str, Entry]] = {}
    for part in sorted(set(places.values())):
        check_frame(index.parent / part)
        found[part] = _entries(index.parent / part)
    missing = [f"{name} in {part}" for name, part in places.items() if name not in found[part]]
    if missing:
        raise UserError("CHM240", f"{index} names {len(missing)} tensors that are not there: {missing[0]}, …")
    return {name: found[part][name] for name, part in places.items()}
