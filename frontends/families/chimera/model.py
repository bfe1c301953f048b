"""The Chimera model: prelude, looped layers and coda of mixers and feed-forward networks over a tied embedding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from chimerac.compiler.errors import UserError
from chimerac.frontends.families.chimera.shape import ChimeraShape, MixerKind
from chimerac.frontends.families.trainable import TrainableModule
from chimerac.frontends.layers.depth_router import DepthRouter
from chimerac.frontends.layers.draft_head import DraftHead
from chimerac.frontends.layers.gated_deltanet import GatedDeltaNet
from chimerac.frontends.layers.linear import TernaryLinear, TiedEmbedding
from chimerac.frontends.layers.looping import LoopInjection, first_recorded
from chimerac.frontends.layers.mixer import Mixer, State
from chimerac.frontends.layers.mlp import SwiGLU
from chimerac.frontends.layers.mlstm import MLSTM
from chimerac.frontends.layers.moe import MixtureOfExperts
from chimerac.frontends.layers.norm import RMSNorm
from chimerac.frontends.layers.shapes import LoopShape
from chimerac.frontends.layers.span_knot import SpanKnot
from chimerac.frontends.layers.titans import TitansContext, TitansMac

TITANS_PARTS = ("_project", "_attend", "_span", "_output", "read")  #: methods that are compiled on their own


class Block(nn.Module):
    """x += mixer(norm(x)); x += ffn(norm(x)). The norms are also the input norms of the projections after them."""

    mixer: Mixer
    ffn: SwiGLU | MixtureOfExperts

    def __init__(self, shape: ChimeraShape, layer: int) -> None:
        super().__init__()
        self.mixer_norm = RMSNorm(shape.hidden, shape.norm_eps)
        self.mixer = make_mixer(shape.mixers[layer], shape, layer)
        self.ffn_norm = RMSNorm(shape.hidden, shape.norm_eps)
        if shape.moe is not None and layer in shape.moe.layers:
            self.ffn = MixtureOfExperts(shape.hidden, shape.moe, shape.quantization, shape.norm_eps)
        else:
            self.ffn = SwiGLU(shape.hidden, shape.width, shape.quantization, shape.norm_eps)

    def forward(
        self, x: Tensor, context: TitansContext | None = None, *, writers_only: bool = False
    ) -> tuple[Tensor, TitansContext | None]:
        """x: [B, T, D], whole sequences -> the same shape, and the context of a slow writer.

        Args:
            context: what a slow writer left in the first iteration, for later ones; None in the first.
            writers_only: see TitansMac.write.
        """
        normed = self.mixer_norm(x)
        if not isinstance(self.mixer, TitansMac):
            y, _ = self.mixer(normed)
        elif context is None:
            y, _, context = self.mixer.write(normed, writers_only=writers_only)
        else:
            y = self.mixer.read(normed, context)
        x = x + y
        return x + self.ffn(self.ffn_norm(x)), context

    def step(self, x: Tensor, state: State, position: Tensor, write: Tensor) -> tuple[Tensor, State]:
        """x: [T, D] -> [T, D] and the mixer's new state, as custom operations."""
        y, state = self.mixer.step(self.mixer_norm.step(x), state, position, write)
        x = x + y
        return x + self.ffn.step(self.ffn_norm.step(x)), state


def make_mixer(kind: MixerKind, shape: ChimeraShape, layer: int) -> Mixer:
    """The mixer of layer ``layer``."""
    if kind == "gated_deltanet":
        return GatedDeltaNet(shape)
    if kind == "xlstm_m":
        return MLSTM(shape)
    if kind == "titans_mac":
        return TitansMac(shape)
    return SpanKnot(shape, layer)


