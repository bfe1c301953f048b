"""Modules that cannot be compiled, each for reasons that are known, and one that can: a user's file."""

from __future__ import annotations

import torch
from torch import Tensor, nn

WIDTH, VOCABULARY = 8, 300


class Mixer(nn.Module):
    """Called by another method than forward."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)

    def mix(self, x: Tensor) -> Tensor:
        smallest = torch.kthvalue(x, 1, -1, True)[0]  # kthvalue
        (within,) = map(lambda y: torch.digamma(y), [x])  # noqa: C417  # digamma
        result: Tensor = smallest + within
        return result

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.linear(x)
        return result


class Base(nn.Module):
    h: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(VOCABULARY, WIDTH)
        self.layers = nn.ModuleList([Mixer(), Mixer()])
        self.head = nn.Linear(WIDTH, VOCABULARY)
        self.register_buffer("h", torch.zeros(WIDTH))

    def body(self, x: Tensor, position: Tensor) -> Tensor:
        return x

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        result: Tensor = self.head(self.body(self.table(tokens), position))
        return result


class Fine(Base):
    def body(self, x: Tensor, position: Tensor) -> Tensor:
        result: Tensor = self.layers[0](x)
        return result


class Several(Base):
    """Ops in submodules, operands, a buffer."""

    def body(self, x: Tensor, position: Tensor) -> Tensor:
        x = self.layers[1].mix(self.layers[0].mix(x))  # type: ignore[operator]
        self.h.copy_(torch.zeros(4).sum() + x[-1, 0])  # buffer
        return torch.lgamma(x)  # lgamma


class Complex(Base):
    """What follows a value that has no form."""

    def body(self, x: Tensor, position: Tensor) -> Tensor:
        z = torch.complex(x, x)  # complex
        return torch.erfinv(z.real)  # erfinv


class Branch(Base):
    def body(self, x: Tensor, position: Tensor) -> Tensor:
        if x.sum() > 3:  # branch
            return x
        return x * 2


class Specialised(Base):
    def body(self, x: Tensor, position: Tensor) -> Tensor:
        return x.reshape(3, WIDTH)


class Item(Base):
    def body(self, x: Tensor, position: Tensor) -> Tensor:
        return torch.mul(x, position.item())  # item


class Numpy(Base):
    def body(self, x: Tensor, position: Tensor) -> Tensor:
        return x * float(x.numpy().sum())  # numpy


class Batched(Base):
    """Takes [1, T], and fails then."""

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        rows, columns = tokens.shape
        if tokens.sum() > 3:  # batched
            return self.head(self.table(tokens)) * rows * columns  # type: ignore[no-any-return]
        return self.head(self.table(tokens))  # type: ignore[no-any-return]


class Shapes(Base):
    def body(self, x: Tensor, position: Tensor) -> Tensor:
        return x @ torch.zeros(WIDTH + 1, WIDTH)  # shapes


class Tensors(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x)


class TensorsObstructed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.lgamma(x)  # plain lgamma


class Arguments(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()


class Raises(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        raise ValueError("no weights\nhere")  # raises


not_a_module = 3
