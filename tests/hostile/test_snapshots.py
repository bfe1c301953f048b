"""Damaged and forged snapshots: a status from both readers, the same one, and nothing read outside of the bytes."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from snapshots import changed

from chimerac.compiler.packaging.grammar_packs import compile_grammar
from chimerac.runtime import BundleError, load
from chimerac.runtime import bundle_format as bf
from chimerac.runtime.bundle_format.state import StateForm, parse_state

ACCEPTED = 0


@pytest.fixture(scope="module")
def good(toy: Any) -> bytes:
    with load(toy.folder) as session:
        session.manifest = replace(session.manifest, generation=bf.Generation(ledger=bf.Ledger(bf.OBLIGATIONS)))
        list(session.generate([*range(30)], max_tokens=5, grammar=compile_grammar(regex="[a-z]*")))
        return session.snapshot()


@pytest.fixture(scope="module")
def form(toy: Any) -> StateForm:
    return StateForm("", toy.manifest.weights_sha256, 288, 4, {"looped": (4, 8), "trace": (8,)})


def python_status(form: StateForm, data: bytes) -> int:
    try:
        parse_state(form, data)
    except BundleError as error:
        return int(error.code.removeprefix("CHM"))
    return ACCEPTED


def test_every_prefix_is_refused(
    good: bytes, form: StateForm, run_driver: Callable[..., list[int]], tmp_path: Path
) -> None:
    file = tmp_path / "good"
    file.write_bytes(good)
    assert run_driver("truncate", "s", file) == [0]
    for size in range(0, len(good), 7):
        assert python_status(form, good[:size]) in (401, 402, 404)


@pytest.mark.slow
def test_every_flipped_bit_is_noticed_or_harmless(
    good: bytes, run_driver: Callable[..., list[int]], tmp_path: Path
) -> None:
    """Harmless are the digits of SHA-256, which this reader does not compute, of the minor version, and of pads."""
    file = tmp_path / "good"
    file.write_bytes(good)
    text = good[: 8 + int.from_bytes(good[:8], "little")]
    harmless: set[int] = set()
    container = bf.parse_container(good)
    for digits in (container.contents_sha256, *(view.sha256 for view in container.sections.values())):
        start = text.index(digits.encode())
        harmless.update(range(start, start + len(digits)))
    harmless.add(text.index(b'"1.0"') + 2)
    harmless.add(text.index(b'"1.0"') + 3)
    at = text.find(b"__pad.")
    while at >= 0:
        harmless.add(at + len("__pad."))
        at = text.find(b"__pad.", at + 1)
    assert set(run_driver("flip", "s", file)) <= harmless


def test_python_notices_flipped_bits(good: bytes, form: StateForm) -> None:
    random = np.random.default_rng(2)
    text = good[: 8 + int.from_bytes(good[:8], "little")].rstrip(b" ")
    version = range(text.index(b'"1.0"') + 2, text.index(b'"1.0"') + 4)
    accepted = []
    for position in random.integers(len(good), size=1500).tolist():
        data = bytearray(good)
        data[position] ^= 1 << int(random.integers(8))
        if python_status(form, bytes(data)) == ACCEPTED:
            accepted.append(position)
    assert all(p in version or text[p - 6 : p] == b"__pad." for p in accepted)


def test_both_readers_judge_random_numbers_alike(
    good: bytes, form: StateForm, run_driver: Callable[..., list[int]], tmp_path: Path
) -> None:
    """Sections with other numbers and valid checksums: what is accepted is continued under sanitizers."""
    random = np.random.default_rng(3)
    container = bf.parse_container(good)
    small = ("sequence", "sequence.history", "sequence.pending", "sequence.text", "grammar", "grammar.place", "ledger")
    snapshots = []
    for _ in range(400):
        sections = {}
        for name in random.choice(small, 1 + int(random.integers(2)), replace=False).tolist():
            array = container.array(name).copy()
            for index in random.integers(len(array), size=1 + int(random.integers(3))).tolist():
                limits = np.iinfo(array.dtype)
                wild = int(random.integers(limits.min, limits.max, endpoint=True))
                array[index] = random.choice([0, 1, 2, 3, 4, 255, 127, wild]) if array.dtype != np.uint8 else wild % 256
            sections[name] = array
        snapshots.append(changed(good, sections))
    file = tmp_path / "cases"
    file.write_bytes(b"".join(b"s" + struct.pack("<I", len(data)) + data for data in snapshots))
    statuses = run_driver("cases", file)
    assert statuses == [python_status(form, data) for data in snapshots]
    assert {ACCEPTED, 420} <= set(statuses)


def test_random_damage(good: bytes, run_driver: Callable[..., list[int]], tmp_path: Path) -> None:
    file = tmp_path / "good"
    file.write_bytes(good)
    for seed in range(2):
        run_driver("mutate", "s", file, seed, 5_000)
