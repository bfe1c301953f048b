"""Weights in a rotated basis, as the metadata ``prism.hadamard.*`` of PrismML's GGUF files say it.

A rotated matrix W' takes H(s * x) in place of x, with signs s for each width and the Walsh-Hadamard transform H of
blocks; a rotated row z of the embedding stands for s * H(z). Whoever leaves it out computes fluent nonsense, so that
every key and every value that is not known is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.ops.rotations import LEAST_BLOCK
from chimerac.frontends.sources.gguf import GgufFile
from chimerac.frontends.sources.gguf_metadata import Strings

PREFIX: Final = "prism."
_KEY: Final = "prism.hadamard."
#: The value that a key must have.
_ONLY: Final[Mapping[str, str]] = {
    "transform": "normalized-sylvester-walsh-hadamard",
    "axis": "input-last-dimension",
    "sign_mode": "explicit",
}
_KEYS: Final = frozenset(_ONLY) | {
    "version",
    "block_size",
    "sign_widths",
    "sign_values",
    "weight_names",
    "inverse_weight_names",
    "gdn_v_grouped",
}
MOST_BLOCK: Final = 1 << 14
MOST_WIDTHS: Final = 64
TABLE: Final = "token_embd.weight"


@dataclass(frozen=True)
class Rotation:
    """How some matrices of a file are rotated.

    Attributes:
        block: channels that are transformed together.
        signs: float32 [width] of 1 and -1, by the width of what a matrix multiplies.
        names: of the rotated tensors; of the embedding it is rows.
        grouped: the out projections of gated delta rules have heads that share keys beside each other.
    """

    block: int
    signs: Mapping[int, np.ndarray]
    names: frozenset[str]
    grouped: bool


def rotation_of(file: GgufFile) -> Rotation | None:
    """The rotation that a file declares; None without one.

    Raises:
        UserError: CHM231, keys that are missing or of another type; CHM234, keys or values that are not known; CHM235,
            signs that do not fit the widths.
    """
    said = [name for name in file.metadata if name.startswith(PREFIX)]
    if not said:
        return None
    for name in said:
        if not name.startswith(_KEY) or name.removeprefix(_KEY) not in _KEYS:
            raise _unknown(file, f"it says {name[:80]}, which chimerac does not know")
    _same(file, "version", file.metadata.need(f"{_KEY}version", int), 1)
    for key, value in _ONLY.items():
        _same(file, key, file.metadata.need(_KEY + key, str), value)
    block = file.metadata.need(f"{_KEY}block_size", int)
    if not LEAST_BLOCK <= block <= MOST_BLOCK or block & (block - 1):
        raise _unknown(file, f"{_KEY}block_size is {block}, no power of two from {LEAST_BLOCK} to {MOST_BLOCK}")
    inverse = _texts(file, "inverse_weight_names")
    if other := sorted(inverse - {TABLE}):
        raise _unknown(
            file, f"{_KEY}inverse_weight_names has {other[0][:80]!r}, and rows are looked up of {TABLE} only"
        )
    file.metadata.need(f"{_KEY}weight_names", Strings)
    names = _texts(file, "weight_names")
    if TABLE in names and TABLE not in inverse:
        raise _unknown(file, f"{_KEY}weight_names has {TABLE}, whose rows are not turned back")
    grouped = bool(file.metadata.get(f"{_KEY}gdn_v_grouped", bool))
    return Rotation(block, _signs(file, block), frozenset(names | inverse), grouped)


def check_names(file: GgufFile, rotation: Rotation, matrices: Mapping[str, int]) -> None:
    """Raise UserError CHM234 if something is rotated that is no matrix of the model, or has no signs.

    Args:
        matrices: the width of what each multiplies, by the name of its tensor.
    """
    for name in sorted(rotation.names):
        if name not in matrices:
            raise _unknown(file, f"{_KEY}weight_names has {name[:80]!r}, which is no matrix that can be rotated")
        if matrices[name] not in rotation.signs:
            raise _unknown(file, f"{_KEY}sign_widths has not the {matrices[name]} columns of {name}")


def check_grouped(file: GgufFile, rotation: Rotation, projections: Iterable[str]) -> None:
    """Raise UserError CHM234 if out projections of gated delta rules are not all in the order that is said."""
    plain = [name for name in projections if name not in rotation.names]
    if rotation.grouped and plain:
        raise _unknown(file, f"{_KEY}gdn_v_grouped is true, and {plain[0]} is not rotated")


def _same(file: GgufFile, key: str, value: object, expected: object) -> None:
    if value != expected:
        raise _unknown(file, f"{_KEY}{key} is {str(value)[:80]!r}, and only {expected!r} is known")


def _signs(file: GgufFile, block: int) -> dict[int, np.ndarray]:
    widths, values = (file.metadata.need(f"{_KEY}sign_{part}", np.ndarray) for part in ("widths", "values"))
    where = f"{file.path} contradicts itself: {_KEY}"
    if not 0 < len(widths) <= MOST_WIDTHS:
        raise UserError("CHM235", f"{where}sign_widths are {len(widths)}, not 1 to {MOST_WIDTHS}")
    sizes = [int(width) for width in widths]
    if any(size <= 0 or size % block for size in sizes) or len(set(sizes)) != len(sizes):
        raise UserError("CHM235", f"{where}sign_widths are not different multiples of {block}: {sizes[:10]}")
    if sum(sizes) != len(values):
        raise UserError("CHM235", f"{where}sign_values are {len(values)}, and the widths add up to {sum(sizes)}")
    if not np.isin(values, (1, -1)).all():
        raise UserError("CHM235", f"{where}sign_values are not all 1 or -1")
    parts = np.split(values.astype(np.float32), np.cumsum(sizes)[:-1])
    return dict(zip(sizes, parts, strict=True))


def _texts(file: GgufFile, key: str) -> set[str]:
    found = file.metadata.get(_KEY + key, Strings)
    return set() if found is None else {found[index] for index in range(len(found))}


def _unknown(file: GgufFile, what: str) -> UserError:
    hint = "the weights are rotated; a model that leaves out how says nonsense, so nothing is ignored"
    return UserError("CHM234", f"{file.path}: {what}", hint=hint)
