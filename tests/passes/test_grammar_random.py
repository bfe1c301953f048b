"""Random schemas, regular expressions and Lark grammars: what is generated is whole and valid, with however few tokens.

The large runs are marked slow; ``scripts/random_grammars.py`` makes them in parts.
"""

from __future__ import annotations

from collections import Counter

import pytest
from grammar_checks import CHECKS, NOT_JUDGED


def refusals(kind: str, seeds: range, generations: int) -> int:
    """The number of grammars that were refused; few may be left that could not be judged."""
    found = Counter(CHECKS[kind](seed, generations) for seed in seeds)
    assert found[NOT_JUDGED] <= 1 + len(seeds) // 20
    return found.total() - found[""] - found[NOT_JUDGED]


def test_schemas() -> None:
    assert refusals("schemas", range(20), 5) <= 1


def test_regular_expressions() -> None:
    assert refusals("expressions", range(14), 5) < 7


def test_lark_grammars() -> None:
    assert refusals("lark", range(7), 5) < 6


@pytest.mark.slow
def test_ten_thousand_schemas() -> None:
    assert refusals("schemas", range(10_000), 20) <= 200


@pytest.mark.slow
def test_a_thousand_expressions_and_grammars() -> None:
    assert refusals("expressions", range(500), 20) < 250
    assert refusals("lark", range(1000), 20) < 750


def test_llguidance_takes_the_same_texts() -> None:
    pytest.importorskip("llguidance")
    assert not refusals("llguidance", range(30), 3)


@pytest.mark.slow
def test_llguidance_takes_the_same_texts_of_many() -> None:
    pytest.importorskip("llguidance")
    assert not refusals("llguidance", range(1000), 3)
