"""The next token of N4's generation: temperature, then top-k, then top-p, then a draw of ``torch.multinomial``."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from chimerac.compiler.errors import UserError


@dataclass(frozen=True)
class Sampling:
    """How a token is chosen.

    Attributes:
        temperature: divides the logits; above 0.
        top_k: only logits that are no smaller than the k-th largest stay, so that equal ones all do; 0 leaves all.
        top_p: the fewest likeliest tokens whose probabilities add up to more stay; 1 or more leaves all.

    Raises:
        UserError: CHM225, a number out of range.
    """

    temperature: float
    top_k: int
    top_p: float

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            hint = "top_k=1 takes the likeliest token"
            raise UserError("CHM225", f"temperature is {self.temperature:g}; it must be above 0", hint=hint)
        if self.top_k < 0:
            raise UserError("CHM225", f"top_k is {self.top_k}; it must be 0, for all tokens, or more")
        if not self.top_p > 0:
            raise UserError("CHM225", f"top_p is {self.top_p:g}; it must be above 0, and 1 or more leaves all tokens")

    def draw(self, logits: Tensor, generator: torch.Generator | None) -> int:
        """A token. logits: float32 [V]."""
        logits = logits / self.temperature
        if self.top_k:
            least = torch.topk(logits, min(self.top_k, len(logits))).values[-1]
            logits = logits.masked_fill(logits < least, -torch.inf)
        if self.top_p < 1:
            ordered, places = torch.sort(logits, descending=True)
            before = torch.cumsum(torch.softmax(ordered, -1), -1).roll(1)
            before[0] = 0
            logits = logits.masked_fill(
                torch.zeros_like(before > 0).scatter(0, places, before > self.top_p), -torch.inf
            )
        return int(torch.multinomial(torch.softmax(logits, -1), 1, generator=generator))
