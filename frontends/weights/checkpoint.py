"""Reading and writing trained weights as safetensors files; nothing is ever unpickled. Names: docs/weights.md."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from chimerac.compiler.errors import UserError, did_you_mean
from chimerac.compiler.ir.quantised import LARGEST_SCALE, Kind, too_large
from chimerac.frontends.families.protocol import Format, TensorSpec, TensorTable
from chimerac.frontends.layers.quantization import weight_codes
from chimerac.frontends.weights.files import DTYPES, Checkpoint, open_checkpoint, weights_file
from chimerac.frontends.weights.packed import is_packed, load_packed
from chimerac.runtime.bundle_format import write_atomically
from chimerac.runtime.errors import BundleError

MOST_LISTED = 20  #: problems named in one error message
MOST_SHOWN = 200  #: characters of a name that no model has


def load_safetensors(model: nn.Module, table: TensorTable, path: str | os.PathLike[str]) -> None:
    """Overwrite the weights of ``model`` that ``table`` lists, which are all or nearly all, in float32.

    A packed checkpoint (packed.py) gives weights that quantise to its codes and scales. The model is
    unchanged when this raises.

    Raises:
        UserError CHM240: the file can't be read or is no whole safetensors file.
        UserError CHM241: tensors missing, unexpected, or of the wrong shape or type; all are listed, up to 20.
        UserError CHM242: tensors that hold NaN, infinity, or numbers too large for a scale.
    """
    found = open_fitting(table, path)
    if found is None:
        packed = load_packed(path, table)
        model.load_state_dict(model.state_dict() | {name: torch.from_numpy(a) for name, a in packed.items()})
        return
    tensors = {name: found.whole(name) for name in table.specs}
    problems = [
        f"{name} {problem}"
        for name, tensor in tensors.items()
        if (problem := unusable(tensor, table.specs[name].format, table.group))
    ]
    if problems:
        raise _listed("CHM242", Path(path), "has numbers that no model can use", problems)
    model.load_state_dict(model.state_dict() | tensors)


def open_fitting(table: TensorTable, path: str | os.PathLike[str]) -> Checkpoint | None:
    """The checkpoint at a path, compared with the names, sizes and types of ``table``; None for a packed one.

    Raises:
        UserError: CHM240, CHM241, as ``load_safetensors``.
    """
    found = open_checkpoint(path)
    if is_packed(weights_file(path)):
        return None
    found = found.without_prefix(table.specs)
    problems, more = _problems(table.specs, found)
    if problems:
        raise _listed("CHM241", Path(path), "does not fit this model", problems, more)
    return found


def unusable(tensor: Tensor, format: Format, group: int) -> str:
    """What is wrong with the numbers of (a part of) a float32 tensor of this format; empty if nothing is."""
    if not tensor.isfinite().all():
        return "holds NaN or infinity"
    largest = float(tensor.abs().max()) if tensor.numel() else 0.0
    if format in ("ternary", "int8"):
        kind: Kind = "trits" if format == "ternary" else "int8"
        # no scale is more than the largest number, so nearly every tensor needs no other look
        if largest > LARGEST_SCALE and not weight_codes(tensor, group, format)[1].isfinite().all():
            return too_large(kind)
    elif largest > LARGEST_FLOAT:
        return f"has the number {largest:g}; the square of one must be within float32, so {LARGEST_FLOAT:g} is the most"
    return ""


#: What norms and sums of squares can take in float32.
LARGEST_FLOAT = 2.0**63


def save_safetensors(model: nn.Module, path: str | os.PathLike[str]) -> None:
    """Write all weights of ``model``, float32. The file appears whole or not at all; equal weights give equal bytes.

    Raises:
        UserError CHM243: the file can't be written.
    """
    tensors: dict[str, Tensor] = {
        name: tensor.detach().to("cpu", torch.float32).contiguous() for name, tensor in model.state_dict().items()
    }
    file = Path(path)
    try:
        write_atomically(file, save(tensors))
    except BundleError as error:
        raise UserError("CHM243", f"can't write {file}: {error.message}") from error


def _problems(specs: Mapping[str, TensorSpec], found: Checkpoint) -> tuple[list[str], int]:
    """The first problems of a checkpoint in words, at most ``MOST_LISTED``, and how many more there are."""
    problems: list[str] = []
    missing = [name for name in specs if name not in found.entries]
    for name, spec in specs.items():
        entry = found.entries.get(name)
        if entry is None:
            problems.append(f"missing {name} {list(spec.shape)}")
        elif entry.shape != spec.shape:
            problems.append(f"{name} has shape {list(entry.shape)}, expected {list(spec.shape)}")
        elif entry.dtype not in DTYPES:
            problems.append(f"{name} has type {entry.dtype}, expected one of {', '.join(DTYPES)}")
    unexpected = sorted(name for name in found.entries if name not in specs)
    more = max(0, len(problems) + len(unexpected) - MOST_LISTED)
    for name in unexpected[: max(0, MOST_LISTED - len(problems))]:  # looking for what was meant takes a while
        near = did_you_mean(name, missing) if len(name) <= MOST_SHOWN else ""
        shown = name if len(name) <= MOST_SHOWN else name[:MOST_SHOWN] + "…"
        problems.append(f"unexpected {shown}" + (f" ({near})" if near else ""))
    return problems[:MOST_LISTED], more


def _listed(code: str, file: Path, what: str, problems: list[str], more: int = 0) -> UserError:
    shown = problems[:MOST_LISTED]
    more += len(problems) - len(shown)
    if more:
        shown.append(f"and {more} more")
    return UserError(
        code, f"{file} {what}: " + "; ".join(shown), hint="docs/weights.md lists the tensors that a model needs"
    )
