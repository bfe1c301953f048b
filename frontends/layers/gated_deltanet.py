"""Gated DeltaNet (arXiv 2412.06464): a matrix state per head, decayed and corrected by the delta rule.

The exact-flow variant (arXiv 2512.12602) takes the delta rule for one Euler step of dS/dt = -k k^T S + k v^T over the
time beta and integrates it exactly: with l = |k|^2 the step size beta becomes (1 - exp(-beta l)) / l, and k keeps its
length.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chimerac.frontends.layers import ops
from chimerac.frontends.layers.chains import delta_inputs
from chimerac.frontends.layers.conv import CausalConv, joint_convolution
from chimerac.frontends.layers.fusing import fusible, is_fusing
from chimerac.frontends.layers.head_mixer import HeadMixer
from chimerac.frontends.layers.linear import GateLinear, TernaryLinear, joint_gates
from chimerac.frontends.layers.mixer import State, batched, split_heads
from chimerac.frontends.layers.norm import L2_EPS, RMSNorm, l2_norm
from chimerac.frontends.layers.precision import float32_island
from chimerac.frontends.layers.products import stacked_product
from chimerac.frontends.layers.shapes import MixerShape
from chimerac.frontends.layers.triangular import solve_unit_lower

CHUNK = 64  #: tokens per triangular solve; any value gives the same function
LEAST_LENGTH = 1e-12  #: stands for shorter squared keys in the exact flow, so that nothing is divided by zero


@float32_island
def chunk_gated_delta(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, beta: Tensor, state: Tensor, scale: float, chunk: int = CHUNK
) -> tuple[Tensor, Tensor]:
    """The gated delta rule for many tokens at once.

    Args:
        q, k: [B, T, H, dk]; v: [B, T, H, dv]; log_decay (<= 0), beta: [B, T, H]; state: [B, H, dk, dv].

    Returns:
        o [B, T, H, dv] and the state after the last token.
    """
    tokens = q.shape[1]
    count = -(-tokens // chunk)
    size = -(-tokens // count)  # chunks of equal size: 96 tokens are two of 48 rather than 64 and 32 of padding
    padding = count * size - tokens

    def in_chunks(x: Tensor) -> Tensor:
        """[B, T, H, ...] -> [B, H, chunks, size, ...]; padding has log_decay = beta = 0, which changes nothing."""
        x = x.transpose(1, 2)
        if padding:
            x = torch.cat([x, x.new_zeros(*x.shape[:2], padding, *x.shape[3:])], dim=2)
        return x.reshape(*x.shape[:2], count, size, *x.shape[3:])

    q, k, v, log_decay, beta = (in_chunks(x) for x in (scale * q, k, v, log_decay, beta))
    o, state = _delta_chunks(q, k, v, log_decay, beta, state)
    return o.flatten(2, 3)[:, :, :tokens].transpose(1, 2), state


def _delta_chunks(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, beta: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """All chunks together, but for the state that passes from each to the next. q, k, v: [B, H, N, C, d]."""
    mixing, rows, remaining, kept, attention = _chunk_factors(q, k, v, log_decay, beta)
    solved = solve_unit_lower(mixing, rows)
    fresh, stale = (part.unbind(2) for part in torch.split(solved, [v.shape[-1], k.shape[-1]], dim=-1))
    states, corrected = [], []
    for n, (left, over) in enumerate(zip(kept[..., -1, None, None].unbind(2), remaining.mT.unbind(2), strict=True)):
        states.append(state)
        corrected.append(fresh[n] - stale[n] @ state)
        state = left * state + over @ corrected[n]
    o = kept[..., None] * (q @ torch.stack(states, dim=2)) + attention @ torch.stack(corrected, dim=2)
    return o, state


@fusible(q=3, k=3, v=3, log_decay=3, beta=3)
def _chunk_factors(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, beta: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """What chunks are computed from without the states: the system and its right side, what of each key is left at the
    end, what of the state is left after each token [B, H, N, C], and the attention inside."""
    tokens = q.shape[3]
    c = log_decay.cumsum(-1)
    lower = torch.ones(tokens, tokens, dtype=torch.bool, device=q.device).tril()
    # the difference comes before exp: exp(c_i) * exp(-c_j) overflows float32 after 88 nats of decay
    gamma = (c[..., :, None] - c[..., None, :]).masked_fill(~lower, float("-inf")).exp()
    mixing = (beta[..., None] * (k @ k.mT) * gamma).tril(-1)
    kept = c.exp()
    rows = torch.cat([beta[..., None] * v, (beta * kept)[..., None] * k], dim=-1)
    remaining = (c[..., -1:] - c).exp()[..., None] * k
    return mixing, rows, remaining, kept, (q @ k.mT) * gamma


@float32_island
def exact_flow(beta: Tensor, length: Tensor) -> Tensor:
    """The step size (1 - exp(-beta l)) / l for squared key lengths l; beta where l vanishes. beta, length: [..., H].

    1 - exp(-x) is computed as 2 t / (1 + t) with t = tanh(x / 2), which keeps its digits for small x.
    """
    length = length.clamp_min(LEAST_LENGTH)
    t = torch.tanh(0.5 * (beta * length))
    return 2 * t / ((1 + t) * length)


@float32_island
def decay_rate(projected: Tensor, a_log: Tensor, dt_bias: Tensor) -> Tensor:
    """log alpha = -exp(A_log) softplus(projected + dt_bias), at most 0. projected: [..., H]."""
    return -torch.exp(a_log) * F.softplus(projected + dt_bias)


class GatedDeltaNet(HeadMixer):
    """The layer: ternary q, k, v, g, o; a causal convolution and SiLU on q, k, v; per-head output norm and gate.

    State: ``q_tail``, ``k_tail``, ``v_tail`` [W-1, D], the projections before the convolution; ``state`` [H, d, d].
    """

    summing: Tensor

    def __init__(self, shape: MixerShape, *, exact_flow: bool = False) -> None:
        super().__init__(shape)
        hidden, inner, self.exact_flow = shape.hidden, shape.heads * shape.head_width, exact_flow
        self.a_proj = GateLinear(hidden, shape.heads, bias=False)
        self.b_proj = GateLinear(hidden, shape.heads, bias=False)
        self.A_log = nn.Parameter(torch.zeros(shape.heads))
        self.dt_bias = nn.Parameter(torch.zeros(shape.heads))
        self.q_conv = CausalConv(inner, shape.conv_size)
        self.k_conv = CausalConv(inner, shape.conv_size)
        self.v_conv = CausalConv(inner, shape.conv_size)
        if exact_flow:
            # sums a head's channels as a linear layer: reductions are no part of the export form
            self.register_buffer("summing", torch.ones(1, shape.head_width), persistent=False)
        self.o_norm = RMSNorm(shape.head_width, shape.norm_eps)
        self.o_proj = TernaryLinear(inner, hidden, shape.quantization, norm_eps=shape.norm_eps)

    def initial_state(self, block: int) -> State:
        return {
            "q_tail": self.q_conv.initial_tail(),
            "k_tail": self.k_conv.initial_tail(),
            "v_tail": self.v_conv.initial_tail(),
            "state": self.A_log.new_zeros(self.heads, self.head_width, self.head_width),
        }

    def forward(self, x: Tensor, state: State | None = None, position: int = 0) -> tuple[Tensor, State]:
        old = batched(self.initial_state(1), x.shape[0]) if state is None else state
        inner = self.heads * self.head_width
        projected = stacked_product(x, (self.q_proj, self.k_proj, self.v_proj, self.g_proj))
        unmixed, gate = torch.split(projected, [3 * inner, inner], dim=-1)
        q, k, v, tails = self._mixed(unmixed, [old[name] for name in ("q_tail", "k_tail", "v_tail")])
        decays, betas = joint_gates(x, (self.a_proj, self.b_proj)).chunk(2, dim=-1)
        beta = torch.sigmoid(betas)
        if self.exact_flow:
            beta = exact_flow(beta, k.square().sum(-1))
        log_decay = decay_rate(decays, self.A_log, self.dt_bias)
        o, delta = chunk_gated_delta(q, k, v, log_decay, beta, old["state"], self.scale)
        y = self.read_out(o, gate, smooth=True)
        return y, {**dict(zip(("q_tail", "k_tail", "v_tail"), tails, strict=True)), "state": delta}

    def _mixed(self, unmixed: Tensor, tails: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor, Sequence[Tensor]]:
        """q, k, v [B, T, H, d] behind convolution and SiLU, with queries and (but for the exact flow) keys of length
        one, and the new tails."""
        convolutions = (self.q_conv, self.k_conv, self.v_conv)
        if is_fusing():
            history = torch.cat([torch.cat(list(tails), dim=-1), unmixed], dim=1)
            weight = torch.cat([layer.weight for layer in convolutions])
            return *delta_inputs(history, weight, self.heads, not self.exact_flow), history[
                :, unmixed.shape[1] :
            ].chunk(3, dim=-1)
        mixed, tails = joint_convolution(unmixed, convolutions, tails)
        q, k, v = (split_heads(y, self.heads) for y in F.silu(mixed).chunk(3, dim=-1))
        return l2_norm(q, L2_EPS), k if self.exact_flow else l2_norm(k, L2_EPS), v, tails

    def step(self, x: Tensor, state: State, position: Tensor, write: Tensor) -> tuple[Tensor, State]:
        q, q_tail = self.q_conv.step(self.q_proj.step(x), state["q_tail"])
        k, k_tail = self.k_conv.step(self.k_proj.step(x), state["k_tail"])
        v, v_tail = self.v_conv.step(self.v_proj.step(x), state["v_tail"])
        q, k, v = (F.silu(y).reshape(-1, self.heads, self.head_width) for y in (q, k, v))
        beta = torch.sigmoid(self.b_proj.step(x))
        if self.exact_flow:
            beta = exact_flow(beta, F.linear(k * k, self.summing).reshape(-1, self.heads))
        else:
            k = ops.l2_norm(k, L2_EPS)
        log_decay = decay_rate(self.a_proj.step(x), self.A_log, self.dt_bias)
        o, delta = ops.gated_delta(ops.l2_norm(q, L2_EPS), k, v, log_decay, beta, state["state"], self.scale)
        normed = self.o_norm.step(o).reshape(-1, self.heads * self.head_width)
        y = self.o_proj.step(normed * F.silu(self.g_proj.step(x)))
        return y, {"q_tail": q_tail, "k_tail": k_tail, "v_tail": v_tail, "state": delta}
