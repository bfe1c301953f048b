"""The importer: every supported PyTorch op, recurrent modules as users write them, and errors that say where."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from ir_tools import draw, entered
from nano_model import lowered_nano, make_model, nano, nano_model, nano_module
from torch import Tensor, nn

from chimerac.compiler.build import pipeline
from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.interpreter import Session
from chimerac.compiler.ir.module import Module, walk
from chimerac.compiler.ir.types import f32, i32
from chimerac.compiler.ir.verify import verify
from chimerac.frontends.export import importer as torch_export
from chimerac.frontends.export.importer import import_module
from chimerac.frontends.families.chimera.session import EagerSession
from chimerac.frontends.families.chimera.stateful import Stateful
from chimerac.frontends.layers import ops

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

WIDTH, VOCABULARY = 8, 10
aten = torch.ops.aten
Body = Callable[["Small", Tensor, Tensor], Tensor]


class Small(nn.Module):
    """Embedding, some function of it, head."""

    def __init__(self, body: Body | None = None, width: int = WIDTH) -> None:
        super().__init__()
        self.body = body or (lambda module, x, position: x)
        self.table = nn.Parameter(tensor(1, VOCABULARY, WIDTH), requires_grad=False)
        self.vector = nn.Parameter(tensor(2, WIDTH), requires_grad=False)
        self.scalar = nn.Parameter(torch.tensor(0.7), requires_grad=False)
        self.register_buffer("h", tensor(3, WIDTH))
        self.register_buffer("g", tensor(4, WIDTH))
        self.head = nn.Linear(width, VOCABULARY, bias=False).requires_grad_(False)
        self.head.weight.copy_(tensor(5, VOCABULARY, width))

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        x = F.embedding(tokens, self.table)
        return self.head(self.body(self, x, position))  # the line of every body


def tensor(seed: int, *shape: int, scale: float = 1.0) -> Tensor:
    return torch.from_numpy(draw(seed, *shape, scale=scale))


def load(module: nn.Module, block: int = 4) -> Module:
    """The imported, verified module."""
    found = import_module(module.eval(), name="user", block=block)
    verify(found)
    return found


def check(module: nn.Module, calls: tuple[int, ...] = (3, 1, 2), *, tolerance: float = 1e-5) -> Module:
    """Import a module; the interpreter follows PyTorch through some calls, before and after all passes.

    Loops run once, as in PyTorch.
    """
    imported = load(module)
    lowered, _ = pipeline.run(imported, pipeline.passes())
    plain, optimised = Session(entered(imported), loops=1), Session(lowered, loops=1)
    rng = np.random.default_rng(9)
    for n in calls:
        tokens = rng.integers(0, VOCABULARY, n).astype(np.int32)
        position = torch.tensor(plain.position, dtype=torch.int32)
        with torch.no_grad():
            expected = module(torch.from_numpy(tokens), position)[-1]
        for session in (plain, optimised):
            logits = session.call("decode" if n == 1 else "prefill", tokens)
            np.testing.assert_allclose(logits, expected.numpy(), rtol=tolerance, atol=tolerance)
        assert plain.state_bytes() == optimised.state_bytes()
        for name, copies in plain.states.items():
            buffer = module.get_buffer(name).numpy()
            np.testing.assert_allclose(copies[0].reshape(buffer.shape), buffer, rtol=tolerance, atol=tolerance)
    return imported


def refused(module: nn.Module) -> UserError:
    with pytest.raises(UserError) as caught:
        import_module(module.eval(), name="user", block=4)
    return caught.value


def here(text: str) -> str:
    """``file:line`` of the line of this file that ends with a comment."""
    lines = Path(__file__).read_text().splitlines()
    (number,) = [i for i, line in enumerate(lines, 1) if line.endswith(f"  # {text}")]
    return f"{Path(__file__).name}:{number}"


# every op -------------------------------------------------------------------------------------------------------

#: handler → a use of it; x: [T, 8], all give [T, n]
ATEN: dict[str, Body] = {
    "aten.add.Tensor": lambda m, x, p: x + m.vector,
    "aten.add.Scalar": lambda m, x, p: aten.add.Scalar(x, 2.5),
    "aten.sub.Tensor": lambda m, x, p: m.vector - x,
    "aten.sub.Scalar": lambda m, x, p: aten.sub.Scalar(x, -1),
    "aten.rsub.Scalar": lambda m, x, p: 1 - x,
    "aten.mul.Tensor": lambda m, x, p: x * m.scalar,
    "aten.mul.Scalar": lambda m, x, p: aten.mul.Scalar(x, 1e-6),
    "aten.div.Tensor": lambda m, x, p: x / m.vector,
    "aten.div.Scalar": lambda m, x, p: aten.div.Scalar(x, 3),
    "aten.maximum.default": lambda m, x, p: torch.maximum(x, m.vector),
    "aten.minimum.default": lambda m, x, p: torch.minimum(x, m.vector),
    "aten.clamp_min.default": lambda m, x, p: aten.clamp_min(x, 0.25),
    "aten.neg.default": lambda m, x, p: -x,
    "aten.abs.default": lambda m, x, p: x.abs(),
    "aten.sqrt.default": lambda m, x, p: x.abs().sqrt(),
    "aten.exp.default": lambda m, x, p: x.exp(),
    "aten.log.default": lambda m, x, p: x.abs().log(),
    "aten.tanh.default": lambda m, x, p: x.tanh(),
    "aten.sigmoid.default": lambda m, x, p: x.sigmoid(),
    "aten.silu.default": lambda m, x, p: F.silu(x),
    "aten.softplus.default": lambda m, x, p: F.softplus(x),
    "aten.gelu.default": lambda m, x, p: F.gelu(x),
    "aten.sym_size.int": lambda m, x, p: x.view(x.shape[0], 2, 4).reshape(x.shape[0], 8),
    "aten.view.default": lambda m, x, p: x.view(-1, 2, 4).view(-1, 8),
    "aten.reshape.default": lambda m, x, p: aten.reshape.default(x, [-1, 4, 2]).reshape(-1, 8),
    "aten._unsafe_view.default": lambda m, x, p: aten._unsafe_view(x, [x.shape[0], 8]),
    "aten.unsqueeze.default": lambda m, x, p: (x.unsqueeze(1) * m.vector[None]).reshape(-1, 8),
    "aten.squeeze.dim": lambda m, x, p: x.reshape(-1, 1, 8).squeeze(1),
    "aten.slice.Tensor": lambda m, x, p: torch.cat([x[:, 5:], x[:, -100:3], x[..., 1:-2]], -1),
    "aten.cat.default": lambda m, x, p: torch.cat([x, x[..., :2]], 1),
    "aten.split.Tensor": lambda m, x, p: torch.cat(x.split(3, dim=1)[::-1], -1),
    "aten.split_with_sizes.default": lambda m, x, p: torch.cat(x.split([1, 5, 2], dim=-1)[::-1], -1),
    "aten.alias.default": lambda m, x, p: aten.alias(x),
    "aten.detach.default": lambda m, x, p: x.detach(),
    "aten.clone.default": lambda m, x, p: x.clone(),
    "aten.contiguous.default": lambda m, x, p: x.contiguous(),
    "aten.copy.default": lambda m, x, p: aten.copy(x, x * 2),
    "aten.zeros_like.default": lambda m, x, p: torch.zeros_like(x),
    "aten.embedding.default": lambda m, x, p: x,
    "aten.linear.default": lambda m, x, p: F.linear(x, m.matrix, m.vector),
}


class Heads(nn.Module):
    """Operands of the custom ops, whose states are buffers."""

    H, D = 2, 4

    def __init__(self) -> None:
        super().__init__()
        shapes = {"tail": (3, 8), "state": (2, 4, 4), "c": (2, 4, 4), "n": (2, 4), "m": (2,)}
        shapes |= {"ring_k": (9, 2, 4), "ring_v": (9, 2, 4)}
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
        x = ops.rms_norm(x, self.norm, 1e-6)
        x = x + ops.ternary_linear(x, self.matrix, 8, 4) + ops.bfloat16_linear(x, self.matrix)
        y, tail = ops.causal_conv(x, self.taps, self.tail)
        self.tail.copy_(tail)
        q = y.reshape(-1, self.H, self.D)
        k, v = ops.l2_norm(q, 1e-6), ops.rope(q, position, 1e4)
        eta = torch.sigmoid(F.linear(x, self.gates))
        a, state = ops.gated_delta(q, k, v, -eta, eta, self.state, 0.5)
        self.state.copy_(state)
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
        x = x + (a + b + e).reshape(-1, 8)
        x = x + ops.moe(x, self.router, self.bias, self.gate, self.up, self.down, self.down_norm, 2, 8, 4, 1e-6)
        return ops.int8_linear(x, self.table, 8, 4)


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The handlers that imports use."""
    seen: set[str] = set()

    class Recorder(dict[str, object]):
        def get(self, key: str, default: object = None) -> object:
            seen.add(key)
            return super().get(key, default)

    monkeypatch.setattr(torch_export, "HANDLERS", Recorder(torch_export.HANDLERS))
    return seen


