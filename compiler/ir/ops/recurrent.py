"""Recurrences with explicit state: causal convolution, delta rules, gated linear attention, mLSTM, Titans memory.

All run token by token, so that a call with many tokens and many calls with one give the same bits. Products of a
vector with a state matrix add the terms in ascending order of the summed index, starting from +0, with the outputs as
independent lanes; dot products of two vectors use ``numpy_math.lanes8_sum``.

Symbols: T tokens, H heads, d head width (dk of keys, dv of values). Heads of the gated delta rule and of gated linear
attention may share keys: there are G of keys, and neighbours among the H of values share one, H / G each.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chimerac.compiler.ir import numerics, numpy_math
from chimerac.compiler.ir.module import Op
from chimerac.compiler.ir.ops.definition import (
    FLOAT_WORK,
    Attributes,
    Count,
    OpDef,
    Shared,
    Types,
    Work,
    require,
    require_tensor,
    static,
)
from chimerac.compiler.ir.types import TensorType, i32

Arrays = Sequence[np.ndarray]
F32 = np.float32
N = numpy_math.NUMPY

CHANNELS_TOGETHER = 64  #: of a convolution, that one thread computes: four lines of each row


def vector_matrix(vector: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """``out[..., v] = sum_k vector[..., k] * matrix[..., k, v]``, k ascending from +0."""
    out = np.zeros(matrix.shape[:-2] + matrix.shape[-1:], F32)
    for k in range(vector.shape[-1]):
        out = out + vector[..., k, None] * matrix[..., k, :]
    return out


def _causal_conv(op: Op, arrays: Arrays) -> tuple[np.ndarray, ...]:
    x, weight, tail = arrays
    width = weight.shape[1]
    history = np.concatenate([tail, x])
    y = np.zeros_like(x)
    for j in range(width):
        y = y + weight[:, j] * history[j : j + x.shape[0]]
    return y, history[x.shape[0] :].copy()


def _infer_conv(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    x, weight, tail = operands
    for value, name in ((x, "x"), (weight, "weight"), (tail, "tail")):
        require_tensor(value, "f32", 2, name)
    require(weight.shape[0] == x.shape[-1], f"weight {weight} for {x}")
    require(tail.shape == (static(weight.shape[1], "the taps") - 1, x.shape[-1]), f"tail {tail} for weight {weight}")
    return x, tail


def _require_heads(q: TensorType, k: TensorType, v: TensorType, *others: TensorType) -> None:
    require_tensor(q, "f32", 3, "q")
    require_tensor(v, "f32", 3, "v")
    require(q == k and q.shape[:2] == v.shape[:2], f"q {q}, k {k}, v {v}")
    require(all(o.dtype == "f32" for o in others), "gates and states must be f32")


def _gated_delta(op: Op, arrays: Arrays) -> tuple[np.ndarray, ...]:
    q, k, v, log_decay, beta, state = arrays
    scale = F32(op.number("scale"))
    q, k = (np.repeat(heads, v.shape[1] // heads.shape[1], axis=1) for heads in (q, k))
    outputs = []
    for t in range(q.shape[0]):
        decay = np.asarray(numerics.exp(N, log_decay[t]), F32)
        state = decay[:, None, None] * state
        update = beta[t][:, None] * (v[t] - vector_matrix(k[t], state))
        state = state + k[t][:, :, None] * update[:, None, :]
        outputs.append(vector_matrix(q[t], state) * scale)
    return np.stack(outputs), state


def _gated_linear_attention(op: Op, arrays: Arrays) -> tuple[np.ndarray, ...]:
    q, k, v, log_decay, state = arrays
    scale = F32(op.number("scale"))
    q, k = (np.repeat(heads, v.shape[1] // heads.shape[1], axis=1) for heads in (q, k))
    outputs = []
    for t in range(q.shape[0]):
        decay = np.asarray(numerics.exp(N, log_decay[t]), F32)
        state = decay[:, None, None] * state + k[t][:, :, None] * v[t][:, None, :]
        outputs.append(vector_matrix(q[t], state) * scale)
    return np.stack(outputs), state


def _infer_gated(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    q, k, v, *gates, state = operands
    for value, name in ((q, "q"), (v, "v"), (state, "state")):
        require_tensor(value, "f32", 3, name)
    require(q == k and q.shape[0] == v.shape[0], f"q {q}, k {k}, v {v}")
    keys, heads = static(q.shape[1], "heads of keys"), static(v.shape[1], "heads of values")
    require(keys > 0 and heads % keys == 0, f"{heads} heads of values do not share {keys} of keys")
    require(all(gate == TensorType("f32", v.shape[:2]) for gate in gates), f"gates {gates} for v {v}")
    require(state.shape == (heads, q.shape[2], v.shape[2]), f"state {state} for k {k}, v {v}")
    return v, state


def _generalized_delta(op: Op, arrays: Arrays) -> tuple[np.ndarray, ...]:
    r, decay, k, v, a, b, state = arrays
    outputs = []
    for t in range(r.shape[0]):
        removed = vector_matrix(a[t], state)
        state = decay[t][:, :, None] * state + b[t][:, :, None] * removed[:, None, :]
        state = state + k[t][:, :, None] * v[t][:, None, :]
        outputs.append(vector_matrix(r[t], state))
    return np.stack(outputs), state


def _infer_generalized(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    r, decay, k, v, a, b, state = operands
    _require_heads(r, k, v, state)
    require(r == decay == a == b, f"r {r}, decay {decay}, a {a}, b {b}")
    require(state.shape == (r.shape[1], r.shape[2], v.shape[2]), f"state {state} for k {k}, v {v}")
    return v, state


def _mlstm(op: Op, arrays: Arrays) -> tuple[np.ndarray, ...]:
    q, k, v, i, f, c, n, m = arrays
    scale = F32(op.number("scale"))
    outputs = []
    for t in range(q.shape[0]):
        carried = np.asarray(numerics.logsigmoid(N, f[t]), F32) + m
        m = np.where(carried > i[t], carried, i[t])
        forget = np.asarray(numerics.exp(N, carried - m), F32)
        write = np.asarray(numerics.exp(N, i[t] - m), F32)
        key = write[:, None] * k[t]
        c = forget[:, None, None] * c + key[:, :, None] * v[t][:, None, :]
        n = forget[:, None] * n + key
        weight = np.abs(numpy_math.lanes8_sum(q[t] * n) * scale)
        floor = np.asarray(numerics.exp(N, -m), F32)
        normaliser = np.where(weight > floor, weight, floor)
        outputs.append((vector_matrix(q[t], c) * scale) / normaliser[:, None])
    return np.stack(outputs), c, n, m


def _infer_mlstm(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    q, k, v, i, f, c, n, m = operands
    _require_heads(q, k, v, i, f, c, n, m)
    require(i.shape == f.shape == q.shape[:2], f"gates {i}, {f} for q {q}")
    require(c.shape == (q.shape[1], q.shape[2], v.shape[2]), f"state {c} for k {k}, v {v}")
    require(n.shape == q.shape[1:] and m.shape == q.shape[1:2], f"normaliser {n}, {m}")
    return v, c, n, m


def _titans_anchor(op: Op, arrays: Arrays) -> tuple[np.ndarray, ...]:
    anchor, memory, position, write = arrays
    renew = int(write) != 0 and int(position) % op.integer("chunk") == 0
    return ((memory if renew else anchor).copy(),)


def _infer_anchor(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    anchor, memory, position, write = operands
    require_tensor(anchor, "f32", 4, "anchor")
    require(anchor == memory, f"anchor {anchor} and memory {memory}")
    require(position == i32() and write == i32(), "position and write must be i32 scalars")
    return (anchor,)


def _titans_apply(op: Op, arrays: Arrays) -> tuple[np.ndarray, ...]:
    q, anchor = arrays
    outputs = []
    for t in range(q.shape[0]):
        hidden = np.asarray(numerics.silu(N, vector_matrix(q[t], anchor[:, 0])), F32)
        outputs.append(q[t] + vector_matrix(hidden, anchor[:, 1]))
    return (np.stack(outputs),)


def _infer_titans(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    q, anchor = operands[0], operands[-1]
    require_tensor(q, "f32", 3, "operand")
    require_tensor(anchor, "f32", 4, "memory")
    heads, width = q.shape[1], q.shape[2]
    require(anchor.shape == (heads, 2, width, width), f"memory {anchor} for {q}")
    return (q,)


def _titans_update(op: Op, arrays: Arrays) -> tuple[np.ndarray, ...]:
    k, v, eta, theta, alpha, anchor, memory, momentum, write = arrays
    if int(write) == 0:
        return memory.copy(), momentum.copy()
    first, second = anchor[:, 0], anchor[:, 1]
    for t in range(k.shape[0]):
        z = vector_matrix(k[t], first)
        s = np.asarray(numerics.sigmoid(N, z), F32)
        a = z * s
        error = F32(2) * ((k[t] + vector_matrix(a, second)) - v[t])
        back = numpy_math.lanes8_sum(second * error[:, None, :])
        dz = back * (s * (F32(1) + z * (F32(1) - s)))
        rows = np.stack([k[t], a], axis=1)  # [H, 2, d]
        columns = np.stack([dz, error], axis=1)
        step = theta[t][:, None, None] * rows
        momentum = eta[t][:, None, None, None] * momentum - step[..., None] * columns[:, :, None, :]
        memory = (F32(1) - alpha[t])[:, None, None, None] * memory + momentum
    return memory, momentum


def _infer_titans_update(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    k, v, eta, theta, alpha, anchor, memory, momentum, write = operands
    require(k == v, f"k {k} and v {v}")
    require(eta == theta == alpha and eta == TensorType("f32", k.shape[:2]), f"gates {eta}, {theta}, {alpha}")
    require(anchor == memory == momentum, f"anchor {anchor}, memory {memory}, momentum {momentum}")
    _infer_titans((k, memory), attributes)
    require(write == i32(), "write must be an i32 scalar")
    return memory, momentum


def _elements(operand: int, times: int = 1) -> Count:
    """So many products with each element of an operand."""
    return lambda operands, attributes: times * operands[operand].elements()


#: Units are channels; the weights are read, the tail read and written.
_CHANNELS = Shared(
    units=lambda operands, attributes: int(operands[1].shape[0]),
    work=lambda operands, attributes: FLOAT_WORK * (3 * int(operands[1].shape[1]) - 2),
    together=lambda operands, attributes: CHANNELS_TOGETHER,
    elements=True,
    follows=True,
)


def _matrices(state: int) -> Shared:
    """Units are heads; a token reads and writes the head's matrix, which is in this operand."""
    return Shared(
        units=lambda operands, attributes: int(operands[state].shape[0]),
        work=lambda operands, attributes: 2 * FLOAT_WORK * operands[state].elements() // int(operands[state].shape[0]),
        elements=True,
        follows=True,
    )


