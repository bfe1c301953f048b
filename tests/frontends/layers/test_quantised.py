"""Layers that hold integers: what they compute, and that a compiled model multiplies exactly these integers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from chimerac.compiler.build import pipeline
from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.interpreter import Session
from chimerac.compiler.ir.module import Module
from chimerac.frontends.export.importer import import_module
from chimerac.frontends.layers import ops
from chimerac.frontends.layers.quantised import Kind, QuantisedLinear

GROUP, BLOCK = 32, 16
VOCABULARY, WIDTH, INNER = 40, 72, 50


def random_codes(kind: Kind, rows: int, columns: int, seed: int) -> tuple[Tensor, Tensor]:
    """Codes that do not fill their range, with scales that rounding their floats would not find."""
    random = torch.Generator().manual_seed(seed)
    most = 1 if kind == "ternary" else 90
    codes = torch.randint(-most, most + 1, (rows, columns), generator=random)
    codes[1] = 0
    scales = torch.rand((rows, -(-columns // GROUP)), generator=random) * 0.2 + 2e-6
    return codes, scales.half()


def layer(kind: Kind, rows: int, columns: int, seed: int) -> QuantisedLinear:
    return QuantisedLinear(*random_codes(kind, rows, columns, seed), kind=kind, group=GROUP, block=BLOCK)


class Finished(nn.Module):
    """A tied table of int8 or trits, and a ternary network between."""

    def __init__(self, kind: Kind) -> None:
        super().__init__()
        self.table = layer(kind, VOCABULARY, WIDTH, 1)
        self.up = layer("ternary", INNER, WIDTH, 2)
        self.down = layer("ternary", WIDTH, INNER, 3)

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        x = self.table.embed(tokens)
        y = x + self.down(nn.functional.silu(self.up(x)))
        logits: Tensor = self.table(y)
        return logits


def lowered(module: nn.Module) -> Module:
    return pipeline.run(import_module(module.eval(), name="m", block=4), pipeline.passes())[0]


@pytest.mark.parametrize("kind", ["ternary", "int8"])
@pytest.mark.parametrize("floats", [False, True])
def test_a_compiled_model_has_these_integers(kind: Kind, floats: bool) -> None:
    model = Finished(kind)
    module = lowered(model.float() if floats else model)
    assert not [c for c in module.constants.values() if c.type.dtype == "f32"]
    held = {n: b.numpy().astype(np.float16 if n.endswith("scales") else np.int8) for n, b in model.named_buffers()}
    found = {}
    for name, constant in module.constants.items():
        found[f"{name.split('.')[0]}.{'scales' if name.endswith('scales') else 'codes'}"] = constant.data
    assert found.keys() == held.keys()
    for name, array in held.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@pytest.mark.parametrize("kind", ["ternary", "int8"])
def test_the_interpreter_follows_pytorch(kind: Kind) -> None:
    model = Finished(kind)
    session = Session(lowered(model))
    for count, tokens in enumerate(([3, 0, 39], [7], [5, 5])):
        expected = model(torch.tensor(tokens, dtype=torch.int32), torch.tensor(count))[-1].numpy()
        np.testing.assert_allclose(session.forward(tokens), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("kind", ["ternary", "int8"])
def test_the_product_is_that_of_the_value(kind: Kind) -> None:
    made = layer(kind, 9, 80, 4)
    x = torch.randn(5, 80, generator=torch.Generator().manual_seed(5))
    value = made.codes.double() * made.scales.double().repeat_interleave(GROUP, dim=1)[:, :80]
    torch.testing.assert_close(made(x).double(), x.double() @ value.T, rtol=0, atol=0.05 * float(made(x).abs().max()))
    torch.testing.assert_close(made.embed(torch.arange(9, dtype=torch.int32)).double(), value, rtol=1e-6, atol=0)


def test_float_weights_that_are_ternary_keep_their_numbers() -> None:
    codes, _ = random_codes("ternary", 6, 64, 6)
    weight = codes * 0.37
    made = QuantisedLinear.of(weight, group=GROUP, block=BLOCK)
    assert torch.equal(made.codes.long(), codes)
    kept = codes.view(6, 2, GROUP).abs().amax(-1) > 0
    assert torch.equal(made.scales[kept], torch.full_like(made.scales, 0.37)[kept])
    again = ops.ternary_linear(torch.ones(1, 64), weight, GROUP, BLOCK)
    assert torch.equal(made(torch.ones(1, 64)), again)


def test_one_scale_for_a_matrix() -> None:
    made = QuantisedLinear(torch.ones(3, 70, dtype=torch.int64), 0.25, group=GROUP, block=BLOCK)
    assert made.scales.tolist() == [[0.25] * 3] * 3
    assert made.scales.is_contiguous()


@pytest.mark.parametrize(
    ("codes", "scales", "options", "code"),
    [
        (torch.full((2, 4), 2), 1.0, {}, "CHM242"),
        (torch.full((2, 4), -128), 1.0, {"kind": "int8"}, "CHM242"),
        (torch.ones(2, 4), 1.0, {}, "CHM242"),
        (torch.ones(2, 4, dtype=torch.int8), 7e4, {}, "CHM242"),
        (torch.ones(2, 4, dtype=torch.int8), torch.ones(3, 1), {}, "CHM213"),
        (torch.ones(4, dtype=torch.int8), 1.0, {}, "CHM213"),
        (torch.ones(2, 4, dtype=torch.int8), 1.0, {"group": 96}, "CHM213"),
    ],
)
def test_numbers_and_sizes_that_do_not_fit(
    codes: Tensor, scales: Tensor | float, options: dict[str, Any], code: str
) -> None:
    with pytest.raises(UserError) as caught:
        QuantisedLinear(codes, scales, **options)
    assert caught.value.code == code


class Own(nn.Module):
    """Codes and scales as somebody else would hold them."""

    def __init__(self, codes: Tensor, scales: Tensor) -> None:
        super().__init__()
        self.register_buffer("codes", codes)
        self.register_buffer("scales", scales)
        self.table = layer("int8", VOCABULARY, WIDTH, 1)

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        codes = self.get_buffer("codes")
        y: Tensor = ops.ternary_codes_linear(self.table.embed(tokens), codes, self.get_buffer("scales"), GROUP, BLOCK)
        return y


def test_buffers_that_no_product_takes() -> None:
    codes, scales = random_codes("ternary", VOCABULARY, WIDTH, 7)
    codes = codes.to(torch.int8)
    lowered(Own(codes, scales))
    lowered(Own(codes, scales.float()))
    wrong = codes.clone()
    wrong[3, 3] = 2
    infinite = scales.clone()
    infinite[0, 0] = torch.inf
    for bad_codes, bad_scales, code in (
        (wrong, scales, "CHM242"),
        (codes, infinite, "CHM242"),
        (codes, scales[:, :1], "CHM213"),
        (codes.int(), scales, "CHM216"),
        (codes, scales.float() * 1.0001, "CHM216"),
        (codes, scales.double(), "CHM216"),
    ):
        with pytest.raises(UserError, match=r"^codes") as caught:
            lowered(Own(bad_codes, bad_scales))
        assert caught.value.code == code
