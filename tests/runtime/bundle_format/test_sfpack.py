"""Banks of spans as files: hashes against published values, what is written is read, what is wrong is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from span_banks import WRONG, WRONG_INDEX, changed, random_bank

from chimerac.runtime.bundle_format import constants as c
from chimerac.runtime.bundle_format.container import container_bytes
from chimerac.runtime.bundle_format.sfpack import RECORD, Spans, make_bank, read_bank, write_bank
from chimerac.runtime.bundle_format.span_hashes import bits_of, context_key, token_words, words_of, xxh64
from chimerac.runtime.errors import BundleError

#: Published with the reference implementation, and by the libraries of several languages.
_XXH64 = {
    b"": 0xEF46DB3751D8E999,
    b"a": 0xD24EC4F1A98C6E5B,
    b"abc": 0x44BC2CF5AD770999,
    b"Nobody inspects the spammish repetition": 0xFBCEA83C8A378BF1,
}


@pytest.mark.parametrize("data", _XXH64)
def test_xxh64(data: bytes) -> None:
    assert xxh64(data) == _XXH64[data]


def test_words_are_those_of_splitmix64() -> None:
    """Its first outputs from seed 1234567, as its author's program prints them; the token 0 begins at our own seed."""
    wanted = (6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431)
    inverse = pow(0x9E3779B97F4A7C15, -1, 1 << 64)
    token = (0x5CA1AB1E0DDBA11 ^ 1234567) * inverse % (1 << 64)  # whose seed is 1234567; as wide as no token is
    assert token_words(np.array([token], np.uint64))[0].tolist() == list(wanted)


def test_keys_are_majorities() -> None:
    tokens = [5, 17, 17, 3, 99, 4, 8, 60, 1]
    words = token_words(np.array(tokens[1:]))
    votes = [[sum(1 if int(words[i, w]) >> b & 1 else -1 for i in range(8)) for b in range(64)] for w in range(4)]
    for w, word in enumerate(context_key(tokens).tolist()):
        for b in range(64):
            vote = votes[w][b]
            assert word >> b & 1 == (int(words[-1, w]) >> b & 1 if not vote else vote > 0)
    assert (words_of(bits_of(words), words) == words).all()


@pytest.mark.parametrize("count", [1, 50, 9000])
def test_what_is_written_is_read(count: int, tmp_path: Path) -> None:
    bank, _ = random_bank(count, count)
    write_bank(tmp_path / "bank", bank)
    found = read_bank(tmp_path / "bank")
    assert RECORD.itemsize == 64
    assert (found.records == bank.records).all()
    assert (found.pool == bank.pool).all()
    assert (found.following == bank.following).all()
    assert (found.keys == bank.keys).all()
    assert found.tokenizer_sha256 == bank.tokenizer_sha256
    spans = [found.tokens(i) for i in range(count)]
    assert spans == sorted(set(spans))
    for i in (0, count // 2, count - 1):
        assert found.records["tok_hash"][i] == xxh64(b"".join(t.to_bytes(4, "little") for t in spans[i]))


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_refused(what: str, tmp_path: Path) -> None:
    section, change, message = WRONG[what]
    write_bank(tmp_path / "bank", random_bank(50, 1)[0])
    (tmp_path / "bad").write_bytes(changed(tmp_path / "bank", section, change))
    with pytest.raises(BundleError, match=message) as found:
        read_bank(tmp_path / "bad")
    assert found.value.code == "CHM434"


@pytest.mark.parametrize("what", WRONG_INDEX)
def test_a_wrong_index_is_refused(what: str, tmp_path: Path) -> None:
    section, change, message = WRONG_INDEX[what]
    write_bank(tmp_path / "bank", random_bank(8200, 1)[0])
    (tmp_path / "bad").write_bytes(changed(tmp_path / "bank", section, change))
    with pytest.raises(BundleError, match=message):
        read_bank(tmp_path / "bad")


def test_other_files_are_no_banks(tmp_path: Path) -> None:
    for kind, metadata, code in (
        (c.KIND_GRAMMARS, {c.KEY_TOKENIZER: "x"}, "CHM405"),
        (c.KIND_SPANS, {}, "CHM434"),
        (c.KIND_SPANS, {c.KEY_TOKENIZER: "x"}, "CHM434"),
    ):
        (tmp_path / "file").write_bytes(container_bytes(kind, [], metadata))
        with pytest.raises(BundleError) as found:
            read_bank(tmp_path / "file")
        assert found.value.code == code
    zero = np.zeros(1)
    spans = Spans(
        [tuple(range(65))], np.zeros((1, 2), np.int64), zero, zero, np.ones(1, np.int64), np.zeros((1, 4), np.uint64)
    )
    with pytest.raises(ValueError, match="spans of 1 to 64"):
        make_bank(spans, "")
