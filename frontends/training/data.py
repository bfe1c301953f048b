"""Training data: where sequences come from, and which of them a step takes on each process.

A data folder holds ``pretrain.bin`` (token numbers, u16 little-endian), ``sft.npz`` (``tokens`` u16 [n, L], padded,
``loss_start`` and ``length`` i32 [n]) and ``dpo.npz`` (the same, rows in pairs: the better answer, then the worse),
each only if a phase needs it. A folder without ``pretrain.bin`` may hold .txt files instead. A phase that names data
sets reads the sub-folders of these names in place of the folder itself.

Sequence number n of a run is fixed by the seed: every epoch is a permutation of its own. Step s of a phase takes the
numbers s * batch to (s + 1) * batch - 1 whatever the number of processes, so the position in the data is the step.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chimerac.compiler.errors import UserError
from chimerac.compiler.texts import MOST_TEXT
from chimerac.frontends.families.phases import Phase
from chimerac.frontends.training.counter import generator
from chimerac.frontends.training.files import (
    Integers,
    Tokens,
    read_rows,
    read_text,
    read_tokens,
    read_whole,
)

ORDER_STREAM = 0x6F72646572  #: "order"
OFFSET_STREAM = 0x73686966  #: "shif"
LENGTH_GROUP = 64  #: batches whose rows are sorted by length among each other
SMALLEST_VALID = 512  #: tokens; a text folder holds back a twentieth, but no less


@dataclass(frozen=True)
class Batch:
    """One process's part of a step.

    Attributes:
        numbers: int64 [B], the sequences' running numbers. tokens: int64 [B, T].
        positions: int64 [M], the flat places b * T + t whose next token is a target; None when all are, in order.
        targets: int64 [M], the tokens to predict. total: number of targets of the whole step, over all processes.
    """

    numbers: Integers
    tokens: Tensor
    positions: Tensor | None
    targets: Tensor
    total: int

    def to(self, device: torch.device) -> Batch:
        """The same on ``device``."""
        positions = None if self.positions is None else self.positions.to(device, non_blocking=True)
        tokens, targets = (t.to(device, non_blocking=True) for t in (self.tokens, self.targets))
        return Batch(self.numbers, tokens, positions, targets, self.total)


class Source(Protocol):
    """Sequences to draw from. ``count``: sequences of an epoch."""

    count: int

    def batch(self, numbers: Integers, rank: int, world: int) -> Batch:
        """This process's contiguous share of a step's sequences ``numbers``."""


class TextSource:
    """Windows of running text, shifted by another offset in each epoch. A window may span documents."""

    def __init__(self, tokens: Tokens, length: int, seed: int) -> None:
        self.tokens, self.length, self.seed = tokens, length, seed
        self.count = len(tokens) // length - 1
        if self.count < 1:
            raise UserError("CHM251", f"{len(tokens)} tokens of text are too few for sequences of {length}")

    def batch(self, numbers: Integers, rank: int, world: int) -> Batch:
        own = share(numbers, rank, world)
        windows = permuted(own, self.count, self.seed)
        epochs = own // self.count
        offsets = [generator(self.seed, OFFSET_STREAM, int(e)).integers(self.length) for e in epochs]
        starts = windows * self.length + np.array(offsets, np.int64)
        rows = torch.from_numpy(self.tokens[starts[:, None] + np.arange(self.length + 1)].astype(np.int64))
        return Batch(own, rows[:, :-1].contiguous(), None, rows[:, 1:].flatten(), len(numbers) * self.length)


class RowSource:
    """Rows with targets from ``loss_start`` to ``length``; ``pair`` keeps neighbours 2i, 2i+1 together.

    With ``ends``, every LENGTH_GROUP batches' rows are sorted by length before they are cut into batches, and the
    batches shuffled again.
    """

    def __init__(
        self, tokens: Tokens, starts: Integers, lengths: Integers, phase: Phase, seed: int, *, pair: bool = False
    ) -> None:
        longest = int(lengths.max(initial=0))
        if longest > phase.sequence_length:
            raise UserError(
                "CHM252", f"a row of {longest} tokens is longer than the sequence length {phase.sequence_length}"
            )
        if bool((starts < 1).any()) or bool((starts >= lengths).any()):
            raise UserError("CHM252", "a row has no target, or its first token is one")
        self.tokens, self.starts, self.lengths = tokens, starts, lengths
        self.seed, self.step, self.pair = seed, 2 if pair else 1, pair
        self.count = len(tokens) // self.step
        self.length, self.ends, self.rows_per_batch = phase.sequence_length, phase.ends, phase.batch
        if self.count < 1:
            raise UserError("CHM251", "there are no rows to train on")
        self._group: tuple[int, Integers] | None = None

    def batch(self, numbers: Integers, rank: int, world: int) -> Batch:
        items = permuted(numbers, self.count, self.seed) if not self.ends else self._similar(numbers)
        if self.pair:
            items = np.stack([2 * items, 2 * items + 1], 1).flatten()
        width = self._width(int(self.lengths[items].max()))
        total = int((self.lengths[items] - self.starts[items]).sum())
        own = share(items, rank, world)
        rows = np.zeros((len(own), width), np.int64)
        kept = min(width, self.tokens.shape[1])
        rows[:, :kept] = self.tokens[own, :kept]
        place = np.arange(width)
        wanted = (place + 1 >= self.starts[own, None]) & (place + 1 < self.lengths[own, None])
        positions = np.flatnonzero(wanted)
        targets = rows.flatten()[positions + 1]
        as_tensor = torch.from_numpy
        return Batch(share(numbers, rank, world), as_tensor(rows), as_tensor(positions), as_tensor(targets), total)

    def _width(self, longest: int) -> int:
        return next((end for end in self.ends if end >= longest), self.length)

    def _similar(self, numbers: Integers) -> Integers:
        """The items of a batch when batches are made of rows of similar length."""
        size = self.rows_per_batch
        batch = int(numbers[0]) // size
        group = batch // LENGTH_GROUP
        if self._group is None or self._group[0] != group:
            first = group * LENGTH_GROUP * size
            items = permuted(np.arange(first, first + LENGTH_GROUP * size), self.count, self.seed)
            lengths = self.lengths.reshape(self.count, self.step).max(1)[items]
            ordered = items[np.argsort(lengths, kind="stable")].reshape(LENGTH_GROUP, size)
            shuffled = generator(self.seed, ORDER_STREAM + 1, group).permutation(LENGTH_GROUP)
            self._group = group, ordered[shuffled]
        chosen: Integers = self._group[1][batch % LENGTH_GROUP]
        return chosen


def share(items: Integers, rank: int, world: int) -> Integers:
    """The contiguous part of process ``rank`` of ``world``. Raises UserError CHM253 when parts can't be equal."""
    if len(items) % world:
        raise UserError("CHM253", f"a batch of {len(items)} can't be shared equally by {world} processes")
    part = len(items) // world
    return items[rank * part : (rank + 1) * part]


