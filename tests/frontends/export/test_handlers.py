"""Every PyTorch op that can be imported, and the uses of it that cannot."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from aten_uses import ATEN
from export_tools import VOCABULARY, WIDTH, Body, Small, body_line, check, load, refused, tensor
from ir_tools import entered
from torch import Tensor, nn
from torch.fx import Node

from chimerac.compiler.ir.interpreter import Session
from chimerac.compiler.ir.types import i32
from chimerac.frontends.export import walker
from chimerac.frontends.export.handler import Handler
from chimerac.frontends.export.handlers import HANDLERS
from chimerac.frontends.layers import ops

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


class Heads(nn.Module):
    """Operands of the custom ops, whose states are buffers."""

    tail: Tensor
    state: Tensor
    c: Tensor
    n: Tensor
    m: Tensor
    ring_k: Tensor
    ring_v: Tensor
    anchor: Tensor
    memory: Tensor
    momentum: Tensor
    one: Tensor
    taps: Tensor
    gates: Tensor
    persistent: Tensor
    matrix: Tensor
    norm: Tensor
    router: Tensor
    generalized: Tensor
    bias: Tensor
    gate: Tensor
    up: Tensor
    down: Tensor
    down_norm: Tensor
    table: Tensor

    H, D = 2, 4

    def __init__(self) -> None:
        super().__init__()
        shapes = {"tail": (3, 8), "state": (2, 4, 4), "c": (2, 4, 4), "n": (2, 4), "m": (2,)}
        shapes |= {"ring_k": (9, 2, 4), "ring_v": (9, 2, 4), "generalized": (2, 4, 4)}
        shapes |= dict.fromkeys(("anchor", "memory", "momentum"), (2, 2, 4, 4))
        for i, (name, shape) in enumerate(shapes.items()):
            self.register_buffer(name, tensor(i, *shape, scale=0.5))
        weights = {"taps": (8, 4), "gates": (2, 8), "persistent": (3, 2, 4), "matrix": (8, 8), "norm": (8,)}
        weights |= {"router": (3, 8), "bias": (3,), "gate": (3, 6, 8), "up": (3, 6, 8), "down": (3, 8, 6)}
        weights |= {"down_norm": (3, 6), "table": (VOCABULARY, 8)}
        for i, (name, shape) in enumerate(weights.items()):
            setattr(self, name, nn.Parameter(tensor(50 + i, *shape, scale=0.5), requires_grad=False))
        self.register_buffer("one", torch.ones((), dtype=torch.int32), persistent=False)

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        x = ops.int8_embedding(tokens, self.table, 8)
        x = x + ops.ternary_embedding(tokens, self.table, 8) + ops.bfloat16_embedding(tokens, self.table)
        x = x + ops.float16_embedding(tokens, self.table) + ops.float16_linear(x, self.matrix)
        x = ops.rms_norm(x, self.norm, 1e-6)
        x = x + ops.ternary_linear(x, self.matrix, 8, 4) + ops.bfloat16_linear(x, self.matrix)
        x = x + ops.walsh_hadamard(torch.cat([x, x], -1), 16)[:, :8]
        y, tail = ops.causal_conv(x, self.taps, self.tail)
        self.tail.copy_(tail)
        q = y.reshape(-1, self.H, self.D)
        k, v = ops.l2_norm(q, 1e-6), ops.rope(q, position, 1e4)
        eta = torch.sigmoid(F.linear(x, self.gates))
        a, state = ops.gated_delta(q, k, v, -eta, eta, self.state, 0.5)
        self.state.copy_(state)
        d, generalized = ops.generalized_delta(q, torch.sigmoid(q), k, v, -k, 0.5 * k, self.generalized)
        self.generalized.copy_(generalized)
        b, c, n, m = ops.mlstm(q, k, v, eta, eta, self.c, self.n, self.m, 0.5)
        self.c.copy_(c)
        self.n.copy_(n)
        self.m.copy_(m)
        anchor = ops.titans_anchor(self.anchor, self.memory, position, self.one, 4)
        slot = ops.titans_apply(q, anchor)
        p = self.persistent
        e, ring_k, ring_v = ops.window_attention(
            q, k, v, p, p, slot, self.ring_k, self.ring_v, position, self.one, 5, 0.5
        )
        memory, momentum = ops.titans_update(
            k, v, eta, eta * 0.1, eta * 0.2, anchor, self.memory, self.momentum, self.one
        )
        self.anchor.copy_(anchor)
        self.memory.copy_(memory)
        self.momentum.copy_(momentum)
        self.ring_k.copy_(ring_k)
        self.ring_v.copy_(ring_v)
        x = x + (a + b + d + e).reshape(-1, 8)
        x = x + ops.moe(x, self.router, self.bias, self.gate, self.up, self.down, self.down_norm, 2, 8, 4, 1e-6)
        logits: Tensor = ops.int8_linear(x, self.table, 8, 4)
        return logits


#: Arithmetic, and ops that move and cast what a handler takes, and number places; docs/ops.md names the others.
PREPARING = {
    *("add", "sub", "mul", "div", "neg", "abs", "sqrt", "less"),
    *("constant", "state.read", "reshape", "transpose", "broadcast", "slice", "concat", "pad", "to_float", "to_int"),
    *("not_equal", "int_not_equal", "int_less", "int_where", "int_add", "int_mul", "iota", "token_count"),
}


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The handlers that imports use, each of which must make but the ops that it declares."""
    seen: set[str] = set()

    def watched(key: str, handler: Handler) -> Handler:
        def handle(importer: Any, node: Node, makes: str) -> Any:
            before = len(importer.scopes[-1].ops)
            result = handler.handle(importer, node, makes)
            made = {op.name for op in importer.scopes[-1].ops[before:]} - PREPARING
            assert made <= set(handler.ops), f"{key} makes {made - set(handler.ops)}"
            return result

        return replace(handler, handle=handle)

    class Recorder(dict[str, Handler]):
        def get(self, key: str, default: Any = None) -> Any:
            seen.add(key)
            return super().get(key, default)

    monkeypatch.setattr(walker, "HANDLERS", Recorder({key: watched(key, one) for key, one in HANDLERS.items()}))
    return seen


