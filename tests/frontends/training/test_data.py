"""Where sequences come from: order, shares of processes, targets, files and their mistakes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from chimerac.compiler.errors import UserError
from chimerac.frontends.training import Phase
from chimerac.frontends.training.data import DataFolder, RowSource, TextSource, permuted

ROWS = Phase("rows", "sft", steps=1, sequence_length=24, batch=4)


def numbers(start: int, count: int) -> np.ndarray:
    return np.arange(start, start + count)


def row_source(phase: Phase = ROWS, count: int = 40, *, pair: bool = False) -> RowSource:
    random = np.random.default_rng(1)
    lengths = random.integers(4, 20, count).astype(np.int64)
    starts = np.array([random.integers(1, length) for length in lengths], np.int64)
    tokens = np.full((count, 20), 99, np.uint16)
    for i, length in enumerate(lengths):
        tokens[i, :length] = i
    return RowSource(tokens, starts, lengths, phase, 3, pair=pair)


def test_an_epoch_is_a_permutation_and_epochs_differ() -> None:
    first, second = permuted(numbers(0, 10), 10, 1), permuted(numbers(10, 10), 10, 1)
    assert sorted(first) == sorted(second) == list(range(10))
    assert list(first) != list(second)
    assert list(permuted(numbers(7, 6), 10, 1)) == [*first[7:], *second[:3]]
    assert list(permuted(numbers(0, 10), 10, 2)) != list(first)


def test_windows_of_text_predict_the_next_token() -> None:
    source = TextSource(np.arange(1000).astype(np.uint16), 32, 0)
    batch = source.batch(numbers(0, source.count), 0, 1)
    assert torch.equal(batch.targets.view(-1, 32), batch.tokens + 1)
    assert batch.positions is None
    assert batch.total == 32 * source.count
    starts = batch.tokens[:, 0]
    assert len(set(starts.tolist())) == source.count
    again = source.batch(numbers(source.count, source.count), 0, 1).tokens[:, 0]
    assert set((again % 32).tolist()) != set((starts % 32).tolist())


@pytest.mark.parametrize("world", [2, 4])
def test_shares_put_together_are_the_step(world: int) -> None:
    for source in (TextSource(np.arange(1000).astype(np.uint16), 32, 0), row_source()):
        whole = source.batch(numbers(8, 4), 0, 1)
        parts = [source.batch(numbers(8, 4), rank, world) for rank in range(world)]
        assert torch.equal(torch.cat([part.tokens for part in parts]), whole.tokens)
        assert torch.equal(torch.cat([part.targets for part in parts]), whole.targets)
        assert {part.total for part in parts} == {whole.total} == {len(whole.targets)}
    with pytest.raises(UserError, match="shared equally"):
        source.batch(numbers(0, 3), 0, 2)


def test_rows_have_targets_from_their_start_to_their_end() -> None:
    source = row_source()
    batch = source.batch(numbers(0, 40), 0, 1)
    assert batch.tokens.shape == (40, 24)
    assert batch.positions is not None
    rows, places = batch.positions // 24, batch.positions % 24
    for index, row in enumerate(batch.tokens):
        item = int(row[0])
        expected = list(range(int(source.starts[item]) - 1, int(source.lengths[item]) - 1))
        assert places[rows == index].tolist() == expected
        assert (batch.targets[rows == index] == item).all()


def test_similar_lengths_share_a_batch() -> None:
    source = row_source(replace(ROWS, ends=(8, 12)), 400)
    batches = [source.batch(numbers(4 * step, 4), 0, 1) for step in range(64)]
    widths = {batch.tokens.shape[1] for batch in batches}
    assert widths == {8, 12, 24}
    seen = [int(row[0]) for batch in batches for row in batch.tokens]
    assert len(seen) == 256
    assert len(set(seen)) == 256
    alone = sum(max(source.lengths[i] for i in part) for part in np.array_split(np.array(seen), 64))
    random = sum(max(source.lengths[i] for i in part) for part in np.array_split(np.random.permutation(seen), 64))
    assert alone < 0.8 * random
    later = row_source(replace(ROWS, ends=(8, 12)), 400).batch(numbers(4 * 70, 4), 0, 1)
    source.batch(numbers(0, 4), 0, 1)
    assert torch.equal(later.tokens, source.batch(numbers(4 * 70, 4), 0, 1).tokens)


def test_pairs_stay_together() -> None:
    batch = row_source(pair=True).batch(numbers(0, 4), 0, 1)
    items = batch.tokens[:, 0].tolist()
    assert len(items) == 8
    assert all(a % 2 == 0 and b == a + 1 for a, b in zip(items[::2], items[1::2], strict=True))


def test_text_files_hold_back_their_end(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("x" * 3000)
    (tmp_path / "a.txt").write_text("ä" * 400)
    folder = DataFolder(tmp_path, lambda text: list(text.encode()), 256)
    assert folder.text is not None
    assert folder.valid_text is not None
    assert folder.text[:2].tolist() == list("ä".encode())
    assert (folder.text == 256).sum() == 2
    assert folder.valid_text[1] == len(folder.valid_text[0]) == 512
    assert len(folder.text) == 800 + 3000 - 512 + 2


def test_tokens_of_more_than_16_bits_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("word " * 5000)
    with pytest.raises(UserError, match="token 70000") as error:
        DataFolder(tmp_path, lambda text: [70000] * len(text), None).source(Phase("p", sequence_length=16), 200073, 0)
    assert error.value.code == "CHM255"
    large = np.full((4, 8), 65536)
    np.savez(tmp_path / "sft.npz", tokens=large, loss_start=np.full(4, 2), length=np.full(4, 8))
    (tmp_path / "a.txt").unlink()
    with pytest.raises(UserError, match="token 65536") as error:
        DataFolder(tmp_path, list, None).source(ROWS, 200073, 0)  # type: ignore[arg-type]
    assert error.value.code == "CHM255"


def test_mistakes_in_data_are_named(tmp_path: Path, folder: DataFolder) -> None:
    with pytest.raises(UserError, match="no data folder") as error:
        DataFolder(tmp_path / "none", list, None)  # type: ignore[arg-type]
    assert error.value.code == "CHM254"
    empty = DataFolder(tmp_path, lambda text: list(text.encode()), None)
    with pytest.raises(UserError, match="neither"):
        empty.source(Phase("p"), 260, 0)
    with pytest.raises(UserError, match=r"sft\.npz"):
        empty.source(ROWS, 260, 0)
    with pytest.raises(UserError, match="token 117") as error:
        folder.source(Phase("p", sequence_length=16), 100, 0)
    assert error.value.code == "CHM255"
    with pytest.raises(UserError, match="too few"):
        folder.source(Phase("p", sequence_length=4096), 260, 0)
    with pytest.raises(UserError, match="longer than the sequence length"):
        folder.source(replace(ROWS, sequence_length=8), 260, 0)
    np.savez(tmp_path / "sft.npz", tokens=np.zeros((2, 4), np.uint16))
    with pytest.raises(UserError, match="length, loss_start"):
        empty.source(ROWS, 260, 0)
    starts, lengths = np.array([0, 1]), np.array([4, 4])
    np.savez(tmp_path / "sft.npz", tokens=np.zeros((2, 4), np.uint16), loss_start=starts, length=lengths)
    with pytest.raises(UserError, match="first token is one"):
        empty.source(ROWS, 260, 0)
