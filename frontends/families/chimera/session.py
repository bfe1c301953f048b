"""Reference execution of the step form with several loop iterations: what compiled code is compared with."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from chimerac.frontends.families.chimera.model import ChimeraModel, layer_at, loop_ranges
from chimerac.frontends.families.chimera.stateful import DEFAULT_BLOCK, check_steppable
from chimerac.frontends.layers.mixer import State
from chimerac.frontends.layers.quantization import FrozenWeights, frozen_weights

SHORTEST_EXIT = 2  #: adaptive exit compares two iterates, so it can't come earlier


class EagerSession:
    """One sequence, stepped with the same maths as ``Stateful`` and a state per (layer, iteration).

    Iterations that a token does not execute leave their state alone. An iteration that no token has executed before
    starts from the state that the iteration before it had when the call began. The weights must not change while a
    session lives: their codes are computed once.

    Args:
        loops: loop count of ``run`` when it is given none; None for the model's default.
        block: calls are cut at positions that are multiples of it.
        adaptive_exit: stop looping after iteration r >= 2 (and the model's minimum) when
            |h_r - h_{r-1}| <= threshold |h_r|; the tokens then run one by one, each with its own depth.
    """

    def __init__(
        self, model: ChimeraModel, loops: int | None = None, block: int = DEFAULT_BLOCK, *, adaptive_exit: bool = False
    ) -> None:
        check_steppable(model, block)
        self.model, self.block, self.adaptive_exit = model, block, adaptive_exit
        self.loops = int(model.depths(loops, 1))
        self._codes: FrozenWeights = {}
        self.reset()

    def reset(self) -> None:
        """Back to before the first token."""
        self.position = 0
        self.depths: list[int] = []  #: loop count of each token so far
        self.states: dict[tuple[int, int], State] = {}  #: (layer, iteration from 0)

    @torch.no_grad()
    def run(self, tokens: Tensor, loops: int | None = None, *, most: int | None = None) -> Tensor:
        """Read tokens (integers [n]) and return their logits [n, V].

        Args:
            most: the most tokens of a call, at most ``block``; 1 steps token by token. The logits are the same.
        """
        depth = self.loops if loops is None else int(self.model.depths(loops, 1))
        most = 1 if self.adaptive_exit else min(most or self.block, self.block)
        results, start = [], 0
        with frozen_weights(self._codes):
            while start < len(tokens):
                end = min(len(tokens), start + most, start + self.block - self.position % self.block)
                results.append(self._call(tokens[start:end].to(torch.int32), depth))
                start = end
        return torch.cat(results) if results else torch.zeros(0, self.model.shape.vocabulary)

    def step(self, token: int) -> np.ndarray:
        """Logits f32[V] after one more token."""
        logits: np.ndarray = self.run(torch.tensor([token]))[-1].numpy()
        return logits

    def greedy(self, prompt: Tensor, count: int) -> list[int]:
        """Read ``prompt`` and continue it by ``count`` tokens, each the (lowest) most likely one."""
        logits, chosen = self.run(prompt), []
        for _ in range(count):
            chosen.append(int(logits[-1].argmax()))
            logits = self.run(torch.tensor(chosen[-1:]))
        return chosen

    def _call(self, tokens: Tensor, depth: int) -> Tensor:
        model = self.model
        prelude, looped, coda = loop_ranges(model.shape)
        before = dict(self.states)
        x = self._layers(model.embedding.embed_step(tokens), prelude, 0, before)
        executed = 1
        if model.loop is not None:
            e = model.loop.norm.step(x)
            h = torch.zeros_like(e)
            for iteration in range(depth):
                previous = h
                h = self._layers(model.loop.inject(h, e), looped, iteration, before)
                executed = iteration + 1
                if self.adaptive_exit and self._settled(h, previous, executed):
                    break
            x = self._layers(model.loop.read_out(h), coda, 0, before)
        self.depths += [executed] * len(tokens)
        self.position += len(tokens)
        return model.embedding.head_step(model.norm.step(x))

    def _settled(self, h: Tensor, previous: Tensor, executed: int) -> bool:
        loop = self.model.shape.loop
        assert loop is not None
        if executed < max(SHORTEST_EXIT, loop.minimum):
            return False
        return bool((h - previous).norm() <= loop.exit_threshold * h.norm())

    def _layers(self, x: Tensor, layers: range, iteration: int, before: dict[tuple[int, int], State]) -> Tensor:
        position = torch.tensor(self.position, dtype=torch.int32)
        write = torch.tensor(int(iteration == 0), dtype=torch.int32)
        for number in layers:
            layer = layer_at(self.model.layers, number)
            owner = 0 if layer.mixer.slow_writer else iteration
            state = self.states.get((number, owner))
            if state is None:
                state = self._first_state(number, owner, before)
            x, self.states[number, owner] = layer.step(x, state, position, write)
        return x

    def _first_state(self, number: int, iteration: int, before: dict[tuple[int, int], State]) -> State:
        for earlier in range(iteration - 1, -1, -1):
            if (number, earlier) in before:
                return before[number, earlier]
        initial: State = layer_at(self.model.layers, number).mixer.initial_state(self.block)
        return initial
