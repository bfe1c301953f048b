"""The data folder: what its files hold, and that the same arguments give the same bytes."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from chimerac.frontends.training.recipes.home.make_data import make_data
from chimerac.runtime.reference.tokenizer import read_tokenizer


def test_rows_are_requests_and_answers(data: Path) -> None:
    tokenizer = read_tokenizer(data / "tokenizer.model")
    answer, end, pad = (tokenizer.special_id(role) for role in ("answer", "end", "pad"))
    with np.load(data / "sft.npz") as arrays:
        tokens, starts, lengths = arrays["tokens"], arrays["loss_start"], arrays["length"]
    assert tokens.dtype == np.uint16
    assert starts.dtype == lengths.dtype == np.int32
    assert 250 < len(tokens) == len(starts) == len(lengths)
    for row, start, length in zip(tokens.tolist(), starts, lengths, strict=True):
        assert row[start - 1] == answer
        assert row[length - 1] == end
        assert set(row[length:]) <= {pad}
        text, target = tokenizer.decode(row[: start - 1]), tokenizer.decode(row[start : length - 1])
        assert list(json.loads(target)) == ["intent", "slots"]
        assert tokenizer.encode(text) == row[: start - 1]
        assert tokenizer.encode(target) == row[start : length - 1]


def test_plain_text(data: Path, prose: list[str]) -> None:
    tokenizer = read_tokenizer(data / "tokenizer.model")
    end = tokenizer.special_id("end")
    found = {}
    for name in ("pretrain", "valid_text"):
        tokens = np.fromfile(data / f"{name}.bin", "<u2")
        assert tokens[-1] == end
        found[name] = [tokenizer.decode(part.tolist()) for part in np.split(tokens, np.flatnonzero(tokens == end))]
    plain = [text for texts in found.values() for text in texts if text in prose]
    assert sorted(plain) == sorted(prose)
    assert all(text in prose for text in found["valid_text"] if text)
    copies = [text for text in found["pretrain"] if text and text not in prose]
    assert copies
    share = sum(map(len, copies)) / sum(map(len, found["pretrain"]))
    assert 0.15 < share < 0.6  # a whole number of documents
    for line in "\n".join(copies).splitlines():
        assert max(Counter(re.findall(r"\w+", line)).values()) > 1, line
    assert (data / "valid_text.bytes").read_text() == "".join(found["valid_text"])


def test_validation_files(data: Path) -> None:
    for name in ("names", "templates", "seen"):
        rows = [json.loads(line) for line in (data / f"valid_{name}.jsonl").read_text().splitlines()]
        assert len(rows) > 40
        for row in rows:
            assert row.keys() == {"text", "json", "intent"}
            assert json.loads(row["json"])["intent"] == row["intent"]


def test_description(data: Path) -> None:
    described = json.loads((data / "data.json").read_text())
    assert described["seed"] == 3
    assert described["packages"]["home-assistant-intents"]
    assert set(described["files"]) == {file.name for file in data.iterdir()} - {"data.json"}
    for name, entry in described["files"].items():
        content = (data / name).read_bytes()
        assert entry == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    assert (
        sum(described["rows_per_intent"]["train"].values()) == described["sft"]["rows"] + described["sft"]["too_long"]
    )


@pytest.mark.slow
def test_same_arguments_same_bytes(data: Path, prose: list[str], words: list[str], tmp_path: Path) -> None:
    make_data(tmp_path, prose, words=words, sentences=300, validation=50, seed=3, vocabulary=700)
    assert {file.name for file in tmp_path.iterdir()} == {file.name for file in data.iterdir()}
    for file in tmp_path.iterdir():
        assert file.read_bytes() == (data / file.name).read_bytes(), file.name
