"""Whatever is done to a good input: every reader in Python takes it or raises its own error, and does not hang."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzzing import Target, run, targets

NAMES = (
    "manifest",
    "container",
    "tokenizer",
    "pack",
    "bank",
    "state",
    "checkpoint",
    "gguf",
    "model folder",
    "model config",
    "config",
    "schema",
    "regex",
    "lark",
    "choices",
)


def test_all_readers_are_tried(tmp_path: Path) -> None:
    found = targets(tmp_path)
    assert tuple(target.name for target in found) == NAMES
    for target in found:
        for seed in target.seeds:
            target.read(seed)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("count", [300, pytest.param(20_000, marks=pytest.mark.slow)], ids=["some", "many"])
def test_readers_stand_mutated_inputs(name: str, count: int, tmp_path: Path) -> None:
    run(next(target for target in targets(tmp_path) if target.name == name), count, seed=count)


def test_what_a_reader_raises_otherwise_is_reported_with_its_input(tmp_path: Path) -> None:
    def fails(data: bytes) -> None:
        raise KeyError("not an error of a reader")

    with pytest.raises(AssertionError, match="x, seed 3, 0: KeyError"):
        run(Target("x", fails, (b"seed",)), 5, seed=3)
