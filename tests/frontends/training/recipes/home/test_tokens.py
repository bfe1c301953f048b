"""The tokenizer: its shape, and that data, Python runtime and C runtime have the same tokens."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from chimerac.frontends.tokenizers.byte_pairs import count_pieces, learn
from chimerac.frontends.training.recipes.home.names import name_words
from chimerac.frontends.training.recipes.home.sentences import Row, Splits
from chimerac.frontends.training.recipes.home.tokens import FastEncoder, train_tokenizer
from chimerac.runtime.bundle_format import NATIVE_DIRECTORY
from chimerac.runtime.reference.tokenizer import Tokenizer, write_tokenizer

COPIED = ("name", "area", "floor", "item", "message", "search_query", "conversation_command")
STRANGE = (
    "",
    " ",
    "  ",
    "\n\n x",
    "a  b",
    "näïve — 日本語",
    '{"intent":"x","slots":{}}',
    "12 34.5%",
    "\x00\t",
    "İstanbul's",
)


@pytest.fixture(scope="module")
def texts(splits: Splits, prose: list[str]) -> list[str]:
    return [*(row.text for row in splits.train), *(row.json for row in splits.train), *prose, *STRANGE]


@pytest.fixture(scope="module")
def tokenizer(splits: Splits, prose: list[str]) -> Tokenizer:
    return train_tokenizer(prose, [row.text for row in splits.train], [row.json for row in splits.train], 1500)


def test_learning_pairs() -> None:
    assert learn({b"abab": 3, b"abc": 2, b"x": 9}, 3) == [b"ab", b"abab", b"abc"]
    assert learn({b"aaaa": 1}, 5) == [b"aa", b"aaaa"]
    assert learn({b"abc": 1, b"bca": 1}, 1) == [b"bc"]
    assert learn({b"ab": 1, b"cd": 1}, 9) == [b"ab", b"cd"]
    assert learn({b"ab": 3, b"cd": 2}, 9, fewest=3) == [b"ab"]
    assert learn({b"ab": 1, b"cdcd": 5}, 9, most_pieces=1) == [b"cd", b"cdcd"]


def test_pieces() -> None:
    assert count_pieces(["Anna's 12%", "Anna"]) == {b"Anna": 2, b"'": 1, b"s": 1, b" ": 1, b"1": 1, b"2": 1, b"%": 1}


def test_shape(tokenizer: Tokenizer) -> None:
    assert [tokenizer.tokens[byte] for byte in range(256)] == [bytes([byte]) for byte in range(256)]
    assert len(tokenizer.tokens) == 1500
    assert [(special.name, special.id, special.role) for special in tokenizer.specials] == [
        ("<|json|>", 1497, "answer"),
        ("<|endoftext|>", 1498, "end"),
        ("<|pad|>", 1499, "pad"),
    ]
    long = [token.decode() for token in tokenizer.tokens[256:] if token]
    assert len(long) > 900
    for token in long:
        assert " " not in token[1:]
        assert not re.search(r"\d", token)
        mixes = re.search(r"[a-zA-Z]", token) and re.search(r"[^a-zA-Z ]", token)
        assert not mixes or token.startswith(('{"intent', '","slots')) or re.fullmatch('[a-z]+":"', token)
    assert {'{"intent":"', '{"intent":"HassTurnOn', 'name":"'} <= set(long)
    spaced = {token for token in long if token.startswith(" ")}
    assert len(spaced) > 15
    assert not spaced & {f" {word}" for word in name_words()}


def test_everything_comes_back(tokenizer: Tokenizer, texts: list[str]) -> None:
    for text in texts[::7] + list(STRANGE):
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_fast_encoding_is_the_runtimes(tokenizer: Tokenizer, texts: list[str]) -> None:
    tokens, counts = FastEncoder(tokenizer).encode(texts)
    expected = [tokenizer.encode(text) for text in texts]
    assert counts.tolist() == [len(one) for one in expected]
    assert tokens.tolist() == [token for one in expected for token in one]


def test_a_new_name_has_the_same_tokens_everywhere(tokenizer: Tokenizer) -> None:
    for name in ("Zorbel lamp", "quixotic blind", "Thrandia's room"):
        for before, after in (("turn on my ", " now"), ('{"name":"', '"}}'), (" ", "")):
            tokens = tokenizer.encode(before + name + after)
            plain = tokenizer.encode(name)
            assert any(tokens[k : k + len(plain)] == plain for k in range(len(tokens)))


def test_values_have_the_tokens_of_the_request(tokenizer: Tokenizer, splits: Splits) -> None:
    """Or a model could not copy them token by token. Nearly all: few rows tell little of which words start values."""

    def same(row: Row) -> bool:
        asked = tokenizer.encode(row.text)
        values = [value for name, value in json.loads(row.json)["slots"].items() if name in COPIED]
        encoded = [tokenizer.encode(value) for value in values]
        return all(any(asked[k : k + len(one)] == one for k in range(len(asked))) for one in encoded)

    for rows in (splits.train, splits.valid_names, splits.valid_seen):
        assert sum(map(same, rows)) > 0.95 * len(rows)


def test_c_runtime_has_the_same_tokens(tokenizer: Tokenizer, texts: list[str], tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "t.model", tokenizer)
    parts = ("tokenizer", "encoder", "merges", "normal", "pretokenizer", "tidy", "utf8", "container", "crc32", "error")
    sources = [NATIVE_DIRECTORY / f"chm_{part}.c" for part in parts]
    compiler = ["gcc"] if shutil.which("gcc") else [sys.executable, "-m", "ziglang", "cc"]
    command = [*compiler, "-O1", f"-I{NATIVE_DIRECTORY}", *map(str, sources), str(Path(__file__).parent / "encode.c")]
    subprocess.run([*command, "-o", str(tmp_path / "encode")], check=True, capture_output=True)
    encoded = [text.encode() for text in texts if text]
    lines = b"".join(len(data).to_bytes(4, "little") + data for data in encoded)
    command = [str(tmp_path / "encode"), str(tmp_path / "t.model")]
    result = subprocess.run(command, input=lines, check=True, capture_output=True)
    found = [list(map(int, line.split())) for line in result.stdout.decode().splitlines()]
    assert found == [tokenizer.encode(data) for data in encoded]


def test_ids_are_ranks(tokenizer: Tokenizer) -> None:
    """Each token is reached by merging two tokens of lower ids, so encoding its own bytes gives it back."""
    for id, token in enumerate(tokenizer.tokens):
        if token:
            assert tokenizer.encode(token) == [id]
    assert all(a != b for a, b in pairwise(tokenizer.tokens[256:400]))
