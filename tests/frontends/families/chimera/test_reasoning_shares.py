"""Candidates and weights of the reasoning mode: written, split as those of the fast mode, or none of its own."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from project import ROOT

from chimerac.frontends.config import load
from chimerac.frontends.families.chimera.generation import reasoning_shares_of
from chimerac.runtime.bundle_format import Generation, Shares

DOCUMENT = str(ROOT / "tests/data/chimera51_document.txt")
SPANS = "span_inference."


def shares(*overrides: str) -> Shares | None:
    return reasoning_shares_of(load(DOCUMENT, overrides=[SPANS + override for override in overrides]))


@pytest.mark.parametrize("total", [0, 1, 2, 191, 193, 512, 513, 511])
def test_a_number_is_split_as_the_sources_are(total: int) -> None:
    found = shares(f"candidates_reason={total}")
    assert found is not None
    numbers = dict(zip((64, 48), (found.near, found.grammar), strict=True))
    assert found.near + found.grammar + found.text + found.head == total
    for part, number in (*numbers.items(), (48, found.text), (32, found.head)):
        assert abs(number - Fraction(total * part, 192)) < 1
    assert found.grammar >= found.text  # the first of equal remainders is rounded up


@pytest.mark.parametrize(
    ("overrides", "wanted"),
    [
        (["candidates_reason=4000"], Shares(256, 256, 256, 256)),
        (["candidate_sources_reason=[300, 1, 2, 3]"], Shares(256, 1, 2, 3)),
        (["candidates_reason=192", "scoring_weights_reason=[2, 0.8, 0.5, 0.7, 0]"], Shares(64, 48, 48, 32, 131072, 0)),
        (["candidates_reason=192"], None),
        (["candidates_reason=null"], None),
        (["enabled=false"], None),
    ],
)
def test_what_is_written_counts(overrides: list[str], wanted: Shares | None) -> None:
    assert shares(*overrides) == wanted


def test_a_mode_has_its_own_or_the_bundles() -> None:
    own, others = Shares(near=1), Shares(near=2)
    generation = Generation(modes={"fast": 1, "reasoning": 1}, shares=others, mode_shares={"reasoning": own})
    chosen: dict[Any, Shares] = {None: others, "fast": others, "reasoning": own}
    assert {mode: generation.shares_of(mode) for mode in chosen} == chosen
    assert Generation().shares_of("fast") == Shares()
