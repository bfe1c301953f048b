"""Banks of spans: sequences of tokens that are known, and what they follow; docs/sfpack.md has the format."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from chimerac.runtime.bundle_format import constants as c
from chimerac.runtime.bundle_format.container import (
    Container,
    Section,
    array_section,
    container_bytes,
    read_container,
    write_container,
)
from chimerac.runtime.bundle_format.span_hashes import Words, context_hash, majority, token_words, xxh64
from chimerac.runtime.errors import BundleError

RECORD: Final = np.dtype(
    [
        ("tok_off", "<u4"),
        ("n_tok", "u1"),
        ("flags", "u1"),
        ("mode_mask", "<u2"),
        ("tok_hash", "<u8"),
        ("entity_row", "<u4"),
        ("sem_row", "<u4"),
        ("gdelta", "<u2"),
        ("ddelta", "<u2"),
        ("boundary_logprob", "<i2"),
        ("interior_risk", "u1"),
        ("first_cls", "u1"),
        ("ctx2", "<u4"),
        ("prior", "<f4"),
        ("uses", "<u4"),
        ("accepts", "<u4"),
        ("last_used_epoch", "<u4"),
        ("corrections", "<u4"),
        ("certificate", "<u8"),
    ]
)  #: of a span; 64 bytes
DERIVED: Final = 0xFFFFFFFF  #: as ``sem_row``: the semantic row is made of the tokens
ALL_MODES: Final = 0x1FF
CERTIFICATE: Final = np.dtype(
    [
        ("span_id", "<u4"),
        ("semantic_delta", "<u8", (128,)),
        ("grammar_delta", "u1", (16,)),
        ("entity_delta", "u1", (64,)),
        ("debt_delta", "i1", (8,)),
        ("boundary_logprob", "<i2"),
        ("interior_risk", "u1"),
    ]
)  #: what a span claims; 1,119 bytes
REPLAYED: Final = (0, 0, 0xFF, 1, 0xFF, 0xFF, 0xFF, 0xFF, *[0] * 8)  #: as ``grammar_delta``: run its tokens to know
_AT_A_TIME: Final = 1 << 15  #: tokens whose words are in memory
TABLES: Final = 16  #: of the index of keys, each by 16 bits of them


@dataclass(frozen=True)
class Bank:
    """Spans in the order of their tokens.

    Attributes:
        records: RECORD[n].
        pool: uint32[p]: tokens; a record tells which are its own.
        following: uint32[m, 2]: hash of two tokens and a span that comes after them, ascending.
        keys: uint64[n, 4]: of what comes before a span.
        tokenizer_sha256: of the tokenizer whose tokens they are.
    """

    records: NDArray[Any]
    pool: NDArray[np.uint32]
    following: NDArray[np.uint32]
    keys: Words
    tokenizer_sha256: str

    def tokens(self, span: int) -> tuple[int, ...]:
        """The tokens of a span."""
        record = self.records[span]
        start = int(record["tok_off"])
        return tuple(self.pool[start : start + int(record["n_tok"])].tolist())


# ---- certificates ---------------------------------------------------------------------------------------------------


def certificates(bank: Bank, spans: NDArray[np.int64]) -> NDArray[Any]:
    """CERTIFICATE[m] of spans of the bank; those with as many tokens should stand together."""
    found = np.zeros(len(spans), CERTIFICATE)
    records = bank.records[spans]
    found["span_id"] = spans
    found["grammar_delta"] = REPLAYED
    for name in ("boundary_logprob", "interior_risk"):
        found[name] = records[name]
    lengths = records["n_tok"].astype(np.int64)
    for length in np.unique(lengths):
        alike = np.flatnonzero(lengths == length)
        places = records["tok_off"][alike].astype(np.int64)[:, None] + np.arange(length)
        words = token_words(bank.pool[places].reshape(-1), 128).reshape(len(alike), int(length), 128)
        found["semantic_delta"][alike] = majority(words)
    return found


def digests(bank: Bank) -> Words:
    """uint64[n]: the first 8 bytes of the SHA-256 of each span's certificate, 1 in place of 0."""
    lengths = bank.records["n_tok"].astype(np.int64)
    order = np.argsort(lengths, kind="stable")
    found = np.zeros(len(lengths), np.uint64)
    parts = np.cumsum(lengths[order]) // _AT_A_TIME
    for part in np.split(order, np.flatnonzero(np.diff(parts)) + 1):
        for span, certificate in zip(part, certificates(bank, part), strict=True):
            value = int.from_bytes(hashlib.sha256(certificate.tobytes()).digest()[:8], "little")
            found[span] = value or 1
    return found


