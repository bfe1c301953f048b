"""Packed layouts of weights: how bytes are arranged for the kernels, and back.

``t2.r<R>``: trits, 2 bits each, as codes t + 1. Rows come in panels of R. Per panel, 16 columns after the other take
4·R bytes: byte ``4·r + c`` belongs to row r of the panel and holds columns ``c``, ``4 + c``, ``8 + c``, ``12 + c`` of
the 16, lowest bits first. So a vector register holds R rows × 4 channels in each of four bit planes, its lanes are
rows, and the matching activations are one 4-byte broadcast. Rows are padded to whole panels and columns to a multiple
of 64 with code 1, the weight 0. Panels follow each other; the matrices of several experts follow each other, all of
one size.

``panel.r<R>``: fp16 scales [N, G] of such a matrix as [panel, G, R], padded with zeros.

int8 weights stay in plain row-major order, because the embedding reads rows of the same table.
"""

from __future__ import annotations

import numpy as np

from chimerac.compiler.errors import InternalError
from chimerac.compiler.ir.types import TensorType

COLUMN_PADDING = 64
COLUMNS_PER_STEP = 16  #: columns in one vector: 4 bit planes of 4 channels


def ternary_layout(panel_rows: int) -> str:
    """Name of the layout of trits."""
    return f"t2.r{panel_rows}"


def scale_layout(panel_rows: int) -> str:
    """Name of the layout of the scales of packed trits."""
    return f"panel.r{panel_rows}"


def panel_rows_of(layout: str) -> int:
    """R of ``t2.r<R>`` or ``panel.r<R>``."""
    kind, _, rows = layout.partition(".r")
    if kind not in ("t2", "panel") or not rows.isdigit():
        raise InternalError(f"no packed layout {layout!r}")
    return int(rows)


def padded(extent: int, multiple: int) -> int:
    """The next multiple."""
    return -(-extent // multiple) * multiple


def ternary_bytes(rows: int, columns: int, panel_rows: int) -> int:
    """Size of one packed matrix."""
    return padded(rows, panel_rows) * padded(columns, COLUMN_PADDING) // 4


def packed_type(trits: TensorType, panel_rows: int) -> TensorType:
    """The type of what ``pack_ternary`` makes of i8[..., N, K]."""
    *lead, rows, columns = (int(d) for d in trits.shape)
    return TensorType("u8", (*lead, ternary_bytes(rows, columns, panel_rows)), ternary_layout(panel_rows))


def packed_scale_type(scales: TensorType, panel_rows: int) -> TensorType:
    """The type of what ``pack_scales`` makes of f16[..., N, G]."""
    *lead, rows, groups = (int(d) for d in scales.shape)
    return TensorType("f16", (*lead, -(-rows // panel_rows), groups, panel_rows), scale_layout(panel_rows))


def pack_ternary(trits: np.ndarray, panel_rows: int) -> np.ndarray:
    """Trits i8[..., N, K] to ``t2.r<panel_rows>``: u8[..., bytes]."""
    *lead, rows, columns = trits.shape
    high, wide = padded(rows, panel_rows), padded(columns, COLUMN_PADDING)
    codes = np.ones((*lead, high, wide), np.uint8)
    codes[..., :rows, :columns] = (trits + 1).astype(np.uint8)
    planes = codes.reshape(*lead, high // panel_rows, panel_rows, wide // COLUMNS_PER_STEP, 4, 4)
    packed = planes[..., 0, :] | planes[..., 1, :] << 2 | planes[..., 2, :] << 4 | planes[..., 3, :] << 6
    return np.ascontiguousarray(np.swapaxes(packed, -3, -2)).reshape(*lead, -1)


def unpack_ternary(data: np.ndarray, rows: int, columns: int, panel_rows: int) -> np.ndarray:
    """``t2.r<panel_rows>`` u8[..., bytes] to trits i8[..., rows, columns]."""
    *lead, _ = data.shape
    high, wide = padded(rows, panel_rows), padded(columns, COLUMN_PADDING)
    packed = data.reshape(*lead, high // panel_rows, wide // COLUMNS_PER_STEP, panel_rows, 4)
    packed = np.swapaxes(packed, -3, -2)
    planes = np.stack([packed >> shift & 3 for shift in (0, 2, 4, 6)], axis=-2)
    codes = planes.reshape(*lead, high, wide)[..., :rows, :columns]
    return codes.astype(np.int8) - np.int8(1)


def pack_scales(scales: np.ndarray, panel_rows: int) -> np.ndarray:
    """Scales f16[..., N, G] to ``panel.r<panel_rows>``: f16[..., panels, G, panel_rows]."""
    *lead, rows, groups = scales.shape
    high = padded(rows, panel_rows)
    full = np.zeros((*lead, high, groups), np.float16)
    full[..., :rows, :] = scales
    return np.ascontiguousarray(np.swapaxes(full.reshape(*lead, high // panel_rows, panel_rows, groups), -1, -2))


def unpack_scales(data: np.ndarray, rows: int) -> np.ndarray:
    """``panel.r<R>`` f16[..., panels, G, R] to scales f16[..., rows, G]."""
    *lead, panels, groups, panel_rows = data.shape
    full = np.swapaxes(data, -1, -2).reshape(*lead, panels * panel_rows, groups)
    return np.ascontiguousarray(full[..., :rows, :])


def unpack(type_: TensorType, data: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Weights or weight scales of any layout in plain order; plain ones come back as they are.

    Args:
        type_: of the constant, for its layout; several experts have them as leading dimension.

    Returns:
        weights i8[..., rows, columns], or scales f16[..., rows, G].
    """
    if not type_.layout:
        return data
    if type_.layout.startswith("panel."):
        return unpack_scales(data, rows)
    return unpack_ternary(data, rows, columns, panel_rows_of(type_.layout))
