"""Weights as small integers with scales: made from floats, or given so and never floats on their way to a product."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.module import Constant
from chimerac.compiler.ir.ops.linear import quantise_rows, ternarise
from chimerac.compiler.ir.shared_parts import made_together
from chimerac.compiler.ir.types import TensorType

Kind = Literal["trits", "int8"]

#: What a group's mean magnitude (trits), or its largest one by 127 (int8), must round to: float16 has no more.
LARGEST_SCALE = 65504.0


@dataclass(frozen=True)
class Quantised:
    """A weight [..., N, K] that is given as integers with a scale per group: what ``Constant.source`` may be.

    Called, it gives the weight's value, codes times scales as float32, in parts: for whoever needs floats.

    Attributes:
        kind: "trits", from -1 to 1, or "int8", from -127 to 127.
        group: columns of a row that share a scale.
        codes: i8 [..., N, K], whole or in parts.
        scales: f16 [..., N, ceil(K/group)], whole or in parts, finite.
    """

    kind: Kind
    group: int
    codes: Constant
    scales: Constant

    def __call__(self) -> Iterator[np.ndarray]:
        scales, end = self.scales.data, 0
        for codes in self.codes.parts():
            yield dequantise(codes, scales[end : end + len(codes)], self.group)
            end += len(codes)


def dequantise(codes: np.ndarray, scales: np.ndarray, group: int) -> np.ndarray:
    """Codes i8 [..., K] times scales f16 [..., ceil(K/group)]: float32, exactly."""
    wide = np.repeat(scales.astype(np.float32), group, axis=-1)[..., : codes.shape[-1]]
    product: np.ndarray = codes * wide
    return product


def check_codes(codes: np.ndarray, kind: Kind, name: str) -> None:
    """Raise UserError CHM242 if some codes i8 [..., K] are outside of what the products take."""
    most = 1 if kind == "trits" else 127
    if codes.size and (codes.min() < -most or codes.max() > most):
        raise UserError("CHM242", f"{name} has codes from {codes.min()} to {codes.max()}, {kind} are within ±{most}")


def check_scales(scales: np.ndarray, name: str) -> None:
    """Raise UserError CHM242 if some scales f16 [..., G] are NaN or infinite."""
    if not np.isfinite(scales).all():
        raise UserError(
            "CHM242", f"{name} has scales that are NaN or infinite; the largest float16 is {LARGEST_SCALE:g}"
        )


def quantise(weight: Constant, kind: Kind, group: int, name: str) -> Quantised:
    """A constant as integers: those that it is given as where kind and group are the same, else its floats rounded.

    The result is whole if the floats are, otherwise it is computed at each use.

    Args:
        weight: f32 [..., N, K].
        name: of the weight, for messages.

    Raises:
        UserError CHM242: a scale is more than float16 has; where the weight is computed, when it is.
    """
    given = weight.source
    if isinstance(given, Quantised) and (given.kind, given.group) == (kind, group):
        return given
    if not weight.computed:
        codes, scales = (Constant(TensorType.of(array), array) for array in _rounded(weight.data, kind, group, name))
        return Quantised(kind, group, codes, scales)
    *lead, columns = (int(d) for d in weight.type.shape)
    types = TensorType("i8", (*lead, columns)), TensorType("f16", (*lead, -(-columns // group)))

    def make() -> tuple[np.ndarray, np.ndarray]:
        whole = np.empty([*lead, columns], np.int8), np.empty([*lead, -(-columns // group)], np.float16)
        codes, scales = (array.reshape(-1, array.shape[-1]) for array in whole)
        end = 0
        for part in weight.parts():
            rows = part.reshape(-1, columns)
            step = max(1, _PIECE // columns)  # rows are independent of each other
            for start in range(0, len(rows), step):
                piece = rows[start : start + step]
                here = slice(end, end + len(piece))
                codes[here], scales[here] = _rounded(piece, kind, group, name)
                end += len(piece)
        assert end == len(codes), f"the parts have {end} rows, {types[0]} is expected"
        return whole

    return Quantised(kind, group, *made_together(types, make))


_PIECE = 1 << 17  #: weights quantised at a time, so that temporaries stay in the cache


def _rounded(weight: np.ndarray, kind: Kind, group: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    with np.errstate(over="ignore", invalid="ignore"):
        codes, scales = (ternarise if kind == "trits" else quantise_rows)(weight, group)
    if not np.isfinite(scales).all():
        raise UserError("CHM242", f"{name} {too_large(kind)}")
    return codes, scales


def too_large(kind: Kind) -> str:
    """What is wrong with a weight whose scales overflow."""
    if kind == "trits":
        return f"has a group of weights whose mean magnitude, its scale, is more than {LARGEST_SCALE:g}"
    return f"has a weight of more than 127 times {LARGEST_SCALE:g}, the largest scale"
