"""A small head that guesses the tokens after the next one, for speculation (docs/spans.md)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chimerac.frontends.layers.depth_router import Int8Linear
from chimerac.frontends.layers.norm import RMSNorm
from chimerac.frontends.layers.shapes import DraftShape, QuantizationShape


class DraftHead(nn.Module):
    """What the model's head will read after a token, h', of what it read before, h, and the token's embedding e.

    h' = h + W_o relu(W_h h + W_e norm(e) + b) + b_o; the scores of the token after it are W_s h' + b_s. h' takes the
    place of h for the token after that, as features do in EAGLE (arXiv 2401.15077) and EAGLE-3 (2503.01840); in place
    of a layer with a memory of its own there is a network of one hidden layer. Scores are of the tokens in ``ids``, as
    those of EAGLE-3 are of a draft vocabulary. While all of them are equal, nothing is guessed.

    Attributes:
        ids: [S], whole numbers: the tokens that are scored, the most frequent ones once the head is trained.
    """

    ids: Tensor

    def __init__(self, hidden: int, shape: DraftShape, quantization: QuantizationShape, eps: float) -> None:
        super().__init__()
        self.tokens = shape.tokens
        self.norm = RMSNorm(hidden, eps)
        self.before = Int8Linear(hidden, shape.width, quantization)
        self.token = Int8Linear(hidden, shape.width, quantization)
        self.after = Int8Linear(shape.width, hidden, quantization)
        self.scores = Int8Linear(hidden, shape.tokens, quantization)
        self.register_buffer("ids", torch.arange(shape.tokens, dtype=torch.float32))

    def forward(self, before: Tensor, embedded: Tensor) -> Tensor:
        """h [..., D] and e [..., D] -> h' [..., D]."""
        inner = self.before(before) + self.token(self.norm(embedded))
        after: Tensor = before + self.after(F.relu(inner))
        return after

    def step(self, before: Tensor, embedded: Tensor) -> tuple[Tensor, Tensor]:
        """h [1, D] and e [T, D] -> h' [T, D] and scores [T, tokens], as custom operations; T is 1."""
        inner = self.before.step(before) + self.token.step(self.norm.step(embedded))
        after = before + self.after.step(F.relu(inner))
        return after, self.scores.step(after)


class DraftStep(nn.Module):
    """The head of one token for torch.export, a module of the contract of frontends/export: it goes on from the state
    ``draft.last``, which the model writes, and gives the scores."""

    def __init__(self, embedding: nn.Module, draft: DraftHead) -> None:
        super().__init__()
        self.embedding, self.draft = embedding, draft

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        """tokens: i32 [T], T is 1 -> scores [T, tokens]."""
        last = self.draft.get_buffer("last")
        after, scores = self.draft.step(last, self.embedding.embed_step(tokens))  # type: ignore[operator]
        last.copy_(after[-1:])
        return scores


@torch.no_grad()
def begin_with(head: DraftHead, table: Tensor, ids: Tensor | None = None) -> None:
    """Weights that training begins with: ``table`` [V, D], the model's, as scores, and a network that is small.

    ``ids``: the tokens to score [S]; None leaves those that there are.
    """
    if ids is not None:
        head.ids.copy_(ids)
    for linear in (head.before, head.token, head.after):
        nn.init.normal_(linear.weight, std=linear.weight.shape[1] ** -0.5)
        linear.bias.zero_()
    head.after.weight.mul_(0.1)
    head.norm.weight.fill_(1.0)
    head.scores.weight.copy_(table[head.ids.long()])
    head.scores.bias.zero_()
