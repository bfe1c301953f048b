"""A session of a model in export form in PyTorch, a token a call: what compiled code is compared with."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn


class StepSession:
    """One sequence, with the state in the buffers of a module that is nobody else's.

    Args:
        steps: the export form: ``forward(tokens i32[T], position i32[]) -> logits [T, V]``.
    """

    def __init__(self, steps: nn.Module) -> None:
        self.steps, self.position = steps, 0

    @torch.no_grad()
    def step(self, token: int) -> np.ndarray:
        """Logits f32[V] after one more token."""
        position = torch.tensor(self.position, dtype=torch.int32)
        logits = self.steps(torch.tensor([token], dtype=torch.int32), position)
        self.position += 1
        last: np.ndarray = logits[-1].numpy()
        return last
