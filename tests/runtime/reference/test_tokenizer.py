"""The tokenizer: Python = C, encoding and decoding are inverse, streaming gives whole characters."""

from __future__ import annotations

import ctypes as ct
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from texts import random_texts

from chimerac.runtime import BundleError, load
from chimerac.runtime.bundle_format import Section, read_container, write_container
from chimerac.runtime.reference.tokenizer import (
    Special,
    StreamDecoder,
    Tokenizer,
    byte_tokenizer,
    read_tokenizer,
    tokenizer_sections,
    write_tokenizer,
)
from chimerac.runtime.sessions.native import NativeSession

BYTES = tuple(bytes([value]) for value in range(256))
WORDS = (b"th", b"the", b"in", b"ing", b" t", b" the", b"aa", b"aaa", b"\xc3\xa9", b"", b"aaaa", b"he", b"hing")
MERGING = Tokenizer(BYTES + WORDS, (Special("<end>", 265, "end"),))


def greedy_reference(tokenizer: Tokenizer, data: bytes) -> list[int]:
    """The definition, quadratic: merge the neighbouring pair of the lowest id, the leftmost, until there is none."""
    ids = {token: id for id, token in enumerate(tokenizer.tokens) if token}
    parts = [data[k : k + 1] for k in range(len(data))]
    while True:
        pairs = [(ids[a + b], k) for k, (a, b) in enumerate(pairwise(parts)) if a + b in ids]
        if not pairs:
            return [ids[part] for part in parts]
        _, k = min(pairs)
        parts[k : k + 2] = [parts[k] + parts[k + 1]]


@pytest.fixture(scope="module")
def merging_session(toy: Any, tmp_path_factory: pytest.TempPathFactory) -> NativeSession:
    path = tmp_path_factory.mktemp("tokenizer") / "merging.model"
    write_tokenizer(path, MERGING)
    return NativeSession(toy.manifest, toy.file("code"), toy.file("weights"), path)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_come_back(data: bytes) -> None:
    for tokenizer in (byte_tokenizer(256), MERGING):
        assert tokenizer.decode_bytes(tokenizer.encode(data)) == data


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="thein ga é", max_size=40))
def test_merging_is_the_definition(text: str) -> None:
    assert MERGING.encode(text) == greedy_reference(MERGING, text.encode())


def test_c_encodes_as_python(merging_session: NativeSession) -> None:
    random = np.random.default_rng(1)
    texts = [b"", b"the thing in the aaaaaaa", "thé".encode(), b"a" * 1000]
    texts += [bytes(random.choice(list(b"thein ga\xc3\xa9"), int(random.integers(1, 80)))) for _ in range(500)]
    texts += [random.bytes(int(random.integers(1, 80))) for _ in range(200)]
    for text in texts:
        assert merging_session.encode(text) == MERGING.encode(text)


def in_parts(session: NativeSession, text: bytes, most: int) -> tuple[list[int], int]:
    """The tokens, and in how many calls."""
    at, count, tokens, done, calls = ct.c_size_t(), ct.c_size_t(), (ct.c_int32 * (len(text) + 1))(), 0, 0
    while True:
        place = ct.byref(tokens, 4 * done)
        session.library.call(
            *("chm_tokenizer_encode_part", session._bundle, text, len(text), ct.byref(at), most),
            *(place, len(text) + 1 - done, ct.byref(count)),
        )
        done, calls = done + count.value, calls + 1
        if at.value == len(text):
            return tokens[:done], calls


def test_parts_of_a_text_are_the_whole(merging_session: NativeSession) -> None:
    random = np.random.default_rng(5)
    for size in (0, 1, 30, 200, 5000):
        text = bytes(random.choice(list(b"thein ga\n\xc3\xa9"), size))
        for most in (0, 1, 7, 100, 1 << 20):
            tokens, calls = in_parts(merging_session, text, most)
            assert tokens == merging_session.encode(text) == MERGING.encode(text)
            assert 1 <= calls <= max(1, len(text))
            if size == 5000 and most == 100:
                assert calls > 20
    at, count, room = ct.c_size_t(3), ct.c_size_t(), (ct.c_int32 * 4)()
    for place, text, capacity in ((3, b"ab", 4), (0, b"abcdef", 4)):
        at.value = place
        arguments = (text, len(text), ct.byref(at), 9, room, capacity, ct.byref(count))
        with pytest.raises(BundleError, match="no room"):
            merging_session.library.call("chm_tokenizer_encode_part", merging_session._bundle, *arguments)


def test_a_long_text_does_not_take_quadratic_time(merging_session: NativeSession) -> None:
    text = b"the thing aaaa" * 20_000
    tokens = merging_session.encode(text)
    assert MERGING.decode_bytes(tokens) == text


def test_special_names_in_a_text_stay_text() -> None:
    assert 265 not in MERGING.encode("<end>")
    assert MERGING.special_id("end") == 265
    assert MERGING.special_id("begin") is None


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(-2, 275), max_size=40))
def test_streaming_is_decoding(ids: list[int]) -> None:
    decoder = StreamDecoder(MERGING)
    assert "".join(map(decoder.push, ids)) + decoder.finish() == MERGING.decode(ids)


