"""tokenizer.json: Python and C have the tokens of ``tokenizers`` for every kind; what is not supported is named."""

from __future__ import annotations

import copy
import ctypes as ct
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from c_tokenizers import OpenTokenizer, opened
from public_tokenizers import KINDS, NAMES, document_of, library_of, texts_with_names
from texts import random_texts

from chimerac.compiler.errors import UserError
from chimerac.frontends.tokenizers.tokenizer_json import TokenRoles, tokenizer_of_json
from chimerac.runtime.reference.tokenizer import Tokenizer, read_tokenizer, write_tokenizer


def made(kind: str, roles: TokenRoles | None = None) -> Tokenizer:
    return tokenizer_of_json(kind, document_of(kind), library_of(kind).get_vocab_size() + 5, roles or TokenRoles())


@pytest.mark.parametrize("kind", KINDS)
def test_python_and_c_have_the_tokens_of_the_library(kind: str, internals: ct.CDLL, tmp_path: Path) -> None:
    library, tokenizer = library_of(kind), made(kind)
    write_tokenizer(tmp_path / "a.model", tokenizer)
    assert read_tokenizer(tmp_path / "a.model") == tokenizer
    with opened(internals, tmp_path / "a.model") as in_c:
        for text in texts_with_names(3, 400):
            expected = library.encode(text, add_special_tokens=False).ids
            assert tokenizer.encode(text, specials=True) == expected, text
            assert in_c.encode(text, specials=True) == expected, text
            ordinary = tokenizer.encode(text)
            found = tokenizer.decode(ordinary)  # with the space that is put before a text, which the library takes off
            assert library.decode(ordinary) in (found, found.removeprefix(" ")), text
        compare_python_and_c(tokenizer, in_c)


def compare_python_and_c(tokenizer: Tokenizer, in_c: OpenTokenizer) -> None:
    """Of any bytes, as they begin a text and as they go on with one."""
    for data in random_texts(4, 300):
        expected = tokenizer.encode(data)
        assert in_c.encode(data) == expected, data
        assert in_c.encode(data, begins=False) == tokenizer.encode(data, begins=False), data
        assert in_c.encode_parts(data, 7) == expected or tokenizer.rules, data
        assert in_c.encode_parts(data, 1 << 20) == expected, data


@pytest.mark.parametrize("kind", ["gpt2 without some bytes", "qwen2", "llama2", "metaspace"])
@pytest.mark.parametrize("unit", ["a", " ", "日", "\u0301", "\x06"])
def test_long_texts_take_time_in_proportion(kind: str, unit: str, internals: ct.CDLL, tmp_path: Path) -> None:
    """Work that grows with the square of the size would not end."""
    tokenizer = made(kind)
    write_tokenizer(tmp_path / "a.model", tokenizer)
    with opened(internals, tmp_path / "a.model") as in_c:
        assert in_c.encode(unit * 100) == tokenizer.encode(unit * 100)
        assert in_c.decode(in_c.encode(unit * 100_000)).count(unit[:1].encode()) in (0, 100_000, 100_001)


def test_ends_of_a_generation_and_the_token_before_a_text() -> None:
    tokenizer = made("llama2", TokenRoles(frozenset((5,)), "</s>", "<unk>"))
    assert [(s.name, s.role) for s in tokenizer.specials[:3]] == [("<unk>", "pad"), ("<s>", "begin"), ("</s>", "end")]
    assert {s.name: (s.role, s.strip) for s in tokenizer.specials[3:]} == {
        NAMES[0]: ("control", 2),
        NAMES[1]: ("control", 1),
        NAMES[2]: ("control", 0),
    }


def test_text_becomes_no_special_token() -> None:
    for kind in ("llama2", "qwen2"):
        tokenizer = made(kind)
        ids = {special.id for special in tokenizer.specials}
        for special in tokenizer.specials:
            assert ids.isdisjoint(tokenizer.encode(special.name))


def test_merges_may_be_pairs_or_texts() -> None:
    document, pairs = document_of("gpt2"), document_of("gpt2")["model"]["merges"]
    assert isinstance(pairs[0], list)
    document["model"]["merges"] = [" ".join(pair) for pair in pairs]
    assert tokenizer_of_json("x", document, library_of("gpt2").get_vocab_size() + 5, TokenRoles()) == made("gpt2")


Change = Callable[[dict[str, Any]], object]


