"""Reading and writing trained weights as safetensors files; nothing is ever unpickled. Names: docs/weights.md."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from chimerac.compiler.errors import UserError, did_you_mean
from chimerac.frontends.families.protocol import TensorSpec, TensorTable
from chimerac.frontends.weights.packed import is_packed, load_packed

MAX_HEADER = 100_000_000  #: bytes; what safetensors itself allows
MOST_LISTED = 20  #: problems named in one error message
DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def load_safetensors(model: nn.Module, table: TensorTable, path: str | os.PathLike[str]) -> None:
    """Overwrite all weights of ``model``, whose tensors ``table`` lists; float16 and bfloat16 are widened to float32.

    A packed checkpoint (packed.py) gives weights that quantise to its codes and scales. The model is
    unchanged when this raises.

    Raises:
        UserError CHM240: the file can't be read or is no whole safetensors file.
        UserError CHM241: tensors missing, unexpected, or of the wrong shape or type; all are listed, up to 20.
        UserError CHM242: tensors that hold NaN or infinity.
    """
    file = Path(path)
    if check_checkpoint(table, file):
        packed = load_packed(file, table)
        model.load_state_dict({name: torch.from_numpy(array) for name, array in packed.items()})
        return
    try:
        with safe_open(file, framework="pt") as reader:
            tensors = {name: reader.get_tensor(name).float() for name in table.specs}
    except (SafetensorError, OSError, ValueError, OverflowError) as error:
        raise UserError("CHM240", f"{file} is no valid safetensors file: {error}") from error
    infinite = [f"{name} holds NaN or infinity" for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if infinite:
        raise _listed("CHM242", file, "has numbers that no model can use", infinite)
    model.load_state_dict(tensors)


def check_checkpoint(table: TensorTable, path: str | os.PathLike[str]) -> bool:
    """Whether a file is a packed checkpoint; a plain one is compared with the table's names, sizes and types.

    Raises:
        UserError: CHM240, CHM241, as ``load_safetensors``.
    """
    file = Path(path)
    _check_frame(file)
    if is_packed(file):
        return True
    try:
        with safe_open(file, framework="pt") as reader:
            names: list[str] = reader.keys()
            found = {name: reader.get_slice(name) for name in names}
            problems = _problems(table.specs, {n: (tuple(s.get_shape()), s.get_dtype()) for n, s in found.items()})
    except (SafetensorError, OSError, ValueError, OverflowError) as error:
        raise UserError("CHM240", f"{file} is no valid safetensors file: {error}") from error
    if problems:
        raise _listed("CHM241", file, "does not fit this model", problems)
    return False


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
        _write_atomically(file, save(tensors))
    except OSError as error:
        raise UserError("CHM243", f"can't write {file}: {error.strerror or error}") from error


def _write_atomically(file: Path, data: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)  # mkstemp gives 0600; a checkpoint is an ordinary file
        os.replace(temporary, file)
    except BaseException:
        os.unlink(temporary)
        raise


def _check_frame(file: Path) -> None:
    """Raise CHM240 when the file is missing, truncated before its header's end, or has an oversized header."""
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            prefix = stream.read(9)
    except OSError as error:
        raise UserError("CHM240", f"can't read {file}: {error.strerror or error}") from error
    # the byte after the header's length tells: a safetensors header starts with a brace, whatever its length
    if prefix[8:] != b"{" and (prefix[:2] == b"PK" or prefix[:1] == b"\x80"):
        raise UserError(
            "CHM240",
            f"{file} is a pickle or zip file, which chimerac does not open",
            hint="save the weights as safetensors: safetensors.torch.save_file(model.state_dict(), path)",
        )
    if len(prefix) < 9:
        raise UserError("CHM240", f"{file} is no valid safetensors file: it has {size} bytes and no header")
    header = int.from_bytes(prefix[:8], "little")
    if header > MAX_HEADER:
        raise UserError(
            "CHM240",
            f"{file} is no valid safetensors file: its header claims {header} bytes, the most is {MAX_HEADER}",
        )
    if header + 8 > size:
        raise UserError("CHM240", f"{file} is truncated: its header claims {header} bytes, but only {size - 8} follow")


def _problems(specs: Mapping[str, TensorSpec], found: Mapping[str, tuple[tuple[int, ...], str]]) -> list[str]:
    unexpected = [name for name in found if name not in specs]
    problems = []
    for name, spec in specs.items():
        if name not in found:
            problems.append(f"missing {name} {list(spec.shape)}")
            continue
        shape, dtype = found[name]
        if shape != spec.shape:
            problems.append(f"{name} has shape {list(shape)}, expected {list(spec.shape)}")
        elif dtype not in DTYPES:
            problems.append(f"{name} has type {dtype}, expected one of {', '.join(DTYPES)}")
    missing = [name for name in specs if name not in found]
    for name in sorted(unexpected):
        near = did_you_mean(name, missing)
        problems.append(f"unexpected {name}" + (f" ({near})" if near else ""))
    return problems


def _listed(code: str, file: Path, what: str, problems: list[str]) -> UserError:
    shown = problems[:MOST_LISTED]
    rest = len(problems) - len(shown)
    if rest:
        shown.append(f"and {rest} more")
    return UserError(
        code, f"{file} {what}: " + "; ".join(shown), hint="docs/weights.md lists the tensors that a model needs"
    )
