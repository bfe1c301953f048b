"""The full o200k_base with agent tokens: Python, C and wasm have tiktoken's tokens, on any bytes and in any amount."""

from __future__ import annotations

import base64
import ctypes as ct
import json
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st
from texts import O200K_PATTERN, STRANGE, random_bytes, random_text, random_texts

from chimerac.frontends.tokenizers.o200k import installed_ranks, o200k_tokenizer, specials
from chimerac.runtime import load
from chimerac.runtime.bundle_format import WEB_DIRECTORY
from chimerac.runtime.reference.tokenizer import Special, StreamDecoder, Tokenizer, read_tokenizer, write_tokenizer

Encode = Callable[..., list[int]]
RANKS = installed_ranks()
O200K = o200k_tokenizer(RANKS)
ENDOFTEXT, PAD = 199_999, 200_058


@pytest.fixture(scope="module")
def reference() -> tiktoken.Encoding:
    names = {special.name: special.id for special in specials()}
    ranks = {token: rank for rank, token in enumerate(RANKS)}
    return tiktoken.Encoding("o200k", pat_str=O200K_PATTERN, mergeable_ranks=ranks, special_tokens=names)


def opened_in_c(internals: ct.CDLL, data: bytes) -> int | None:
    internals.test_tokenizer_open.restype = ct.c_void_p
    internals.test_tokenizer_open.argtypes = [ct.c_char_p, ct.c_size_t]
    internals.test_tokenizer_close.argtypes = [ct.c_void_p]
    opened: int | None = internals.test_tokenizer_open(data, len(data))
    return opened


def encoder(internals: ct.CDLL, bundle: int) -> Encode:
    arguments: list[Any] = [ct.c_void_p, ct.c_char_p, ct.c_size_t, ct.c_void_p, ct.c_size_t, ct.c_void_p]
    functions = internals.chm_tokenizer_encode, internals.chm_tokenizer_encode_with_specials
    for function in functions:
        function.argtypes = arguments

    def encode(data: bytes, *, specials: bool = False) -> list[int]:
        tokens, count = (ct.c_int32 * max(1, len(data)))(), ct.c_size_t()
        status = functions[specials](bundle, data, len(data), tokens, len(data), ct.byref(count))
        assert status == 0
        return list(tokens[: count.value])

    return encode


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("o200k") / "o200k.model"
    write_tokenizer(path, O200K)
    return path


@pytest.fixture(scope="module")
def in_c(internals: ct.CDLL, container: Path) -> Iterator[Encode]:
    data = container.read_bytes()
    bundle = opened_in_c(internals, data)
    assert bundle is not None
    yield encoder(internals, bundle)
    internals.test_tokenizer_close(bundle)


def test_the_container_comes_back(container: Path) -> None:
    assert read_tokenizer(container) == O200K
    assert container.stat().st_size < 1_700_000


def test_known_tokens(in_c: Encode) -> None:
    for encode in (O200K.encode, in_c):
        assert encode(b"hello world") == [24912, 2375]
        assert encode("👍".encode()) == [82514]
        assert encode(b"x<|pad|>") == encode(b"x") + encode(b"<|") + encode(b"pad") + encode(b"|>")
        assert encode(b"<|pad|>hi<|endoftext|>", specials=True) == [PAD, 3686, ENDOFTEXT]


def test_every_token_is_found_again(in_c: Encode) -> None:
    """A token that is text encodes to itself, unless the pattern cuts it."""
    alone = [rank for rank in range(0, len(RANKS), 7) if in_c(RANKS[rank]) == [rank]]
    assert len(alone) > 0.99 * len(range(0, len(RANKS), 7))
    assert O200K.decode_bytes(range(len(RANKS))) == b"".join(RANKS)


def test_python_and_c_have_tiktokens_tokens(in_c: Encode, reference: tiktoken.Encoding) -> None:
    source = random.Random(3)
    texts = [data.decode() for data in STRANGE if data.decode("utf-8", "ignore").encode() == data]
    texts += [random_text(source, source.randrange(60)) for _ in range(4000)]
    for text in texts:
        expected = reference.encode_ordinary(text)
        assert O200K.encode(text) == expected, text
        assert in_c(text.encode()) == expected, text


def test_many_long_pieces_in_one_text(in_c: Encode, reference: tiktoken.Encoding) -> None:
    """Pieces of falling and rising sizes, on both sides of the size where C changes its way of merging."""
    source = random.Random(4)
    for letters in ("ab", "abcdefghijklmnopqrstuvwxyz", "日本語文字", "=-"):
        words = ["".join(source.choices(letters, k=size)) for size in (300, 20, 49, 48, 47, 130, 1000, 50, 3, 90)]
        text = " ".join(words)
        assert in_c(text.encode()) == O200K.encode(text) == reference.encode_ordinary(text)