def at(*path: str | int) -> Callable[[object], Change]:
    """Put a value at a place."""

    def change(value: object) -> Change:
        def put(document: dict[str, Any]) -> None:
            here: Any = document
            for key in path[:-1]:
                here = here[key]
            here[path[-1]] = value

        return put

    return change


def added(**flags: object) -> Change:
    return lambda document: document["added_tokens"].append({"id": 1000, "content": "<x>", **flags})


SPLIT = {"type": "Split", "pattern": {"Regex": "a+"}, "behavior": "Isolated", "invert": False}
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
BROKEN: dict[str, tuple[str, str, Change, str]] = {
    "no model": ("CHM260", "gpt2", lambda d: d.pop("model"), "no model"),
    "another model": ("CHM261", "gpt2", at("model", "type")("Unigram"), "a tokenizer model Unigram"),
    "word pieces": ("CHM261", "gpt2", at("model")({"type": "WordPiece", "vocab": {}}), "WordPiece"),
    "dropout": ("CHM261", "gpt2", at("model", "dropout")(0.1), "dropout"),
    "suffix": ("CHM261", "gpt2", at("model", "end_of_word_suffix")("</w>"), "end_of_word_suffix"),
    "prefix": ("CHM261", "gpt2", at("model", "continuing_subword_prefix")("##"), "continuing_subword_prefix"),
    "characters": ("CHM261", "llama2", at("model", "byte_fallback")(False), "without byte_fallback"),
    "whole text": ("CHM261", "llama2", at("model", "ignore_merges")(True), "ignore_merges"),
    "a byte token missing": ("CHM261", "llama2", lambda d: d["model"]["vocab"].pop("<0x41>"), "<0x00> to <0xFF>"),
    "truncation": ("CHM261", "gpt2", at("truncation")({"max_length": 5}), "truncation"),
    "lower case": ("CHM261", "gpt2", at("normalizer")({"type": "Lowercase"}), "the normalizer Lowercase"),
    "replaced": (
        "CHM261",
        "llama2",
        at("normalizer")({"type": "Replace", "pattern": {"String": "a"}, "content": "b"}),
        "Replace",
    ),
    "regex": ("CHM261", "gpt2", at("pre_tokenizer")({"type": "Sequence", "pretokenizers": [SPLIT, BYTES]}), "a+"),
    "white space": ("CHM261", "gpt2", at("pre_tokenizer")({"type": "Whitespace"}), "Whitespace"),
    "two prefixes": (
        "CHM261",
        "llama2",
        at("pre_tokenizer")({"type": "Metaspace", "replacement": "▁"}),
        "two components",
    ),
    "another metaspace": ("CHM261", "metaspace", at("pre_tokenizer", "replacement")("_"), "a Metaspace of '_'"),
    "another scheme": ("CHM261", "metaspace", at("pre_tokenizer", "prepend_scheme")("last"), "'last'"),
    "digits together": (
        "CHM261",
        "digits",
        at("pre_tokenizer", "pretokenizers", 0, "individual_digits")(False),
        "Digits",
    ),
    "a prefix after digits": (
        "CHM261",
        "digits",
        at("pre_tokenizer", "pretokenizers", 1, "add_prefix_space")(True),
        "after Digits",
    ),
    "a prefix after a split": (
        "CHM261",
        "qwen2",
        at("pre_tokenizer", "pretokenizers", 1, "add_prefix_space")(True),
        "after a Split",
    ),
    "decoder": ("CHM261", "gpt2", at("decoder")({"type": "WordPiece"}), "the decoder WordPiece"),
    "post-processor": ("CHM261", "gpt2", at("post_processor")({"type": "BertProcessing"}), "BertProcessing"),
    "two before": (
        "CHM261",
        "llama2",
        lambda d: d["post_processor"]["single"].append(d["post_processor"]["single"][0]),
        "more than one token",
    ),
    "single word": ("CHM261", "gpt2", added(single_word=True), "'<x>' with single_word"),
    "normalized": ("CHM261", "qwen2", added(normalized=True), "'<x>' with normalized"),
    "spaces": ("CHM261", "gpt2", at("added_tokens", 0, "content")("  "), "white space"),
    "overlapping": ("CHM261", "gpt2", lambda d: added(normalized=True, content="k>y")(d), "may overlap"),
    "no component": ("CHM260", "gpt2", at("normalizer")({"kind": 1}), "no component"),
    "a list": ("CHM260", "gpt2", at("pre_tokenizer")([]), "pre_tokenizer is list"),
    "an id twice": ("CHM260", "gpt2", at("model", "vocab", "Ġthe")(5), "same id"),
    "an id that is no number": ("CHM260", "gpt2", at("model", "vocab", "Ġthe")("5"), "the id '5'"),
    "a huge id": ("CHM260", "gpt2", at("model", "vocab", "Ġthe")(1 << 40), "the id"),
    "no vocabulary": ("CHM260", "gpt2", at("model", "vocab")({}), "no vocab"),
    "no merges": ("CHM260", "gpt2", lambda d: d["model"].pop("merges"), "no merges"),
    "a merge of three": ("CHM260", "gpt2", at("model", "merges", 2)("a b c"), "merge 2 is not two tokens"),
    "a merge of strangers": ("CHM260", "gpt2", at("model", "merges", 2)("zzz yyy"), "merge 2"),
    "a merge twice": ("CHM260", "gpt2", lambda d: d["model"]["merges"].append(d["model"]["merges"][0]), "there twice"),
    "spelling": ("CHM261", "gpt2", at("model", "vocab", "日")(900), "byte-level alphabet"),
    "added elsewhere": ("CHM260", "gpt2", at("added_tokens", 0, "id")(7), "where it is added"),
    "added twice": ("CHM260", "gpt2", lambda d: d["added_tokens"].append(d["added_tokens"][0]), "has the id"),
    "added without id": ("CHM260", "gpt2", at("added_tokens", 0)({"content": "x"}), "no id or content"),
    "no such token before": (
        "CHM260",
        "llama2",
        at("post_processor", "single", 0, "SpecialToken", "id")("<q>"),
        "'<q>'",
    ),
    "an item": ("CHM260", "llama2", at("post_processor", "single", 0)("x"), "an item that is none"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_not_supported_is_named(name: str) -> None:
    code, kind, change, message = BROKEN[name]
    document = copy.deepcopy(document_of(kind))
    change(document)
    with pytest.raises(UserError) as caught:
        tokenizer_of_json("a/tokenizer.json", document, 2000, TokenRoles())
    assert (caught.value.code, "a/tokenizer.json" in caught.value.message) == (code, True)
    assert message in caught.value.message


def test_more_tokens_than_the_model_has() -> None:
    with pytest.raises(UserError) as caught:
        tokenizer_of_json("x", document_of("gpt2"), 500, TokenRoles())
    assert caught.value.code == "CHM244"


def fields(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Places in a document, of long lists the first two."""
    if path:
        yield path
    items: list[tuple[str | int, object]] = []
    if isinstance(value, dict | list):
        items = list(value.items() if isinstance(value, dict) else enumerate(value))
    for key, inner in items[:2] if len(items) > 20 else items:
        yield from fields(inner, (*path, key))


@pytest.mark.parametrize("kind", ["qwen2", "llama2"])
def test_no_value_of_another_type_is_more_than_an_error(kind: str) -> None:
    """Whatever stands in any place: a tokenizer, or one error with a code."""
    document = document_of(kind)
    document["model"]["merges"] = document["model"]["merges"][:40]
    text, places = json.dumps(document), list(fields(document))
    assert len(places) > 60
    for path in places:
        values: tuple[object, ...] = (None, True, -1, 1.5, "", [], {})
        for value in values:
            changed = json.loads(text)
            at(*path)(value)(changed)
            with suppress(UserError):
                tokenizer_of_json("x", changed, 2000, TokenRoles())


def test_python_and_c_tidy_a_text_the_same(internals: ct.CDLL, tmp_path: Path) -> None:
    """In any parts, too: a later one may begin with a space, which is not the text's first."""
    words = (b"ab", b"b ", b" c", "é".encode(), "\u0301".encode(), "’".encode(), "\u2019\u0301".encode())
    singles = tuple(bytes([byte]) for byte in range(256))
    for rules in (("nfc", "tidy"), ("tidy",), ("tidy", "prefix-missing"), ("nfc", "tidy", "prefix")):
        tokenizer = Tokenizer((*singles, *words), rules=rules)
        write_tokenizer(tmp_path / "a.model", tokenizer)
        assert read_tokenizer(tmp_path / "a.model") == tokenizer
        with opened(internals, tmp_path / "a.model") as in_c:
            compare_python_and_c(tokenizer, in_c)
            for text in ("", " ", "\u200b\n", "a b c d e f g", "tidy text of some length", " a\u00a0b’s\u0301 “c” "):
                data = text.encode()
                assert in_c.encode(data) == tokenizer.encode(data), text
                assert in_c.encode_parts(data, 3) == tokenizer.encode(data), text
