"""Custom operations that turn rows to another basis."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from chimerac.frontends.layers.knot import walsh_hadamard as unscaled
from chimerac.frontends.layers.op_shapes import like


@torch.library.custom_op("chimera::walsh_hadamard", mutates_args=())
def walsh_hadamard(x: Tensor, block: int) -> Tensor:
    """Each ``block`` channels of x [..., K] times Sylvester's Hadamard matrix, over sqrt(block): its own inverse."""
    return (unscaled(x.unflatten(-1, (-1, block))) / math.sqrt(block)).flatten(-2)


walsh_hadamard.register_fake(like(0))
