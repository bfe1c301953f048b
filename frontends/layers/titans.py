"""Titans, memory as context (arXiv 2501.00663): attention over a bounded window, persistent slots and a neural memory.

Differences from the paper: one memory slot per query in place of a retrieved segment, a sliding window in place of
segments, and one memory per head. Reads and gradients use the memory as it was at the start of the anchor chunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chimerac.frontends.layers import ops
from chimerac.frontends.layers.linear import GateLinear, TernaryLinear, joint_gates
from chimerac.frontends.layers.mixer import Mixer, State, batched, split_heads
from chimerac.frontends.layers.norm import L2_EPS, RMSNorm, l2_norm
from chimerac.frontends.layers.ops_memory import rotate, rotation
from chimerac.frontends.layers.products import joint_product
from chimerac.frontends.layers.shapes import TitansMixerShape
from chimerac.frontends.layers.titans_memory import (
    add_slot,
    anchor_spans,
    apply_memory,
    update_memory,
    window_attention,
)

ETA_BOUND = 0.99  #: momentum stays below this, or the memory could grow without end
THETA_BOUND = 0.1  #: of one step: keeps 2 theta |k|^2 < 1, the stability limit of a delta-type step
CHUNK_BOUND = 0.5  #: of all the steps of a chunk together, momentum included
ALPHA_BOUND = 0.999  #: keeps log(1 - alpha) finite
BACKWARD_CHUNKS = 8  #: anchor chunks that gradients go back through the memory


@dataclass(frozen=True)
class TitansContext:
    """What the writing pass over some tokens leaves for passes that only read.

    Attributes:
        keys, values: [B, L+T, H, d], keys rotated. anchors: [B, N, H, 2, d, d], one per span.
        spans: the runs of tokens (start, end) that share an anchor.
    """

    keys: Tensor
    values: Tensor
    anchors: Tensor
    spans: tuple[tuple[int, int], ...]

    def select(self, rows: Tensor) -> TitansContext:
        """The context of some sequences of the batch."""
        return replace(self, keys=self.keys[rows], values=self.values[rows], anchors=self.anchors[rows])

    def read(self, q: Tensor) -> Tensor:
        """The memory's answers to q [B, T, H, d], each from its span's anchor."""
        queries = torch.split(q, [b - a for a, b in self.spans], dim=1)
        parts = [apply_memory(*pair) for pair in zip(queries, self.anchors.unbind(1), strict=True)]
        return torch.cat(parts, dim=1)


class TitansMac(Mixer):
    """The layer. r = M(q_m(x)); y = attention(q; persistent, r, window); M learns k_m(y) -> v_m(y);
    o = W_o(norm(y) * sigmoid(norm(M(q_m(y)))) * silu(W_g x)).

    State of the step form: ``ring_k``, ``ring_v`` [window + block, H, d]; ``anchor``, ``memory``, ``momentum``
    [H, 2, d, d]. The parallel form has ``keys``, ``values`` [B, < window, H, d] in place of the rings.

    A memory that learns from what it reads is a non-linear recurrence over the chunks: its values stay bounded, but its
    derivatives grow with the number of chunks, by 1e6 over 128 of them in a model that was being trained. So the
    parallel form passes gradients through at most ``BACKWARD_CHUNKS`` of them, cut where a run of so many begins inside
    of a call.
    """

    slow_writer = True

    def __init__(self, shape: TitansMixerShape) -> None:
        super().__init__()
        hidden, heads, width = shape.hidden, shape.heads, shape.head_width
        self.heads, self.head_width, self.scale = heads, width, width**-0.5
        self.window, self.chunk, self.theta = shape.titans.window, shape.titans.chunk, shape.titans.rope_theta
        self.q_proj = TernaryLinear(hidden, hidden, shape.quantization)
        self.k_proj = TernaryLinear(hidden, hidden, shape.quantization)
        self.v_proj = TernaryLinear(hidden, hidden, shape.quantization)
        self.g_proj = TernaryLinear(hidden, hidden, shape.quantization)
        self.qm_proj = TernaryLinear(hidden, hidden, shape.quantization)
        self.km_proj = TernaryLinear(hidden, hidden, shape.quantization)
        self.vm_proj = TernaryLinear(hidden, hidden, shape.quantization)
        self.eta_proj = GateLinear(hidden, heads, bias=True)
        self.theta_proj = GateLinear(hidden, heads, bias=True)
        self.alpha_proj = GateLinear(hidden, heads, bias=True)
        slots = shape.titans.persistent_slots
        self.persistent_k = nn.Parameter(torch.zeros(slots, heads, width))
        self.persistent_v = nn.Parameter(torch.zeros(slots, heads, width))
        self.memory_init = nn.Parameter(torch.zeros(heads, 2, width, width))
        self.memory_norm = RMSNorm(hidden, shape.norm_eps)
        self.read_norm = RMSNorm(width, shape.norm_eps)
        self.o_proj = TernaryLinear(hidden, hidden, shape.quantization, norm_eps=shape.norm_eps)

    def _memory_state(self) -> State:
        memory = self.memory_init
        return {"anchor": memory, "memory": memory, "momentum": torch.zeros_like(memory)}

    def initial_state(self, block: int) -> State:
        rows = (self.window + block, self.heads, self.head_width)
        state = {name: value.detach().clone() for name, value in self._memory_state().items()}
        return {"ring_k": self.memory_init.new_zeros(rows), "ring_v": self.memory_init.new_zeros(rows), **state}

    def forward(self, x: Tensor, state: State | None = None, position: int = 0) -> tuple[Tensor, State]:
        y, state, _ = self.write(x, state, position)
        return y, state

    def write(
        self, x: Tensor, state: State | None = None, position: int = 0, *, writers_only: bool = False
    ) -> tuple[Tensor, State, TitansContext]:
        """The parallel form that also returns what ``read`` needs.

        Args:
            writers_only: called where gradients are off, record them for what is written (window keys and values,
                the memory's keys, values and gates) and for nothing before it.
        """
        recorded = torch.is_grad_enabled() or writers_only
        if state is None:
            empty = x.new_zeros(x.shape[0], 0, self.heads, self.head_width)
            with torch.set_grad_enabled(recorded):
                state = {"keys": empty, "values": empty, **batched(self._memory_state(), x.shape[0])}
        q, query, keys, values = self._project(x, state["keys"], state["values"], position, writers_only)
        base, log_denominator = self._attend(q, keys, values)
        anchor, memory, momentum = state["anchor"], state["memory"], state["momentum"]
        normed_parts, anchors, spans = [], [], anchor_spans(position, x.shape[1], self.chunk)
        sizes = [end - start for start, end, _ in spans]
        pieces = (torch.split(tensor, sizes, dim=1) for tensor in (q, query, base, log_denominator))
        for (start, _, starts_chunk), *parts in zip(spans, *pieces, strict=True):
            if start and (position + start) % (BACKWARD_CHUNKS * self.chunk) == 0:
                memory, momentum = memory.detach(), momentum.detach()
            anchor = memory if starts_chunk else anchor
            anchors.append(anchor)
            normed, memory, momentum = self._span(parts, anchor, memory, momentum, writers_only)
            normed_parts.append(normed)
        with torch.set_grad_enabled(recorded):
            context = TitansContext(keys, values, torch.stack(anchors, dim=1), tuple((a, b) for a, b, _ in spans))
        kept = max(0, keys.shape[1] - (self.window - 1))
        new_state = {"keys": keys[:, kept:], "values": values[:, kept:]}
        new_state.update(anchor=anchor, memory=memory, momentum=momentum)
        return self._output(x, torch.cat(normed_parts, dim=1), context), new_state, context

    def _project(
        self, x: Tensor, old_keys: Tensor, old_values: Tensor, position: int, writers_only: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Queries of the attention and of the memory, and all keys and values in reach."""
        angles = self._angles(x, position)
        q, query = self._queries(x, angles), self._memory_query(x)
        with torch.set_grad_enabled(torch.is_grad_enabled() or writers_only):
            source = x.detach() if writers_only else x
            k, v = (split_heads(y, self.heads) for y in joint_product(source, (self.k_proj, self.v_proj)))
            keys = torch.cat([old_keys, rotate(k, *angles)], dim=1)
            values = torch.cat([old_values, v], dim=1)
        return q, query, keys, values

    def _span(
        self,
        parts: Sequence[Tensor],
        anchor: Tensor,
        memory: Tensor,
        momentum: Tensor,
        writers_only: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The tokens that share an anchor: what they give, and the memory and momentum after them.

        Args:
            parts: q, memory query, attention without the slot and its log denominator.
        """
        q, query, base, log_denominator = parts
        y = add_slot(base, log_denominator, q, apply_memory(query, anchor), self.scale).flatten(-2)
        normed = self.memory_norm(y)
        with torch.set_grad_enabled(torch.is_grad_enabled() or writers_only):
            learned = self.memory_norm(y.detach()) if writers_only else normed
            k, v = (split_heads(y, self.heads) for y in joint_product(learned, (self.km_proj, self.vm_proj)))
            k, v = l2_norm(F.silu(k), L2_EPS), l2_norm(v, L2_EPS)
            memory, momentum = update_memory(k, v, *self._gates(learned), anchor, memory, momentum)
        return normed, memory, momentum

    def read(self, x: Tensor, context: TitansContext, position: int = 0) -> Tensor:
        """The layer without writing, for later iterations of a loop over the same tokens. x: [B, T, D], normed."""
        q = self._queries(x, self._angles(x, position))
        base, log_denominator = self._attend(q, context.keys, context.values)
        slot = context.read(self._memory_query(x))
        y = add_slot(base, log_denominator, q, slot, self.scale).flatten(-2)
        return self._output(x, self.memory_norm(y), context)

    def step(self, x: Tensor, state: State, position: Tensor, write: Tensor) -> tuple[Tensor, State]:
        anchor = ops.titans_anchor(state["anchor"], state["memory"], position, write, self.chunk)
        q = ops.rope(self._heads_step(self.q_proj, x), position, self.theta)
        k = ops.rope(self._heads_step(self.k_proj, x), position, self.theta)
        v = self._heads_step(self.v_proj, x)
        slot = ops.titans_apply(self._unit_step(self.qm_proj, x), anchor)
        y, ring_k, ring_v = ops.window_attention(
            q,
            k,
            v,
            self.persistent_k,
            self.persistent_v,
            slot,
            state["ring_k"],
            state["ring_v"],
            position,
            write,
            self.window,
            self.scale,
        )
        normed = self.memory_norm.step(y.reshape(-1, self.heads * self.head_width))
        learned_k = self._unit_step(self.km_proj, normed)
        learned_v = ops.l2_norm(self._heads_step(self.vm_proj, normed), L2_EPS)
        eta, theta, alpha = (gate.step(normed) for gate in (self.eta_proj, self.theta_proj, self.alpha_proj))
        gates = bounded_gates(eta, theta, alpha, self.chunk)
        memory, momentum = ops.titans_update(
            learned_k, learned_v, *gates, anchor, state["memory"], state["momentum"], write
        )
        answer = self.read_norm.step(ops.titans_apply(self._unit_step(self.qm_proj, normed), anchor))
        answer = torch.sigmoid(answer.reshape(-1, self.heads * self.head_width))
        o = self.o_proj.step(normed * answer * F.silu(self.g_proj.step(x)))
        new = {"ring_k": ring_k, "ring_v": ring_v, "anchor": anchor, "memory": memory, "momentum": momentum}
        return o, new

    def _angles(self, x: Tensor, position: int) -> tuple[Tensor, Tensor]:
        positions = torch.arange(position, position + x.shape[1], device=x.device)
        return rotation(positions, self.head_width, self.theta)

    def _heads(self, projection: nn.Module, x: Tensor) -> Tensor:
        return split_heads(projection(x), self.heads)

    def _queries(self, x: Tensor, angles: Sequence[Tensor]) -> Tensor:
        return rotate(self._heads(self.q_proj, x), *angles)

    def _memory_query(self, x: Tensor) -> Tensor:
        return l2_norm(F.silu(self._heads(self.qm_proj, x)), L2_EPS)

    def _attend(self, q: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        return window_attention(q, keys, values, self.persistent_k, self.persistent_v, self.window, self.scale)

    def _gates(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        eta, theta, alpha = joint_gates(x, (self.eta_proj, self.theta_proj, self.alpha_proj)).chunk(3, dim=-1)
        return bounded_gates(eta, theta, alpha, self.chunk)

    def _output(self, x: Tensor, normed: Tensor, context: TitansContext) -> Tensor:
        answer = self.read_norm(context.read(self._memory_query(normed))).flatten(-2)
        y: Tensor = self.o_proj(normed * torch.sigmoid(answer) * F.silu(self.g_proj(x)))
        return y

    def _heads_step(self, projection: TernaryLinear, x: Tensor) -> Tensor:
        return projection.step(x).reshape(-1, self.heads, self.head_width)

    def _unit_step(self, projection: TernaryLinear, x: Tensor) -> Tensor:
        unit: Tensor = ops.l2_norm(F.silu(self._heads_step(projection, x)), L2_EPS)
        return unit


def bounded_gates(eta: Tensor, theta: Tensor, alpha: Tensor, chunk: int) -> tuple[Tensor, Tensor, Tensor]:
    """Momentum, step size and forgetting from their pre-activations [..., H].

    The tokens of a chunk share one stale gradient point and momentum repeats each step 1 / (1 - eta) times, so what a
    chunk of equal keys adds is chunk * theta / (1 - eta) gradients. Bounding that by 1/2 keeps the memory finite for
    any text; a bound on theta alone does not (docs/model.md).
    """
    eta = ETA_BOUND * torch.sigmoid(eta)
    # -eta + 1, not 1 - eta: the reversed subtraction would be one more operation in the export form
    theta = (min(THETA_BOUND, CHUNK_BOUND / chunk) * torch.sigmoid(theta)) * (-eta + 1)
    return eta, theta, ALPHA_BOUND * torch.sigmoid(alpha)
