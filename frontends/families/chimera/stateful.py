"""The export form: one sequence, a call of a few tokens, recurrent state in buffers that forward overwrites."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from chimerac.compiler.errors import UserError
from chimerac.frontends.families.chimera.model import ChimeraModel, layer_at, loop_ranges
from chimerac.frontends.layers import ops
from chimerac.frontends.layers.draft_head import DraftStep
from chimerac.frontends.layers.span_knot import SpanKnot
from chimerac.runtime.bundle_format.constants import DRAFT_STATE, KNOT_HIT, KNOT_MEMORY, KNOT_SKETCH, ROUTER_STATE

DEFAULT_BLOCK = 16  #: most tokens of a call


class Stateful(nn.Module):
    """``model`` for torch.export: custom operations kept whole, every other operation core ATen, float32.

    Parameter names are those of ``model`` and share its storage. The state is in the buffers
    ``layers.<i>.mixer.<name>`` that ``state_names`` lists; every other buffer is a constant. Layers inside the loop
    hold the state of ONE iteration: who executes the graph keeps one copy per iteration, except for slow writers
    (Titans), which have one in all. The looped region stands once, between loop_begin and loop_end; run eagerly it
    runs once.

    ``given_states`` lists buffers that are states, too, but for whoever executes the graph to write: the memory that
    span knots read.

    A call holds 1 to ``block`` tokens and must not cross a position that is a multiple of ``block``.

    Raises:
        UserError CHM222: an anchor chunk of Titans is no multiple of ``block``, or a span knot has a memory attached.
    """

    one: Tensor

    def __init__(self, model: ChimeraModel, block: int = DEFAULT_BLOCK) -> None:
        super().__init__()
        check_steppable(model, block)
        # parameters are shared with the model, yet without gradients: the custom operations have none
        shared: dict[int, object] = {id(p): nn.Parameter(p.detach(), requires_grad=False) for p in model.parameters()}
        twin = copy.deepcopy(model, shared)
        self.shape, self.block = model.shape, block
        self.embedding, self.layers, self.loop, self.norm = twin.embedding, twin.layers, twin.loop, twin.norm
        self.state_names: tuple[str, ...] = ()
        for number in range(model.shape.layers):
            mixer = layer_at(self.layers, number).mixer
            for name, value in mixer.initial_state(block).items():
                mixer.register_buffer(name, value)
                self.state_names += (f"layers.{number}.mixer.{name}",)
        self.given_states: tuple[str, ...] = ()
        if model.shape.knot.reads_memory and "tsp_span_knot" in model.shape.mixers:
            self.given_states = (KNOT_MEMORY, KNOT_HIT, KNOT_SKETCH)
            self.knot = nn.Module()
            bits = model.shape.knot.sketch_bits
            for name, value in (
                (KNOT_MEMORY, torch.zeros(1, bits // 32, dtype=torch.int32)),
                (KNOT_HIT, torch.zeros(1, 1)),
                (KNOT_SKETCH, torch.zeros(1, bits // 4, dtype=torch.int32)),
            ):
                self.knot.register_buffer(name.removeprefix("knot."), value)
            for mixer in (m for m in twin.modules() if isinstance(m, SpanKnot)):
                signs = mixer.signs
                del mixer.signs
                mixer.register_buffer("signs", signs, persistent=False)
        self.router = twin.router
        if self.router is not None:
            self.router.register_buffer("last", torch.zeros(1, self.router.classes))
            self.state_names += (ROUTER_STATE,)
        self.draft = twin.draft
        if self.draft is not None:
            self.draft.register_buffer("last", torch.zeros(1, model.shape.hidden))
            self.state_names += (DRAFT_STATE,)
        self.register_buffer("one", torch.ones((), dtype=torch.int32), persistent=False)

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        """tokens: i32 [T]; position: i32 [], of the first token -> logits [T, V]."""
        prelude, looped, coda = loop_ranges(self.shape)
        x = self._run(self.embedding.embed_step(tokens), prelude, position, self.one)
        if self.loop is not None and self.shape.loop is not None:
            loop = self.shape.loop
            e = self.loop.norm.step(x)
            if self.router is not None:
                self.router.get_buffer("last").copy_(self.router.step(e)[-1:])
            h, write = ops.loop_begin(
                torch.zeros_like(e), loop.maximum, loop.default, loop.exit_threshold, loop.minimum
            )
            h = self._run(self.loop.inject(h, e), looped, position, write)
            x = self.loop.read_out(ops.loop_end(h))
            x = self._run(x, coda, position, self.one)
        y = self.norm.step(x)
        if self.draft is not None:
            self.draft.get_buffer("last").copy_(y[-1:])
        return self.embedding.head_step(y)

    def draft_form(self) -> DraftStep | None:
        """The export form of the draft head, sharing weights and state; None without one."""
        return None if self.draft is None else DraftStep(self.embedding, self.draft)

    def _run(self, x: Tensor, layers: range, position: Tensor, write: Tensor) -> Tensor:
        for number in layers:
            layer = layer_at(self.layers, number)
            buffers = dict(layer.mixer.named_buffers(recurse=False))
            if isinstance(layer.mixer, SpanKnot):
                buffers |= {name: self.get_buffer(name) for name in self.given_states}
            x, state = layer.step(x, buffers, position, write)
            for name, value in state.items():
                buffers[name].copy_(value)
        return x


def check_steppable(model: ChimeraModel, block: int) -> None:
    """Raise UserError CHM222 when ``model`` can't run in calls of up to ``block`` tokens."""
    chunk = model.shape.titans.chunk
    if "titans_mac" in model.shape.mixers and (block < 1 or chunk % block):
        raise UserError("CHM222", f"the Titans chunk {chunk} must be a multiple of the block {block}")
    if any(isinstance(m, SpanKnot) and m.targets is not None for m in model.modules()):
        raise UserError(
            "CHM222",
            "a span-knot layer has a memory attached, which the export form does not have",
            hint="set its targets to None",
        )
