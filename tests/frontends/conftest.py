"""Shapes, seeded models and comparisons for the tests of the Chimera model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from chimera_weights import initialise
from nano_model import nano as nano_shape
from torch import Tensor

from chimerac.frontends.families.chimera.model import ChimeraModel
from chimerac.frontends.families.chimera.shape import ChimeraShape
from chimerac.frontends.layers import quantization as quantization_module
from chimerac.frontends.layers.mixer import Mixer, State
from chimerac.frontends.layers.shapes import KnotShape, LoopShape, MoeShape, TitansShape

torch.set_num_threads(1)

NANO = nano_shape()

ODD = ChimeraShape(  # ragged groups and blocks (200 = 128 + 72), several shared experts, the loop around a Titans layer
    vocabulary=77,
    hidden=48,
    width=200,
    heads=3,
    head_width=16,
    mixers=("xlstm_m", "titans_mac", "tsp_span_knot"),
    moe=MoeShape(layers=(1,), experts=3, shared_experts=2, experts_per_token=1, width=72),
    loop=LoopShape(first=1, last=1, minimum=1, maximum=4, default=3, exit_threshold=0.05, exact_input=True),
    titans=TitansShape(persistent_slots=0, window=5, chunk=16),
    knot=KnotShape(sketch_bits=128),
    init_std=0.05,
    conv_size=3,
    efla=True,
    seed=5,
)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def nano() -> ChimeraShape:
    return NANO


@pytest.fixture(scope="session")
def odd() -> ChimeraShape:
    return ODD


SLOW_SHAPES = ("no loop", "float32 embedding", "bfloat16 embedding")


@pytest.fixture(
    params=["nano", "odd", "ternary embedding", *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW_SHAPES)]
)
def shape(request: pytest.FixtureRequest) -> ChimeraShape:
    return {
        "nano": NANO,
        "odd": ODD,
        "no loop": replace(ODD, loop=None, moe=None, efla=False),
        "float32 embedding": replace(ODD, embedding_format="float32"),
        "ternary embedding": replace(ODD, embedding_format="ternary"),
        "bfloat16 embedding": replace(ODD, embedding_format="bfloat16"),
    }[request.param]


@pytest.fixture(scope="session")
def make_model() -> Callable[[ChimeraShape], ChimeraModel]:
    """Models with random weights; gates and scales are shaken so that none is at a special value."""

    def make(shape: ChimeraShape, seed: int = 1) -> ChimeraModel:
        model = ChimeraModel(shape)
        initialise(model, seed)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.ndim == 1 or "persistent" in name:
                    parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
            for name, buffer in model.named_buffers():
                if name.endswith("router_bias"):
                    buffer.add_(0.2 * torch.randn(buffer.shape, generator=generator))
        return model

    return make


@pytest.fixture
def exact_activations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave activations unrounded.

    Two orders of float additions differ by 1e-7; where that turns a rounding, the difference jumps to a whole step and
    spreads. Tests of equal maths therefore run without the rounding, which tests of its own cover.
    """

    def keep(x: Tensor, block: int) -> tuple[Tensor, Tensor]:
        blocks = -(-x.shape[-1] // block)
        return x.detach().float(), torch.ones(*x.shape[:-1], blocks)

    monkeypatch.setattr(quantization_module, "activation_codes", keep)


@pytest.fixture(scope="session")
def check_mixer() -> Callable[..., None]:
    """Assert the contract of a mixer: whole = split anywhere = token by token = calls of uneven length, states too."""

    def check(mixer: Mixer, hidden: int, tokens: int, splits: tuple[int, ...] = (1, 7, 16, 33)) -> None:
        with torch.no_grad():
            x = torch.randn(2, tokens, hidden)
            whole, last = mixer(x)
            for split in splits:
                first, state = mixer(x[:, :split])
                second, state = mixer(x[:, split:], state, split)
                torch.testing.assert_close(torch.cat([first, second], 1), whole, rtol=1e-3, atol=1e-4)
                for name, value in last.items():
                    torch.testing.assert_close(state[name], value, rtol=1e-3, atol=1e-4)
            for most in (1, 5, 16):
                for row in range(2):
                    y, state = _stepped(mixer, x[row], most)
                    torch.testing.assert_close(y, whole[row], rtol=1e-3, atol=1e-4)
                    for name in last.keys() & state.keys():
                        torch.testing.assert_close(state[name], last[name][row], rtol=1e-3, atol=1e-4)

    return check


def _stepped(mixer: Mixer, x: Tensor, most: int, block: int = 16) -> tuple[Tensor, State]:
    state, outputs, start = mixer.initial_state(block), [], 0
    while start < len(x):
        end = min(len(x), start + most, start + block - start % block)
        position, write = (torch.tensor(value, dtype=torch.int32) for value in (start, 1))
        y, state = mixer.step(x[start:end], state, position, write)
        outputs.append(y)
        start = end
    return torch.cat(outputs), state
