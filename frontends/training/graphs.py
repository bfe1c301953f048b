"""Micro-batches as CUDA graphs: the thousands of kernels of a forward and backward pass, started as one.

A shape is computed eagerly the first time, which fills every cache; recorded the second time, when the graph must give
the gradient that the eager pass gives; and replayed from then on. All graphs share one memory pool, because only one
runs at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

IGNORED = -100  #: target of places that have none; what cross_entropy leaves out by default
AGREEMENT = 0.02  #: largest distance of a graph's gradient from the eager one, as a fraction of the latter's length


@dataclass(frozen=True)
class Inputs:
    """What a micro-batch is computed from, on the CPU.

    Attributes:
        tokens: int64 [B, T]. targets: int64 [B * T], IGNORED where there is none. scale: float32 [], see ``Graphs``.
        loops: loop count of all sequences; None for the default.
    """

    tokens: Tensor
    targets: Tensor
    scale: Tensor
    loops: int | None

    @property
    def key(self) -> tuple[int, ...]:
        return (*self.tokens.shape, self.loops or 0)


@dataclass(frozen=True)
class _Recorded:
    graph: torch.cuda.CUDAGraph
    tokens: Tensor
    targets: Tensor
    scale: Tensor
    loss: Tensor


class Graphs:
    """Adds gradients of micro-batches to the parameters.

    Args:
        loss: of tokens, targets and loop count: the summed loss over the targets. Its gradients go to ``parameters``,
            times ``scale``.
        counters: the tensors that the loss counts in, beside the gradients.
        tell: gets a line when recording fails; all is then computed eagerly.
    """

    def __init__(
        self,
        loss: Callable[[Tensor, Tensor, int | None], Tensor],
        parameters: list[torch.nn.Parameter],
        counters: Callable[[], list[Tensor]],
        device: torch.device,
        tell: Callable[[str], None],
    ) -> None:
        self.loss, self.parameters, self.counters, self.device, self.tell = loss, parameters, counters, device, tell
        self.seen: set[tuple[int, ...]] = set()
        self.recorded: dict[tuple[int, ...], _Recorded] = {}
        self.works = device.type == "cuda"
        self.pool = torch.cuda.graph_pool_handle() if self.works else None
        self.stream = torch.cuda.Stream(device) if self.works else None

    def clear_gradients(self) -> None:
        """Zero every gradient where it lies: graphs add to the same tensors each time."""
        places = [p.grad for p in self.parameters if p.grad is not None]
        if places:
            torch._foreach_zero_(places)

    def add(self, inputs: Inputs) -> Tensor:
        """Add the gradients of a micro-batch and return its loss times ``scale``, float32 []."""
        if not self.works:
            return self._eagerly(inputs)
        if inputs.key in self.recorded:
            return self._replay(self.recorded[inputs.key], inputs)
        if inputs.key not in self.seen:
            self.seen.add(inputs.key)
            return self._eagerly(inputs)
        return self._first_replay(inputs)

    def _first_replay(self, inputs: Inputs) -> Tensor:
        """Record a graph and compare it with the eager pass; without it, if that fails, the eager result stands."""
        places = [p.grad for p in self.parameters if p.grad is not None]
        before, counts = [g.clone() for g in places], [c.clone() for c in self.counters()]
        loss = self._eagerly(inputs)
        eager, eager_counts = [g.clone() for g in places], [c.clone() for c in self.counters()]
        try:
            recorded = self._record(inputs)
            _put_back(places, before)
            _put_back(self.counters(), counts)
            found = self._replay(recorded, inputs)
            distance = _length(torch._foreach_sub(places, eager))
        except RuntimeError as error:
            self._give_up(str(error).splitlines()[0])
        else:
            length = _length(torch._foreach_sub(before, eager))
            if distance <= AGREEMENT * length:
                self.recorded[inputs.key] = recorded
                return found
            if math.isfinite(length):  # one that is not has nothing to compare with: the shape's next is compared
                self._give_up(f"a gradient of length {length:.3g} came out {distance:.3g} apart")
        _put_back(places, eager)
        _put_back(self.counters(), eager_counts)
        return loss

    def _give_up(self, why: str) -> None:
        self.works = False
        self.recorded.clear()
        self.tell(f"CUDA graphs are off: {why}")

    def _eagerly(self, inputs: Inputs) -> Tensor:
        tokens, targets, scale = (self._moved(t) for t in (inputs.tokens, inputs.targets, inputs.scale))
        return self._backward(tokens, targets, scale, inputs.loops)

    def _backward(self, tokens: Tensor, targets: Tensor, scale: Tensor, loops: int | None) -> Tensor:
        loss = self.loss(tokens, targets, loops) * scale
        loss.backward()
        return loss.detach()

    def _moved(self, tensor: Tensor) -> Tensor:
        if self.device.type == "cuda":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.device)

    def _record(self, inputs: Inputs) -> _Recorded:
        tokens, targets, scale = (self._moved(t) for t in (inputs.tokens, inputs.targets, inputs.scale))
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool, stream=self.stream, capture_error_mode="thread_local"):
            loss = self._backward(tokens, targets, scale, inputs.loops)
        return _Recorded(graph, tokens, targets, scale, loss)

    def _replay(self, recorded: _Recorded, inputs: Inputs) -> Tensor:
        for static, new in (
            (recorded.tokens, inputs.tokens),
            (recorded.targets, inputs.targets),
            (recorded.scale, inputs.scale),
        ):
            static.copy_(new.pin_memory(), non_blocking=True)
        recorded.graph.replay()
        return recorded.loss.clone()


def _length(tensors: Sequence[Tensor]) -> float:
    return float(torch.stack(torch._foreach_norm(list(tensors))).norm())


def _put_back(places: list[Tensor], values: list[Tensor]) -> None:
    """Copy each value to its place; models without experts count nothing, and PyTorch takes no empty list."""
    if places:
        torch._foreach_copy_(places, values)
