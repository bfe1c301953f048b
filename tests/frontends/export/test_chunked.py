"""What models of `transformers` compute in chunks, as steps: against loops, and PyTorch's convolution."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chimerac.compiler.errors import UserError
from chimerac.frontends.export.chunked import causal_convolution, gated_delta_rule, token_by_token
from chimerac.frontends.export.tracing import trace

TOKENS, KEYS, HEADS, WIDTH, VALUES = 5, 2, 4, 3, 6


@pytest.mark.parametrize("normed", [False, True])
def test_the_delta_rule_is_that_of_its_paper(normed: bool) -> None:
    q, k = (torch.randn(1, TOKENS, KEYS, WIDTH).double() for _ in range(2))
    v, fade, beta = torch.randn(1, TOKENS, HEADS, VALUES).double(), *torch.rand(2, 1, TOKENS, HEADS).double()
    found, state = gated_delta_rule(
        q.float(), k.float(), v.float(), -fade.float(), beta.float(), use_qk_l2norm_in_kernel=normed
    )
    assert state is None
    for head in range(HEADS):
        s = torch.zeros(VALUES, WIDTH).double()
        for t in range(TOKENS):
            key, query = k[0, t, head // 2], q[0, t, head // 2]
            if normed:
                key, query = (x / (x.square().sum() + 1e-6).sqrt() for x in (key, query))
            forget = torch.eye(WIDTH).double() - beta[0, t, head] * torch.outer(key, key)
            s = torch.exp(-fade[0, t, head]) * s @ forget + beta[0, t, head] * torch.outer(v[0, t, head], key)
            torch.testing.assert_close(found[0, t, head].double(), s @ query / WIDTH**0.5, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("bias", "activation"), [(None, None), (torch.randn(4), "silu")])
def test_the_convolution_is_pytorchs(bias: Tensor | None, activation: str | None) -> None:
    x, weight = torch.randn(1, 4, 6), torch.randn(4, 3)
    expected = F.conv1d(x, weight[:, None], bias, padding=2, groups=4)[..., :6]
    found = causal_convolution(x, weight, bias, activation)
    torch.testing.assert_close(found, expected if activation is None else F.silu(expected))


def test_what_has_no_form_is_said() -> None:
    x, weight = torch.randn(2, 4, 6), torch.randn(4, 3)
    with pytest.raises(ValueError, match="one text"):
        causal_convolution(x, weight)
    with pytest.raises(ValueError, match="SiLU"):
        causal_convolution(x[:1], weight, activation="gelu")
    rows = torch.randn(1, 2, 1, 3)
    with pytest.raises(ValueError, match="without a state"):
        gated_delta_rule(rows, rows, rows, rows[..., 0], rows[..., 0], output_final_state=True)


def test_what_has_no_form_is_an_error_of_the_module() -> None:
    class Pairs(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return causal_convolution(x, torch.ones(4, 3))

    with pytest.raises(UserError, match="one text") as caught:
        trace(Pairs(), (torch.randn(2, 4, 6),), {}, None)
    assert caught.value.code == "CHM210"


class TinyExperts(nn.Module):
    """In the form of the experts of `transformers`, which look for the tokens of each."""

    has_gate = is_concatenated = True
    is_transposed = has_bias = False

    def __init__(self) -> None:
        super().__init__()
        self.gate_up_proj, self.down_proj = nn.Parameter(torch.randn(3, 8, 5)), nn.Parameter(torch.randn(3, 5, 4))

    def _apply_gate(self, both: Tensor) -> Tensor:
        gate, up = both.chunk(2, -1)
        return F.silu(gate) * up

    def forward(self, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        total = torch.zeros_like(hidden_states)
        for expert in range(3):
            tokens, place = torch.where(top_k_index == expert)
            inner = self._apply_gate(F.linear(hidden_states[tokens], self.gate_up_proj[expert]))
            part = F.linear(inner, self.down_proj[expert]) * top_k_weights[tokens, place, None]
            total.index_add_(0, tokens, part)
        return total


def test_forms_are_used_within_and_not_after(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "transformers.models.tiny.modeling_tiny"
    file = ModuleType(name)
    file.causal_conv1d_fn = usual = lambda *_: None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, name, file)
    monkeypatch.setattr(TinyExperts, "__module__", name)
    module = TinyExperts().requires_grad_(False)
    given = torch.randn(4, 5), torch.tensor([[0, 2], [1, 0], [2, 1], [1, 2]]), torch.rand(4, 2)
    expected, forward = module(*given), TinyExperts.forward
    with token_by_token(nn.Sequential(module)):
        assert (file.causal_conv1d_fn, TinyExperts.forward == forward) == (causal_convolution, False)
        torch.testing.assert_close(module(*given), expected)
        module.has_bias = True  # another form: as it was
        torch.testing.assert_close(module(*given), expected)
    assert (file.causal_conv1d_fn, TinyExperts.forward) == (usual, forward)