# ---- making ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spans:
    """Spans in any order, to make a bank of.

    Attributes:
        tokens: of each, 1 to 64.
        before: int64[n, 2]: the two tokens that come before it most often; -1 where there are none.
        boundary: float64[n]: natural logarithm of the share of these places that its first token follows.
        risk: float64[n]: share of those where the rest does not follow its first token.
        count: int64[n]: how often it was found.
        keys: uint64[n, 4].
    """

    tokens: Sequence[tuple[int, ...]]
    before: NDArray[np.int64]
    boundary: NDArray[np.float64]
    risk: NDArray[np.float64]
    count: NDArray[np.int64]
    keys: Words


def make_bank(spans: Spans, tokenizer_sha256: str) -> Bank:
    """The bank of distinct spans; raises ValueError for too many, or ones that are too long."""
    n = len(spans.tokens)
    if n > c.MAX_SPANS or any(not 1 <= len(one) <= c.MAX_SPAN_TOKENS for one in spans.tokens):
        raise ValueError(f"a bank has up to {c.MAX_SPANS} spans of 1 to {c.MAX_SPAN_TOKENS} tokens")
    order = np.array(sorted(range(n), key=lambda i: spans.tokens[i]), np.int64)
    tokens = [spans.tokens[i] for i in order]
    records = np.zeros(n, RECORD)
    lengths = np.array([len(one) for one in tokens], np.int64)
    records["n_tok"] = lengths
    records["tok_off"] = np.cumsum(lengths) - lengths
    records["mode_mask"] = ALL_MODES
    records["tok_hash"] = [xxh64(np.array(one, "<u4").tobytes()) for one in tokens]
    records["sem_row"] = DERIVED
    records["boundary_logprob"] = np.clip(np.rint(256 * spans.boundary[order]), -32768, 32767)
    records["interior_risk"] = np.clip(np.rint(255 * spans.risk[order]), 0, 255)
    before = spans.before[order]
    known = (before >= 0).all(axis=1)
    records["ctx2"] = np.where(known, context_hash(np.maximum(before[:, 0], 0), np.maximum(before[:, 1], 0)), 0)
    records["prior"] = np.log(np.maximum(1, spans.count[order]))
    ids = np.flatnonzero(known)
    following = np.stack([records["ctx2"][ids], ids.astype(np.uint32)], axis=1)
    following = following[np.lexsort((following[:, 1], following[:, 0]))]
    pool = np.array([token for one in tokens for token in one], np.uint32)
    bank = Bank(records, pool, following.astype(np.uint32), spans.keys[order], tokenizer_sha256)
    records["certificate"] = digests(bank)
    return bank


def _index(keys: Words) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Where the spans of each 16 bits of a key begin, uint32[16, 65537], and their numbers, uint32[16, n]."""
    pieces = np.ascontiguousarray(keys, "<u8").view("<u2")
    ids = np.argsort(pieces, axis=0, kind="stable").T.astype(np.uint32)
    starts = [np.searchsorted(np.sort(pieces[:, t]), np.arange(65537)) for t in range(TABLES)]
    return np.array(starts, np.uint32), ids


def _sections(bank: Bank) -> list[Section]:
    n = len(bank.records)
    pool = np.ascontiguousarray(bank.pool, "<u4").view(np.uint8).reshape(-1, 4)[:, :3]
    found = [
        array_section("spans.rec", bank.records.view(np.uint8).reshape(n, RECORD.itemsize)),
        array_section("spans.tok", pool),
        array_section("spans.next", bank.following),
        array_section("spans.key", np.ascontiguousarray(bank.keys, "<u8").view(np.uint8).reshape(n, 32)),
    ]
    if n > c.SPAN_SCAN:
        starts, ids = _index(bank.keys)
        found += [array_section("spans.dir", starts), array_section("spans.ids", ids)]
    return found


def bank_bytes(bank: Bank) -> bytes:
    """The bytes of a bank's container."""
    return container_bytes(c.KIND_SPANS, _sections(bank), {c.KEY_TOKENIZER: bank.tokenizer_sha256})


