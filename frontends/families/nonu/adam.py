"""``NonuAdam``: Adam whose small steps are not lost in the rounding of the weights."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

LEARNING_RATE = 1e-7


class NonuAdam(torch.optim.Optimizer):
    """Adam (arXiv 1412.6980) on float32 masters with Kahan's compensation.

    A step of 1e-7 vanishes in a bfloat16 weight of 0.02, and in a float32 one of 2: what rounding takes from a step is
    kept and added to the next ones. Weights of 16 bits are their masters, rounded.

    Args:
        params: as of every optimiser.
        lr: the document's is 1e-7; a higher one is warned of, as the document warns.
        betas, eps: as of Adam.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = LEARNING_RATE,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        if lr > LEARNING_RATE:
            warnings.warn(f"a learning rate of {lr:g} is above the document's {LEARNING_RATE:g}", stacklevel=2)
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; the loss of ``closure``, where there is one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._step(parameter, group)
        return loss

    def _step(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None
        if not state:
            state.update(step=0, master=parameter.detach().float().clone())
            state.update({name: torch.zeros_like(state["master"]) for name in ("mean", "square", "lost")})
        state["step"] += 1
        first, second = group["betas"]
        gradient = gradient.float()
        state["mean"].lerp_(gradient, 1 - first)
        state["square"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
        root = (state["square"] / (1 - second ** state["step"])).sqrt_().add_(group["eps"])
        change = state["mean"] / root * (-group["lr"] / (1 - first ** state["step"])) - state["lost"]
        moved = state["master"] + change
        state["lost"] = (moved - state["master"]) - change
        state["master"] = moved
        parameter.copy_(moved)
