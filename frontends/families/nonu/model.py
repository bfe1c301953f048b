"""``NonuModel``: the causal language model, with the calls that its document has."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chimerac.frontends.families.nonu.codes import rounded
from chimerac.frontends.families.nonu.layers import EPS, NonuLayer, initialise
from chimerac.frontends.families.nonu.shape import SPREAD, NonuConfig
from chimerac.frontends.families.nonu.steps import NonuSteps
from chimerac.frontends.layers.norm import RMSNorm


class NonuOutput:
    """What a call gives: an object with ``logits`` and ``loss`` that is also used as the tensor of its logits.

    Attributes:
        logits: float32 [B, T, V].
        loss: mean cross entropy, where labels were given.
    """

    def __init__(self, logits: Tensor, loss: Tensor | None = None) -> None:
        self.logits, self.loss = logits, loss

    def __getattr__(self, name: str) -> Any:
        if name == "logits":  # not there yet, as when it is unpickled
            raise AttributeError(name)
        return getattr(self.logits, name)

    def __getitem__(self, place: Any) -> Any:
        return self.logits[place]

    def __len__(self) -> int:
        return len(self.logits)

    @classmethod
    def __torch_function__(
        cls, function: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        def plain(value: Any) -> Any:
            if isinstance(value, NonuOutput):
                return value.logits
            return type(value)(map(plain, value)) if type(value) in (tuple, list) else value

        return function(*map(plain, args), **{name: plain(value) for name, value in (kwargs or {}).items()})


class NonuModel(nn.Module):
    """Tables of codes, layers of gated neurons, a head: docs/nonu.md.

    Args:
        config: its numbers; the defaults are the document's model of 7 billion parameters, which takes 28 GB.
        device: of the parameters; "meta" takes no memory.
    """

    def __init__(self, config: NonuConfig | None = None, *, device: torch.device | str | None = None) -> None:
        super().__init__()
        self.config = config = config or NonuConfig()
        width, inner = config.hidden_size, config.embedding_dim
        with torch.device(device) if device is not None else torch.device(torch.get_default_device()):
            self.embedding = nn.Embedding(config.vocab_size, inner)
            self.project, self.unproject = (nn.Linear(a, b, bias=False) for a, b in ((inner, width), (width, inner)))
            self.layers = nn.ModuleList(NonuLayer(config, number) for number in range(config.num_layers))
            self.norm = RMSNorm(width, EPS)
            self.output = None if config.tie else nn.Embedding(config.vocab_size, inner)
        for number, layer in enumerate(self.blocks()):
            initialise(layer, number)
        for linear in (self.project, self.unproject):
            nn.init.normal_(linear.weight, 0.0, SPREAD)
        for table in (self.embedding, *([] if self.output is None else [self.output])):
            nn.init.uniform_(table.weight, -config.embedding_range, config.embedding_range)

    def blocks(self) -> list[NonuLayer]:
        """The layers."""
        found = list(self.layers)
        assert all(isinstance(layer, NonuLayer) for layer in found)
        return found  # type: ignore[return-value]

    def table(self, which: nn.Embedding | None = None) -> Tensor:
        """The table of tokens, or another one, as the values of its codes: [V, embedding_dim]."""
        weight = (self.embedding if which is None else which).weight
        return rounded(weight, self.config.embedding_levels, self.config.embedding_range)

    def hidden(self, input_ids: Tensor, table: Tensor) -> Tensor:
        """What the head reads, [B, T, h]."""
        x = self.project(F.embedding(input_ids, table))
        for layer in self.layers:
            x = layer(x)
        found: Tensor = self.norm(x)
        return found

    def logits(self, hidden: Tensor, table: Tensor) -> Tensor:
        """[..., h] -> float32 [..., V]; ``table`` is that of the tokens."""
        found: Tensor = self.unproject(hidden) @ (table if self.output is None else self.table(self.output)).T
        return found.float()

    def forward(self, input_ids: Tensor, labels: Tensor | None = None) -> NonuOutput:
        """Integers [B, T] -> logits [B, T, V]; with labels also the mean cross entropy of each token but the first."""
        table = self.table()
        logits = self.logits(self.hidden(input_ids, table), table)
        if labels is None:
            return NonuOutput(logits)
        return NonuOutput(logits, F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()))

    def active_param_count(self, last: bool = True, *, include_dense: bool = False) -> int:
        """Weights of open neurons for a token: of each, those that it reads and those that read it.

        Args:
            last: in the mean over the tokens of the last call. Before the first one, and with False: what the first
                biases make likely.
            include_dense: also all weights that no gate decides: attention, embedding and head.
        """
        config = self.config
        counts = [layer.mlp.open for layer in self.blocks()]
        found = config.expected_active
        if last and all(count is not None for count in counts):
            found = sum(float(count) for count in counts if count is not None) * 2 * config.hidden_size
        dense = config.matrix_params - config.num_layers * 2 * config.hidden_size * config.neurons
        return round(found) + (dense if include_dense else 0)

    def export_form(self, context: int | None = None) -> NonuSteps:
        """The step form, which ``chimerac.compile`` takes: texts of ``context`` tokens, ``max_position`` when None."""
        config = self.config if context is None else dataclasses.replace(self.config, max_position=context)
        return NonuSteps(dict(self.named_children()), config)
