"""Tokenizers of folders and of GGUF files: the tokens of ``tokenizers`` and of SentencePiece, and what is refused."""

from __future__ import annotations

import ctypes as ct
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from c_tokenizers import opened as opened_in_c
from gguf_files import Gguf, integer_value, text_value, texts_value
from gguf_tokenizers import (
    bool_value,
    byte_level,
    floats_value,
    integers_value,
    opened,
    with_keys,
)
from public_tokenizers import NAMES, corpus, library_of, texts_with_names
from sentencepiece_model import Pieces, trained

from chimerac.compiler.errors import UserError
from chimerac.frontends.tokenizers import read_folder, read_gguf
from chimerac.frontends.tokenizers.comparison import compare, drawn_texts
from chimerac.frontends.tokenizers.gguf_fields import PRE
from chimerac.frontends.tokenizers.json_files import MAX_BRANCHES
from chimerac.runtime.reference.tokenizer import Tokenizer, write_tokenizer


def folder_of(kind: str, path: Path, **files: object) -> Path:
    """A model's folder without a model."""
    library_of(kind).save(str(path / "tokenizer.json"))
    for name, value in files.items():
        (path / f"{name}.json").write_text(value if isinstance(value, str) else json.dumps(value), "utf-8")
    return path


def roles(tokenizer: Tokenizer) -> dict[str, str]:
    return {special.name: special.role for special in tokenizer.specials}


def size_of(kind: str) -> int:
    return int(library_of(kind).get_vocab_size())


def test_a_folder_says_what_ends_a_generation(tmp_path: Path) -> None:
    size = size_of("qwen2")
    ends = [size - 3, size - 1]
    tokenizer_config = {"eos_token": {"content": NAMES[1], "lstrip": False}, "pad_token": "<|endoftext|>"}
    folder = folder_of("qwen2", tmp_path, generation_config={"eos_token_id": ends}, tokenizer_config=tokenizer_config)
    parts = read_folder(folder, size + 64, strings=200)
    assert len(parts.tokenizer.tokens) == size + 64
    assert roles(parts.tokenizer) == {"<|endoftext|>": "pad", **dict.fromkeys(NAMES, "end")}
    assert (parts.comparison.strings, "200 texts" in str(parts.comparison)) == (200, True)
    folder_of("qwen2", tmp_path, generation_config={"eos_token_id": size - 3}, tokenizer_config={})
    assert roles(read_folder(folder, size, strings=1).tokenizer) == {
        "<|endoftext|>": "control",
        NAMES[0]: "end",
        NAMES[1]: "control",
        NAMES[2]: "control",
    }


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("tokenizer", None, "it cannot be read: No such file"),
        ("tokenizer", "{", "it is not JSON"),
        ("tokenizer", "[]", "it is no JSON object"),
        ("tokenizer", b"\xff", "it is not UTF-8"),
        ("tokenizer", "[" * 100_000, "nested too deep"),
        ("tokenizer", "[]," * (MAX_BRANCHES + 1), "lists and objects"),
        ("generation_config", '{"eos_token_id": "x"}', "eos_token_id is str"),
        ("generation_config", '{"eos_token_id": [1, null]}', "eos_token_id is no token"),
        ("tokenizer_config", '{"eos_token": 7}', "eos_token is int"),
        ("tokenizer_config", '{"eos_token": {"content": 7}}', "content is int"),
    ],
)
def test_files_that_are_not_valid(tmp_path: Path, name: str, text: str | bytes | None, message: str) -> None:
    folder = folder_of("gpt2", tmp_path)
    path = folder / f"{name}.json"
    path.unlink(missing_ok=True)
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError) as caught:
        read_folder(folder, 2000, strings=1)
    assert (caught.value.code, f"{name}.json" in caught.value.message) == ("CHM260", True)
    assert message in caught.value.message