class ChimeraModel(TrainableModule):
    """Tokens [B, T] to logits [B, T, V], for training; ``Stateful`` and ``EagerSession`` run it token by token.

    Args:
        shape: every size. Raises UserError CHM220 when its numbers do not fit together.
        sparse_gradient: see quantization.straight_through_ternary.
        ternary: False leaves weights and activations of the training form unrounded: the float model of this shape.
    """

    def __init__(self, shape: ChimeraShape, *, sparse_gradient: bool = False, ternary: bool = True) -> None:
        super().__init__()
        check_shape(shape)
        self.shape: ChimeraShape = shape
        embedding_format = shape.embedding_format if ternary else "float32"
        self.embedding = TiedEmbedding(shape.vocabulary, shape.hidden, shape.quantization, embedding_format)
        self.layers = nn.ModuleList(Block(shape, layer) for layer in range(shape.layers))
        self.loop: LoopInjection | None = None
        if shape.loop is not None:
            self.loop = LoopInjection(shape.hidden, shape.norm_eps, exact_input=shape.loop.exact_input)
        self.router: DepthRouter | None = None
        if shape.router is not None and shape.loop is not None:
            classes = shape.loop.maximum - shape.loop.minimum + 1
            self.router = DepthRouter(shape.hidden, shape.router, classes, shape.quantization)
        self.draft: DraftHead | None = None
        if shape.draft is not None:
            self.draft = DraftHead(shape.hidden, shape.draft, shape.quantization, shape.norm_eps)
        self.norm = RMSNorm(shape.hidden, shape.norm_eps)
        for module in self.modules():
            if isinstance(module, (TernaryLinear, MixtureOfExperts)):
                module.sparse_gradient, module.ternary = sparse_gradient, ternary

    def table(self) -> Tensor:
        """The embedding's, rounded in its format [V, D]."""
        return self.embedding.table()

    def head(self, hidden: Tensor, table: Tensor) -> Tensor:
        """Logits float32 [..., V] of normed rows."""
        return self.embedding.head(hidden, table)

    def hidden(
        self, tokens: Tensor, table: Tensor, loops: int | Tensor | None = None, *, truncate: bool = True
    ) -> Tensor:
        """What the head reads, [B, T, D], normed.

        Args:
            tokens: integers [B, T].
            loops: how often the looped layers run: one number, one per sequence [B], or None for the default.
            truncate: record gradients for the last ceil(R/2) of a sequence's R iterations only, and, where the slow
                writers wrote before that, for their projections.
        """
        x = self.embedding.embed(tokens, table)
        prelude, looped, coda = loop_ranges(self.shape)
        for layer in prelude:
            x, _ = layer_at(self.layers, layer)(x)
        if looped:
            x = self._loop(x, looped, self.depths(loops, tokens.shape[0]), truncate and torch.is_grad_enabled())
        for layer in coda:
            x, _ = layer_at(self.layers, layer)(x)
        y: Tensor = self.norm(x)
        return y

    def depth_router(self) -> DepthRouter | None:
        """The shape's."""
        return self.router

    def depth_features(self, tokens: Tensor, table: Tensor) -> Tensor:
        """What comes out of the prelude, normed."""
        assert self.loop is not None
        x = self.embedding.embed(tokens, table)
        for layer in loop_ranges(self.shape)[0]:
            x, _ = layer_at(self.layers, layer)(x)
        return self.loop.norm(x)  # type: ignore[no-any-return]

    def draft_head(self) -> DraftHead | None:
        """The shape's."""
        return self.draft

    def embedded(self, tokens: Tensor, table: Tensor) -> Tensor:
        """Rows of the table."""
        return self.embedding.embed(tokens, table)

    def loop_counts(self) -> LoopShape | None:
        """The shape's."""
        return self.shape.loop

    def blocks(self) -> Sequence[Block]:
        """The layers."""
        return [layer_at(self.layers, number) for number in range(len(self.layers))]

    def shards(self) -> Sequence[Block]:
        """The layers but slow writers: in a truncated step these record gradients inside an iteration that records
        none, where FSDP would take their weights away before the backward pass has used them."""
        return [block for block in self.blocks() if not block.mixer.slow_writer]

    def compile_blocks(self) -> None:
        """Each layer as one, but those of Titans in parts, so that the code for a span of tokens that share an anchor
        is made once and not once for each span of a sequence."""
        for block in self.blocks():
            if not isinstance(block.mixer, TitansMac):
                block.compile(dynamic=False)
                continue
            block.ffn_norm.compile(dynamic=False)
            block.ffn.compile(dynamic=False)
            for name in TITANS_PARTS:
                setattr(block.mixer, name, torch.compile(getattr(block.mixer, name), dynamic=False))

    def depths(self, loops: int | Tensor | None, batch: int) -> Tensor:
        """Loop counts of a batch, int64 [batch]. Raises UserError CHM221 outside the loop's range."""
        loop = self.shape.loop
        if loop is None:
            return torch.ones(batch, dtype=torch.int64)
        depths = torch.as_tensor(loop.default if loops is None else loops).to("cpu", torch.int64).expand(batch)
        if bool((depths < loop.minimum).any()) or bool((depths > loop.maximum).any()):
            raise UserError(
                "CHM221", f"loops is {depths.tolist()}, but this model loops {loop.minimum} to {loop.maximum} times"
            )
        return depths

    def _loop(self, x: Tensor, looped: range, depths: Tensor, truncate: bool) -> Tensor:
        assert self.loop is not None
        e = self.loop.norm(x)
        h = torch.zeros_like(e)
        first = first_recorded(depths, truncate=truncate)
        contexts: dict[int, TitansContext] = {}
        writers = torch.zeros_like(depths)  # sequence -> its row in the contexts
        for iteration in range(1, int(depths.max()) + 1):
            for recorded in (False, True):
                rows = torch.nonzero((depths >= iteration) & ((first <= iteration) == recorded)).flatten()
                if not len(rows):
                    continue
                everything = len(rows) == len(depths)  # then nothing is gathered, which is faster
                with torch.set_grad_enabled(recorded and torch.is_grad_enabled()):
                    readable = {} if iteration == 1 else contexts  # in the first, both groups write their own
                    if everything:
                        h, written = self._iterate(h, e, looped, readable, writers_only=not recorded)
                    else:
                        seen = {layer: context.select(writers[rows]) for layer, context in readable.items()}
                        part, written = self._iterate(h[rows], e[rows], looped, seen, writers_only=not recorded)
                        h = h.index_copy(0, rows.to(h.device), part)
                # truncated, the sequences of one iteration only are the recorded ones and never read again; else
                # all are recorded: in both cases one group holds every later reader
                if iteration == 1 and int(depths[rows].max()) > 1:
                    contexts = written
                    writers[rows] = torch.arange(len(rows))
        return self.loop.read_out(h)

    def _iterate(
        self, h: Tensor, e: Tensor, looped: range, contexts: dict[int, TitansContext], *, writers_only: bool
    ) -> tuple[Tensor, dict[int, TitansContext]]:
        assert self.loop is not None
        h = self.loop.inject(h, e)
        written = {}
        for layer in looped:
            h, context = layer_at(self.layers, layer)(h, contexts.get(layer), writers_only=writers_only)
            if context is not None:
                written[layer] = context
        return h, written


