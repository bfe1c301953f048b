"""Safetensors files of other people: where each tensor lies, read without trusting a byte of the header."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

from chimerac.compiler.errors import UserError
from chimerac.frontends.encodings import plain
from chimerac.frontends.encodings.encoding import Encoding
from chimerac.frontends.sources.mapped import mapped_file
from chimerac.frontends.sources.other_files import known
from chimerac.frontends.sources.tensor import StoredTensor

MAX_HEADER: Final = 1 << 24  #: bytes: the lists of models with a hundred thousand tensors have less
MAX_TENSORS: Final = 1 << 16
MAX_NAME: Final = 1024  #: characters
MAX_DIMENSIONS: Final = 8
_SHOWN: Final = 80  #: characters of a name that a message quotes

#: The format's types: bytes of a number.
SIZES: Mapping[str, int] = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 8),
}
#: Those that are numbers of a model as they are.
FLOATS: Mapping[str, Encoding] = {"F32": plain.F32, "F16": plain.F16, "BF16": plain.BF16, "F64": plain.F64}


def open_safetensors(file: Path) -> dict[str, StoredTensor]:
    """The tensors of a file by name, in the order in which they lie there; of their numbers nothing is read.

    Raises:
        UserError: CHM230, it can't be read; CHM240, it is no safetensors file, or its header is not valid; CHM232,
            tensors that are not where the header says; CHM233, a type that the format has not.
    """
    buffer = mapped_file(file)
    if other := known(bytes(buffer[:32])):
        raise UserError("CHM240", f"{file} is {other[0]}", hint=other[1])
    if len(buffer) < 9:
        _fail(file, f"it has {len(buffer)} bytes and no header")
    size = int.from_bytes(buffer[:8], "little")
    if size > MAX_HEADER:
        _fail(file, f"its header claims {size} bytes, the most is {MAX_HEADER}")
    if size > len(buffer) - 8:
        message = f"{file} is cut short: its header claims {size} bytes, and {len(buffer) - 8} follow"
        raise UserError("CHM240", message, hint="download or copy it again")
    listed = _header(file, bytes(buffer[8 : 8 + size]))
    listed.pop("__metadata__", None)
    if len(listed) > MAX_TENSORS:
        _fail(file, f"it lists {len(listed)} tensors, the most is {MAX_TENSORS}")
    found = [_tensor(file, name, entry, 8 + size) for name, entry in listed.items()]
    return _placed(file, found, 8 + size, len(buffer))


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; raises ValueError where a key is there twice. For ``json.loads(object_pairs_hook=…)``."""
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in made if names.count(name) > 1)
        raise ValueError(f"{twice[:_SHOWN]!r} is there twice")
    return made


def _header(file: Path, text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text.decode(), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        _fail(file, f"its header is no JSON: {error}")
    if not isinstance(header, dict):
        _fail(file, "its header is no object")
    return header


def _tensor(file: Path, name: str, entry: Any, start: int) -> StoredTensor:
    shown = name if len(name) <= _SHOWN else name[:_SHOWN] + "…"
    if not name or len(name) > MAX_NAME:
        _fail(file, f"a tensor has a name of {len(name)} characters")
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        _fail(file, f"{shown} must have dtype, shape and data_offsets, and nothing else")
    shape, place, kind = entry["shape"], entry["data_offsets"], entry["dtype"]
    if not _whole(shape) or len(shape) > MAX_DIMENSIONS or not all(shape) or math.prod(shape) >= 1 << 60:
        _fail(file, f"{shown} has a shape that no tensor has")
    if not _whole(place) or len(place) != 2 or place[0] > place[1] or place[1] >= 1 << 60:
        _fail(file, f"{shown} has data_offsets that are no place")
    if not isinstance(kind, str) or kind not in SIZES:
        message = f"{file}: {shown} is of type {str(kind)[:_SHOWN]}, which chimerac does not know"
        raise UserError("CHM233", message, hint="docs/sources.md lists the types that are read; convert it to one")
    begin, end = place
    size = math.prod(shape) * SIZES[kind]
    if end - begin != size:
        raise UserError("CHM232", f"{file}: {shown} {kind}{shape} has {size} bytes, and its place {end - begin}")
    return StoredTensor(name, tuple(shape), kind, FLOATS.get(kind), file, start + begin, size)


def _whole(values: Any) -> bool:
    """Whether it is a list of whole numbers from 0; JSON's true is none."""
    return isinstance(values, list) and all(type(v) is int and v >= 0 for v in values)


def _placed(file: Path, tensors: list[StoredTensor], start: int, end: int) -> dict[str, StoredTensor]:
    """The tensors, which must fill the data one after the other, as the format wants."""
    at = start
    ordered = sorted(tensors, key=lambda tensor: tensor.offset)
    for tensor in ordered:
        if tensor.offset != at:
            what = "overlaps the one before it" if tensor.offset < at else "begins after a hole"
            raise UserError("CHM232", f"{file}: {tensor.name[:_SHOWN]} {what}, at byte {tensor.offset - start}")
        at += tensor.size
        if at > end:
            message = f"{file} is cut short: {tensor.name[:_SHOWN]} ends at byte {at}, the file at {end}"
            raise UserError("CHM232", message, hint="download or copy it again")
    if at != end:
        raise UserError("CHM232", f"{file} has {end - at} bytes after its last tensor", hint="download it again")
    return {tensor.name: tensor for tensor in ordered}


def _fail(file: Path, what: str) -> NoReturn:
    raise UserError("CHM240", f"{file} is no valid safetensors file: {what}")
