"""Kernels of cached_attention against the numpy reference: at edges of chunks, tiles of tokens, and the ring."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from kernel_harness import IN_TURN, Case, case, check, check_in_turn, native_isas, wide_isas

from chimerac.compiler.ir.module import Attribute
from chimerac.compiler.ir.ops.cached_rows import coded, coded4

RANDOM = np.random.default_rng(31)
NEW = (0, 1, 2)  #: operands with a token dimension
CODES = {np.int8: ("int8", coded), np.uint8: ("int4", coded4)}  #: by what a cache has in memory


def attention(
    heads: tuple[int, int],
    widths: tuple[int, int],
    rows: int,
    position: int,
    n: int = 1,
    window: int = 0,
    dtype: type = np.float32,
    scale: float = 2.0,
    slopes: str = "",
    share: float = 0.0,
) -> Case:
    """A call of ``n`` tokens with so many heads of queries and of the cache, whose rows all hold something."""
    (queries, kept), (width, value_width) = heads, widths
    shapes = (
        (n, queries, width),
        (n, kept, width),
        (n, kept, value_width),
        (kept, rows, width),
        (kept, rows, value_width),
    )
    arrays = [(RANDOM.standard_normal(shape) * scale).astype(np.float32) for shape in shapes]
    attributes: dict[str, Attribute] = {"window": window, "scale": width**-0.5}
    attributes |= {"slopes": slopes} if slopes else {}
    attributes |= {"share": share} if share else {}
    if dtype in CODES:
        form, code = CODES[dtype]
        (keys, key_scales), (values, value_scales) = map(code, arrays[3:])
        operands = [*arrays[:3], keys, values, np.array(position, np.int32), key_scales, value_scales]
        return case(f"cached_attention_{form}", operands, attributes, tokens=NEW)
    operands = [*arrays[:3], *(a.astype(dtype) for a in arrays[3:]), np.array(position, np.int32)]
    return case("cached_attention", operands, attributes, tokens=NEW)


@IN_TURN
def test_caches(every: int, tmp_path: Path) -> None:
    cases = [
        attention((1, 1), (4, 4), 8, 0),
        attention((4, 2), (8, 8), 40, 9, 5),
        attention((2, 1), (20, 12), 130, 127, 2, dtype=np.float16),
        attention((6, 2), (16, 24), 130, 58, 16),
        attention((3, 3), (5, 7), 200, 195, 3, dtype=np.float16),
        attention((32, 1), (8, 8), 70, 60, 4),
        attention((4, 1), (64, 64), 150, 120, 16, dtype=np.float16),
        attention((2, 2), (128, 128), 66, 64, 2),
        attention((2, 1), (20, 12), 130, 127, 2, dtype=np.int8),
        attention((3, 3), (37, 7), 200, 195, 3, dtype=np.int8),
        attention((4, 1), (64, 64), 150, 120, 16, dtype=np.int8),
        attention((4, 2), (96, 40), 70, 60, 4, dtype=np.int8),
        attention((1, 1), (136, 80), 64, 62, 2),
        attention((2, 1), (20, 12), 130, 127, 2, dtype=np.uint8),
        attention((3, 3), (37, 7), 200, 195, 3, dtype=np.uint8),
        attention((4, 1), (64, 64), 150, 120, 16, dtype=np.uint8),
        attention((4, 2), (96, 40), 70, 60, 4, dtype=np.uint8),
        attention((2, 2), (128, 136), 66, 30, 9, dtype=np.uint8),
    ]
    check_in_turn(cases, native_isas(), tmp_path, every)


@IN_TURN
def test_windows(every: int, tmp_path: Path) -> None:
    """Rings shorter and longer than a chunk, at every part of a chunk and of the ring."""
    cases = [
        attention((2, 1), (8, 8), rows, position, n, window, dtype)
        for window, rows, dtype in (
            (12, 28, np.float32),
            (100, 115, np.float32),
            (12, 28, np.float16),
            (12, 28, np.int8),
            (12, 28, np.uint8),
        )
        for position in (0, 5, 55, 63, 120, 2**30 + 41)
        for n in (1, 16)
    ]
    check_in_turn(cases, native_isas(), tmp_path, every)


@IN_TURN
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8, np.uint8])
def test_more_rows_in_wider_registers(every: int, dtype: type, tmp_path: Path) -> None:
    """Chunks that begin and end within 16 rows, rings, blocks, slopes, and scores that are no numbers."""
    cases = [
        attention((4, 2), (16, 32), 130, position, n, dtype=dtype)
        for position, n in ((0, 1), (14, 4), (63, 2), (64, 1), (112, 16))
    ]
    cases += [
        attention((3, 3), (48, 16), 28, position, n, window, dtype)
        for position, n, window in ((5, 1, 12), (120, 16, 12), (2**30 + 41, 7, 12))
    ]
    cases += [
        attention((16, 1), (128, 128), 150, 127, 5, 100, dtype),
        attention((2, 1), (64, 144), 80, 66, 2, dtype=dtype, slopes="0.33333334,1e-30", share=0.1),
        *(attention((2, 1), (32, 16), 80, 66, 2, dtype=dtype, scale=scale) for scale in (0.0, 1e-6, 300.0)),
    ]
    for value in (np.nan, np.inf, -np.inf):
        made = attention((2, 1), (16, 16), 80, 66, 2, dtype=dtype)
        made.arrays[0][0, 1, 3] = made.arrays[1][1, 0, 2] = value
        cases.append(made)
    check_in_turn(cases, wide_isas(), tmp_path, every)


@IN_TURN
def test_slopes(every: int, tmp_path: Path) -> None:
    """Biases by distance: of groups of heads, in blocks, rings, and caches of all types."""
    cases = [
        attention((4, 2), (8, 8), 130, 58, 16, slopes="0.5,0.25,0.1,0.70710677"),
        attention((3, 3), (20, 12), 200, 195, 3, dtype=np.float16, slopes="1.0,-0.3,0.0"),
        attention((2, 1), (40, 8), 28, 2**30 + 41, 5, 12, np.int8, slopes="0.33333334,1e-30"),
        attention((2, 1), (40, 8), 28, 2**30 + 41, 5, 12, np.uint8, slopes="0.33333334,1e-30"),
        attention((1, 1), (4, 4), 8, 0, slopes="0.1"),
    ]
    check_in_turn(cases, native_isas(), tmp_path, every)


@IN_TURN
def test_shares(every: int, tmp_path: Path) -> None:
    """Weights that are too small beside the largest, over several chunks, in blocks, rings, and caches of all types."""
    cases = [
        attention((4, 2), (8, 8), 200, 180, 16, share=0.2),
        attention((3, 3), (20, 12), 200, 195, 3, dtype=np.float16, share=1e-7, scale=4.0),
        attention((2, 1), (40, 8), 90, 2**30 + 41, 5, 70, np.int8, slopes="0.33333334,1e-30", share=0.9),
        attention((2, 1), (40, 8), 90, 2**30 + 41, 5, 70, np.uint8, share=0.2),
        attention((1, 1), (4, 4), 8, 0, share=0.5),
        attention((2, 1), (8, 8), 80, 66, 2, scale=0.0, share=0.999),
        attention((2, 1), (8, 8), 80, 66, 2, scale=1e25, share=0.5),
    ]
    cases[0].arrays[0][0, 1, 3] = np.nan
    check_in_turn(cases, native_isas(), tmp_path, every)


@IN_TURN
def test_special_values(every: int, tmp_path: Path) -> None:
    """Scores that overflow, underflow, are equal, infinite or not a number; numbers that fp16 has only roughly."""
    cases = [attention((2, 1), (8, 8), 80, 66, 2, scale=scale) for scale in (0.0, 1e-30, 30.0, 1e10, 1e25)]
    cases += [attention((2, 1), (8, 8), 80, 66, 2, scale=s, dtype=np.float16) for s in (1e-7, 1e-5, 3e-5, 300.0)]
    for value in (np.nan, np.inf, -np.inf, -0.0):
        made = attention((2, 1), (8, 8), 80, 66, 2)
        made.arrays[0][0, 1, 3] = made.arrays[4][0, 5, 2] = value
        cases.append(made)
    largest = attention((2, 1), (8, 8), 80, 66, 2, dtype=np.float16)
    largest.arrays[1][0, 0, :4] = 65519.0, 65520.0, -1e30, 6e-8
    cases += [attention((2, 1), (40, 8), 80, 66, 2, scale=s, dtype=np.int8) for s in (0.0, 1e-38, 1e-6, 1e-3, 1e7)]
    odd = attention((2, 1), (40, 8), 80, 66, 2, dtype=np.int8)
    odd.arrays[1][0, 0, :4] = np.nan, np.inf, -np.inf, -0.0
    cases += [attention((2, 1), (40, 8), 80, 66, 2, scale=s, dtype=np.uint8) for s in (0.0, 1e-38, 1e-6, 1e-3, 1e7)]
    odd4 = attention((2, 1), (40, 8), 80, 66, 2, dtype=np.uint8)
    odd4.arrays[1][0, 0, :4] = np.nan, np.inf, -np.inf, -0.0
    odd4.arrays[2][1, 0, :2] = np.nan, np.inf
    equal = attention((2, 1), (40, 8), 80, 66, 2, dtype=np.uint8)  # the largest magnitude of both signs
    equal.arrays[1][0, 0, :4] = 9.0, -9.0, 2.0, -2.0
    check_in_turn([*cases, largest, odd, odd4, equal], native_isas(), tmp_path, every)


@pytest.mark.parametrize("rows", [3, 70])
def test_beyond_the_cache_memory_is_safe(rows: int, tmp_path: Path) -> None:
    """Runtimes refuse such calls. A cache without a window is a ring of all its rows."""
    cases = [attention((2, 1), (8, 8), rows, position) for position in (rows, 5 * rows + 2)]
    check(cases, native_isas()[:1], tmp_path)
