"""The importer: recurrent modules as users write them, their states and loops, and the model of the project."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from export_tools import VOCABULARY, WIDTH, Body, Small, check, line_of, load, tensor
from ir_tools import entered
from nano_model import lowered_nano, make_model, nano, nano_model, nano_module
from torch import Tensor, nn

from chimerac.compiler.build import pipeline
from chimerac.compiler.ir.interpreter import Session
from chimerac.compiler.ir.module import walk
from chimerac.compiler.ir.types import f32, i32
from chimerac.compiler.ir.verify import verify
from chimerac.frontends.export.importer import import_module
from chimerac.frontends.families.chimera.session import EagerSession
from chimerac.frontends.families.chimera.stateful import Stateful
from chimerac.frontends.layers import ops

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


# models of users -------------------------------------------------------------------------------------------------


class ShortMemory(nn.Module):
    """The last three inputs, in a buffer."""

    tail: Tensor

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

    state: Tensor

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
        mixed: Tensor = self.out(y.reshape(x.shape[0], width))
        return x + mixed


class Users(nn.Module):
    """A small language model as a user may write it, with a state that changes once a call."""

    drift: Tensor
    calls: Tensor

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
        logits: Tensor = self.head(x * (1 - self.drift))
        return logits


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
            logits: Tensor = self.head(x)
            return logits

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
    assert operations["causal_conv"].location == f"short, {line_of(__file__, 'convolved here')}"
    assert operations["gated_delta"].location.startswith("blocks.0, ")
    assert operations["gated_delta_1"].location.startswith("blocks.1, ")
    assert operations["l2_norm"].location == f"blocks.0, {line_of(__file__, 'normed here')}"
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
            return self.logits(F.embedding(tokens, self.table) * self.initial.get_parameter("h") + self.h)

    check(Initial())


def test_int64_buffers_become_int32() -> None:
    class Lookup(Small):
        ids: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("ids", torch.tensor([3, 1, 4, 1, 5, 9, 2, 6]))

        def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
            rows = F.embedding(self.ids, self.table)
            return self.logits(F.embedding(tokens, self.table) + F.linear(F.embedding(tokens, self.table), rows))

    assert check(Lookup()).constants["ids"].type == i32(8)


# loops -----------------------------------------------------------------------------------------------------------


class Looped(Small):
    """A loop with a state per iteration (h), and one that only the first iteration writes (memory)."""

    anchor: Tensor
    memory: Tensor

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
        return self.logits(ops.loop_end(y))


def test_a_loop() -> None:
    imported = check(Looped())  # PyTorch runs one iteration
    assert imported.loops == (2, 3)
    assert {n: s.iterations for n, s in imported.states.items()} == {"anchor": 1, "h": 3}
    loop = next(op for op in imported.graphs["main"].ops if op.name == "loop")
    assert loop.attributes == {"default": 2, "maximum": 3, "exit_threshold": 0.25}
    assert [op.name for op in loop.regions[0].ops[-2:]] == ["state.write", "state.write"]


class AtLeastTwo(Looped):
    """The same loop, never left before its second iteration."""

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        y, _ = ops.loop_begin(F.embedding(tokens, self.table), 3, 2, 0.25, 2)
        return self.logits(ops.loop_end(torch.tanh(y)))


def test_the_least_number_of_iterations_is_an_attribute() -> None:
    imported = import_module(AtLeastTwo().eval(), name="m", block=4)  # PyTorch runs one iteration
    loop = next(op for op in imported.graphs["main"].ops if op.name == "loop")
    assert loop.attributes == {"default": 2, "maximum": 3, "exit_threshold": 0.25, "minimum": 2}
    assert imported.fewest_loops == 2


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
    return module.logits(y)


def test_a_loop_run_twice() -> None:
    module = Looped().eval()
    session = Session(entered(load(module)))
    states = [module.h.clone(), module.h.clone()]
    for tokens in ([1, 2], [5], [7]):
        with torch.no_grad():
            expected = eager_iterations(module, torch.tensor(tokens), session.position, states)[-1]
        np.testing.assert_allclose(session.forward(tokens), expected.numpy(), rtol=1e-5, atol=1e-5)


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


@dataclass
class Output:
    """What many published models return."""

    logits: Tensor
    hidden: Tensor


class Batched(Small):
    """Takes an axis more, and returns more than logits."""

    def forward(self, tokens: Tensor, position: Tensor) -> Output:  # type: ignore[override]
        batch, length = tokens.shape
        x = F.embedding(tokens, self.table)
        places = torch.arange(length) + position
        x = x + torch.sin(places[:, None] * self.vector)
        return Output(self.logits(x.view(batch, length, 8)), x)


class Beside(Small):
    """Returns logits and something else."""

    def forward(self, tokens: Tensor, position: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        x = F.embedding(tokens, self.table)
        return {"hidden": x, "logits": self.logits(x)}


@pytest.mark.parametrize("kind", [Batched, Beside])
def test_logits_beside_other_results_and_behind_an_axis_of_one(kind: type[Small]) -> None:
    module = kind().eval()
    imported = load(module)
    assert [(v.name, v.type) for v in imported.graphs["main"].inputs] == [("tokens", i32("T")), ("position", i32())]
    session = Session(pipeline.run(imported, pipeline.passes())[0])
    tokens = torch.tensor([3, 1, 4], dtype=torch.int32)
    for start in (0, 3):
        given = tokens[None] if kind is Batched else tokens
        with torch.no_grad():
            found: Any = module(given, torch.tensor(start, dtype=torch.int32))
        expected = found.logits[0] if kind is Batched else found["logits"]
        logits = session.call("prefill", tokens.numpy())
        np.testing.assert_allclose(logits, expected[-1].numpy(), rtol=1e-5, atol=1e-5)