def _titans_heads(products: int) -> Shared:
    """Units are heads, of so many products with a matrix each."""
    return Shared(
        units=lambda operands, attributes: int(operands[0].shape[1]),
        work=lambda operands, attributes: products * FLOAT_WORK * int(operands[0].shape[2]) ** 2,
    )


OPS = [
    OpDef(
        "causal_conv",
        "depthwise causal convolution over time; tail holds the last inputs, oldest first",
        ("x", "weight", "tail"),
        _infer_conv,
        _causal_conv,
        torch="chimera.causal_conv.default",
        in_place={1: 2},
        work=Work(_elements(1), _CHANNELS),
    ),
    OpDef(
        "gated_delta",
        "gated delta rule: S = e^g S; S = S + k (beta (v - k S)); o = scale q S (arXiv 2412.06464); heads may share k",
        ("q", "k", "v", "log_decay", "beta", "state"),
        _infer_gated,
        _gated_delta,
        {"scale": float},
        torch="chimera.gated_delta.default",
        in_place={1: 5},
        work=Work(_elements(5, 3), _matrices(5)),
    ),
    OpDef(
        "gated_linear_attention",
        "S = e^g S + k v; o = scale q S, with a decay for each head (Mamba-2, arXiv 2405.21060); heads may share k",
        ("q", "k", "v", "log_decay", "state"),
        _infer_gated,
        _gated_linear_attention,
        {"scale": float},
        torch="chimera.gated_linear_attention.default",
        in_place={1: 4},
        work=Work(_elements(4, 2), _matrices(4)),
    ),
    OpDef(
        "generalized_delta",
        "S = w S + b (a S) + k v; o = r S, with a decay for each row of a state (RWKV-7, arXiv 2503.14456)",
        ("r", "decay", "k", "v", "a", "b", "state"),
        _infer_generalized,
        _generalized_delta,
        torch="chimera.generalized_delta.default",
        in_place={1: 6},
        work=Work(_elements(6, 4), _matrices(6)),
    ),
    OpDef(
        "mlstm",
        "matrix LSTM with exponential gating, stabilised by the running maximum m (arXiv 2405.04517)",
        ("q", "k", "v", "i", "f", "c", "n", "m"),
        _infer_mlstm,
        _mlstm,
        {"scale": float},
        torch="chimera.mlstm.default",
        in_place={1: 5, 2: 6, 3: 7},
        work=Work(_elements(5, 2), _matrices(5)),
    ),
    OpDef(
        "titans_anchor",
        "the memory that reads and gradients of this chunk use: memory at the chunk's first token, else unchanged",
        ("anchor", "memory", "position", "write"),
        _infer_anchor,
        _titans_anchor,
        {"chunk": int},
        torch="chimera.titans_anchor.default",
        in_place={0: 0},
        guard="write",
    ),
    OpDef(
        "titans_apply",
        "q + silu(q W1) W2 with W1, W2 the halves of the anchor (arXiv 2501.00663)",
        ("q", "anchor"),
        _infer_titans,
        _titans_apply,
        torch="chimera.titans_apply.default",
        work=Work(_elements(1), _titans_heads(2)),
    ),
    OpDef(
        "titans_update",
        "one step of gradient descent with momentum and forgetting per token, gradients at the anchor",
        ("k", "v", "eta", "theta", "alpha", "anchor", "memory", "momentum", "write"),
        _infer_titans_update,
        _titans_update,
        torch="chimera.titans_update.default",
        in_place={0: 6, 1: 7},
        guard="write",
        work=Work(_elements(6, 4), _titans_heads(7)),
    ),
]
