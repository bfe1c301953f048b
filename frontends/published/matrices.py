"""Which form each matrix of a file gets: ternary stays what it is, scale by scale; floats become what is wanted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.quantised import check_codes, check_scales
from chimerac.frontends.matrices.forms import Form, Kind, row_group
from chimerac.frontends.matrices.masters import by_largest
from chimerac.frontends.matrices.matrix import Matrix, floats_of, kept
from chimerac.frontends.published.bit_linear import Rule
from chimerac.frontends.published.stored import PACKED, OfExperts, Packed, Rows
from chimerac.frontends.sources.safetensors import FLOATS
from chimerac.frontends.sources.tensor import StoredTensor


def matrix(
    name: str, size: tuple[int, ...], tensor: StoredTensor, rows: Rows, wanted: Kind, masters: int = 0
) -> Matrix:
    """The form of a tensor of plain numbers or of blocks.

    Args:
        size: of the matrix, which may have some of the tensor's rows only.
        wanted: what floats become that are not ternary.
        masters: columns that share a scale, of floats that are masters of trits; 0 of others.

    Raises:
        UserError: CHM233, its type is not read; CHM236, as of ``by_largest``; CHM242, its scale is not a number.
    """
    place, encoding = _place(tensor), tensor.encoding
    whole = (size[0], size[1])
    if encoding is not None and encoding.codes is not None and encoding.most <= 2:
        return _of_codes(name, place, whole, tensor, rows)
    plain = Matrix(name, place, whole, Form(wanted), f"{tensor.type_name} as {wanted}", rows.floats, step=rows.step)
    if masters:
        return by_largest(plain, masters, tensor.type_name)
    return kept(plain, tensor.type_name) if encoding in FLOATS.values() else plain


def experts(
    name: str, size: tuple[int, ...], tensors: Sequence[StoredTensor], first: int, wanted: Kind, masters: int = 0
) -> Matrix:
    """The matrices [E, N, K] of a layer's experts as one of E N rows, which is read some matrices at a time.

    Args:
        size: of all.
        tensors: one for each, or one for all.
        first: row of each where it begins, in one tensor for all.
        wanted, masters: as of ``matrix``.

    Raises:
        UserError: CHM233, CHM242, as of ``matrix``; CHM241, they are of different types.
    """
    kinds = sorted({tensor.type_name for tensor in tensors})
    if len(kinds) > 1:
        raise UserError("CHM241", f"{_place(tensors[0])} and the other experts have the types {', '.join(kinds)}")
    count, rows, columns = size
    stored = OfExperts(tensors, rows, first)
    found = matrix(name, (count * rows, columns), tensors[0], stored, wanted, masters)
    if found.form.factor == "none":
        return found
    told = f"{tensors[0].type_name} as {wanted}: ternary with scales that float16 has not"
    return Matrix(name, found.place, found.size, Form(wanted), told, stored.floats, step=rows)


def _of_codes(name: str, place: str, size: tuple[int, int], tensor: StoredTensor, rows: Rows) -> Matrix:
    encoding, scale = tensor.encoding, tensor.scale
    assert encoding is not None
    form = Form("ternary", encoding.weights) if scale is None else Form("ternary", row_group(size[1]), "tensor")

    def codes(start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        found, scales = rows.integers(start, end)
        if scale is not None:
            scales = scales[:, :1]  # a one for each block
        check_codes(found, "trits", place)
        check_scales(scales, place)
        return found, scales

    told = f"{tensor.type_name} as it is"
    factor = None if scale is None else np.array([scale], np.float32)
    return Matrix(name, place, size, form, told, floats_of(codes, form.group), codes, factor, rows.step)


def packed(name: str, tensor: StoredTensor, scale: np.float32, rule: Rule) -> Matrix:
    """BitNet's trits of two bits, with one scale for all."""
    rows = Packed(tensor)
    place, size = _place(tensor), (tensor.shape[0] * PACKED, tensor.shape[1])
    factor = np.array([np.float32(1) / scale if rule == "divided" else scale], np.float32)
    form = Form("ternary", row_group(size[1]), "tensor")
    floats, told = floats_of(rows.integers, form.group), "BitNet's packed trits as they are"
    return Matrix(name, place, size, form, told, floats, rows.integers, factor)


def rounded(name: str, tensor: StoredTensor) -> Matrix:
    """Floats that BitNet rounds at each use: round(w / s) within one of zero, with the mean magnitude s of all."""
    place, size = _place(tensor), (tensor.shape[0], tensor.shape[1])
    masters = Matrix(name, place, size, Form("ternary", row_group(size[1]), "tensor"), "", tensor.floats)
    total = sum(float(np.abs(part).sum(dtype=np.float64)) for part in masters.parts())
    scale = np.float32(1) / np.float32(max(total / (size[0] * size[1]), 1e-5))

    def codes(start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        found = np.clip(np.rint(tensor.floats(start, end) * scale), -1, 1).astype(np.int8)
        return found, np.ones((end - start, 1), np.float16)

    told = f"{tensor.type_name} rounded to trits by its mean magnitude, as the config says"
    factor = np.array([np.float32(1) / scale], np.float32)
    return Matrix(name, place, size, masters.form, told, floats_of(codes, masters.form.group), codes, factor)


def _place(tensor: StoredTensor) -> str:
    return f"{tensor.file}: {tensor.name}"
