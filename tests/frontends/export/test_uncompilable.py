"""Whoever brings what cannot be compiled is told what it is, where it is written, and what to do."""

from __future__ import annotations

import os

import pytest
import uncompilable
from uncompilable import REFUSED, Outer, Refused

import chimerac

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
EVERY = 8  #: one of so many is tried in every run, the others in slow ones
CASES = [
    pytest.param(case, marks=[pytest.mark.slow] if number % EVERY else [], id=f"{number}-{case.op or case.code}")
    for number, case in enumerate(REFUSED)
]


def test_there_are_sixty() -> None:
    assert len(REFUSED) == 60


@pytest.mark.parametrize("case", CASES)
def test_the_message_says_what_where_and_what_to_do(case: Refused) -> None:
    found = chimerac.explain(Outer(case.function))
    assert not found.compiles
    first = found.obstacles[0]
    assert (first.code, first.op.removeprefix("aten.").partition(".")[0]) == (case.code, case.op)
    assert case.advice in first.advice
    (place,) = first.places
    line = case.function.__code__.co_firstlineno
    assert (place.path, place.at) == (case.path, f"{os.path.relpath(uncompilable.__file__)}:{line}")