def test_c_has_pythons_tokens_for_any_bytes(in_c: Encode) -> None:
    for data in random_texts(5, 3000):
        assert in_c(data) == O200K.encode(data), data
        assert O200K.decode_bytes(in_c(data)) == data


@pytest.mark.parametrize("unit", ["a", "A", " ", "\n", "=", "1", "ab", "é", "日", " a", "\x80", "\u0301", "aB"])
def test_a_megabyte_of_the_same_is_encoded(in_c: Encode, reference: tiktoken.Encoding, unit: str) -> None:
    """As short ones are; work that grows with the square of the size would not end."""
    for times in (60, 500):
        assert in_c((unit * times).encode()) == O200K.encode(unit * times) == reference.encode_ordinary(unit * times)
    data = unit.encode() * (1_000_000 // len(unit.encode()))
    assert O200K.decode_bytes(in_c(data)) == data


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=80), st.text(max_size=60).map(str.encode)))
def test_any_bytes_come_back(data: bytes) -> None:
    assert O200K.decode_bytes(O200K.encode(data)) == data


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=40), st.data())
def test_streaming_is_decoding(text: str, data: st.DataObject) -> None:
    ids = O200K.encode(text)
    cut = data.draw(st.integers(0, len(ids)))
    decoder = StreamDecoder(O200K)
    first = "".join(map(decoder.push, ids[:cut]))
    assert text.startswith(first)
    assert first + "".join(map(decoder.push, ids[cut:])) + decoder.finish() == text


def test_streaming_waits_for_whole_characters() -> None:
    ids = O200K.encode("🫨")
    decoder = StreamDecoder(O200K)
    assert len(ids) > 1
    assert [decoder.push(id) for id in ids] == [""] * (len(ids) - 1) + ["🫨"]


# ---- special tokens ----


def test_no_text_becomes_a_special_token(in_c: Encode, reference: tiktoken.Encoding) -> None:
    every = "".join(special.name for special in specials())
    for encode in (O200K.encode, in_c):
        assert max(encode(every.encode())) < len(RANKS)
    assert in_c(every.encode()) == reference.encode_ordinary(every)


def test_allowed_special_tokens_are_tiktokens(in_c: Encode, reference: tiktoken.Encoding) -> None:
    source = random.Random(6)
    names = [special.name for special in specials()]
    for _ in range(300):
        parts = [source.choice([*names, "<|", "pad|>", "", "<|nothing|>", random_text(source, 5)]) for _ in range(6)]
        text = "".join(parts)
        expected = reference.encode(text, allowed_special="all")
        assert O200K.encode(text, specials=True) == expected
        assert in_c(text.encode(), specials=True) == expected


def test_of_two_special_names_the_first_and_longest_counts(internals: ct.CDLL, tmp_path: Path) -> None:
    names = ("<a", "<a>", '<"\\>', "b<a>", "<a>")
    tokens = (*(bytes([byte]) for byte in range(256)), *(b"" for _ in names))
    tokenizer = Tokenizer(tokens, tuple(Special(name, 256 + k, "control") for k, name in enumerate(names)))
    write_tokenizer(tmp_path / "t.model", tokenizer)
    data = (tmp_path / "t.model").read_bytes()
    bundle = opened_in_c(internals, data)
    assert bundle is not None
    in_c = encoder(internals, bundle)
    for text, expected in {
        b"<a><a": [257, 256],
        b"b<a>": [259],
        b'<"\\>x': [258, 120],
        b"<a>b<": [257, 98, 60],
        b"": [],
        b"<": [60],
    }.items():
        assert tokenizer.encode(text, specials=True) == in_c(text, specials=True) == expected
    internals.test_tokenizer_close(bundle)


# ---- the C interface ----


def test_parts_of_a_text_are_the_whole(internals: ct.CDLL, container: Path) -> None:
    """Wherever a part ends, no piece is cut: the texts are made of what pieces look ahead for."""
    data = container.read_bytes()  # stays where it is
    bundle = opened_in_c(internals, data)
    assert bundle is not None
    arguments: list[Any] = [ct.c_void_p, ct.c_char_p, ct.c_size_t, ct.c_void_p, ct.c_size_t]
    encode = internals.chm_tokenizer_encode_part
    encode.argtypes = [*arguments, ct.c_void_p, ct.c_size_t, ct.c_void_p]
    snippets = ["it's", "  \n", "\r\n", "1234567", " x", "日本", "!!!\n\n", "\t", "İ", "'LL", "\u0301"]
    known = [*(snippet.encode() for snippet in snippets), *STRANGE]
    for most in (1, 5, 64, 4096):
        text = b"".join(random.choices(known, k=300))
        tokens, at, count, done = (ct.c_int32 * len(text))(), ct.c_size_t(), ct.c_size_t(), 0
        while at.value < len(text):
            place = ct.byref(tokens, 4 * done)
            room = len(text) - done
            assert encode(bundle, text, len(text), ct.byref(at), most, place, room, ct.byref(count)) == 0
            done += count.value
        assert tokens[:done] == O200K.encode(text)
    internals.test_tokenizer_close(bundle)