def test_a_difference_to_the_library_is_an_error(tmp_path: Path) -> None:
    """Both results and the text are in the message."""
    tokenizer = read_folder(folder_of("gpt2", tmp_path), size_of("gpt2"), strings=1).tokenizer
    with pytest.raises(UserError) as caught:
        compare("a/tokenizer.json", tokenizer, library_of("digits"), 500)
    assert caught.value.code == "CHM262"
    assert caught.value.message.startswith("a/tokenizer.json: the tokens of ")
    assert " here and [" in caught.value.message


def test_the_drawn_texts_have_what_is_hard() -> None:
    texts = list(drawn_texts(["<|im_end|>"], 2000))
    whole = "".join(texts)
    assert len(set(texts)) > 1900
    assert all(
        part in whole
        for part in ("漢字", "👩‍👩‍👧‍👦", "\u200fعربي", "e\u0301", "\r\n", "  ", "<|im_end|>", "def f(", "\x85")
    )
    assert any(text.isdigit() for text in texts) or any(c.isdigit() for c in whole)


#: Kinds that GGUF files have, by the name of their pre-tokenizer.
GGUF_KINDS = {
    "gpt2": "gpt-2",
    "gpt2 without some bytes": "gpt-2",
    "digits": "smollm",
    "llama3": "llama-bpe",
    "qwen2": "qwen2",
    "qwen3.5": "qwen35",
    "o200k": "gpt-4o",
}


@pytest.mark.parametrize("kind", GGUF_KINDS)
def test_byte_level_gguf_is_the_same_tokenizer_as_the_folder(kind: str, tmp_path: Path) -> None:
    size = size_of(kind)
    folder = read_folder(folder_of(kind, tmp_path), size + 1, strings=1).tokenizer
    found = read_gguf(opened(tmp_path / "a.gguf", byte_level(kind, GGUF_KINDS[kind])), size + 1, strings=60).tokenizer
    names = {special.name: special.id for special in folder.specials}
    assert {special.name: special.id for special in found.specials} == names
    for text in texts_with_names(5, 200):
        assert found.encode(text) == folder.encode(text), text
    assert roles(found)[NAMES[1]] == "end"
    assert roles(found)["<|endoftext|>"] == ("begin" if kind == "llama3" else "control")


def test_keys_of_gguf_about_the_beginning(tmp_path: Path) -> None:
    size = size_of("gpt2") + 1
    gguf = byte_level("gpt2", "gpt-2", add_bos_token=bool_value(True), add_space_prefix=bool_value(True))
    found = read_gguf(opened(tmp_path / "a.gguf", gguf), size, strings=60).tokenizer
    assert roles(found)["<|endoftext|>"] == "begin"
    assert found.rules == ("prefix-missing",)


#: SentencePiece has tokens of its own for the character 0, and none for the empty text.
PIECE_TEXTS = [text for text in (*texts_with_names(6, 300), *drawn_texts([], 300)) if text and "\0" not in text]


@pytest.fixture(scope="module")
def pieces() -> Pieces:
    lines = [text.replace("\0", "").replace("\n", " ") for text in corpus()]
    return trained(lines, PIECE_TEXTS)


def gguf_of_pieces(pieces: Pieces, **more: bytes) -> Gguf:
    keys = {
        "model": text_value("llama"),
        "tokens": texts_value(pieces.pieces),
        "scores": floats_value(pieces.scores),
        "token_type": integers_value(pieces.kinds),
        "bos_token_id": integer_value(pieces.pieces.index("<s>")),
        "eos_token_id": integer_value(pieces.pieces.index("</s>")),
    }
    return with_keys(**keys | more)


def test_scores_merge_as_sentencepiece_does(pieces: Pieces, internals: ct.CDLL, tmp_path: Path) -> None:
    size = len(pieces.pieces)
    tokenizer = read_gguf(opened(tmp_path / "a.gguf", gguf_of_pieces(pieces)), size, strings=300).tokenizer
    assert tokenizer.rules == ("underline", "prefix")
    assert roles(tokenizer) == {"<unk>": "control", "<s>": "begin", "</s>": "end"}
    write_tokenizer(tmp_path / "a.model", tokenizer)
    with opened_in_c(internals, tmp_path / "a.model") as in_c:
        for text, expected in zip(PIECE_TEXTS, pieces.tokens, strict=True):
            assert tokenizer.encode(text) == expected, text
            assert in_c.encode(text) == expected, text


