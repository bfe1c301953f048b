"""The Walsh-Hadamard transform against Sylvester's matrices, in double precision and in PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ir_tools import draw, run_op

from chimerac.compiler.ir.ops import OPS, TypeRuleError
from chimerac.compiler.ir.types import f32, i32


def sylvester(size: int) -> np.ndarray:
    """The matrix, by its definition: [[H, H], [H, -H]]."""
    matrix = np.ones((1, 1))
    while len(matrix) < size:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix


@pytest.mark.parametrize(("width", "block"), [(16, 16), (96, 32), (2048, 1024)])
def test_blocks_are_multiplied_with_sylvesters_matrix(width: int, block: int) -> None:
    x = draw(1, 3, width)
    (got,) = run_op("walsh_hadamard", x, block=block)
    expected = (x.reshape(3, -1, block).astype(np.float64) @ sylvester(block) / np.sqrt(block)).reshape(3, width)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
    theirs = torch.ops.chimera.walsh_hadamard(torch.from_numpy(x), block).numpy()
    np.testing.assert_allclose(theirs, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(run_op("walsh_hadamard", got, block=block)[0], x, rtol=1e-5, atol=1e-5)


def test_types() -> None:
    infer = OPS["walsh_hadamard"].infer
    assert infer((f32("T", 64),), {"block": 32}) == (f32("T", 64),)
    for operand, block in ((f32("T", 64), 8), (f32("T", 64), 48), (f32("T", 96), 64), (i32("T", 64), 32)):
        with pytest.raises(TypeRuleError):
            infer((operand,), {"block": block})