def test_counting_before_encoding(internals: ct.CDLL, container: Path) -> None:
    """With less room than bytes: the number of tokens, and nothing written where they do not fit."""
    data = container.read_bytes()
    bundle = opened_in_c(internals, data)
    assert bundle is not None
    encoder(internals, bundle)
    text, count = b"the same words again and again", ct.c_size_t()
    expected = O200K.encode(text)
    encode = internals.chm_tokenizer_encode
    assert encode(bundle, text, len(text), None, 0, ct.byref(count)) == 403
    assert count.value == len(expected) < len(text)
    tokens = (ct.c_int32 * len(expected))(*[-7] * len(expected))
    assert encode(bundle, text, len(text), tokens, len(expected) - 1, ct.byref(count)) == 403
    assert set(tokens) == {-7}
    assert encode(bundle, text, len(text), tokens, len(expected), ct.byref(count)) == 0
    assert list(tokens) == expected
    assert encode(bundle, b"", 0, None, 0, ct.byref(count)) == 0
    assert count.value == 0
    internals.test_tokenizer_close(bundle)


# ---- wasm ----

NODE = """
import { readFile } from "node:fs/promises";
const [loader, folder, texts] = process.argv.slice(2);
const { Chimera } = await import(loader);
const read = async (name) => new Uint8Array(await readFile(`${folder}/${name}`));
const [manifest, wasm, weights, tokenizer] = await Promise.all(
  ["manifest.json", "chimera.wasm", "toy.b158", "toy_tokenizer.model"].map(read));
const model = await Chimera.load({ manifest, wasm, weights, tokenizer }, { worker: false });
const answers = await Promise.all(JSON.parse(await readFile(texts, "utf8")).map(async ({ bytes, specials }) =>
  Array.from(await model.tokenize(new Uint8Array(Buffer.from(bytes, "base64")), { specials }))));
const text = "naïve <|pad|> 日本";
const long = (await model.tokenize("a".repeat(1_000_000))).length;
const marked = [...(await model.tokenize(text, { specials: true }))];
console.log(JSON.stringify({ answers, long, text: [...(await model.tokenize(text))], marked }));
model.dispose();
"""


@pytest.fixture(scope="module")
def wasm_toy(make_wasm_toy: Callable[[Tokenizer], Any]) -> Any:
    if shutil.which("node") is None:
        pytest.skip("needs Node.js")
    return make_wasm_toy(O200K)


def test_wasm_has_the_same_tokens(wasm_toy: Any, tmp_path: Path) -> None:
    source = random.Random(7)
    texts = [(data, False) for data in random_texts(8, 1000)]
    texts += [(random_bytes(source, 30) + b"<|pad|>" + random_text(source, 9).encode(), True) for _ in range(100)]
    rows = [{"bytes": base64.b64encode(data).decode(), "specials": specials} for data, specials in texts]
    (tmp_path / "texts.json").write_text(json.dumps(rows))
    (tmp_path / "encode.mjs").write_text(NODE)
    loader = (WEB_DIRECTORY / "chimera.mjs").as_uri()
    command = ["node", "encode.mjs", loader, str(wasm_toy.folder), "texts.json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["answers"] == [O200K.encode(data, specials=specials) for data, specials in texts]
    assert found["text"] == O200K.encode("naïve <|pad|> 日本")
    assert found["marked"] == O200K.encode("naïve <|pad|> 日本", specials=True)
    assert found["long"] == 125_000


def test_sessions_encode_and_decode(wasm_toy: Any) -> None:
    with load(wasm_toy.folder) as session:
        text = "it's 日本 <|pad|>"
        assert session.encode(text) == O200K.encode(text)
        assert session.encode(text, specials=True) == O200K.encode(text, specials=True)
        allowed = {special.id for special in specials() if special.role in ("end", "control")}
        for piece in session.generate("hi", max_tokens=12, temperature=100.0, seed=1):
            assert piece.token < len(RANKS) or piece.token in allowed
        made = [token for token in session.tokens() if token < len(RANKS)]
        assert made
        long = "it's 日本,  the light\r\n 1234567 " * 1100
        prompts = [list(session.generate(prompt, max_tokens=2)) for prompt in (long, O200K.encode(long))]
        assert prompts[0] == prompts[1], "a long prompt is encoded in parts"