def test_keys_of_gguf_about_scores(pieces: Pieces, tmp_path: Path) -> None:
    gguf = gguf_of_pieces(pieces, add_space_prefix=bool_value(False), add_bos_token=bool_value(False))
    found = read_gguf(opened(tmp_path / "a.gguf", gguf), len(pieces.pieces), strings=60).tokenizer
    assert (found.rules, roles(found)["<s>"]) == (("underline",), "control")


GPT2 = byte_level("gpt2", "gpt-2")
BROKEN: dict[str, tuple[str, Callable[[], Gguf], str]] = {
    "no model": ("CHM231", lambda: with_keys(tokens=texts_value(["a"])), "no tokenizer.ggml.model"),
    "another model": ("CHM261", lambda: GPT2.key("tokenizer.ggml.model", text_value("t5")), "'t5'"),
    "another pre": ("CHM261", lambda: GPT2.key("tokenizer.ggml.pre", text_value("default")), "'default'"),
    "no merges": ("CHM231", lambda: GPT2.but(keys=tuple(k for k in GPT2.keys if "merges" not in str(k[0]))), "merges"),
    "a merge of one": ("CHM260", lambda: GPT2.key("tokenizer.ggml.merges", texts_value(["ab"])), "merge 0"),
    "a merge of three": ("CHM260", lambda: GPT2.key("tokenizer.ggml.merges", texts_value(["a b c"])), "merge 0"),
    "a merge of strangers": ("CHM260", lambda: GPT2.key("tokenizer.ggml.merges", texts_value(["qqq b"])), "merge 0"),
    "a kind of 7": ("CHM260", lambda: GPT2.key("tokenizer.ggml.token_type", integers_value([7])), "token_type"),
    "tokens are numbers": ("CHM231", lambda: GPT2.key("tokenizer.ggml.tokens", integers_value([7])), "tokens"),
    "white space": (
        "CHM261",
        lambda: with_keys(model=text_value("gpt2"), tokens=texts_value(["  "]), token_type=integers_value([4])),
        "white space",
    ),
    "no scores": ("CHM231", lambda: with_keys(model=text_value("llama"), tokens=texts_value(["a"])), "scores"),
    "too few scores": (
        "CHM260",
        lambda: with_keys(model=text_value("llama"), tokens=texts_value(["a", "b"]), scores=floats_value([0.0])),
        "scores",
    ),
    "a score that is no number": (
        "CHM260",
        lambda: with_keys(model=text_value("llama"), tokens=texts_value(["a"]), scores=floats_value([float("nan")])),
        "scores",
    ),
    "no byte tokens": (
        "CHM261",
        lambda: with_keys(model=text_value("llama"), tokens=texts_value(["a"]), scores=floats_value([0.0])),
        "<0x00> to <0xFF>",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_gguf_that_is_refused(name: str, tmp_path: Path) -> None:
    code, make, message = BROKEN[name]
    with pytest.raises(UserError) as caught:
        read_gguf(opened(tmp_path / "a.gguf", make()), 2000, strings=1)
    assert (caught.value.code, message in caught.value.message) == (code, True), caught.value.message


def test_names_of_pre_tokenizers_are_patterns_that_there_are() -> None:
    for pattern, rules, _ in PRE.values():
        tokens = tuple(bytes([byte]) for byte in range(256))
        assert Tokenizer(tokens, pattern=pattern, rules=rules).encode("a 1") == [97, 32, 49]


def test_without_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of("gpt2", tmp_path)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(UserError) as caught:
        read_folder(folder, 2000)
    assert caught.value.code == "CHM304"
