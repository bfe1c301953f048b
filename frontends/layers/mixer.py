"""What every mixer offers: a parallel form over batches for training and a step form of custom operations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

State = dict[str, Tensor]


class Mixer(nn.Module, ABC):
    """Mixes along time. Both forms give the same numbers for any split of the tokens into calls.

    Attributes:
        slow_writer: True when, inside a loop, the state is written in the first iteration only and read in all; else
            each iteration has a state of its own.
    """

    slow_writer: ClassVar[bool] = False

    @abstractmethod
    def initial_state(self, block: int) -> State:
        """The unbatched state before the first token. ``block``: the most tokens that one ``step`` call gets."""

    @abstractmethod
    def forward(self, x: Tensor, state: State | None = None, position: int = 0) -> tuple[Tensor, State]:
        """Parallel form, differentiable. x: [B, T, D], normed; ``position`` of the first token."""

    @abstractmethod
    def step(self, x: Tensor, state: State, position: Tensor, write: Tensor) -> tuple[Tensor, State]:
        """Step form. x: [T, D], normed, T <= block; ``position`` and ``write``: i32 []."""


def split_heads(x: Tensor, heads: int) -> Tensor:
    """[..., H*d] -> [..., H, d]."""
    return x.reshape(*x.shape[:-1], heads, x.shape[-1] // heads)


def batched(state: State, batch: int) -> State:
    """An unbatched state repeated for each sequence of a batch."""
    return {name: value.expand(batch, *value.shape) for name, value in state.items()}
