"""Recurrences: what needs the token before runs in a Scan over the tokens, everything else over all of them at once.

A product of a vector with a matrix is ``sum_k vector[k] * matrix[k, :]`` with k ascending, so the summed axis is moved
to the front, where ONNX Runtime adds row after row.

Symbols: T tokens, H heads, d head width (K of keys, V of values).
"""

from __future__ import annotations

from collections.abc import Mapping

from chimerac.compiler.ir.module import Op
from chimerac.targets.onnx.context import Context, Translate
from chimerac.targets.onnx.functions import call
from chimerac.targets.onnx.graph import Nodes


def build_causal_conv(context: Context, op: Op) -> tuple[str, ...]:
    """Windows of the inputs times the taps, the taps as axis 0."""
    x, weight, tail = op.operands
    nodes = context.nodes
    taps = int(weight.type.shape[1])
    history = nodes.op("Concat", context.value(tail), context.value(x), axis=0)
    tokens = nodes.extent(context.value(x), 0)

    def windows() -> tuple[str, ...]:
        steps = nodes.arange(tokens)
        return (nodes.op("Add", nodes.unsqueeze(steps, 0), nodes.i64([[j] for j in range(taps)])),)

    index = nodes.cached(("windows", tokens, taps), windows)[0]  # [taps, T]
    seen = nodes.op("Gather", history, index, axis=0)  # [taps, T, channels]
    by_tap = nodes.unsqueeze(nodes.transpose(context.value(weight), 1, 0), 1)
    y = nodes.sum_first(nodes.op("Mul", seen, by_tap))
    kept = nodes.op("Slice", history, tokens, nodes.i64([(1 << 31) - 1]), nodes.i64([0]))
    return y, kept


def build_gated_delta(context: Context, op: Op) -> tuple[str, ...]:
    """S = e^g S; S = S + k (beta (v - k S)); o = scale q S. The state runs as [K, H, V]."""
    q, k, v, log_decay, beta, state = (context.value(o) for o in op.operands)
    nodes = context.nodes
    heads, keys, values = (int(d) for d in op.operands[5].type.shape)
    q, k = (for_each_head(nodes, x, int(op.operands[1].type.shape[1]), heads) for x in (q, k))
    query, key = columns(nodes, q), columns(nodes, k)
    decay = nodes.unsqueeze(call(nodes, "exp", log_decay), 2)
    rate = nodes.unsqueeze(beta, 2)
    body = nodes.subgraph()
    s, query_t, key_t, v_t, decay_t, rate_t = (body.pool.fresh(n) for n in ("s", "q", "k", "v", "decay", "rate"))
    faded = body.op("Mul", decay_t, s)
    error = body.op("Sub", v_t, body.sum_first(body.op("Mul", key_t, faded)))
    update = body.op("Add", faded, body.op("Mul", key_t, body.op("Mul", rate_t, error)))
    output = body.sum_first(body.op("Mul", query_t, update))
    after, outputs = nodes.scan(
        body,
        [(nodes.transpose(state, 1, 0, 2), s, update, [keys, heads, values])],
        [(query, query_t), (key, key_t), (v, v_t), (decay, decay_t), (rate, rate_t)],
        [(output, [heads, values])],
    )
    return nodes.op("Mul", outputs, nodes.f32(op.number("scale"))), nodes.transpose(after, 1, 0, 2)


def build_gated_linear_attention(context: Context, op: Op) -> tuple[str, ...]:
    """S = e^g S + k v; o = scale q S. The state runs as [K, H, V]."""
    q, k, v, log_decay, state = (context.value(o) for o in op.operands)
    nodes = context.nodes
    heads, keys, values = (int(d) for d in op.operands[4].type.shape)
    q, k = (for_each_head(nodes, x, int(op.operands[1].type.shape[1]), heads) for x in (q, k))
    query, key = columns(nodes, q), columns(nodes, k)
    decay = nodes.unsqueeze(call(nodes, "exp", log_decay), 2)
    body = nodes.subgraph()
    s, query_t, key_t, v_t, decay_t = (body.pool.fresh(n) for n in ("s", "q", "k", "v", "decay"))
    update = body.op("Add", body.op("Mul", decay_t, s), body.op("Mul", key_t, v_t))
    output = body.sum_first(body.op("Mul", query_t, update))
    after, outputs = nodes.scan(
        body,
        [(nodes.transpose(state, 1, 0, 2), s, update, [keys, heads, values])],
        [(query, query_t), (key, key_t), (v, v_t), (decay, decay_t)],
        [(output, [heads, values])],
    )
    return nodes.op("Mul", outputs, nodes.f32(op.number("scale"))), nodes.transpose(after, 1, 0, 2)