def test_every_aten_op(used: set[str]) -> None:
    """All in one module, whose logits are their results side by side."""

    class Everything(Small):
        def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
            x = F.embedding(tokens, self.table)
            return torch.cat([body(self, x, position) for body in ATEN.values()], -1)

    module = Everything().eval()
    module.table = nn.Parameter(tensor(1, 2000, WIDTH), requires_grad=False)  # a row for each of the results
    session = Session(entered(load(module)))
    tokens = torch.tensor([3, 1, 4], dtype=torch.int32)
    logits = session.forward(tokens.tolist())
    x = F.embedding(tokens, module.table)
    start = 0
    for name, body in ATEN.items():
        expected = body(module, x, torch.tensor(0))[-1].numpy()
        got = logits[start : start + len(expected)]
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6, err_msg=name)
        start += len(expected)
    assert start == len(logits)
    names = {name.strip() for name in ATEN}  # a blank behind a name: another use of it
    assert names == {name for name in HANDLERS if name.startswith("aten.")}
    # PyTorch 2.13 itself writes these in terms of others
    assert names - used == {"aten.contiguous.default"}


def test_every_custom_op(used: set[str]) -> None:
    imported = check(Heads(), (3, 1, 4, 2), tolerance=2e-4)
    # of layers that hold integers: tests/frontends/layers/test_quantised.py; of attention: test_attention.py; of
    # experts and ternary rows: tests/e2e/test_published.py; of gated neurons: tests/e2e/test_open_neurons.py; of linear
    # attention: tests/frontends/layers/test_ops.py; of span knots that read a memory: tests/e2e/test_knot_memory.py
    integers = {
        f"chimera.{kind}_codes_{what}.default" for kind in ("ternary", "int8") for what in ("linear", "embedding")
    }
    attention = {f"chimera.{kind}_attention.default" for kind in ("cached", "gated_cached", "causal", "gated_linear")}
    kinds = ("", "ternary_", "int8_", "bfloat16_", "float16_")
    experts = {f"chimera.grouped_{kind}linear.default" for kind in kinds}
    names = ("sort_pairs", "gather_rows", "combine_experts", "ternary_row_linear")
    experts |= {f"chimera.{name}.default" for name in names}
    neurons = {f"chimera.{kind}sparse_linear.default" for kind in kinds}
    tables = {"chimera.levels_linear.default", "chimera.levels_embedding.default"}
    tables |= {f"chimera.{kind}chosen_linear.default" for kind in kinds[:3]}
    tables |= {"chimera.int8_row_lengths.default", "chimera.knot_relax.default"}
    unused = integers | attention | experts | neurons | tables
    assert {name for name in HANDLERS if name.startswith("chimera.")} - used == unused
    assert imported.constants["one"].type == i32()
    assert len(imported.states) == 11


#: start of the message → columns of the result, and what gives it
UNSUPPORTED: dict[str, tuple[int, Body]] = {
    "aten.div.Tensor_mode of integers": (8, lambda m, x, p: torch.div(p, 3, rounding_mode="trunc") * x),
    "aten.pow.Tensor_Scalar of integers": (8, lambda m, x, p: (p**17) * x),
    "aten.slice.Tensor of a part of the tokens of a call": (8, lambda m, x, p: x[:1] + x),
    "aten.select.int of one of the tokens of a call": (8, lambda m, x, p: x[0] + x),
    "aten.slice.Tensor of nothing": (8, lambda m, x, p: torch.cat([x, x[:, 8:] + 1], -1)),
    "aten.cat.default of others and the tokens of a call": (8, lambda m, x, p: torch.cat([x, m.matrix], 0)[-1:] + x),
    "aten.flip.default of the reverse of the tokens": (8, lambda m, x, p: x.flip(0)),
    "aten.roll.default of a turn of the tokens": (8, lambda m, x, p: x.roll(1, 0)),
    "aten.index.Tensor of some of the tokens": (8, lambda m, x, p: x[torch.tensor([0])] + x),
    "the PyTorch op aten._local_scalar_dense": (8, lambda m, x, p: x + m.vector.tolist()[0]),
    "aten.cumsum.default along the tokens": (8, lambda m, x, p: x.cumsum(0)),
    "aten.mean.dim over the tokens": (8, lambda m, x, p: x - x.mean(0)),
    "aten.matmul.default of the tokens of a call with each other": (8, lambda m, x, p: (x @ x.t()).tanh() @ x),
    "the PyTorch op aten.kthvalue": (8, lambda m, x, p: x.kthvalue(3, -1, True)[0] * x),
}


@pytest.mark.parametrize("message", UNSUPPORTED)
def test_what_is_not_supported(message: str) -> None:
    width, body = UNSUPPORTED[message]
    error = refused(Small(body, width))
    assert error.code == "CHM211"
    assert error.message.startswith(message)
    assert error.hint is not None
    assert error.hint.partition(";")[0] == body_line()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (lambda m, x, p: ops.rope(x.reshape(-1, 8, 1), p, 1e4).reshape(-1, 8), "rope: cannot rotate f32[T,8,1]"),
    ],
)
def test_operands_that_an_op_does_not_take(body: Body, message: str) -> None:
    error = refused(Small(body))
    assert (error.code, error.message) == ("CHM213", message)
    assert error.hint is not None
    assert error.hint.partition(";")[0] == body_line()
