"""Fused chains: the same losses and gradients as one operation after the other, and what happens where nothing fuses.

``aot_eager`` traces the graphs that are compiled, forward and backward, and runs them operation by operation: what is
left out is the making of kernels, which takes a minute here.
"""

from __future__ import annotations

import contextlib

import pytest
import torch
from torch import Tensor

from chimerac.frontends.families.chimera.family import FAMILY
from chimerac.frontends.families.chimera.model import ChimeraModel
from chimerac.frontends.families.chimera.shape import ChimeraShape, MixerKind
from chimerac.frontends.layers import fusing as fusing_module
from chimerac.frontends.layers.fusing import fusible, fusing, is_fusing, why_not
from chimerac.frontends.layers.quantization import straight_through_activations
from chimerac.frontends.layers.shapes import MoeShape, TitansShape
from chimerac.frontends.training.loop import TokenModel
from chimerac.frontends.weights.sources import RandomWeights

TRACED = "aot_eager"


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("channels", [64, 40])
def test_rounded_activations_have_the_same_bits(dtype: torch.dtype, channels: int) -> None:
    """Half a scale to both sides, zeros and numbers of all sizes; the gradient is passed on."""
    x = torch.randn(2, 5, channels, generator=torch.Generator().manual_seed(0)) * torch.logspace(-9, 4, 5)[:, None]
    x[0, 0] = 0
    x[1, 1, :3] = torch.tensor([127.0, 63.5, -0.5])
    x.requires_grad_()
    expected = straight_through_activations(x, 16, dtype)
    with fusing(TRACED):
        found = straight_through_activations(x, 16, dtype)
    assert torch.equal(found, expected)
    (gradient,) = torch.autograd.grad(found.float().sum(), x)
    assert torch.equal(gradient, torch.ones_like(x))


def test_functions_are_plain_until_fusing_is_entered() -> None:
    calls = []

    @fusible(x=1)
    def doubled(x: Tensor) -> Tensor:
        calls.append(torch.compiler.is_compiling())
        return 2 * x

    doubled(torch.ones(2, 3))
    assert calls == [False]
    assert not is_fusing()
    with fusing(TRACED):
        assert is_fusing()
    assert not is_fusing()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # of PyTorch's own tracing
@pytest.mark.parametrize("mixer", ["gated_deltanet", "xlstm_m", "titans_mac"])
def test_a_fused_model_has_the_same_gradients(mixer: MixerKind) -> None:
    """Sizes that change between calls included. The float form: in the ternary one a sum of another order turns a
    rounding now and then, and what follows goes its own way."""
    shape = ChimeraShape(
        vocabulary=64,
        hidden=32,
        width=64,
        heads=2,
        head_width=16,
        mixers=(mixer, "xlstm_m"),
        moe=MoeShape(layers=(0,), experts=2, shared_experts=1, experts_per_token=1, width=32),
        loop=None,
        titans=TitansShape(persistent_slots=2, window=8, chunk=8),
        init_std=0.2,
    )
    model = ChimeraModel(shape, ternary=False)
    RandomWeights(FAMILY, shape, 0).fill(model)
    for sequences, tokens in ((2, 16), (3, 16), (3, 13)):
        losses, gradients = zip(*(step(model, sequences, tokens, fused) for fused in (False, True)), strict=True)
        torch.testing.assert_close(losses[1], losses[0], rtol=1e-5, atol=1e-5)
        for name, expected in gradients[0].items():
            torch.testing.assert_close(gradients[1][name], expected, rtol=1e-3, atol=1e-5, msg=f"{name} differs")


def step(model: ChimeraModel, sequences: int, tokens: int, fused: bool) -> tuple[Tensor, dict[str, Tensor]]:
    source = torch.Generator().manual_seed(tokens)
    asked = torch.randint(0, 64, (sequences, tokens), generator=source)
    targets = torch.randint(0, 64, (sequences * tokens,), generator=source)
    model.zero_grad()
    with fusing(TRACED) if fused else contextlib.nullcontext():
        loss = -TokenModel(model)(asked, None, targets, None, True).mean()
        loss.backward()
    return loss.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_what_cannot_fuse_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(x: Tensor) -> Tensor:
        raise RuntimeError("there is no compiler\nand more")

    monkeypatch.setattr(fusing_module, "_trial", broken)
    assert why_not(torch.device("cpu")) == "there is no compiler"
