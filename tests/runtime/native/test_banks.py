"""Banks of spans in C: the candidates of the Python engine, and damaged files under sanitizers."""

from __future__ import annotations

import hashlib
import math
import struct
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from span_banks import WRONG, WRONG_INDEX, changed, of_tokenizer, put, random_bank

from chimerac.runtime import bundle_format as bf
from chimerac.runtime.bundle_format.generation import Shares
from chimerac.runtime.bundle_format.sfpack import CERTIFICATE, Spans, certificates, make_bank, read_bank, write_bank
from chimerac.runtime.errors import BundleError
from chimerac.runtime.reference.knot import span_energy
from chimerac.runtime.reference.span_bank import BankFinder, exponential
from chimerac.runtime.reference.tokenizer import byte_tokenizer, tokenizer_sections, write_tokenizer
from chimerac.runtime.sessions.native_bank import CERTIFICATE_BYTES

SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-O1", "-g")
_TOKENIZER = byte_tokenizer(288)
_DIGEST = bf.contents_sha256(tokenizer_sections(_TOKENIZER))


@pytest.fixture(scope="module")
def driver(compile_native: Callable[..., Path], toy_flags: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = Path(__file__).parent
    sources = [here / "bank_driver.c", here / "toy_model.c", *(bf.NATIVE_DIRECTORY / name for name in bf.POSIX_SOURCES)]
    output = tmp_path_factory.mktemp("driver") / "banks"
    return compile_native(output, sources, *SANITIZERS, "-pthread", *toy_flags)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer"
    write_tokenizer(path, _TOKENIZER)
    return path


def run(driver: Path, *words: object, texts: Sequence[Sequence[object]] = ()) -> list[str]:
    lines = "".join(" ".join(map(str, text)) + "\n" for text in texts)
    command = [str(driver), *map(str, words)]
    result = subprocess.run(command, input=lines, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout.splitlines()


@pytest.mark.parametrize(("count", "vocabulary"), [(1, 9), (300, 7), (3000, 200), (12_000, 200), (12_000, 12)])
def test_candidates_are_those_of_the_reference(
    count: int, vocabulary: int, driver: Path, tokenizer: Path, tmp_path: Path
) -> None:
    """With few tokens many spans begin alike and have near keys, so that the limits of all sources are reached."""
    bank, texts = random_bank(count, count + vocabulary, vocabulary, _DIGEST)
    write_bank(tmp_path / "bank", bank)
    finder = BankFinder(bank)
    for flags in (0, 1):
        found = run(driver, tokenizer, tmp_path / "bank", "find", flags, texts=texts)
        wanted = [" ".join(f"{one.span}:{one.known}:{one.score}" for one in finder.find(text)) for text in texts]
        assert [line.strip() for line in found] == wanted
    assert sum(map(bool, wanted)) > len(wanted) / 3 or count == 1


@pytest.mark.parametrize(
    ("shares", "given"),
    [
        (Shares(near=171, text=128, grammar=128, head=85), (128, 341, 171, 65536, 22938)),
        (Shares(near=0, text=2, grammar=1, head=0), (2, 3, 0, 65536, 22938)),
        (Shares(text=0, grammar=0, head=0), (0, 0, 64, 65536, 22938)),
        (Shares(near=256, nearness=0, boundary=1 << 20), (48, 128, 256, 0, 1 << 20)),
    ],
)
def test_shares_and_weights(
    shares: Shares, given: tuple[int, ...], driver: Path, tokenizer: Path, tmp_path: Path
) -> None:
    bank, texts = random_bank(3000, 4, 12, _DIGEST)
    write_bank(tmp_path / "bank", bank)
    finder = BankFinder(bank, shares)
    found = run(driver, tokenizer, tmp_path / "bank", "find", 1, *given, texts=texts)
    wanted = [" ".join(f"{one.span}:{one.known}:{one.score}" for one in finder.find(text)) for text in texts]
    assert [line.strip() for line in found] == wanted
    assert any(wanted)


def test_the_exponential() -> None:
    assert all(abs(exponential(x) / 65536 - math.exp(x / 256)) < 2e-5 for x in range(-255, 1))
    assert exponential(0) == 65536


def test_spans_are_ranked_by_their_energy(driver: Path, tokenizer: Path, tmp_path: Path) -> None:
    """In the order of the reference; spans with equal energies, such as the same span twice, stay as they were."""
    bank, _ = random_bank(200, 5, 12, _DIGEST)
    write_bank(tmp_path / "bank", bank)
    meanings = certificates(bank, np.arange(len(bank.records)))["semantic_delta"]
    random, lines, wanted = np.random.default_rng(2), [], []
    for bits in (64, 512, 8192, 8192):
        counters = random.integers(-128, 128, bits).astype(np.int8)
        memory = random.random(bits) < 0.5
        spans = random.integers(0, len(meanings), 19).tolist()
        spans.append(spans[3])
        delta = [
            np.unpackbits(np.ascontiguousarray(meanings[i]).view(np.uint8), bitorder="little")[:bits] for i in spans
        ]
        energies = [span_energy(counters, one.astype(bool), memory) for one in delta]
        order = sorted(range(len(spans)), key=lambda i: energies[i])
        wanted.append(" ".join(str(spans[i]) for i in order))
        lines.append([counters.tobytes().hex() + np.packbits(memory, bitorder="little").tobytes().hex(), *spans])
        assert len(set(energies)) > 3
    assert [line.strip() for line in run(driver, tokenizer, tmp_path / "bank", "rank", texts=lines)] == wanted


def _certificate(number: int, tokens: tuple[int, ...], boundary: int, risk: int) -> bytes:
    """As docs/sfpack.md says, in Python's own integers."""
    golden, ones = 0x9E3779B97F4A7C15, (1 << 64) - 1
    words = []
    for token in tokens:
        word, start = 0, 0x5CA1AB1E0DDBA11 ^ token * golden & ones
        for w in range(128):
            z = (start + (w + 1) * golden) & ones
            z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & ones
            z = (z ^ z >> 27) * 0x94D049BB133111EB & ones
            word |= (z ^ z >> 31) << 64 * w
        words.append(word)
    meaning = 0
    for bit in range(8192):
        votes = sum(1 if word >> bit & 1 else -1 for word in words)
        meaning |= (words[0] >> bit & 1 if not votes else votes > 0) << bit
    grammar = struct.pack("<4B2H8s", 0, 0, 0xFF, 1, 0xFFFF, 0xFFFF, bytes(8))
    debts = bytes(8)
    semantic = meaning.to_bytes(1024, "little")
    return struct.pack("<I1024s16s64s8shB", number, semantic, grammar, bytes(64), debts, boundary, risk)


def test_certificates(driver: Path, tokenizer: Path, tmp_path: Path) -> None:
    """Of C, of numpy and of this file they are the same bytes, and the records keep their digests."""
    bank, _ = random_bank(120, 9, digest=_DIGEST)
    longest = [tuple(range(n)) for n in (63, 64)]
    zero = np.zeros(2)
    many = make_bank(
        Spans(longest, np.full((2, 2), -1), zero - 3.5, zero + 0.5, np.ones(2, int), np.zeros((2, 4), np.uint64)),
        _DIGEST,
    )
    for one in (bank, many):
        write_bank(tmp_path / "bank", one)
        spans = np.arange(len(one.records))
        wanted = []
        for i, record in enumerate(one.records):
            boundary, risk = int(record["boundary_logprob"]), int(record["interior_risk"])
            wanted.append(_certificate(i, one.tokens(i), boundary, risk))
            digest = hashlib.sha256(wanted[-1]).digest()[:8]
            assert record["certificate"] == int.from_bytes(digest, "little")
        assert [row.tobytes() for row in certificates(one, spans)] == wanted
        lines = run(driver, tokenizer, tmp_path / "bank", "certificates")
        assert lines[::2] == [one.hex() for one in wanted]
        for line, risk in zip(lines[1::2], one.records["interior_risk"], strict=True):
            assert line == f"{1 if risk > 64 else -1} {1 if risk > 128 else -1} -1"
    assert CERTIFICATE_BYTES == CERTIFICATE.itemsize == 1119


def test_a_damaged_span_has_no_certificate(driver: Path, tokenizer: Path, tmp_path: Path) -> None:
    """With the checksums of the file right: a token, a number of the record, the digest; others are as they were."""
    bank, _ = random_bank(30, 9, digest=_DIGEST)
    write_bank(tmp_path / "bank", bank)
    good = run(driver, tokenizer, tmp_path / "bank", "certificates")
    starts = bank.records["tok_off"]

    def other_token(array: np.ndarray) -> np.ndarray:
        array[starts[4]] ^= 1
        return array

    changes = [
        ("spans.tok", other_token),
        ("spans.rec", put("interior_risk", 4, 1)),
        ("spans.rec", put("certificate", 4, 1)),
    ]
    for section, change in changes:
        (tmp_path / "bad").write_bytes(changed(tmp_path / "bank", section, change))
        found = run(driver, tokenizer, tmp_path / "bad", "certificates")
        assert found[8] == "spans: a certificate is not that of its span"
        assert found[:8] + found[9:] == good[:8] + good[10:]
        with pytest.raises(BundleError, match=r"not that of its span|not in order"):
            read_bank(tmp_path / "bad")
    (tmp_path / "old").write_bytes(changed(tmp_path / "bank", "spans.rec", put("certificate", 4, 0)))
    assert run(driver, tokenizer, tmp_path / "old", "certificates") == good  # which nothing was claimed of
    assert read_bank(tmp_path / "old").records["certificate"][4] == 0


@pytest.mark.parametrize("what", [what for what in (*WRONG, *WRONG_INDEX) if "certificate" not in what])
def test_what_is_wrong_is_refused(what: str, driver: Path, tokenizer: Path, tmp_path: Path) -> None:
    """In the words of the Python reader."""
    section, change, message = (WRONG | WRONG_INDEX)[what]
    write_bank(tmp_path / "bank", random_bank(50 if what in WRONG else 8200, 1, digest=_DIGEST)[0])
    (tmp_path / "bad").write_bytes(changed(tmp_path / "bank", section, change))
    assert run(driver, tokenizer, tmp_path / "bad", "find", 0) == [f"spans: {message}"]


def test_banks_of_another_tokenizer_are_refused(driver: Path, tokenizer: Path, tmp_path: Path) -> None:
    bank, _ = random_bank(50, 1, 400, _DIGEST)
    write_bank(tmp_path / "bank", bank)
    assert run(driver, tokenizer, tmp_path / "bank", "find", 0) == ["spans: a token is out of range"]
    assert read_bank(tmp_path / "bank").tokens(0)  # which does not know the vocabulary
    write_bank(tmp_path / "bank", of_tokenizer(bank, "0" * 64))
    assert run(driver, tokenizer, tmp_path / "bank", "find", 1) == ["spans: they are of another tokenizer"]


@pytest.mark.parametrize("count", [40, 8300])
def test_random_damage_never_leads_outside(count: int, driver: Path, tokenizer: Path, tmp_path: Path) -> None:
    write_bank(tmp_path / "bank", random_bank(count, 2, digest=_DIGEST)[0])
    opened, rejected = run(driver, tokenizer, tmp_path / "bank", "damage", 1, 300 if count < 100 else 20)[0].split()
    assert int(opened) > 0
    assert int(rejected) > 0 or count > 100
    if count < 100:
        assert run(driver, tokenizer, tmp_path / "bank", "cuts") == ["0"]
