"""MeZO (arXiv 2305.17333): gradients from two forward passes, noise made again from its seed instead of kept.

The ternary-sparse form disturbs only weights whose trit is not zero, as they were before the step, and of the others
a random twentieth, so that zeros can become something else. It estimates the gradient of the loss with quantisation,
as zeroth-order QAT does (arXiv 2509.00031).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch
from torch import Tensor, nn

from chimerac.frontends.families.protocol import TensorTable
from chimerac.frontends.layers.quantization import ternary_codes
from chimerac.frontends.training.counter import normal, uniform

REFRESH = 0.05  #: fraction of the zero weights that a sparse step disturbs too


class Mezo:
    """Steps of MeZO on the trainable parameters of ``model``; it keeps nothing between steps.

    A disturbance z is N(0, 1), keyed by the seed, the parameter's name and the step; element i comes from counter
    i // 4. Adding and subtracting it rounds, so weights drift by about one unit in the last place a step.
    """

    def __init__(
        self, model: nn.Module, table: TensorTable, seed: int, epsilon: float, weight_decay: float, *, sparse: bool
    ) -> None:
        self.epsilon, self.weight_decay, self.seed = epsilon, weight_decay, seed
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._decaying = {name for name in self.parameters if table.specs[name].decayed}
        self._sparse = self._decaying if sparse else set()
        self._group = table.group

    @torch.no_grad()
    def step(self, loss: Callable[[], Tensor], rate: float, number: int) -> Tensor:
        """Disturb to both sides, measure, and move: theta -= rate * (g z + decay * theta), g = (L+ - L-) / (2 eps).

        ``loss`` must see the same data and loop depths in both calls. Returns the mean of the two losses.
        """
        masks = {name: self._mask(name, p, number) for name, p in self.parameters.items()}
        self._shift(self.epsilon, number, masks)
        above = loss()
        self._shift(-2 * self.epsilon, number, masks)
        below = loss()
        slope = float(above - below) / (2 * self.epsilon)
        for name, parameter in self.parameters.items():
            z = self._noise(name, parameter, number, masks[name])
            parameter.add_(z, alpha=self.epsilon)
            if name in self._decaying:
                parameter.mul_(1 - rate * self.weight_decay)
            parameter.sub_(z, alpha=rate * slope)
        return (above + below) / 2

    def _shift(self, by: float, number: int, masks: dict[str, Tensor | None]) -> None:
        for name, parameter in self.parameters.items():
            parameter.add_(self._noise(name, parameter, number, masks[name]), alpha=by)

    def _noise(self, name: str, parameter: Tensor, number: int, mask: Tensor | None) -> Tensor:
        z = normal(parameter.numel(), number, self._key(name), parameter.device).view_as(parameter)
        return z if mask is None else z * mask

    def _mask(self, name: str, parameter: Tensor, number: int) -> Tensor | None:
        """Which weights move, bool; None for all."""
        if name not in self._sparse:
            return None
        codes, _ = ternary_codes(parameter, self._group)
        drawn = uniform(parameter.numel(), number, self._key(name + " refresh"), parameter.device)
        return (codes != 0) | (drawn.view_as(parameter) < REFRESH)

    def _key(self, name: str) -> tuple[int, int]:
        digest = hashlib.blake2b(f"{self.seed} {name}".encode(), digest_size=8).digest()
        return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little")
