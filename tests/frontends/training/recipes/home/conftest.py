"""A small drawing of all splits, and a little prose, shared by the tests of the home data."""

from __future__ import annotations

from pathlib import Path

import pytest

from chimerac.frontends.training.recipes.home.make_data import make_data
from chimerac.frontends.training.recipes.home.sentences import Splits, make_splits

PROSE = [
    f"The {thing} keeps a record of each change. You can read it later, or give it to another {thing}.\n"
    f"It doesn't cost much: {number} bytes a line, and none where a {thing} stays as it was."
    for number, thing in enumerate(["table", "garden", "engine", "library", "server", "letter", "window", "river"])
]

#: Stands for the word list: words that nobody uses, and names of places with capitals.
WORDS = [a + b for a in ("ba", "cur", "del", "fon", "gri", "hap", "jol") for b in ("bon", "cade", "dle", "fert", "gan")]
WORDS += [a + b for a in ("Tol", "Wes", "Rad") for b in ("ford", "ham", "ley")]


@pytest.fixture(scope="session")
def words() -> list[str]:
    """A small word list, sorted."""
    return WORDS


@pytest.fixture(scope="session")
def prose() -> list[str]:
    """Eight documents of two paragraphs."""
    return PROSE


@pytest.fixture(scope="session")
def splits() -> Splits:
    """About 1,500 training sentences and 150 of each validation split."""
    return make_splits(1500, 150, seed=3, documents=PROSE, words=WORDS)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole data folder of 300 sentences with a vocabulary of 700 tokens."""
    out = tmp_path_factory.mktemp("home") / "data"
    make_data(out, PROSE, words=WORDS, sentences=300, validation=50, seed=3, vocabulary=700)
    return out
