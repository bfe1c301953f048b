"""Grammar packs: what is written is read, and nothing damaged is taken."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from chimerac.compiler.model import GrammarRequest
from chimerac.compiler.packaging.grammar_packs import compile_grammar, make_pack
from chimerac.runtime.bundle_format import Section, container_bytes, contents_sha256
from chimerac.runtime.bundle_format.container import parse_container
from chimerac.runtime.bundle_format.fstpack import (
    FLAG_DEFAULT,
    FLAG_PROSE,
    FLAG_RHYTHM,
    Pack,
    pack_bytes,
    pack_of_container,
    pack_sections,
)
from chimerac.runtime.bundle_format.grammar_trie import (
    BLANK_LINE,
    NEWLINE,
    SENTENCE_END,
    STRUCTURE,
    soft_class,
    trie_of,
    vocabulary_of,
)
from chimerac.runtime.errors import BundleError
from chimerac.runtime.reference.tokenizer import Special, Tokenizer, tokenizer_sections

TOKENS = tuple([bytes([b]) for b in range(256)] + [b'{"', b'":', b"hello", b".\n\n", b"", b"\xc3\xa9t\xc3\xa9"])
TOKENIZER = Tokenizer(TOKENS, (Special("<|end|>", 260, "end"),))


@pytest.fixture(scope="module")
def pack() -> Pack:
    request = GrammarRequest(("plain_text", "json"), '{"type":"integer"}', 0, "schema", ("sentence_rhythm",))
    return make_pack(request, TOKENIZER)


def test_a_pack_is_read_as_it_was_written(pack: Pack) -> None:
    found = pack_of_container(parse_container(pack_bytes(pack)))
    assert [g.name for g in found.grammars] == ["plain_text", "json", "schema"]
    assert found.tokenizer_sha256 == contents_sha256(tokenizer_sections(TOKENIZER))
    assert [g.flags for g in found.grammars] == [FLAG_PROSE | FLAG_RHYTHM, 0, FLAG_DEFAULT]
    assert [g.space_cap for g in found.grammars] == [8, 8, 0]
    for one, other in zip(pack.grammars, found.grammars, strict=True):
        assert (one.start, one.source, one.closing) == (other.start, other.source, other.closing)
        assert one.masks is not None
        assert other.masks is not None
        for name in ("classes", "delta", "op", "state", "loop"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        for name in ("first", "entry", "data"):
            np.testing.assert_array_equal(getattr(one.masks, name), getattr(other.masks, name))
    assert found.vocabulary is not None
    assert pack.vocabulary is not None
    for name in ("trie", "chars", "rest", "soft"):
        np.testing.assert_array_equal(getattr(found.vocabulary, name), getattr(pack.vocabulary, name))
    assert found.grammar("json") is found.grammars[1]
    assert found.grammar("none") is None


def test_the_same_request_gives_the_same_bytes(pack: Pack) -> None:
    again = make_pack(
        GrammarRequest(("plain_text", "json"), '{"type":"integer"}', 0, "schema", ("sentence_rhythm",)), TOKENIZER
    )
    assert pack_bytes(again) == pack_bytes(pack)


def test_a_grammar_of_its_own_fits_every_tokenizer() -> None:
    found = pack_of_container(parse_container(compile_grammar(choices=["yes", "no"])))
    assert found.vocabulary is None
    assert found.tokenizer_sha256 == ""
    assert found.grammars[0].masks is None


def test_packs_are_kept(tmp_path: Any) -> None:
    request = GrammarRequest(("plain_text",))
    first = make_pack(request, TOKENIZER, cache=tmp_path)
    (kept,) = tmp_path.glob("*.fstpack")
    said: list[str] = []
    assert pack_bytes(make_pack(request, TOKENIZER, said.append, cache=tmp_path)) == pack_bytes(first)
    assert said == []
    kept.write_bytes(b"damaged")
    assert pack_bytes(make_pack(request, TOKENIZER, said.append, cache=tmp_path)) == pack_bytes(first)
    assert len(said) == 1
    make_pack(GrammarRequest(("plain_text",), soft=("sentence_rhythm",)), TOKENIZER, cache=tmp_path)
    assert len(list(tmp_path.glob("*.fstpack"))) == 2


Change = Callable[[np.ndarray[Any, Any]], None]


def _set(index: Any, value: int) -> Change:
    def change(table: np.ndarray[Any, Any]) -> None:
        table[index] = value

    return change


@pytest.mark.parametrize(
    ("section", "change"),
    [
        ("directory", _set((0, 1), 8)),
        ("directory", _set((0, 2), 300)),
        ("directory", _set((0, 3), 9999)),
        ("directory", _set((0, 4), 256)),
        ("directory", _set((0, 0), 10_000)),
        ("directory", _set((0, 7), 5000)),
        ("directory", _set((0, 8), 0)),
        ("directory", _set((0, 5), FLAG_DEFAULT)),
        ("directory", _set((1, 0), 0)),
        ("names", _set(0, 0)),
        ("names", _set(0, 65)),
        ("g1.class", _set(65, 255)),
        ("g1.delta", _set((0, 0), 60_000)),
        ("g1.delta", _set((0, 0), 60_000 << 16)),
        ("g1.delta", _set((0, -1), 3)),
        ("g1.op", _set(-1, 1)),
        ("g1.op", _set(0, 3)),
        ("g1.op", _set(1, 99)),
        ("g1.op", _set(1, 3 | 60_000 << 16)),
        ("g1.op", _set(slice(1, 3), 4)),
        ("g1.state", _set((0, 2), 9)),
        ("g1.loop", _set((0, 0), 1)),
        ("g1.mask.first", _set(-1, 1 << 20)),
        ("g1.mask.first", _set(3, 1 << 20)),
        ("g1.mask.entry", _set((0, 0), 60_000)),
        ("g1.mask.entry", _set((0, 1), 3)),
        ("g1.mask.entry", _set((0, 2), 1 << 30)),
        ("g1.mask.entry", _set((0, 3), 1 << 30)),
        ("g1.mask.entry", _set((0, 4), 1 << 30)),
        ("trie", _set((0, 1), 5)),
        ("trie", _set((5, 1), 0)),
        ("trie", _set((5, 1), 3 << 24 | 1)),
        ("trie", _set((5, 0), 0xFFFFFF)),
        ("slice.trie", _set((0, 1), 0)),
    ],
)
def test_damaged_tables_are_refused(pack: Pack, section: str, change: Change) -> None:
    sections = pack_sections(pack)
    for index, one in enumerate(sections):
        if one.name == section:
            table = (
                np.frombuffer(one.raw(), {"U8": "u1", "U16": "<u2", "U32": "<u4"}[one.dtype]).reshape(one.shape).copy()
            )
            change(table)
            sections[index] = dataclasses.replace(one, data=table)
    with pytest.raises(BundleError) as caught:
        pack_of_container(parse_container(container_bytes("fstpack", sections)))
    assert caught.value.code == "CHM431"


@pytest.mark.parametrize("missing", ["directory", "names", "g0.delta", "g1.mask.data", "slice.trie", "g2.loop"])
def test_missing_sections_are_refused(pack: Pack, missing: str) -> None:
    sections = [section for section in pack_sections(pack) if section.name != missing]
    with pytest.raises(BundleError) as caught:
        pack_of_container(parse_container(container_bytes("fstpack", sections)))
    assert caught.value.code == "CHM431"


def test_another_kind_of_container_is_refused() -> None:
    with pytest.raises(BundleError) as caught:
        pack_of_container(parse_container(container_bytes("tokenizer", [Section("x", "U8", (1,), b"x")])))
    assert caught.value.code == "CHM405"


def test_names_and_numbers_of_grammars_are_limited(pack: Pack) -> None:
    with pytest.raises(ValueError, match="name"):
        pack_sections(Pack((dataclasses.replace(pack.grammars[0], name="No Name"),)))
    with pytest.raises(ValueError, match="1 to 64"):
        pack_sections(Pack(()))
    with pytest.raises(ValueError, match="1 to 64"):
        pack_sections(Pack((pack.grammars[0], pack.grammars[0])))


def test_the_trie_of_a_few_tokens() -> None:
    nodes = trie_of([(b"b", 7), (b"ab", 0), (b"abc", 5), (b"ad", 2)])
    assert nodes[:, 0].tolist() == [0, 97 << 24, 98 << 24 | 1, 99 << 24 | 6, 100 << 24 | 3, 98 << 24 | 8]
    assert (nodes[:, 1] >> 24).tolist() == [0, 1, 2, 3, 2, 1]
    assert (nodes[:, 1] & 0xFFFFFF).tolist() == [6, 4, 2, 1, 1, 1]
    assert trie_of([]).tolist() == [[0, 1]]


def test_the_text_slice_and_the_rest() -> None:
    found = vocabulary_of([b"a", "été".encode(), b'x"', b"\xc3", b"\n", b"", b"b\\", b"~\x7f", b"z" * 254, b"z" * 255])
    assert found.chars.tolist() == [1, 3, 0, 0, 0, 0, 0, 2, 254, 0]
    assert sorted((found.rest[:, 0] & 0xFFFFFF)[found.rest[:, 0] & 0xFFFFFF > 0].tolist()) == [3, 4, 5, 7, 10]


def test_classes_of_tokens() -> None:
    assert soft_class(b"end.") == SENTENCE_END
    assert soft_class(b'."\n') == SENTENCE_END | NEWLINE | STRUCTURE
    assert soft_class("だ。".encode()) == SENTENCE_END
    assert soft_class(b"a\n \nb") == BLANK_LINE | NEWLINE
    assert soft_class(b"  ") == STRUCTURE
    assert soft_class(b"word") == 0
