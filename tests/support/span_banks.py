"""Banks of random spans, and damaged ones."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from chimerac.runtime.bundle_format import constants as c
from chimerac.runtime.bundle_format.container import Section, container_bytes, read_container
from chimerac.runtime.bundle_format.sfpack import RECORD, Bank, Spans, make_bank
from chimerac.runtime.bundle_format.span_hashes import context_key


def random_bank(count: int, seed: int, vocabulary: int = 200, digest: str = "0" * 64) -> tuple[Bank, list[list[int]]]:
    """A bank of distinct spans, and texts that it has something to say about."""
    rng = random.Random(seed)
    texts = [[rng.randrange(vocabulary) for _ in range(rng.randint(2, 12))] for _ in range(max(1, count // 4))]
    found: dict[tuple[int, ...], list[int]] = {}
    while len(found) < count:
        start = rng.choice(list(found) or [(1, 2)]) if rng.random() < 0.3 else (rng.randrange(vocabulary),)
        span = (*start[: rng.randint(1, 8)], *(rng.randrange(vocabulary) for _ in range(rng.randint(1, 9))))
        text = list(rng.choice(texts))
        if rng.random() < 0.5:
            text[0] = rng.randrange(vocabulary)
        found.setdefault(span[: c.MAX_SPAN_TOKENS], text)
    befores = list(found.values())
    known = np.array([rng.random() < 0.9 for _ in befores])
    spans = Spans(
        list(found),
        np.where(known[:, None], np.array([text[-2:] for text in befores]), -1),
        np.array([-(rng.random() ** 2) * rng.choice((0.6, 3.0, 200.0)) for _ in befores]),
        np.array([rng.random() for _ in befores]),
        np.array([rng.randint(1, 1000) for _ in befores]),
        np.array([context_key(text) for text in befores]),
    )
    begun = [[*rng.choice(texts), *span[: rng.randint(2, 8)]] for span in rng.sample(list(found), min(count, 60))]
    return make_bank(spans, digest), [*texts[:60], *begun, [3], [3, 4]]


def changed(path: Path, name: str, change: Callable[[np.ndarray], np.ndarray]) -> bytes:
    """The bank in a file with another section, with right checksums."""
    container = read_container(path)
    sections = []
    for view in container.sections.values():
        array = np.array(container.array(view.name))
        array = change(array) if view.name == name else array
        sections.append(Section(view.name, view.dtype, array.shape, array.tobytes()))
    return container_bytes(c.KIND_SPANS, sections, {c.KEY_TOKENIZER: container.metadata[c.KEY_TOKENIZER]})


def put(field: str, index: int, value: int) -> Callable[[np.ndarray], np.ndarray]:
    """A change of a field of a record."""

    def change(array: np.ndarray) -> np.ndarray:
        records = array.view(RECORD).reshape(-1).copy()
        records[field][index] = value
        return records.view(np.uint8).reshape(array.shape)

    return change


def _put(at: int, value: int) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array.reshape(-1)[at] = value
        return array

    return change


#: What is wrong with a bank → the section, how it is changed, and what is said.
WRONG: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray], str]] = {
    "a certificate of another span": ("spans.rec", put("certificate", 7, 5), "a certificate is not that of its span"),
    "no tokens": ("spans.rec", put("n_tok", 1, 0), "a record is out of range"),
    "too many tokens": ("spans.rec", put("n_tok", 1, 65), "a record is out of range"),
    "tokens beyond the pool": ("spans.rec", put("tok_off", 1, 0xFFFFFFFF), "a record is out of range"),
    "records in another order": ("spans.rec", lambda a: a[::-1].copy(), "the records are not in order"),
    "half a record": ("spans.rec", lambda a: a[:, :63].copy(), "a section has the wrong size"),
    "no records": ("spans.rec", lambda a: a[:0].copy(), "a section has the wrong size"),
    "half a token": ("spans.tok", lambda a: a.reshape(-1)[:-1].copy(), "a section has the wrong size"),
    "too few keys": ("spans.key", lambda a: a[:-1].copy(), "a section has the wrong size"),
    "a pair without a span": ("spans.next", _put(1, 0xFFFFFFF), "what follows what is not in order"),
    "pairs in another order": ("spans.next", lambda a: a[::-1].copy(), "what follows what is not in order"),
    "half a pair": ("spans.next", lambda a: a.reshape(-1)[:-1].copy(), "a section has the wrong size"),
}
#: The same for banks with an index of keys.
WRONG_INDEX: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray], str]] = {
    "starts that fall": ("spans.dir", _put(5, 0xFFFFFFFF), "the index of keys is out of range"),
    "a number beyond the end": ("spans.ids", _put(5, 0xFFFFFFF), "the index of keys is out of range"),
    "too short an index": ("spans.ids", lambda a: a[:-1].copy(), "a section has the wrong size"),
}


def of_tokenizer(bank: Bank, digest: str) -> Bank:
    """The bank for another tokenizer."""
    return replace(bank, tokenizer_sha256=digest)