def layer_at(layers: nn.ModuleList, number: int) -> Block:
    """Layer ``number``, from 0, with its type."""
    return cast(Block, layers[number])


def loop_ranges(shape: ChimeraShape) -> tuple[range, range, range]:
    """The layers before, inside and after the loop; without a loop all are before it."""
    if shape.loop is None:
        return range(shape.layers), range(0), range(0)
    first, end = shape.loop.first, shape.loop.last + 1
    return range(first), range(first, end), range(end, shape.layers)


def check_shape(shape: ChimeraShape) -> None:
    """Raise UserError CHM220 listing everything about ``shape`` that no model can have."""
    quantization, half_sketch = shape.quantization, shape.knot.sketch_bits // 2
    loop, moe = shape.loop, shape.moe
    rules = [
        (shape.heads * shape.head_width == shape.hidden, "heads * head width must be the hidden size"),
        (shape.head_width % 2 == 0, "the head width must be even: rotary positions turn pairs of channels"),
        (quantization.group_size % quantization.block_size == 0, "the block size must divide the group size"),
        (min(shape.vocabulary, shape.width, shape.conv_size, shape.titans.window) > 0, "sizes must be positive"),
        (
            loop is None or (0 <= loop.first <= loop.last < shape.layers),
            "the looped layers must lie inside the model",
        ),
        (
            loop is None or (1 <= loop.minimum <= loop.default <= loop.maximum),
            "loop counts must be 1 <= minimum <= default <= maximum",
        ),
        (
            moe is None or (1 <= moe.experts_per_token <= moe.experts),
            "experts per token must be between 1 and the number of experts",
        ),
        (
            moe is None or all(0 <= layer < shape.layers for layer in moe.layers),
            "mixture-of-experts layers must lie inside the model",
        ),
        (
            "tsp_span_knot" not in shape.mixers
            or (half_sketch & (half_sketch - 1) == 0 and half_sketch >= shape.hidden),
            "sketch bits must be twice a power of two that is at least the hidden size",
        ),
    ]
    broken = [text for holds, text in rules if not holds]
    if broken:
        raise UserError("CHM220", "this model shape does not fit together: " + "; ".join(broken))
