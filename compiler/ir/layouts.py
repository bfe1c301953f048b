"""Packed layouts of weights: how bytes are arranged for the kernels, and back.

``t2.r<R>``: trits, 2 bits each, as codes t + 1. Rows come in panels of R. Per panel, 16 columns after the other take
4·R bytes: byte ``4·r + c`` belongs to row r of the panel and holds columns ``c``, ``4 + c``, ``8 + c``, ``12 + c`` of
the 16, lowest bits first. So a vector register holds R rows × 4 channels in each of four bit planes, its lanes are
rows, and the matching activations are one 4-byte broadcast. Rows are padded to whole panels and columns to a multiple
of 64 with code 1, the weight 0. Panels follow each other; the matrices of several experts follow each other, all of
one size.

``t5.r<R>``: the same with five planes of base 3 (compiler/ir/base3.py), 1.6 bits each. The groups of 4 columns of a row
("words") are numbered; 4·R bytes of a panel hold words 5v to 5v + 4, so byte ``4·r + c`` holds columns ``4·(5v + p) +
c`` as digits p. Columns are padded to a multiple of 16, and words to a multiple of 5, with code 1.

``panel.r<R>``: fp16 scales [N, G] of such a matrix as [panel, G, R], padded with zeros.

int8 weights stay in plain row-major order, because the embedding reads rows of the same table.
"""

from __future__ import annotations

import numpy as np

from chimerac.compiler.errors import InternalError
from chimerac.compiler.ir.base3 import DIGITS, decode, encode
from chimerac.compiler.ir.types import TensorType

FORMS = ("t2", "t5")  #: of packed trits
COLUMN_PADDING = 64
COLUMNS_PER_STEP = 16  #: columns in one vector: 4 bit planes of 4 channels


def ternary_layout(panel_rows: int, form: str = "t2") -> str:
    """Name of the layout of trits in one of ``FORMS``."""
    return f"{form}.r{panel_rows}"


def scale_layout(panel_rows: int) -> str:
    """Name of the layout of the scales of packed trits."""
    return f"panel.r{panel_rows}"


def panel_rows_of(layout: str) -> int:
    """R of ``t2.r<R>``, ``t5.r<R>`` or ``panel.r<R>``."""
    kind, _, rows = layout.partition(".r")
    if kind not in (*FORMS, "panel") or not rows.isdigit():
        raise InternalError(f"no packed layout {layout!r}")
    return int(rows)


def form_of(layout: str) -> str:
    """The form of packed trits, one of ``FORMS``."""
    panel_rows_of(layout)
    return layout.partition(".")[0]


def padded(extent: int, multiple: int) -> int:
    """The next multiple."""
    return -(-extent // multiple) * multiple


def words_of(columns: int, form: str) -> int:
    """Groups of 4 columns of a padded row."""
    return (
        padded(columns, COLUMN_PADDING) // 4 if form == "t2" else padded(padded(columns, COLUMNS_PER_STEP) // 4, DIGITS)
    )


def words_per_vector(form: str) -> int:
    """Groups of 4 columns that share a byte per row and channel: the weights of a byte."""
    return DIGITS if form == "t5" else 4


def ternary_bytes(rows: int, columns: int, panel_rows: int, form: str = "t2") -> int:
    """Size of one packed matrix."""
    return padded(rows, panel_rows) * 4 * (words_of(columns, form) // words_per_vector(form))


def packed_type(trits: TensorType, panel_rows: int, form: str = "t2") -> TensorType:
    """The type of what ``pack_ternary`` makes of i8[..., N, K]."""
    *lead, rows, columns = (int(d) for d in trits.shape)
    size = ternary_bytes(rows, columns, panel_rows, form)
    return TensorType("u8", (*lead, size), ternary_layout(panel_rows, form))


def packed_scale_type(scales: TensorType, panel_rows: int) -> TensorType:
    """The type of what ``pack_scales`` makes of f16[..., N, G]."""
    *lead, rows, groups = (int(d) for d in scales.shape)
    return TensorType("f16", (*lead, -(-rows // panel_rows), groups, panel_rows), scale_layout(panel_rows))


def pack_ternary(trits: np.ndarray, panel_rows: int, form: str = "t2") -> np.ndarray:
    """Trits i8[..., N, K] to ``<form>.r<panel_rows>``: u8[..., bytes]."""
    *lead, rows, columns = trits.shape
    high, count = padded(rows, panel_rows), words_of(columns, form)
    codes = np.ones((*lead, high, 4 * count), np.uint8)
    codes[..., :rows, :columns] = (trits + 1).astype(np.uint8)
    # words of 4 channels: numpy moves and shifts them several times faster than single bytes
    words = codes.view(np.uint32).reshape(*lead, high // panel_rows, panel_rows, count)
    packed = _planes(words) if form == "t2" else encode(words)
    return np.ascontiguousarray(np.swapaxes(packed, -2, -1)).view(np.uint8).reshape(*lead, -1)


def _planes(words: np.ndarray) -> np.ndarray:
    """Four words in one: u32[..., 4n] to u32[..., n]."""
    fours = words.reshape(*words.shape[:-1], -1, 4)
    packed = fours[..., 0].copy()
    for plane in range(1, 4):
        packed |= fours[..., plane] << np.uint32(2 * plane)
    return packed


def _plane_words(packed: np.ndarray) -> np.ndarray:
    """What ``_planes`` was given."""
    words = np.empty((*packed.shape, 4), np.uint32)
    for plane in range(4):
        np.bitwise_and(packed >> np.uint32(2 * plane), np.uint32(0x03030303), out=words[..., plane])
    return words.reshape(*packed.shape[:-1], -1)


def unpack_ternary(data: np.ndarray, rows: int, columns: int, panel_rows: int, form: str = "t2") -> np.ndarray:
    """``<form>.r<panel_rows>`` u8[..., bytes] to trits i8[..., rows, columns]."""
    *lead, _ = data.shape
    high, count = padded(rows, panel_rows), words_of(columns, form)
    vectors = np.ascontiguousarray(data).view(np.uint32)
    vectors = vectors.reshape(*lead, high // panel_rows, count // words_per_vector(form), panel_rows)
    vectors = np.ascontiguousarray(np.swapaxes(vectors, -1, -2))
    words = _plane_words(vectors) if form == "t2" else decode(vectors)
    codes = words.view(np.int8).reshape(*lead, high, 4 * count)
    return codes[..., :rows, :columns] - np.int8(1)


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
    return unpack_ternary(data, rows, columns, panel_rows_of(type_.layout), form_of(type_.layout))
