"""A Nonu model as training asks for a module."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from chimerac.frontends.families.nonu.model import NonuModel
from chimerac.frontends.families.nonu.rounding import Rounding
from chimerac.frontends.families.nonu.shape import NonuConfig
from chimerac.frontends.families.nonu.steps import NonuSteps
from chimerac.frontends.families.trainable import TrainableModule

RARE = 1e-6  #: probability of a layer's being left out that may be taken for 0 where passes are recorded


class NonuTrainable(TrainableModule):
    """Has the parameters of a ``NonuModel``, under its names."""

    shape: NonuConfig

    def __init__(self, config: NonuConfig, *, sparse_gradient: bool = False, ternary: bool = True) -> None:
        super().__init__()
        # unset, and on memory that nothing touches: whoever makes it fills it, or a part of it where it is large
        made = NonuModel(config, device="meta").to_empty(device=torch.get_default_device())
        rounding = Rounding("f32" if config.weights == "ternary" and not ternary else config.weights, sparse_gradient)
        for layer in made.blocks():
            layer.attention.rounding = layer.mlp.rounding = rounding
        self.shape = config
        for name, module in made.named_children():
            self.add_module(name, module)
        self._made = (made,)  # in a tuple, or its parameters would be found twice

    @property
    def model(self) -> NonuModel:
        """The model, with this module's parameters."""
        return self._made[0]

    def same_work(self) -> bool:
        return self.shape.nonu_drop <= RARE

    def table(self) -> Tensor:
        return self.model.table()

    def hidden(
        self, tokens: Tensor, table: Tensor, loops: int | Tensor | None = None, *, truncate: bool = True
    ) -> Tensor:
        return self.model.train(self.training).hidden(tokens, table)

    def head(self, hidden: Tensor, table: Tensor) -> Tensor:
        return self.model.logits(hidden, table)

    def blocks(self) -> Sequence[nn.Module]:
        return self.model.blocks()

    def export_form(self) -> NonuSteps:
        """The model's."""
        return self.model.export_form()
