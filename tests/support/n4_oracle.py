"""N4 from its description, token after token in float64: slow, and without a line of the product.

Parameters are those of the official state dict.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

Weights = Mapping[str, Tensor]
Draw = Callable[[Tensor], int]


def logits_of(weights: Weights, heads: int, tokens: Sequence[int], counted: Callable[[int], float] = float) -> Tensor:
    """Logits float64 [T, V]. ``counted``: the number that token number i, from 1, is counted as."""
    w = {name: tensor.double() for name, tensor in weights.items()}
    layers = len([name for name in w if name.endswith(".n4.out_linear.weight")])
    x = [w["n4b.embedding.weight"][token] for token in tokens]
    for layer in range(layers):
        own = {n.removeprefix(f"n4b.n4d.{layer}."): t for n, t in w.items() if n.startswith(f"n4b.n4d.{layer}.")}
        mixed = _attention(own, heads, [own["pre_n4_norm.weight"] * h.tanh() for h in x], counted)
        x = [h + own["post_n4_norm.weight"] * y.tanh() for h, y in zip(x, mixed, strict=True)]
        passed = [_network(own, own["pre_mlp_norm.weight"] * h.tanh()) for h in x]
        x = [h + own["post_mlp_norm.weight"] * y.tanh() for h, y in zip(x, passed, strict=True)]
    return torch.stack([_product(w, "lm_head", h) for h in x])


def _product(w: Weights, name: str, x: Tensor) -> Tensor:
    y = w[f"{name}.weight"] @ x
    return y + w[f"{name}.bias"] if f"{name}.bias" in w else y


def _attention(w: Weights, heads: int, x: Sequence[Tensor], counted: Callable[[int], float]) -> list[Tensor]:
    width = len(x[0])
    size = width // heads
    rows = [_product(w, "n4.qkvh_linear", h) for h in x]
    results = []
    for last in range(len(x)):
        parts = []
        for head in range(heads):
            start = 3 * size * head
            q = rows[last][start : start + size]
            scores, values = [], []
            for j in range(1, last + 2):
                mean = sum(
                    counted(i) * rows[i - 1][3 * width + head].tanh() * rows[i - 1][start + size : start + 2 * size]
                    for i in range(1, j + 1)
                )
                assert isinstance(mean, Tensor)
                scores.append((q @ mean) / counted(j) ** 2 / width**0.5)
                values.append(rows[j - 1][start + 2 * size : start + 3 * size])
            shares = torch.softmax(torch.stack(scores), 0)
            parts.append((shares[:, None] * torch.stack(values)).sum(0))
        results.append(_product(w, "n4.out_linear", torch.cat(parts)))
    return results


def _network(w: Weights, x: Tensor) -> Tensor:
    gate, reference, value = _product(w, "mlp.up_proj", x).chunk(3)
    gelu = reference * 0.5 * (1 + torch.erf(reference / 2**0.5))
    return _product(w, "mlp.down_proj", gelu / (1 + torch.exp(-gate)) * value)


def generated(
    weights: Weights,
    heads: int,
    tokens: Sequence[int],
    most: int,
    end: int,
    temperature: float,
    top_k: int,
    top_p: float,
) -> list[int]:
    """Tokens drawn by PyTorch's generator, each from the logits of the whole text before it."""
    text, found = list(tokens), []
    for _ in range(most):
        logits = logits_of(weights, heads, text)[-1].float() / temperature
        if top_k:
            kept = [float(value) for value in logits]
            least = sorted(kept)[-top_k]
            logits = torch.tensor([value if value >= least else -torch.inf for value in kept])
        if top_p < 1:
            shares, total, keep = torch.softmax(logits, 0).tolist(), 0.0, set()
            for token in sorted(range(len(shares)), key=lambda t: -shares[t]):
                if total > top_p:
                    break
                keep.add(token)
                total += shares[token]
            logits = torch.tensor([v if t in keep else -torch.inf for t, v in enumerate(logits.tolist())])
        token = int(torch.multinomial(torch.softmax(logits, 0), 1))
        if token == end:
            break
        text.append(token)
        found.append(token)
    return found