def build_generalized_delta(context: Context, op: Op) -> tuple[str, ...]:
    """S = w S + b (a S) + k v; o = r S. The state runs as [K, H, V]."""
    *rows, state = (context.value(o) for o in op.operands)
    nodes = context.nodes
    heads, keys, values = (int(d) for d in op.operands[6].type.shape)
    names = ("r", "decay", "k", "v", "a", "b")
    read = [(x if name == "v" else columns(nodes, x)) for name, x in zip(names, rows, strict=True)]
    body = nodes.subgraph()
    s, r_t, decay_t, k_t, v_t, a_t, b_t = (body.pool.fresh(name) for name in ("s", *names))
    removed = body.sum_first(body.op("Mul", a_t, s))
    kept = body.op("Add", body.op("Mul", decay_t, s), body.op("Mul", b_t, removed))
    update = body.op("Add", kept, body.op("Mul", k_t, v_t))
    output = body.sum_first(body.op("Mul", r_t, update))
    after, outputs = nodes.scan(
        body,
        [(nodes.transpose(state, 1, 0, 2), s, update, [keys, heads, values])],
        list(zip(read, (r_t, decay_t, k_t, v_t, a_t, b_t), strict=True)),
        [(output, [heads, values])],
    )
    return outputs, nodes.transpose(after, 1, 0, 2)