_orders: dict[tuple[int, int, int], Integers] = {}


def permuted(numbers: Integers, count: int, seed: int) -> Integers:
    """Items for running numbers: in each epoch of ``count`` numbers every item occurs once."""
    result = np.empty_like(numbers)
    for epoch in np.unique(numbers // count):
        key = seed, count, int(epoch)
        if key not in _orders:
            if len(_orders) > 3:
                _orders.clear()
            _orders[key] = generator(seed, ORDER_STREAM, int(epoch)).permutation(count)
        here = numbers // count == epoch
        result[here] = _orders[key][numbers[here] - epoch * count]
    return result


class DataFolder:
    """A folder of training data.

    Args:
        encode: text to token numbers, for folders of .txt files. end: token after each text.

    Attributes:
        valid_text: held-out token numbers and the bytes of text they stand for; None when there are none.
    """

    def __init__(self, path: Path, encode: Callable[[str], list[int]], end: int | None) -> None:
        if not os.path.isdir(path):  # which is asked of whatever path
            raise UserError("CHM254", f"there is no data folder {path}")
        self.path, self._encode, self._end = path, encode, end
        self.text: Tokens | None = None
        self.valid_text: tuple[Tokens, int] | None = None
        if (path / "pretrain.bin").exists():
            self.text = read_tokens(path / "pretrain.bin")
            if (path / "valid_text.bin").exists():
                valid = read_tokens(path / "valid_text.bin")
                self.valid_text = valid, read_whole(path / "valid_text.bytes", lambda stream: stream.seek(0, 2))
        elif files := sorted(path.glob("**/*.txt")):
            self._read_texts(files, encode, end)

    def _read_texts(self, files: list[Path], encode: Callable[[str], list[int]], end: int | None) -> None:
        """The last twentieth of the files' text is held back."""
        texts, size = [], 0
        for file in files:
            texts.append(read_text(file, "replace"))
            size += len(texts[-1])
            if size > MOST_TEXT:
                message = f"the .txt files in {self.path} have over {MOST_TEXT:,} characters together"
                raise UserError("CHM254", message, hint="make pretrain.bin of them")
        whole = "".join(texts)
        held = whole[-max(SMALLEST_VALID, len(whole) // 20) :]
        left = len(whole) - len(held)
        tokens: list[int] = []
        for text in texts:
            part = text[:left]
            left -= len(part)
            if part:
                tokens += encode(part) + ([] if end is None else [end])
        self.text = _narrow(np.array(tokens, np.int64), self.path)
        self.valid_text = _narrow(np.array(encode(held), np.int64), self.path), len(held.encode())

    def source(self, phase: Phase, vocabulary: int, seed: int) -> Source:
        """Sequences for a phase. Raises UserError CHM251 to CHM255."""
        folders = [self._named(name, phase.name) for name in phase.data] or [self]
        if phase.kind == "pretrain":
            text = np.concatenate([folder._running_text() for folder in folders])
            check_vocabulary(text, vocabulary)
            return TextSource(text, phase.sequence_length, seed)
        rows = [folder._rows(phase) for folder in folders]
        width = max(tokens.shape[1] for tokens, _, _ in rows)
        tokens = np.concatenate([np.pad(part, ((0, 0), (0, width - part.shape[1]))) for part, _, _ in rows])
        starts, lengths = (np.concatenate([part[index] for part in rows]) for index in (1, 2))
        check_vocabulary(tokens, vocabulary)
        return RowSource(tokens, starts, lengths, phase, seed, pair=phase.kind == "dpo")

    def _named(self, name: str, phase: str) -> DataFolder:
        """The sub-folder of a data set."""
        if not (self.path / name).is_dir():
            message = f"the phase {phase!r} reads the data set {name!r}, and {self.path} has no folder of that name"
            hint = "put it there, or let the phase name no data (null): it then reads the folder itself"
            raise UserError("CHM254", message, hint=hint)
        return DataFolder(self.path / name, self._encode, self._end)

    def _running_text(self) -> Tokens:
        if self.text is None:
            raise UserError("CHM254", f"{self.path} has neither pretrain.bin nor .txt files")
        return self.text

    def _rows(self, phase: Phase) -> tuple[Tokens, Integers, Integers]:
        """Padded rows, and where the targets of each start and end."""
        file = self.path / f"{phase.kind}.npz"
        if not file.exists():
            raise UserError("CHM254", f"the phase {phase.name!r} needs {file}, which does not exist")
        tokens, starts, lengths = read_rows(file)
        return _narrow(tokens, file), starts, lengths


def _narrow(tokens: NDArray[Any], origin: Path) -> Tokens:
    """Token numbers as they are kept for training, 16 bits each. Raises UserError CHM255 where one does not fit."""
    if tokens.size and int(tokens.max()) > np.iinfo(np.uint16).max:
        message = f"{origin} has token {int(tokens.max())}; training takes vocabularies of up to 65,536 tokens"
        raise UserError("CHM255", message, hint="train with a smaller tokenizer: docs/tutorial.md makes one")
    return tokens.astype(np.uint16)


def check_vocabulary(tokens: Tokens, vocabulary: int) -> None:
    """Raise UserError CHM255 when a token is beyond the model's vocabulary."""
    largest = int(tokens.max(initial=0))
    if largest >= vocabulary:
        raise UserError("CHM255", f"the data has token {largest}, but the model's vocabulary ends at {vocabulary - 1}")
