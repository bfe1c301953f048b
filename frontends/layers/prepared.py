"""The matrices that products see, of a whole model at once: rounded in a few large kernels instead of many small."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

import torch
from torch import Tensor, nn

from chimerac.frontends.layers.linear import TernaryLinear
from chimerac.frontends.layers.moe import EXPERT_MATRICES, MixtureOfExperts
from chimerac.frontends.layers.quantization import ternary_codes


class PreparedWeights:
    """Keeps the dequantised ternary matrices of ``model`` in one buffer and hands them to its layers.

    While it is entered, layers read the buffer: nothing may change the weights. Every entry makes it anew, at the same
    place. Matrices that follow each other in the model lie one below the other, see products.stacked.

    Args:
        dtype: of the products' factors.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        self.weights: list[Tensor] = []
        self.setters: list[Callable[[Tensor | None], None]] = []
        group = 1
        self.ternary = True
        for module in model.modules():
            if isinstance(module, TernaryLinear):
                self.weights.append(module.weight)
                self.setters.append(_set_linear(module))
                group, self.ternary = module.group, module.ternary
            elif isinstance(module, MixtureOfExperts):
                for name in EXPERT_MATRICES:
                    self.weights.append(module.get_parameter(name))
                    self.setters.append(_set_expert(module, name))
                group, self.ternary = module.group, module.ternary
        self.group = group
        self.padded = [-(-w.shape[-1] // group) * group for w in self.weights]
        sizes = [w.numel() // w.shape[-1] * width for w, width in zip(self.weights, self.padded, strict=True)]
        self.buffer = torch.zeros(sum(sizes), dtype=dtype, device=next(model.parameters()).device)
        self.views = [
            part.view(*w.shape[:-1], width)[..., : w.shape[-1]]
            for part, w, width in zip(torch.split(self.buffer, sizes), self.weights, self.padded, strict=True)
        ]

    @torch.no_grad()
    def refresh(self) -> None:
        """Round the weights as they are now into the buffer."""
        if not self.ternary:
            torch._foreach_copy_(self.views, self.weights)
            return
        for width in sorted({w.shape[-1] for w in self.weights}):  # equal widths are rounded together
            chosen = [i for i, w in enumerate(self.weights) if w.shape[-1] == width]
            codes, scales = ternary_codes(torch.cat([self.weights[i].flatten(0, -2) for i in chosen]), self.group)
            wide = scales.repeat_interleave(self.group, dim=-1)[:, :width]
            parts = torch.split(codes * wide, [self.weights[i].numel() // width for i in chosen])
            shaped = [part.view_as(self.weights[i]) for i, part in zip(chosen, parts, strict=True)]
            torch._foreach_copy_([self.views[i] for i in chosen], shaped)

    def __enter__(self) -> None:
        self.refresh()
        for use, view in zip(self.setters, self.views, strict=True):
            use(view)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for use in self.setters:
            use(None)


def _set_linear(module: TernaryLinear) -> Callable[[Tensor | None], None]:
    def use(ready: Tensor | None) -> None:
        module.ready = ready

    return use


def _set_expert(module: MixtureOfExperts, name: str) -> Callable[[Tensor | None], None]:
    def use(ready: Tensor | None) -> None:
        if ready is None:
            module.ready.pop(name, None)
        else:
            module.ready[name] = ready

    return use
