"""Attention with a cache in ONNX Runtime against the reference: the same bits."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_harness import case
from onnx_ops import LEVELS, check_onnx

from chimerac.compiler.ir.module import Attribute
from chimerac.compiler.ir.ops.cached_rows import coded, coded4

RANDOM = np.random.default_rng(37)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8, np.uint8])
@pytest.mark.parametrize(("window", "rows", "position"), [(0, 140, 0), (0, 140, 63), (0, 140, 121), (70, 90, 2**30)])
def test_op(window: int, rows: int, position: int, dtype: type) -> None:
    cases = []
    for heads, kept, width, value_width, n in ((1, 1, 6, 4, 1), (4, 2, 8, 32, 16), (6, 2, 40, 16, 3)):
        shapes = (
            (n, heads, width),
            (n, kept, width),
            (n, kept, value_width),
            (kept, rows, width),
            (kept, rows, value_width),
        )
        arrays = [(2.0 * RANDOM.standard_normal(shape)).astype(np.float32) for shape in shapes]
        arrays[1][0, 0, 0] = 1e6
        form = "_int8" if dtype is np.int8 else "_int4" if dtype is np.uint8 else ""
        if form:
            code = coded if dtype is np.int8 else coded4
            (keys, key_scales), (values, value_scales) = map(code, arrays[3:])
            caches = [keys, values, np.array(position, np.int32), key_scales, value_scales]
        else:
            caches = [*(a.astype(dtype) for a in arrays[3:]), np.array(position, np.int32)]
        attributes: dict[str, Attribute] = {"window": window, "scale": 0.4}
        if heads == 4:
            attributes["slopes"] = "0.5,0.25,0.1,0.70710677"
        elif heads == 6:
            attributes["share"] = 0.3
        cases.append(case(f"cached_attention{form}", [*arrays[:3], *caches], attributes, tokens=(0, 1, 2)))
    check_onnx(cases, LEVELS[:1] if position else LEVELS)
