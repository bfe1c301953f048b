"""The mLSTM of xLSTM (arXiv 2405.04517) in the post-up-projection layout: exponential gates, a matrix memory."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from chimerac.frontends.layers import ops
from chimerac.frontends.layers.fusing import fusible
from chimerac.frontends.layers.head_mixer import HeadMixer
from chimerac.frontends.layers.linear import GateLinear, TernaryLinear, joint_gates
from chimerac.frontends.layers.mixer import State, batched, split_heads
from chimerac.frontends.layers.norm import RMSNorm
from chimerac.frontends.layers.precision import float32_island
from chimerac.frontends.layers.products import joint_product
from chimerac.frontends.layers.shapes import MixerShape

CHUNK = 64  #: tokens per chunk; any value gives the same function
GATE_CAP = 15.0  #: gate pre-activations stay within (-15, 15)


@float32_island
def soft_cap(x: Tensor) -> Tensor:
    """15 tanh(x / 15): keeps exp of a gate within float32 and its gradient alive."""
    return GATE_CAP * torch.tanh(x / GATE_CAP)


@float32_island
def chunk_mlstm(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    i: Tensor,
    f: Tensor,
    c: Tensor,
    n: Tensor,
    m: Tensor,
    scale: float,
    chunk: int = CHUNK,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The mLSTM for many tokens at once; the maths of ops.mlstm.

    Args:
        q, k: [B, T, H, dk]; v: [B, T, H, dv]; i, f: [B, T, H], after the soft cap; c: [B, H, dk, dv]; n: [B, H, dk];
        m: [B, H].

    Returns:
        h [B, T, H, dv] and the new c, n, m.
    """
    q, k, v = (x.transpose(1, 2) for x in (scale * q, k, v))  # [B, H, T, d]
    i, log_forget = i.transpose(1, 2), F.logsigmoid(f.transpose(1, 2))
    outputs = []
    for qs, ks, vs, inputs, forgets in zip(
        *(torch.split(x, chunk, dim=2) for x in (q, k, v, i, log_forget)), strict=True
    ):
        h, c, n, m = _mlstm_chunk(qs, ks, vs, inputs, forgets, c, n, m)
        outputs.append(h)
    return torch.cat(outputs, dim=2).transpose(1, 2), c, n, m


@fusible(q=1, k=1, v=1, i=1, log_forget=1, c=1, n=1, m=1)
def _mlstm_chunk(
    q: Tensor, k: Tensor, v: Tensor, i: Tensor, log_forget: Tensor, c: Tensor, n: Tensor, m: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    tokens = q.shape[2]
    b = log_forget.cumsum(-1)
    lower = torch.ones(tokens, tokens, dtype=torch.bool, device=q.device).tril()
    log_weights = (b[..., :, None] - b[..., None, :] + i[..., None, :]).masked_fill(~lower, float("-inf"))
    # h does not depend on the stabiliser: it may be taken as a constant, and without it the gradient is the same
    stabiliser = torch.maximum(b + m[..., None], log_weights.amax(-1)).detach()
    carried = torch.exp(b + m[..., None] - stabiliser)
    attention = (q @ k.mT) * torch.exp(log_weights - stabiliser[..., None])
    numerator = carried[..., None] * (q @ c) + attention @ v
    denominator = carried * (q @ n[..., None]).squeeze(-1) + attention.sum(-1)
    h = numerator / torch.maximum(denominator.abs(), torch.exp(-stabiliser))[..., None]
    last = stabiliser[..., -1]
    kept = torch.exp(b[..., -1] + m - last)
    accepted = torch.exp(b[..., -1:] - b + i - last[..., None])[..., None] * k
    c = kept[..., None, None] * c + accepted.mT @ v
    n = kept[..., None] * n + accepted.sum(-2)
    return h, c, n, last


class MLSTM(HeadMixer):
    """The layer: ternary q, k, v, g (output gate), o; float32 input and forget gates; per-head norm of the read-out.

    State: ``c`` [H, d, d], ``n`` [H, d], ``m`` [H], all zero at the start.
    """

    def __init__(self, shape: MixerShape) -> None:
        super().__init__(shape)
        hidden, inner = shape.hidden, shape.heads * shape.head_width
        self.i_proj = GateLinear(hidden, shape.heads, bias=True)
        self.f_proj = GateLinear(hidden, shape.heads, bias=True)
        self.o_norm = RMSNorm(shape.head_width, shape.norm_eps)
        self.o_proj = TernaryLinear(inner, hidden, shape.quantization, norm_eps=shape.norm_eps)

    def initial_state(self, block: int) -> State:
        heads, width, like = self.heads, self.head_width, self.i_proj.weight
        return {"c": like.new_zeros(heads, width, width), "n": like.new_zeros(heads, width), "m": like.new_zeros(heads)}

    def forward(self, x: Tensor, state: State | None = None, position: int = 0) -> tuple[Tensor, State]:
        old = batched(self.initial_state(1), x.shape[0]) if state is None else state
        *parts, gate = joint_product(x, (self.q_proj, self.k_proj, self.v_proj, self.g_proj))
        q, k, v = (split_heads(part, self.heads) for part in parts)
        i, f = soft_cap(joint_gates(x, (self.i_proj, self.f_proj))).chunk(2, dim=-1)
        h, c, n, m = chunk_mlstm(q, k, v, i, f, old["c"], old["n"], old["m"], self.scale)
        return self.read_out(h, gate, smooth=False), {"c": c, "n": n, "m": m}

    def step(self, x: Tensor, state: State, position: Tensor, write: Tensor) -> tuple[Tensor, State]:
        q, k, v = (
            proj.step(x).reshape(-1, self.heads, self.head_width) for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        i, f = soft_cap(self.i_proj.step(x)), soft_cap(self.f_proj.step(x))
        h, c, n, m = ops.mlstm(q, k, v, i, f, state["c"], state["n"], state["m"], self.scale)
        normed = self.o_norm.step(h).reshape(-1, self.heads * self.head_width)
        y = self.o_proj.step(normed * torch.sigmoid(self.g_proj.step(x)))
        return y, {"c": c, "n": n, "m": m}
