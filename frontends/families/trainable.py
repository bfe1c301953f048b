"""What training and evaluation ask of a module, so that neither knows a family."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from chimerac.frontends.families.protocol import Shape
from chimerac.frontends.layers.depth_router import DepthRouter
from chimerac.frontends.layers.draft_head import DraftHead
from chimerac.frontends.layers.moe import MixtureOfExperts, update_router_bias
from chimerac.frontends.layers.shapes import LoopShape


class TrainableModule(nn.Module, ABC):
    """Whole sequences to logits, differentiable: the training form of a family whose models can be trained.

    ``table``, ``hidden`` and ``head`` have to be written; the rest is for modules that have what it is about.
    Parameters that training leaves alone are not ``trained`` in the family's table of tensors.
    """

    shape: Shape

    @abstractmethod
    def table(self) -> Tensor:
        """The table of tokens as look-up and head see it, rounded for example; made once for several passes."""

    @abstractmethod
    def hidden(
        self, tokens: Tensor, table: Tensor, loops: int | Tensor | None = None, *, truncate: bool = True
    ) -> Tensor:
        """What the head reads, [B, T, D].

        Args:
            tokens: integers [B, T]. table: what ``table`` gave.
            loops: how often looped layers run: one number, one per sequence [B], or None for the default.
            truncate: record gradients for the later iterations of a loop only.
        """

    @abstractmethod
    def head(self, hidden: Tensor, table: Tensor) -> Tensor:
        """Logits float32 [..., V] of hidden [..., D]."""

    def forward(self, tokens: Tensor, loops: int | Tensor | None = None, *, truncate: bool = True) -> Tensor:
        """Logits of every position, float32 [B, T, V]; arguments as of ``hidden``."""
        table = self.table()
        return self.head(self.hidden(tokens, table, loops, truncate=truncate), table)

    def same_work(self) -> bool:
        """Whether a pass in training may stand for the next one, as a CUDA graph of it does: nothing is drawn in it."""
        return True

    def loop_counts(self) -> LoopShape | None:
        """How often looped layers may run; None without any."""
        return None

    def depth_router(self) -> DepthRouter | None:
        """What predicts the loop count of a block of tokens; None without."""
        return None

    def depth_features(self, tokens: Tensor, table: Tensor) -> Tensor:
        """What the router reads: [B, T, D] of tokens [B, T]. Of modules that have one."""
        raise NotImplementedError

    def draft_head(self) -> DraftHead | None:
        """What guesses the tokens after the next one; None without."""
        return None

    def embedded(self, tokens: Tensor, table: Tensor) -> Tensor:
        """What the draft head reads of tokens [B, T]: [B, T, D]. Of modules that have one."""
        raise NotImplementedError

    def blocks(self) -> Sequence[nn.Module]:
        """What runs one after the other: checkpointing keeps the input of each, and computes its inside again."""
        return ()

    def shards(self) -> Sequence[nn.Module]:
        """What FSDP shards on its own; the rest of the module is sharded together."""
        return self.blocks()

    def compile_blocks(self) -> None:
        """``torch.compile``, for each block or the parts of it that are worth it."""
        for block in self.blocks():
            block.compile(dynamic=False)

    def router_loads(self) -> list[Tensor]:
        """The counters of visits per expert, int64 [E] of each mixture, which ``balance`` sets to zero."""
        mixtures = [module for module in self.modules() if isinstance(module, MixtureOfExperts)]
        for mixture in mixtures:  # one that was never visited still counts where it was made
            mixture.load = mixture.load.to(mixture.router_bias.device)
        return [mixture.load for mixture in mixtures]

    def balance(self, rate: float) -> None:
        """Move the routing biases by ``rate`` towards equal loads, and count anew."""
        update_router_bias(self, rate)