def for_each_head(nodes: Nodes, x: str, pairs: int, heads: int) -> str:
    """f32[T, G, K] as [T, H, K], each head as often as neighbours share it."""
    if pairs == heads:
        return x
    return nodes.op("Gather", x, nodes.i64([head // (heads // pairs) for head in range(heads)]), axis=1)


def columns(nodes: Nodes, x: str) -> str:
    """f32[T, H, K] as [T, K, H, 1]: factors of the rows of a state [K, H, V]."""
    return nodes.unsqueeze(nodes.transpose(x, 0, 2, 1), 3)


def build_mlstm(context: Context, op: Op) -> tuple[str, ...]:
    """The stabiliser m, the normaliser n and the state c step by step; the normalisation for all tokens at once."""
    q, k, v, i_gate, f_gate, c, n, m = (context.value(o) for o in op.operands)
    nodes = context.nodes
    scale = nodes.f32(op.number("scale"))
    heads, keys, values = (int(d) for d in op.operands[5].type.shape)
    log_forget = call(nodes, "logsigmoid", f_gate)
    body = nodes.subgraph()
    c_t, n_t, m_t, q_t, k_t, v_t, i_t, f_t = (
        body.pool.fresh(name) for name in ("c", "n", "m", "q", "k", "v", "i", "f")
    )
    carried = body.op("Add", f_t, m_t)
    stabiliser = body.op("Max", carried, i_t)
    both = body.op("Concat", *(body.unsqueeze(body.op("Sub", g, stabiliser), 0) for g in (carried, i_t)), axis=0)
    gains = body.unsqueeze(call(body, "exp", both), 2)  # [2, H, 1]: forget, write
    forget, write = (body.op("Gather", gains, body.i64(index), axis=0) for index in (0, 1))
    gated = body.op("Mul", write, k_t)  # [H, K]
    column = body.unsqueeze(body.transpose(gated, 1, 0), 2)  # [K, H, 1]
    new_c = body.op("Add", body.op("Mul", forget, c_t), body.op("Mul", column, v_t))
    new_n = body.op("Add", body.op("Mul", forget, n_t), gated)
    read = body.sum_first(body.op("Mul", q_t, new_c))
    after_c, after_n, after_m, reads, normalisers, stabilisers = nodes.scan(
        body,
        [
            (nodes.transpose(c, 1, 0, 2), c_t, new_c, [keys, heads, values]),
            (n, n_t, new_n, [heads, keys]),
            (m, m_t, stabiliser, [heads]),
        ],
        [(columns(nodes, q), q_t), (k, k_t), (v, v_t), (i_gate, i_t), (log_forget, f_t)],
        [
            (read, [heads, values]),
            (body.op("Identity", new_n), [heads, keys]),
            (body.op("Identity", stabiliser), [heads]),
        ],
    )
    sums = nodes.lanes8_sum(nodes.op("Mul", q, normalisers), keys)
    weight = nodes.op("Abs", nodes.op("Mul", nodes.reshape(sums, -1, heads), scale))
    floor = call(nodes, "exp", nodes.op("Neg", stabilisers))
    normaliser = nodes.unsqueeze(nodes.op("Max", weight, floor), 2)
    output = nodes.op("Div", nodes.op("Mul", reads, scale), normaliser)
    return output, nodes.transpose(after_c, 1, 0, 2), after_n, after_m


def build_titans_anchor(context: Context, op: Op) -> tuple[str, ...]:
    """The memory at the first token of a chunk, in the first iteration of a loop."""
    anchor, memory, position, write = op.operands
    nodes = context.nodes
    if context.static(write) == 0:
        return (context.value(anchor),)
    offset = nodes.op("Mod", context.index(position), nodes.i64(op.integer("chunk")))
    renew = nodes.op("Equal", offset, nodes.i64(0))
    if context.static(write) is None:
        renew = nodes.op("And", renew, context.flag(write))
    return (nodes.op("Where", renew, context.value(memory), context.value(anchor)),)


def build_titans_apply(context: Context, op: Op) -> tuple[str, ...]:
    """q + silu(q W1) W2 for all tokens at once."""
    q, anchor = (context.value(o) for o in op.operands)
    nodes = context.nodes
    hidden = call(nodes, "silu", times_half(nodes, q, anchor, 0))
    return (nodes.op("Add", q, times_half(nodes, hidden, anchor, 1)),)


def times_half(nodes: Nodes, x: str, memory: str, half: int) -> str:
    """x[T, H, d] times one half of a memory [H, 2, d, d]: f32[T, H, d]."""

    def rows() -> tuple[str, ...]:
        matrix = nodes.op("Gather", memory, nodes.i64(half), axis=1)  # [H, d, d]
        return (nodes.unsqueeze(nodes.transpose(matrix, 1, 0, 2), 1),)  # [d, 1, H, d]

    by_row = nodes.cached(("rows", memory, half), rows)[0]
    factors = nodes.unsqueeze(nodes.transpose(x, 2, 0, 1), 3)  # [d, T, H, 1]
    return nodes.sum_first(nodes.op("Mul", factors, by_row))


def build_titans_update(context: Context, op: Op) -> tuple[str, ...]:
    """Gradients at the anchor for all tokens at once; momentum and memory step by step."""
    *_, memory, momentum, write = op.operands
    nodes = context.nodes
    flag = context.static(write)
    unchanged = [context.value(memory), context.value(momentum)]
    if flag == 0:
        return unchanged[0], unchanged[1]
    if flag is not None:
        return _descend(context, op, nodes)
    condition = context.flag(write)
    for operand in op.operands:
        context.value(operand)
    then, other = nodes.subgraph(), nodes.subgraph()
    return nodes.branch(condition, then, _descend(context, op, then), other, unchanged)


def _descend(context: Context, op: Op, nodes: Nodes) -> tuple[str, str]:
    k, v, eta, theta, alpha, anchor, memory, momentum = (context.value(o) for o in op.operands[:-1])
    heads, width = (int(d) for d in op.operands[0].type.shape[1:])
    z = times_half(nodes, k, anchor, 0)
    s = call(nodes, "sigmoid", z)
    a = nodes.op("Mul", z, s)
    error = nodes.op("Sub", nodes.op("Add", k, times_half(nodes, a, anchor, 1)), v)
    error = nodes.op("Mul", error, nodes.f32(2.0))
    second = nodes.op("Gather", anchor, nodes.i64(1), axis=1)  # [H, d, d]
    products = nodes.op("Mul", nodes.unsqueeze(error, 2), second)  # [T, H, d, d]
    back = nodes.reshape(nodes.lanes8_sum(products, width), -1, heads, width)
    one = nodes.f32(1.0)
    slope = nodes.op("Mul", s, nodes.op("Add", nodes.op("Mul", z, nodes.op("Sub", one, s)), one))
    dz = nodes.op("Mul", back, slope)
    rows = nodes.op("Concat", nodes.unsqueeze(k, 2), nodes.unsqueeze(a, 2), axis=2)  # [T, H, 2, d]
    column = nodes.op("Concat", nodes.unsqueeze(dz, 2), nodes.unsqueeze(error, 2), axis=2)
    step = nodes.op("Mul", nodes.unsqueeze(theta, 2, 3), rows)
    keep = nodes.op("Sub", one, alpha)
    body = nodes.subgraph()
    w, p, step_t, column_t, eta_t, keep_t = (body.pool.fresh(n) for n in ("w", "p", "step", "column", "eta", "keep"))
    gradient = body.op("Mul", step_t, column_t)
    new_p = body.op("Sub", body.op("Mul", eta_t, p), gradient)
    new_w = body.op("Add", body.op("Mul", keep_t, w), new_p)
    after_w, after_p = nodes.scan(
        body,
        [(memory, w, new_w, [heads, 2, width, width]), (momentum, p, new_p, [heads, 2, width, width])],
        [
            (nodes.unsqueeze(step, 4), step_t),
            (nodes.unsqueeze(column, 3), column_t),
            (nodes.unsqueeze(eta, 2, 3, 4), eta_t),
            (nodes.unsqueeze(keep, 2, 3, 4), keep_t),
        ],
        [],
    )
    return after_w, after_p


TRANSLATORS: Mapping[str, Translate] = {
    "causal_conv": build_causal_conv,
    "gated_delta": build_gated_delta,
    "gated_linear_attention": build_gated_linear_attention,
    "generalized_delta": build_generalized_delta,
    "mlstm": build_mlstm,
    "titans_anchor": build_titans_anchor,
    "titans_apply": build_titans_apply,
    "titans_update": build_titans_update,
}