def test_every_aten_op(used: set[str]) -> None:
    """All in one module, whose logits are their results side by side."""

    class Everything(Small):
        def __init__(self) -> None:
            super().__init__()
            self.matrix = nn.Parameter(tensor(8, 8, 8), requires_grad=False)

        def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
            x = F.embedding(tokens, self.table)
            return torch.cat([body(self, x, position) for body in ATEN.values()], -1)

    module = Everything().eval()
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
    assert ATEN.keys() == {name for name in torch_export.HANDLERS if name.startswith("aten.")}
    # PyTorch 2.13 itself writes these in terms of others
    assert ATEN.keys() - used == {"aten.contiguous.default", "aten.reshape.default"}


def test_every_custom_op(used: set[str]) -> None:
    imported = check(Heads(), (3, 1, 4, 2), tolerance=2e-4)
    assert {name for name in torch_export.HANDLERS if name.startswith("chimera.")} <= used
    assert imported.constants["one"].type == i32()
    assert len(imported.states) == 10


# models of users -------------------------------------------------------------------------------------------------


class ShortMemory(nn.Module):
    """The last three inputs, in a buffer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.taps = nn.Parameter(tensor(20, width, 4, scale=0.5), requires_grad=False)
        self.register_buffer("tail", torch.zeros(3, width))

    def forward(self, x: Tensor) -> Tensor:
        y, tail = ops.causal_conv(x, self.taps, self.tail)  # convolved here
        self.tail.copy_(tail)
        return F.silu(y)


class LongMemory(nn.Module):
    """A gated delta rule with a residual path."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.project = nn.Linear(width, 3 * width + 2 * heads)
        self.out = nn.Linear(width, width)
        self.register_buffer("state", tensor(21, heads, width // heads, width // heads))

    def forward(self, x: Tensor) -> Tensor:
        width = x.shape[-1]
        q, k, v, decay, beta = self.project(x).split([width] * 3 + [self.heads] * 2, dim=-1)
        q, k, v = (part.view(part.shape[0], self.heads, -1) for part in (q, k, v))
        k = ops.l2_norm(k, 1e-6)  # normed here
        y, state = ops.gated_delta(q, k, v, -F.softplus(decay), torch.sigmoid(beta), self.state, 0.5)
        self.state.copy_(state)
        return x + self.out(y.reshape(x.shape[0], width))


class Users(nn.Module):
    """A small language model as a user may write it, with a state that changes once a call."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, 8)
        self.short = ShortMemory(8)
        self.blocks = nn.ModuleList(LongMemory(8, 2) for _ in range(2))
        self.head = nn.Linear(8, VOCABULARY)
        self.register_buffer("drift", tensor(22, 8))
        self.register_buffer("calls", torch.tensor(0.0))
        generator = torch.Generator().manual_seed(4)
        for parameter in self.parameters():
            parameter.requires_grad_(False).normal_(std=0.4, generator=generator)

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        x = self.short(self.embed(tokens))
        for block in self.blocks:
            x = block(x)
        self.drift.mul_(0.9).add_(0.1 * self.calls)
        self.calls.add_(1.0)
        return self.head(x * (1 - self.drift))


def test_a_users_recurrent_module_step_by_step() -> None:
    imported = check(Users(), (1,) * 9)
    assert {n: str(s.type) for n, s in imported.states.items()} == {
        "short.tail": "f32[3,8]",
        "blocks.0.state": "f32[2,4,4]",
        "blocks.1.state": "f32[2,4,4]",
        "drift": "f32[8]",
        "calls": "f32[1]",
    }
    assert imported.states["short.tail"].initial is None
    assert imported.states["drift"].initial == "initial.drift"
    assert imported.graphs["main"].results[0].type == f32("T", VOCABULARY)


def test_a_users_recurrent_module_in_calls_of_several_tokens() -> None:
    check(Users(), (3, 1, 4, 2, 1))


def test_prefill_and_decoding_agree_where_no_state_counts_calls() -> None:
    class Steady(Users):
        def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
            x = self.short(self.embed(tokens))
            for block in self.blocks:
                x = block(x)
            return self.head(x)

    lowered, _ = pipeline.run(load(Steady()), pipeline.passes())
    whole, steps = Session(lowered), Session(lowered)
    logits = whole.forward([3, 1, 4, 1])
    for token in [3, 1, 4, 1]:
        last = steps.forward([token])
    assert logits.tobytes() == last.tobytes()
    assert whole.state_bytes() == steps.state_bytes()


def test_running_the_module_does_not_change_what_was_imported() -> None:
    module = Users().eval()
    imported = load(module)
    before = {n: c.data.copy() for n, c in imported.constants.items() if n.startswith("initial.")}
    with torch.no_grad():
        module(torch.tensor([1, 2], dtype=torch.int32), torch.tensor(0, dtype=torch.int32))
    assert len(before) == 3
    for name, data in before.items():
        np.testing.assert_array_equal(imported.constants[name].data, data)


def test_ops_know_where_they_come_from() -> None:
    operations = {op.results[0].name: op for op in load(Users()).graphs["main"].ops if op.results}
    assert operations["causal_conv"].location == f"short, {here('convolved here')}"
    assert operations["gated_delta"].location.startswith("blocks.0, ")
    assert operations["gated_delta_1"].location.startswith("blocks.1, ")
    assert operations["l2_norm"].location == f"blocks.0, {here('normed here')}"
    locations = {op.location.split(",")[0] for op in operations.values() if op.name == "linear"}
    assert locations == {"blocks.0.project", "blocks.0.out", "blocks.1.project", "blocks.1.out", "head"}


# states ----------------------------------------------------------------------------------------------------------


def assigned(module: Small, x: Tensor, position: Tensor) -> Tensor:
    module.h = module.h * 0.5 + 1
    return x + module.h


def in_place(module: Small, x: Tensor, position: Tensor) -> Tensor:
    module.h.mul_(0.5).add_(module.g)
    return x + module.h


def exchanged(module: Small, x: Tensor, position: Tensor) -> Tensor:
    old = module.h.clone()
    module.h.copy_(module.g)
    module.g.copy_(old)
    return x + module.h


def from_a_parameter(module: Small, x: Tensor, position: Tensor) -> Tensor:
    y = x + module.h
    module.h.copy_(module.vector)
    return y


def read_before(module: Small, x: Tensor, position: Tensor) -> Tensor:
    old = module.h * 2
    module.h.copy_(torch.tanh(module.h) + module.g)
    return (x + old) * module.h


@pytest.mark.parametrize("body", [assigned, in_place, exchanged, from_a_parameter, read_before])
def test_buffers_change_as_in_pytorch(body: Body) -> None:
    check(Small(body), (2, 1, 1, 3))


def test_unchanged_buffers_are_constants() -> None:
    module = load(Small(lambda module, x, position: x * module.h))
    assert not module.states
    assert "h" in module.constants
    assert "g" not in module.constants, "what is not used is not imported"


def test_a_submodule_called_initial_keeps_its_own_constant() -> None:
    class Initial(Small):
        def __init__(self) -> None:
            super().__init__()
            self.initial = nn.Module()
            self.initial.h = nn.Parameter(tensor(30, WIDTH), requires_grad=False)

        def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
            self.h.mul_(0.5)
            return self.head(F.embedding(tokens, self.table) * self.initial.h + self.h)

    check(Initial())


def test_int64_buffers_become_int32() -> None:
    class Lookup(Small):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("ids", torch.tensor([3, 1, 4, 1, 5, 9, 2, 6]))

        def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
            rows = F.embedding(self.ids, self.table)
            return self.head(F.embedding(tokens, self.table) + F.linear(F.embedding(tokens, self.table), rows))

    assert check(Lookup()).constants["ids"].type == i32(8)


# loops -----------------------------------------------------------------------------------------------------------


class Looped(Small):
    """A loop with a state per iteration (h), and one that only the first iteration writes (memory)."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("anchor", tensor(31, 2, 2, 4, 4))
        self.register_buffer("memory", tensor(32, 2, 2, 4, 4))

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        x = F.embedding(tokens, self.table)
        y, write = ops.loop_begin(x, 3, 2, 0.25)
        anchor = ops.titans_anchor(self.anchor, self.memory, position, write, 4)
        self.anchor.copy_(anchor)
        y = ops.titans_apply(y.reshape(-1, 2, 4), anchor).reshape(-1, 8)
        self.h.copy_(self.h * 0.5 + self.vector)
        y = torch.tanh(y + self.h) + x
        return self.head(ops.loop_end(y))


def test_a_loop() -> None:
    imported = check(Looped())  # PyTorch runs one iteration
    assert imported.loops == (2, 3)
    assert {n: s.iterations for n, s in imported.states.items()} == {"anchor": 1, "h": 3}
    loop = next(op for op in imported.graphs["main"].ops if op.name == "loop")
    assert loop.attributes == {"default": 2, "maximum": 3, "exit_threshold": 0.25}
    assert [op.name for op in loop.regions[0].ops[-2:]] == ["state.write", "state.write"]


def eager_iterations(module: Looped, tokens: Tensor, position: int, states: list[Tensor]) -> Tensor:
    """What two iterations mean: the region twice over, ``states[i]`` being h of iteration i."""
    x = F.embedding(tokens, module.table)
    y = x
    for i in range(2):
        write = torch.tensor(int(i == 0), dtype=torch.int32)
        anchor = ops.titans_anchor(module.anchor, module.memory, torch.tensor(position), write, 4)
        module.anchor.copy_(anchor)
        y = ops.titans_apply(y.reshape(-1, 2, 4), anchor).reshape(-1, 8)
        states[i] = states[i] * 0.5 + module.vector
        y = torch.tanh(y + states[i]) + x
    return module.head(y)


def test_a_loop_run_twice() -> None:
    module = Looped().eval()
    session = Session(entered(load(module)))
    states = [module.h.clone(), module.h.clone()]
    for tokens in ([1, 2], [5], [7]):
        with torch.no_grad():
            expected = eager_iterations(module, torch.tensor(tokens), session.position, states)[-1]
        np.testing.assert_allclose(session.forward(tokens), expected.numpy(), rtol=1e-5, atol=1e-5)


def nested(module: Small, x: Tensor, position: Tensor) -> Tensor:
    y, _ = ops.loop_begin(x, 3, 2, 0.0)
    z, _ = ops.loop_begin(y, 3, 2, 0.0)
    return ops.loop_end(ops.loop_end(z * 2))


def different(module: Small, x: Tensor, position: Tensor) -> Tensor:
    y, _ = ops.loop_begin(x, 3, 2, 0.0)
    y, _ = ops.loop_begin(ops.loop_end(y * 2), 4, 2, 0.0)
    return ops.loop_end(y * 2)


def leaked(module: Small, x: Tensor, position: Tensor) -> Tensor:
    y, _ = ops.loop_begin(x, 3, 2, 0.0)
    z = y * 2
    return ops.loop_end(z + 1) + z


def leaked_state(module: Small, x: Tensor, position: Tensor) -> Tensor:
    y, _ = ops.loop_begin(x, 3, 2, 0.0)
    module.h.copy_(module.h * 2)
    return ops.loop_end(y + module.h) + module.h


def reshaped(module: Small, x: Tensor, position: Tensor) -> Tensor:
    y, _ = ops.loop_begin(x, 3, 2, 0.0)
    return ops.loop_end(y.reshape(-1, 2, 4)).reshape(-1, 8)


LOOP_MISTAKES: list[tuple[Body, str]] = [
    (nested, "looped regions cannot be nested"),
    (different, "looped regions differ in their iterations"),
    (lambda m, x, p: ops.loop_end(x), "loop_end without loop_begin"),
    (lambda m, x, p: ops.loop_begin(x, 3, 2, 0.0)[0] * 2, "loop_begin without loop_end"),
    (leaked, "a looped region's value is used after it"),
    (leaked_state, "a looped region's value is used after it"),
    (reshaped, "loop_end gets f32[T,2,4], loop_begin f32[T,8]"),
]


@pytest.mark.parametrize(("body", "message"), LOOP_MISTAKES)
def test_mistakes_with_loops(body: Body, message: str) -> None:
    error = refused(Small(body))
    assert error.code == "CHM214"
    assert error.message.startswith(message)
    assert error.hint == here("the line of every body"), "PyTorch keeps the lines of forward methods only"


# errors ----------------------------------------------------------------------------------------------------------


class Sums(nn.Module):
    """Uses an op that the IR has not."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cumsum(x, -1)  # unsupported here


class Deep(Small):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Sequential(nn.Identity(), Sums())])

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        return self.head(self.layers[0](F.embedding(tokens, self.table)))


def test_an_unsupported_op_is_named_with_its_module_and_line() -> None:
    error = refused(Deep())
    assert error.code == "CHM211"
    assert error.message == "the PyTorch op aten.cumsum.default is not supported"
    assert error.hint == f"layers.0.1, {here('unsupported here')}"


#: start of the message → columns of the result, and what gives it
UNSUPPORTED: dict[str, tuple[int, Body]] = {
    "aten.add.Tensor with alpha": (8, lambda m, x, p: torch.add(x, x, alpha=2)),
    "gelu is supported in its exact form only": (8, lambda m, x, p: F.gelu(x, approximate="tanh")),
    "softplus is supported with beta 1": (8, lambda m, x, p: F.softplus(x, 2.0)),
    "softplus is supported with beta 1 and threshold 20": (8, lambda m, x, p: F.softplus(x, 1.0, 5.0)),
    "slices are supported along a last axis": (4, lambda m, x, p: x.reshape(-1, 2, 4)[:, 1:].reshape(-1, 4)),
    "slices are supported with fixed bounds and step 1": (4, lambda m, x, p: x[:, ::2]),
    "cat is supported along a last axis": (8, lambda m, x, p: torch.cat([x, x], 0)),
    "split is supported along a last axis": (
        4,
        lambda m, x, p: x.reshape(-1, 2, 4).split(1, dim=1)[0].reshape(-1, 4),
    ),
    "the PyTorch op aten.expand": (8, lambda m, x, p: x + m.vector[None].expand(x.shape[0], 8)),
    "the PyTorch op aten.mean": (8, lambda m, x, p: x - x.mean(-1, keepdim=True)),
}


@pytest.mark.parametrize("message", UNSUPPORTED)
def test_what_is_not_supported(message: str) -> None:
    width, body = UNSUPPORTED[message]
    error = refused(Small(body, width))
    assert error.code == "CHM211"
    assert error.message.startswith(message)
    assert error.hint == here("the line of every body")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (lambda m, x, p: x + p, "add: operands must be f32"),
        (lambda m, x, p: x.reshape(-1).reshape(-1, 8), "reshape: cannot reshape f32[T,8] to T"),
        (lambda m, x, p: ops.rope(x.reshape(-1, 8, 1), p, 1e4).reshape(-1, 8), "rope: cannot rotate f32[T,8,1]"),
    ],
)
def test_operands_that_an_op_does_not_take(body: Body, message: str) -> None:
    error = refused(Small(body))
    assert (error.code, error.message) == ("CHM213", message)
    assert error.hint == here("the line of every body")


def test_a_buffer_keeps_its_shape() -> None:
    def body(module: Small, x: Tensor, position: Tensor) -> Tensor:
        module.h.copy_(module.scalar)
        return x

    error = refused(Small(body))
    assert error.code == "CHM213"
    assert error.message == "buffer h, f32[8], is overwritten by f32[1]"


class Alone(Small):
    def forward(self, tokens: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(tokens, tokens)


class Three(Small):
    def forward(self, tokens: Tensor, position: Tensor, more: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(tokens, position)


class Pair(Small):
    def forward(self, tokens: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        x = super().forward(tokens, position)
        return x, x * 2


class Fixed(Small):
    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        return self.table * 2


class Wide(Small):
    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        return super().forward(tokens, position).reshape(-1, 2, 5)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Alone, "Alone.forward: too many positional arguments"),
        (Three, "Three.forward: missing a required argument: 'more'"),
        (Pair, "forward takes 2 inputs and returns f32[T,10], f32[T,10]"),
        (Fixed, "forward takes 2 inputs and returns f32[10,8]"),
        (Wide, "forward takes 2 inputs and returns f32[T,2,5]"),
    ],
)
def test_another_signature(kind: type[Small], message: str) -> None:
    error = refused(kind())
    assert (error.code, error.message) == ("CHM212", message)
    assert error.hint == "the contract is forward(tokens i32[T], position i32[]) -> logits f32[T,V]"


class Branching(Small):
    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        return self.head(F.embedding(tokens, self.table) * (2 if tokens.sum() > 3 else 1))


class OneLength(Small):
    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        return self.head(F.embedding(tokens, self.table).reshape(3, 8))


class Faulty(Small):
    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        raise RuntimeError("first line\nsecond line")


@pytest.mark.parametrize("kind", [Branching, OneLength, Faulty])
def test_what_cannot_be_traced(kind: type[Small]) -> None:
    error = refused(kind())
    assert error.code == "CHM210"
    assert error.message.startswith(f"torch.export cannot trace {kind.__name__}: ")
    assert "\n" not in error.message
    assert error.hint is not None


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_parameters_of_other_types(dtype: torch.dtype) -> None:
    error = refused(Small().to(dtype))
    assert (error.code, error.message) == ("CHM216", f"table is {dtype}")


# the model of the project ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loops", [1, 2, 3])
def test_the_nano_model_gives_pytorchs_logits(loops: int) -> None:
    """Up to roundings of activations that fall the other way, which a sum of other order can cause."""
    tokens = torch.tensor(np.random.default_rng(2).integers(0, 320, 20).astype(np.int32))
    expected = EagerSession(nano_model(), loops).run(tokens).numpy()
    session = Session(lowered_nano(), loops=loops)
    for position in range(20):
        logits = session.forward([int(tokens[position])])
        spread = expected[position].max() - expected[position].min()
        assert np.abs(logits - expected[position]).max() < 0.05 * spread, position
        assert np.corrcoef(logits, expected[position])[0, 1] > 0.999


def test_the_nano_module() -> None:
    module = nano_module()
    verify(module)
    assert module.loops == (2, 3)
    assert module.block == 16
    assert sorted(module.states) == sorted(Stateful(nano_model(), 16).state_names)
    parts = {op.location.split(",")[0] for op in walk(module.graphs["main"].ops) if op.name != "constant"}
    assert {"embedding", "layers.0.mixer.q_proj", "layers.3.ffn.shared.up_proj", "loop", "norm"} <= parts


def test_every_mixer_also_works_outside_a_loop() -> None:
    """Without a loop, ``write`` is a constant scalar of the module."""
    shape = nano(mixers=("titans_mac", "xlstm_m"), loop=None, moe=None)
    module = load(Stateful(make_model(shape)), 16)
    assert module.loops == (1, 1)
    assert module.constants["one"].type == i32()
    lowered, _ = pipeline.run(module, pipeline.passes())
    tokens = torch.tensor([5, 300, 17, 2], dtype=torch.int32)
    expected = EagerSession(make_model(shape)).run(tokens)[-1].numpy()
    np.testing.assert_allclose(Session(lowered).forward(tokens.tolist()), expected, atol=0.02 * np.ptp(expected))
