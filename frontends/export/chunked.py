"""What models of `transformers` compute in chunks, or of all tokens together, as steps for each token.

The gated delta rule (arXiv 2412.06464, equation 10) pads a text to whole chunks there, its convolution reads along the
text, and experts look for the tokens that chose them: none of it can be traced for any number of tokens. While a module
that sees whole texts is traced, these functions of its files are others with the same meaning.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chimerac.frontends.layers.scan import scan


@contextmanager
def token_by_token(module: nn.Module) -> Iterator[None]:
    """Within, what a module of `transformers` does in chunks is done for each token."""
    kinds = {type(part) for part in module.modules()}
    kinds = {kind for kind in kinds if kind.__module__.startswith("transformers.models.")}
    with ExitStack() as stack:
        for name in sorted({kind.__module__ for kind in kinds}):
            file = sys.modules[name]
            for function, other in _functions(file).items():
                stack.enter_context(patch.object(file, function, other))
        for kind in kinds:
            if kind.__name__.endswith("Experts"):
                stack.enter_context(patch.object(kind, "forward", _experts(kind.forward)))
        yield


def _functions(file: ModuleType) -> Mapping[str, Callable[..., Any]]:
    """The functions of a file that have another form."""
    return {name: other for name, other in _FORMS.items() if hasattr(file, name)}


def gated_delta_rule(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    g: Tensor,
    beta: Tensor,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    use_qk_l2norm_in_kernel: bool = False,
    **_: Any,
) -> tuple[Tensor, None]:
    """S' = S exp(g); S = S' + k (v - S'ᵀ k) beta; Sᵀ q, for one text from its beginning.

    Args:
        query, key: [1, T, heads of keys, K]; of each of these there may be several of values.
        value: [1, T, H, V].
        g, beta: [1, T, H].

    Returns:
        [1, T, H, V], and no state.
    """
    if value.shape[0] != 1 or initial_state is not None or output_final_state:
        raise ValueError("the gated delta rule is traced for one text, without a state")
    heads, width = value.shape[2], key.shape[3]
    q, k = (part.repeat_interleave(heads // part.shape[2], 2)[0] for part in (query, key))
    if use_qk_l2norm_in_kernel:
        q, k = (part * torch.rsqrt((part * part).sum(-1, keepdim=True) + 1e-6) for part in (q, k))

    def step(state: Tensor, row: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        q, k, v, fade, beta = row
        state = state * fade[:, None, None]
        change = (v - (state * k[:, :, None]).sum(1)) * beta[:, None]
        state = state + k[:, :, None] * change[:, None]
        return state, (state * q[:, :, None]).sum(1)

    rows = (q * width**-0.5, k, value[0], g[0].exp(), beta[0])
    return scan(step, torch.zeros(heads, width, value.shape[3]), rows)[1][None], None


def causal_convolution(
    hidden_states: Tensor, weight: Tensor, bias: Tensor | None = None, activation: str | None = None, **_: Any
) -> Tensor:
    """Each channel with its own taps over the last tokens: [1, C, T], [C, taps] -> [1, C, T]."""
    if hidden_states.shape[0] != 1 or activation not in (None, "silu", "swish"):
        raise ValueError("a causal convolution is traced for one text, with SiLU or nothing behind it")

    def step(before: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        seen = torch.cat([before, x[:, None]], 1)
        return seen[:, 1:], (seen * weight).sum(1)

    channels, taps = weight.shape
    found = scan(step, torch.zeros(channels, taps - 1), hidden_states[0].T)[1]
    found = found if bias is None else found + bias
    return (found if activation is None else F.silu(found)).T[None]


def _experts(usual: Callable[..., Any]) -> Callable[..., Any]:
    """Experts whose matrices are looked up for each token; ``usual`` is called where their form is another."""

    def forward(self: Any, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        form = tuple(getattr(self, name, None) for name in ("has_gate", "is_concatenated", "is_transposed", "has_bias"))
        if form != (True, True, False, False):
            found: Tensor = usual(self, hidden_states, top_k_index, top_k_weights)
            return found
        total = torch.zeros_like(hidden_states)
        for place in range(top_k_index.shape[1]):
            chosen = top_k_index[:, place]
            both = (self.gate_up_proj[chosen] @ hidden_states[:, :, None])[:, :, 0]
            inner = self._apply_gate(both)[:, :, None]
            total = total + (self.down_proj[chosen] @ inner)[:, :, 0] * top_k_weights[:, place, None]
        return total

    return forward


_FORMS: Mapping[str, Callable[..., Any]] = {
    "torch_chunk_gated_delta_rule": gated_delta_rule,
    "causal_conv1d_fn": causal_convolution,
}
