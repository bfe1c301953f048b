"""PyTorch modules that are no language models, of each kind that a bundle may hold: a user's file."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Mlp(nn.Module):
    """Features to probabilities, a batch of two."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(12, 20), nn.GELU(), nn.LayerNorm(20), nn.Linear(20, 5))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layers(x).softmax(-1)
        return result

    def example(self) -> tuple[Tensor]:
        return (torch.zeros(2, 12),)


class ConvNet(nn.Module):
    """An image to scores."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3), nn.ReLU()
        )
        self.head = nn.Linear(6, 3)

    def forward(self, image: Tensor) -> Tensor:
        result: Tensor = self.head(self.features(image).mean((2, 3)))
        return result

    def example(self) -> tuple[Tensor]:
        return (torch.zeros(1, 2, 8, 8),)


class Upwards(nn.Module):
    """A signal made longer, its angles, running products, and both directions of an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.longer = nn.ConvTranspose1d(3, 4, 4, stride=2, padding=1)
        self.lstm = nn.LSTM(4, 3, bidirectional=True, batch_first=True)

    def forward(self, signal: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.longer(signal)
        angles = torch.atan2(x, x.flip(-1)) + torch.atan(x)
        return self.lstm(x.transpose(1, 2))[0], angles, torch.cumprod(angles, -1)

    def example(self) -> tuple[Tensor]:
        return (torch.zeros(1, 3, 5),)


class Classifier(nn.Module):
    """Ids of any number to scores, those that are kept; it counts its calls."""

    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(10, 8), nn.Linear(8, 3)
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def forward(self, ids: Tensor, kept: Tensor, scale: Tensor) -> dict[str, Tensor]:
        rows = torch.tanh(self.table(ids)) * scale * kept[:, None]
        scores = self.head(rows)
        self.seen.add_(1)
        return {"scores": scores, "rows": rows, "best": scores.argmax(-1), "any": rows.sum(1) > 0, "seen": self.seen}

    def example(self) -> dict[str, Tensor]:
        return {
            "ids": torch.zeros(5, dtype=torch.int64),
            "kept": torch.ones(5, dtype=torch.bool),
            "scale": torch.ones(()),
        }

    def dynamic_shapes(self) -> dict[str, object]:
        axis = torch.export.Dim("T", min=1, max=8)
        return {"ids": {0: axis}, "kept": {0: axis}, "scale": None}


class Filter(nn.Module):
    """A running mean that starts from one half, and how often it was called; what it was given comes back, too."""

    mean: Tensor
    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full((3,), 0.5))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        self.mean.mul_(0.75).add_(0.25 * x)
        self.calls.add_(1)
        return self.mean, self.calls, x

    def example(self) -> tuple[Tensor]:
        return (torch.zeros(3),)


class Constant(nn.Module):
    """Nothing in, a table and a number out."""

    table: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.arange(6.0).reshape(2, 3))

    def forward(self) -> tuple[Tensor, Tensor]:
        return self.table, torch.tensor(7)


class Aliases(nn.Module):
    """Results that share memory with inputs, states, weights and each other, before and after a state changes."""

    held: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.register_buffer("held", torch.arange(4.0))
        self.register_buffer("count", torch.zeros(1, dtype=torch.int64))

    def forward(self, x: Tensor, step: Tensor) -> dict[str, Tensor]:
        before, counted = self.held.clone(), self.count.clone()
        y = torch.tanh(self.linear(x))
        after = before * 0.5 + y[-1]
        self.held.copy_(after)
        self.count.add_(step)
        inputs = {"x": x, "step": step, "x in pairs": x.reshape(-1, 2, 2)}
        rows = {
            "y": y,
            "y once more": y,
            "y with an axis": y.reshape(1, -1, 4),
            "last": y[-1],
            "more": torch.relu(y) + 1,
        }
        states = {"before": before, "after": after, "held": self.held, "counted": counted, "count": self.count}
        return (
            inputs
            | rows
            | states
            | {"weight": self.linear.weight, "square": after.reshape(2, 2), "ones": torch.ones(2)}
        )

    def example(self) -> tuple[Tensor, Tensor]:
        return torch.zeros(5, 4), torch.tensor(1)

    def dynamic_shapes(self) -> dict[str, object]:
        return {"x": {0: torch.export.Dim("T", min=1, max=8)}, "step": None}
