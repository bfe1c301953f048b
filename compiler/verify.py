"""``chimerac verify``: is this bundle whole, does it compute what it should, and does it agree with PyTorch?

Agreement with PyTorch is measured in two ways. Freely: both run the same tokens, and their logits are compared. Float
rounding differs between them, so now and then an activation lands on the other side of an int8 rounding boundary, and
from there on the two runs drift apart by about a quantisation step; the free difference shows that. Aligned: wherever
PyTorch quantises activations it gets the compiled model's input of that quantiser, after its own was found equal within
``INPUT_TOLERANCE``. Every layer is then compared on equal inputs, and the logits must agree within ``LOGIT_TOLERANCE``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from chimerac.compiler.errors import UserError
from chimerac.compiler.run import as_user_error, open_bundle
from chimerac.runtime.errors import BundleError

#: Largest difference of logits, as a part of their range.
LOGIT_TOLERANCE = 1e-3
#: Largest difference of a quantiser's inputs, as a part of the largest of them.
INPUT_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Agreement:
    """How close PyTorch and the compiled model are over a run of tokens.

    Attributes:
        tokens: tokens that were run.
        aligned: largest difference of logits over their range, quantisers fed alike.
        inputs: largest relative difference of a quantiser's inputs in that run.
        free: the same as ``aligned`` without any alignment.
        greedy: share of positions where both choose the same token in the free run.
    """

    tokens: int
    aligned: float
    inputs: float
    free: float
    greedy: float
