"""A session of a published model in PyTorch: what compiled code is compared with."""

from __future__ import annotations

import numpy as np
import torch
from torch.func import functional_call

from chimerac.frontends.layers.quantization import FrozenWeights, frozen_weights
from chimerac.frontends.published.filled import Decoder


class PublishedSession:
    """One sequence, with keys and values of its own."""

    def __init__(self, model: Decoder) -> None:
        self.model, self.position = model, 0
        self.state = {name: buffer.clone() for name, buffer in model.named_buffers() if name in model.state_dict()}
        self._codes: FrozenWeights = {}

    @torch.no_grad()
    def step(self, token: int) -> np.ndarray:
        """Logits f32[V] after one more token."""
        with frozen_weights(self._codes):
            place = torch.tensor(self.position, dtype=torch.int32)
            call = torch.tensor([token], dtype=torch.int32), place
            logits = functional_call(self.model, self.state, call)
        self.position += 1
        last: np.ndarray = logits[-1].numpy()
        return last
