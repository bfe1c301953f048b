"""A bundle's defaults of how tokens are chosen, and of how many loop iterations they take."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final, TypeGuard

from chimerac.runtime.bundle_format.checked import count_of, list_of, need, object_of, text_of

_MODE = re.compile(r"[a-z][a-z0-9_]{0,31}")
#: What may count in the valve beside the entropy → its bit in ``chm_session_set_valve``.
METRICS: Final = {"grammar_branching": 1, "debt_pressure": 2}
MOST_BITS: Final = 64.0  #: of the valve's thresholds


@dataclass(frozen=True)
class Valve:
    """Fewer loop iterations where what comes next is certain (docs/valve.md).

    Attributes:
        thresholds: entropies in bits from which on the medium and the high level are right.
        loops: most iterations of the low, the medium and the high level.
        metrics: what counts beside the entropy, of ``METRICS``.
    """

    thresholds: tuple[float, float]
    loops: tuple[int, int, int]
    metrics: tuple[str, ...] = ()

    @property
    def numbers(self) -> tuple[float, float, int, int, int, int]:
        """What ``chm_session_set_valve`` takes."""
        return (*self.thresholds, *self.loops, sum(METRICS[name] for name in self.metrics))


#: Obligations that a ledger may count, in the order of their bits in ``chm_session_set_ledger``.
OBLIGATIONS: Final = (
    "close_bracket", "close_string", "close_fence", "end_json_object", "complete_sentence", "finish_list",
)  # fmt: skip
MOST_OUTSTANDING: Final = 64
MOST_WEIGHT: Final = 65535


@dataclass(frozen=True)
class Ledger:
    """What a text that follows a grammar has to close (docs/ledger.md).

    Attributes:
        obligations: what counts, of ``OBLIGATIONS``.
        outstanding: most that are open, 0 to 64; sentences and lists are not counted beyond.
        weight: what the ends of sentences and lists are favoured by at full pressure, in 1/256 nat, 0 to 65535.
    """

    obligations: tuple[str, ...]
    outstanding: int = MOST_OUTSTANDING
    weight: int = 0

    @property
    def numbers(self) -> tuple[int, int, int]:
        """What ``chm_session_set_ledger`` takes."""
        return sum(1 << OBLIGATIONS.index(name) for name in self.obligations), self.outstanding, self.weight


MOST_SHARE: Final = 256
MOST_RANKING: Final = 1 << 20  #: of a weight of scores


@dataclass(frozen=True)
class Shares:
    """How many candidates sources of guesses give at most, and what ranks spans of a bank (docs/sfpack.md).

    Attributes:
        near: spans with near keys.
        grammar: tokens that the grammar leaves.
        text: what followed the same tokens before, spans that the text is in and spans that follow.
        head: a draft head; spans that follow have it where there is none.
        nearness, boundary: weights of how near a key is, and of how likely a span begins; 65536 is 1.
    """

    near: int = 64
    grammar: int = 48
    text: int = 48
    head: int = 32
    nearness: int = 65536
    boundary: int = 22938

    @property
    def numbers(self) -> tuple[int, ...]:
        """What ``chm_session_set_shares`` takes."""
        return (self.near, self.grammar, self.text, self.head, self.nearness, self.boundary)


#: In place of a ledger's numbers: there is none.
NO_LEDGER: Final = (0, 0, 0)
#: In place of a valve's numbers: there is none.
NO_VALVE: Final = (0.0, 0.0, 0, 0, 0, 0)


@dataclass(frozen=True)
class Generation:
    """What a generation takes where its caller says nothing; None leaves it to the runtime.

    The fields are those of ``GenerateOptions``. ``modes``: name of a mode → loop iterations; ``mode_shares``: name of a
    mode → its shares, of those whose shares are others than ``shares``.
    """

    temperature: float | None = None
    top_p: float | None = None
    repetition_penalty: float | None = None
    max_tokens: int | None = None
    exit_threshold: float | None = None
    modes: Mapping[str, int] = field(default_factory=dict)
    valve: Valve | None = None
    ledger: Ledger | None = None
    shares: Shares | None = None
    mode_shares: Mapping[str, Shares] = field(default_factory=dict)

    def shares_of(self, mode: str | None) -> Shares:
        """Those of a mode, or where none was chosen."""
        chosen = None if mode is None else self.mode_shares.get(mode)
        return chosen or self.shares or Shares()

    def options(self) -> dict[str, Any]:
        """The defaults that are there, by the name of the option."""
        values = {name: getattr(self, name) for name in (*_RANGES, "max_tokens")}
        return {name: value for name, value in values.items() if value is not None}


#: Least and greatest value of what a generation can be given.
_RANGES: Final = {
    "temperature": (0.0, 100.0),
    "top_p": (0.0, 1.0),
    "repetition_penalty": (0.1, 10.0),
    "exit_threshold": (0.0, 1.0),
}


def generation_fields(generation: Generation) -> dict[str, Any]:
    """What the manifest says of it."""
    found = generation.options()
    if generation.modes:
        found["modes"] = {name: {"loops": loops} for name, loops in generation.modes.items()}
        for name, shares in generation.mode_shares.items():
            found["modes"][name]["shares"] = asdict(shares)
    valve = generation.valve
    if valve is not None:
        lists = {"thresholds": valve.thresholds, "loops": valve.loops, "metrics": valve.metrics}
        found["valve"] = {name: list(values) for name, values in lists.items()}
    ledger = generation.ledger
    if ledger is not None:
        numbers = {"outstanding": ledger.outstanding, "weight": ledger.weight}
        found["ledger"] = {"obligations": list(ledger.obligations), **numbers}
    if generation.shares is not None:
        found["shares"] = asdict(generation.shares)
    return found


def read_generation(value: object) -> Generation | None:
    """From a manifest; raises InvalidError."""
    if value is None:
        return None
    row = object_of(value, "generation", set())
    numbers = {}
    for name, (low, high) in _RANGES.items():
        number = row.get(name)
        within = number is None or (_is_number(number) and low <= number <= high)
        need(within, f"generation.{name} is not a number from {low:g} to {high:g}")
        numbers[name] = None if number is None else float(number)
    most = row.get("max_tokens")
    need(most is None or (type(most) is int and 0 <= most < 1 << 31), "generation.max_tokens is not a number in range")
    modes = object_of(row.get("modes", {}), "generation.modes", set())
    loops, mode_shares = {}, {}
    for name, mode in modes.items():
        text_of(name, "the name of a mode", _MODE)
        chosen = object_of(mode, f"the mode {name}", {"loops"})
        loops[name] = _loops(chosen["loops"], name)
        own = _shares(chosen.get("shares"))
        if own is not None:
            mode_shares[name] = own
    return Generation(
        max_tokens=most,
        modes=loops,
        valve=_valve(row.get("valve")),
        ledger=_ledger(row.get("ledger")),
        shares=_shares(row.get("shares")),
        mode_shares=mode_shares,
        **numbers,
    )


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _loops(value: object, name: str) -> int:
    loops = count_of(value, f"the loops of {name}")
    need(1 <= loops < 1 << 31, f"the loops of {name} are not a number in range")
    return loops


def _valve(value: object) -> Valve | None:
    if value is None:
        return None
    row = object_of(value, "generation.valve", {"thresholds", "loops", "metrics"})
    loops = list_of(row["loops"], "valve.loops")
    given = list_of(row["thresholds"], "valve.thresholds")
    bounds = [float(number) for number in given if _is_number(number) and 0 <= number <= MOST_BITS]
    ordered = len(given) == len(bounds) == 2 and bounds[0] <= bounds[1]
    need(ordered, "valve.thresholds are not two numbers from 0 to 64, the larger one last")
    need(len(loops) == 3, "valve.loops are not three numbers")
    low, medium, high = (_loops(number, "the valve") for number in loops)
    metrics = tuple(text_of(name, "a metric of the valve") for name in list_of(row["metrics"], "valve.metrics"))
    known = len(set(metrics)) == len(metrics) and set(metrics) <= METRICS.keys()
    need(known, "valve.metrics has what is unknown, or stands twice")
    return Valve((bounds[0], bounds[1]), (low, medium, high), metrics)


def _ledger(value: object) -> Ledger | None:
    if value is None:
        return None
    row = object_of(value, "generation.ledger", {"obligations", "outstanding", "weight"})
    names = tuple(text_of(name, "an obligation") for name in list_of(row["obligations"], "ledger.obligations"))
    known = len(set(names)) == len(names) and set(names) <= set(OBLIGATIONS)
    need(known and bool(names), "ledger.obligations are none, or have what is unknown, or stands twice")
    outstanding = count_of(row["outstanding"], "ledger.outstanding")
    need(outstanding <= MOST_OUTSTANDING, f"ledger.outstanding is more than {MOST_OUTSTANDING}")
    weight = count_of(row["weight"], "ledger.weight")
    need(weight <= MOST_WEIGHT, f"ledger.weight is more than {MOST_WEIGHT}")
    return Ledger(names, outstanding, weight)


def _shares(value: object) -> Shares | None:
    if value is None:
        return None
    names = [item.name for item in fields(Shares)]
    row = object_of(value, "generation.shares", set(names))
    numbers = {name: count_of(row[name], f"shares.{name}") for name in names}
    for name, number in numbers.items():
        most = MOST_RANKING if name in ("nearness", "boundary") else MOST_SHARE
        need(number <= most, f"shares.{name} is more than {most}")
    return Shares(**numbers)
