"""Which answers of a bundle are too unlikely to be given, and what is said instead: a manifest's field ``refusal``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from chimerac.runtime.bundle_format.checked import need, object_of, text_of

#: Least and greatest temperature.
TEMPERATURES: Final = (0.01, 1000.0)


@dataclass(frozen=True)
class Refusal:
    """Answers below a probability are refused.

    Attributes:
        threshold: least probability of an answer that is given, 0 to 1.
        temperature: of the sum of the log probabilities of an answer's tokens under the grammar, which makes a
            probability of it that holds: ``exp(score / temperature)`` (temperature scaling, arXiv 1706.04599).
        answer: the text in place of an answer that is refused.
    """

    threshold: float
    temperature: float
    answer: str

    def probability(self, score: float) -> float:
        """That an answer of this score is right."""
        return math.exp(score / self.temperature)

    def refuses(self, score: float) -> bool:
        """Whether an answer of this score, or one that begins with such tokens, is too unlikely."""
        return self.probability(score) < self.threshold


def read_refusal(value: object) -> Refusal | None:
    """The ``refusal`` of a manifest; raises InvalidError."""
    if value is None:
        return None
    row = object_of(value, "refusal", {"threshold", "temperature", "answer"})
    threshold = _number(row["threshold"], "threshold", 0.0, 1.0)
    temperature = _number(row["temperature"], "temperature", *TEMPERATURES)
    answer = text_of(row["answer"], "refusal.answer")
    need(bool(answer), "refusal.answer is empty")
    return Refusal(threshold, temperature, answer)


def _number(value: object, name: str, low: float, high: float) -> float:
    numeric = isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
    need(numeric, f"refusal.{name} is not a number from {low:g} to {high:g}")
    assert isinstance(value, int | float)
    return float(value)
