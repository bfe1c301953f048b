"""Custom operations of the Titans mixer: rotary positions, attention over a ring, the neural memory (arXiv 2501.00663).

``position`` (i32 []) is the absolute position of the first token of the call, ``write`` (i32 []) is 1 or 0: with 0
the operations that keep memory leave it as it is.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from chimerac.frontends.layers.op_shapes import like

TURN = 1 << 32  #: phases are whole numbers of 2^-32 turns, so that they are exact at any position


@functools.lru_cache(maxsize=64)
def _frequencies(width: int, theta: float, device: torch.device) -> Tensor:
    """Kept: making it copies from the host, which a CUDA graph can't record."""
    turns = [theta ** (-2 * j / width) / (2 * math.pi) for j in range(width // 2)]
    return torch.tensor([round(turn * TURN) for turn in turns], dtype=torch.int64, device=device)


def rotation(positions: Tensor, width: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines of rotary positions (arXiv 2104.09864), float32 [T, width/2].

    The frequency of pair j is theta^(-2j/width) / (2 pi) turns per position, rounded to a multiple of 2^-32 turns; the
    phase is an exact product of integers, wrapped to one turn.
    """
    phase = (positions.to(torch.int64)[:, None] * _frequencies(width, theta, positions.device)) % TURN
    angle = phase.double() * (2 * math.pi / TURN)
    return angle.cos().float(), angle.sin().float()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs (x[j], x[j + d/2]). x: [..., T, H, d]; cos, sin: [T, d/2]."""
    first, second = x.chunk(2, dim=-1)
    cos, sin = cos[:, None, :], sin[:, None, :]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


@torch.library.custom_op("chimera::rope", mutates_args=())
def rope(x: Tensor, position: Tensor, theta: float) -> Tensor:
    """Rotary positions for x [T, H, d], d even; token t is at position + t."""
    positions = int(position) + torch.arange(x.shape[0], device=x.device)
    return rotate(x, *rotation(positions, x.shape[-1], theta))


rope.register_fake(like(0))


@torch.library.custom_op("chimera::window_attention", mutates_args=())
def window_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    persistent_k: Tensor,
    persistent_v: Tensor,
    slot: Tensor,
    ring_k: Tensor,
    ring_v: Tensor,
    position: Tensor,
    write: Tensor,
    window: int,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Softmax attention over persistent slots, one memory slot per query, and the last ``window`` tokens.

    Args:
        q, k, v, slot: [T, H, d], q and k rotated; slot[t] is both key and value. persistent_k, persistent_v: [P, H, d].
        ring_k, ring_v: [R, H, d], R >= window + T - 1; position p lies in row p mod R. With write the call's k, v go
        into the ring first; without, the ring already holds them and k, v are not read.

    Returns:
        y [T, H, d] and the new rings.
    """
    first, rows = int(position), ring_k.shape[0]
    ring_k, ring_v = ring_k.clone(), ring_v.clone()
    if int(write):
        written = (first + torch.arange(q.shape[0], device=q.device)) % rows
        ring_k[written], ring_v[written] = k, v
    outputs = []
    for t in range(q.shape[0]):
        last = first + t
        seen = torch.arange(max(0, last - window + 1), last + 1, device=q.device) % rows
        keys = torch.cat([persistent_k, slot[t : t + 1], ring_k[seen]])
        values = torch.cat([persistent_v, slot[t : t + 1], ring_v[seen]])
        weights = torch.softmax(scale * torch.einsum("hd,nhd->hn", q[t], keys), dim=-1)
        outputs.append(torch.einsum("hn,nhd->hd", weights, values))
    return torch.stack(outputs), ring_k, ring_v


window_attention.register_fake(like(0, 6, 7))


@torch.library.custom_op("chimera::titans_anchor", mutates_args=())
def titans_anchor(anchor: Tensor, memory: Tensor, position: Tensor, write: Tensor, chunk: int) -> Tensor:
    """The weights that reads and gradients of this call use: ``memory`` where an anchor chunk starts, else ``anchor``.

    anchor, memory: [H, 2, d, d]. A call must not cross a position that is a multiple of ``chunk``.
    """
    starts = int(write) == 1 and int(position) % chunk == 0
    return (memory if starts else anchor).clone()


titans_anchor.register_fake(like(0))


@torch.library.custom_op("chimera::titans_apply", mutates_args=())
def titans_apply(q: Tensor, anchor: Tensor) -> Tensor:
    """The memory's answer q + silu(q W1) W2. q: [T, H, d]; anchor: [H, 2, d, d], matrices [in, out]."""
    hidden = torch.nn.functional.silu(torch.einsum("thi,hio->tho", q, anchor[:, 0]))
    return q + torch.einsum("thi,hio->tho", hidden, anchor[:, 1])


titans_apply.register_fake(like(0))


@torch.library.custom_op("chimera::titans_update", mutates_args=())
def titans_update(
    k: Tensor,
    v: Tensor,
    eta: Tensor,
    theta: Tensor,
    alpha: Tensor,
    anchor: Tensor,
    memory: Tensor,
    momentum: Tensor,
    write: Tensor,
) -> tuple[Tensor, Tensor]:
    """Learn the call's keys and values: S <- eta S - theta g; M <- (1 - alpha) M + S, token after token.

    g is the gradient of |M(k) - v|^2 at the anchor. With z = k W1, a = silu(z), e = 2 (M(k) - v), s = sigmoid(z):
    g2 = a^T e and g1 = k^T ((e W2^T) * s (1 + z (1 - s))).

    Args:
        k, v: [T, H, d]; eta, theta, alpha: [T, H]; anchor, memory, momentum: [H, 2, d, d].

    Returns:
        the new memory and momentum.
    """
    memory, momentum = memory.clone(), momentum.clone()
    if not int(write):
        return memory, momentum
    z = torch.einsum("thi,hio->tho", k, anchor[:, 0])
    s = torch.sigmoid(z)
    a = z * s
    error = 2 * (k + torch.einsum("thi,hio->tho", a, anchor[:, 1]) - v)
    back = torch.einsum("tho,hio->thi", error, anchor[:, 1]) * s * (1 + z * (1 - s))
    left, right = torch.stack([k, a], dim=2), torch.stack([back, error], dim=2)  # [T, H, 2, d]
    for t in range(k.shape[0]):
        gradient = left[t][..., :, None] * right[t][..., None, :]
        momentum = eta[t][:, None, None, None] * momentum - theta[t][:, None, None, None] * gradient
        memory = (1 - alpha[t])[:, None, None, None] * memory + momentum
    return memory, momentum


titans_update.register_fake(like(6, 7))