def test_streaming_waits_for_whole_characters() -> None:
    tokenizer = byte_tokenizer(256)
    decoder = StreamDecoder(tokenizer)
    assert [decoder.push(id) for id in "é😀".encode()] == ["", "é", "", "", "", "😀"]
    decoder.push(0xF0)
    assert decoder.finish() == "\ufffd"


def test_c_streaming_is_pythons(internals: ct.CDLL) -> None:
    """Against Python's own decoder: valid text, every kind of broken text, cut at every place."""
    internals.test_utf8.restype = ct.c_size_t
    random = np.random.default_rng(2)
    pieces_of = b"\x00a\x7f\x80\x8f\x90\x9f\xa0\xbf\xc0\xc1\xc2\xc3\xdf\xe0\xe2\xed\xef\xf0\xf1\xf4\xf5\xff\xc3\xa9"
    texts = ["é😀 ₿\u0800\ud7ff\ue000\U0010ffff".encode()]
    texts += [bytes(random.choice(list(pieces_of), int(random.integers(0, 12)))) for _ in range(3000)]
    for text in texts:
        cuts = np.sort(random.integers(0, len(text) + 1, 3))
        sizes = np.diff([0, *cuts, len(text)]).astype(np.uint32)
        out = ct.create_string_buffer(3 * len(text) + 16)
        used = internals.test_utf8(text, sizes.ctypes.data_as(ct.c_void_p), ct.c_uint32(sizes.size), out)
        assert out.raw[:used].decode() == text.decode("utf-8", "replace"), text


def test_container_round_trip(tmp_path: Path) -> None:
    for tokenizer in (MERGING, byte_tokenizer(300, [Special('<"q"\\>', 299, "control")])):
        write_tokenizer(tmp_path / "t.model", tokenizer)
        assert read_tokenizer(tmp_path / "t.model") == tokenizer


def test_the_pattern_is_in_the_container_where_there_is_one(tmp_path: Path) -> None:
    """Containers of tokenizers without a pattern are as they were before there were patterns."""
    cutting = replace(MERGING, pattern="o200k")
    for tokenizer, sections in (
        (MERGING, {"len", "bytes", "special"}),
        (cutting, {"len", "bytes", "special", "pattern"}),
    ):
        write_tokenizer(tmp_path / "t.model", tokenizer)
        assert set(read_container(tmp_path / "t.model").sections) == sections
        assert read_tokenizer(tmp_path / "t.model") == tokenizer
    named = [*tokenizer_sections(MERGING), Section("pattern", "U8", (4,), b"none")]
    write_container(tmp_path / "t.model", "tokenizer", named)
    assert read_tokenizer(tmp_path / "t.model") == MERGING


def test_no_merge_crosses_the_end_of_a_piece(toy: Any, tmp_path: Path) -> None:
    """``hing`` and `` the`` are merged across nothing; with the pattern ``aaaa`` is one piece and a token."""
    cutting = replace(MERGING, tokens=(*MERGING.tokens[:256], b"g ", b"gt", *MERGING.tokens[256:]), specials=())
    cut = replace(cutting, pattern="o200k")
    write_tokenizer(tmp_path / "none.model", cutting)
    write_tokenizer(tmp_path / "cut.model", cut)
    text = b"thing the hing"
    assert b"g " in [cutting.tokens[id] for id in cutting.encode(text)]
    assert [cut.tokens[id] for id in cut.encode(text)] == [b"th", b"ing", b" the", b" ", b"hing"]
    for tokenizer, name in ((cutting, "none.model"), (cut, "cut.model")):
        session = NativeSession(toy.manifest, toy.file("code"), toy.file("weights"), tmp_path / name)
        for data in (text, *random_texts(9, 300)):
            assert session.encode(data) == tokenizer.encode(data)
        session.close()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: byte_tokenizer(255), "too few"),
        (lambda: Tokenizer(BYTES[:-1]), "single byte"),
        (lambda: Tokenizer((*BYTES, b"a")), "same bytes"),
        (lambda: Tokenizer((*BYTES, b"a" * 256)), "255"),
        (lambda: byte_tokenizer(257, [Special("x", 257, "end")]), "out of range"),
        (lambda: byte_tokenizer(257, [Special("x", 65, "end")]), "has bytes"),
        (lambda: byte_tokenizer(257, [Special("x", 256, "boss")]), "role"),
        (lambda: byte_tokenizer(257, [Special("", 256, "end")]), "name"),
        (lambda: Tokenizer(BYTES, (), "gpt9"), "pattern"),
        (lambda: byte_tokenizer(257, [Special("x", 256, "end"), Special("y", 256, "pad")]), "same id"),
    ],
)
def test_unusable_tables(make: Callable[[], Tokenizer], message: str) -> None:
    with pytest.raises(BundleError, match=message) as caught:
        make()
    assert caught.value.code == "CHM430"


def test_the_prompt_starts_with_the_begin_token(toy: Any) -> None:
    with load(toy.folder) as session:
        list(session.generate("hi", max_tokens=1))
        by_text = session.logits_hash()
        list(session.generate([256, *b"hi"], max_tokens=1))
        assert session.logits_hash() == by_text
        list(session.generate(b"hi", max_tokens=1))
        assert session.logits_hash() == by_text
        list(session.generate(list(b"hi"), max_tokens=1))
        assert session.logits_hash() != by_text
