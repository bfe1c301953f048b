"""Tables of codes of 3 bytes in ONNX Runtime against the reference: the same bits."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_harness import case
from onnx_ops import LEVELS, check_onnx

from chimerac.compiler.ir.module import Attribute
from chimerac.compiler.ir.ops.levels import pack

RANDOM = np.random.default_rng(41)


@pytest.mark.parametrize(("levels", "limit"), [(10**7, 1.0), (1 << 24, 0.3)])
def test_op(levels: int, limit: float) -> None:
    packed = pack(RANDOM.integers(0, levels, (9, 13), dtype=np.int32))
    rule: dict[str, Attribute] = {"levels": levels, "limit": limit}
    x, ids = RANDOM.standard_normal((3, 13)).astype(np.float32), np.array([8, 0, 8], np.int32)
    cases = [
        case("levels_matmul", [x, packed], rule, tokens=[0]),
        case("levels_look_up", [ids, packed], rule, tokens=[0]),
    ]
    check_onnx(cases, LEVELS)