def write_bank(path: str | Path, bank: Bank) -> None:
    """Write a bank's container; raises BundleError CHM400 if that cannot be done."""
    write_container(path, c.KIND_SPANS, _sections(bank), {c.KEY_TOKENIZER: bank.tokenizer_sha256})


# ---- reading ---------------------------------------------------------------------------------------------------------


def read_bank(path: str | Path) -> Bank:
    """Read and check a bank; raises BundleError CHM400 to CHM406, CHM434."""
    return bank_of_container(read_container(path), path)


def bank_of_container(container: Container, path: str | Path | None = None) -> Bank:
    """The bank in a container that was read; raises BundleError CHM405 for another kind, CHM434 for what is no bank."""
    if container.kind != c.KIND_SPANS:
        raise BundleError("CHM405", f"a container of kind {container.kind!r}, not {c.KIND_SPANS}", path=path)
    problem = _wrong_sizes(container)
    bank = None if problem else _bank(container)
    if bank is not None:
        problem = _wrong_contents(bank, container)
    if problem or bank is None:
        raise BundleError("CHM434", f"spans: {problem}", path=path)
    return bank


def _wrong_sizes(container: Container) -> str | None:
    if c.KEY_TOKENIZER not in container.metadata:
        return "they do not tell their tokenizer"
    wanted = {"spans.rec": "U8", "spans.tok": "U8", "spans.next": "U32", "spans.key": "U8"}
    size = container.sections["spans.rec"].bytes if "spans.rec" in container.sections else 0
    n = size // RECORD.itemsize
    if n > c.MAX_SPANS:
        return f"{n} are over the limit of {c.MAX_SPANS}"
    if n > c.SPAN_SCAN:
        wanted |= {"spans.dir": "U32", "spans.ids": "U32"}
    if any(name not in container.sections for name in wanted):
        return "a section is missing"
    sizes = {name: container.sections[name].bytes for name in wanted}
    exact = {"spans.rec": n * RECORD.itemsize, "spans.key": n * 32}
    if n > c.SPAN_SCAN:
        exact |= {"spans.dir": TABLES * 65537 * 4, "spans.ids": TABLES * n * 4}
    odd = any(container.sections[name].dtype != dtype for name, dtype in wanted.items())
    odd |= any(sizes[name] != size for name, size in exact.items())
    odd |= not n or sizes["spans.tok"] % 3 != 0 or sizes["spans.next"] % 8 != 0
    return "a section has the wrong size" if odd else None


def _bank(container: Container) -> Bank:
    records = np.frombuffer(container.raw("spans.rec"), RECORD)
    raw = np.frombuffer(container.raw("spans.tok"), np.uint8).reshape(-1, 3).astype(np.uint32)
    pool = raw[:, 0] | raw[:, 1] << np.uint32(8) | raw[:, 2] << np.uint32(16)
    following = np.frombuffer(container.raw("spans.next"), "<u4").reshape(-1, 2)
    keys = np.frombuffer(container.raw("spans.key"), "<u8").reshape(-1, 4).astype(np.uint64)
    return Bank(records, pool, following, keys, container.metadata[c.KEY_TOKENIZER])


def _wrong_contents(bank: Bank, container: Container) -> str | None:
    records, n = bank.records, len(bank.records)
    lengths, starts = records["n_tok"].astype(np.int64), records["tok_off"].astype(np.int64)
    if (lengths < 1).any() or (lengths > c.MAX_SPAN_TOKENS).any() or (starts + lengths > len(bank.pool)).any():
        return "a record is out of range"
    if any(bank.tokens(i) >= bank.tokens(i + 1) for i in range(n - 1)):
        return "the records are not in order"
    wide = bank.following[:, 0].astype(np.uint64) << np.uint64(32) | bank.following[:, 1]
    if (bank.following[:, 1] >= n).any() or (wide[1:] <= wide[:-1]).any():
        return "what follows what is not in order"
    given = records["certificate"]
    if given.any() and ((given != 0) & (given != digests(bank))).any():
        return "a certificate is not that of its span"
    if n <= c.SPAN_SCAN:
        return None
    firsts, ids = container.array("spans.dir").reshape(TABLES, 65537), container.array("spans.ids")
    rising = (firsts[:, 1:] >= firsts[:, :-1]).all() and not firsts[:, 0].any() and (firsts[:, -1] == n).all()
    return None if rising and (ids < n).all() else "the index of keys is out of range"
