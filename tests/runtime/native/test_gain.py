"""What trees of guesses are made of: on simulated machines little is lost whatever is guessed, and good guesses pay."""

from __future__ import annotations

import ctypes as ct
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from toy_bundles import compile_c

from chimerac.runtime import bundle_format as bf

MOST = 20  #: nodes of a tree
GIVEN = 3  #: CHM_GIVEN, the caller's guesses
RUN = 500_000  #: nanoseconds of a token


class Gain(ct.Structure):
    """Room for a ``chm_gain``."""

    _fields_ = [("words", ct.c_int64 * 512)]


@dataclass(frozen=True)
class Machine:
    """What passes of n nodes, commits of a token and making guesses take, in runs of a token."""

    of_pass: Callable[[int], float]
    of_commit: float
    of_guess: float
    clock: bool = True


STREAMING = Machine(lambda n: 1 + 0.05 * (n - 1), 0.02, 0.02)
CACHED = Machine(lambda n: 1.35 + 0.25 * (n - 1), 0.12, 0.05)
USELESS = Machine(lambda n: 1.0 * n, 0.3, 0.3)
TIMELESS = Machine(lambda n: 1 + 0.125 * (n - 1), 0.0, 0.0, clock=False)
PAGE = Machine(lambda n: 1 + 0.65 * (n - 1), 0.05, 0.0, clock=False)
MACHINES = {"streaming": STREAMING, "cached": CACHED, "useless": USELESS}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ct.CDLL:
    return loaded_from(tmp_path_factory.mktemp("gain") / "gain.so")


@pytest.fixture(scope="module")
def of_web(tmp_path_factory: pytest.TempPathFactory) -> ct.CDLL:
    """The same as modules of WebAssembly have it, which know no time."""
    return loaded_from(tmp_path_factory.mktemp("gain") / "web.so", "-D__wasm__")


def loaded_from(output: Path, *more: str) -> ct.CDLL:
    flags = ["-shared", "-fPIC", "-fvisibility=default", *more]
    loaded = ct.CDLL(str(compile_c(Path(output), [bf.NATIVE_DIRECTORY / "chm_gain.c"], *flags)))
    loaded.chm_gain_chance.restype = loaded.chm_gain_pass.restype = ct.c_float
    for name, *types in (
        ("start",),
        ("guesses", ct.c_int32, ct.c_uint32),
        ("chance", ct.c_uint8, ct.c_bool),
        ("nodes", ct.c_int32, ct.c_void_p, ct.c_int32),
        ("pass", ct.c_int32),
        ("guessed", ct.c_int64),
        ("ran", ct.c_int32, ct.c_int64),
        ("passed", ct.c_int32, ct.c_int32, ct.c_int64),
        ("saved", ct.c_int32, ct.c_int32),
        ("committed", ct.c_int32, ct.c_int64),
        ("judged", ct.c_uint8, ct.c_bool),
        ("ended", ct.c_int32, ct.c_bool),
    ):
        getattr(loaded, f"chm_gain_{name}").argtypes = [ct.c_void_p, *types]
    return loaded


class Player:
    """A session whose guesses are right with a probability, on a machine."""

    def __init__(self, library: ct.CDLL, machine: Machine, seed: int = 1) -> None:
        self._library, self._machine, self._rng = library, machine, random.Random(seed)
        self._gain = Gain()
        self.time = 0.0
        self.widths: list[int] = []

    def call(self, name: str, *arguments: object) -> float:
        return getattr(self._library, f"chm_gain_{name}")(ct.byref(self._gain), *arguments)  # type: ignore[no-any-return]

    def _took(self, name: str, runs: float, *arguments: object) -> None:
        noise = self._rng.uniform(0.95, 1.05) * (3 if self._rng.random() < 0.02 else 1)
        self.time += runs
        self.call(name, *arguments, 1 + int(RUN * runs * noise) if self._machine.clock else 0)

    def _tree(self, rate: float) -> int:
        """Tokens that a tree gave, 0 where there was none."""
        most = int(self.call("guesses", MOST - 1, 1 << GIVEN))
        if not most:
            return 0
        self._took("guessed", self._machine.of_guess)
        chance = self.call("chance", GIVEN, True)
        nodes = int(self.call("nodes", 1, (ct.c_float * MOST)(*(chance**i for i in range(MOST))), most + 1))
        if nodes == 1:
            return 0
        self.widths.append(nodes)
        self._took("passed", self._machine.of_pass(nodes), 1, nodes)
        taken = 0
        while taken < nodes - 1 and self._rng.random() < rate:
            self.call("judged", GIVEN, True)
            self.call("saved", 1, 0)
            taken += 1
        if taken < nodes - 1:
            self.call("judged", GIVEN, False)
        self.call("ended", taken, taken < nodes - 1)
        self._took("committed", self._machine.of_commit * (1 + taken), 1 + taken)
        return 1 + taken

    def faster(self, tokens: int, rate: float) -> float:
        """How many times as fast a text of so many tokens is as without guesses."""
        self.call("start")
        begun, done = self.time, 0
        while done < tokens:
            if given := self._tree(rate):
                done += given
            else:
                self._took("ran", 1.0, 1)
                done += 1
        return done / (self.time - begun)


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
@pytest.mark.parametrize("rate", [0.0, 0.3, 0.5, 0.7, 0.9])
def test_little_is_lost_whatever_is_guessed(library: ct.CDLL, machine: Machine, rate: float) -> None:
    for seed in range(8):
        player = Player(library, machine, seed)
        ratios = [player.faster(128, rate) for _ in range(40)]
        assert len(ratios) / sum(1 / ratio for ratio in ratios) > 0.985  # all texts together


def test_what_is_never_right_costs_no_text_more_than_three_in_a_hundred(library: ct.CDLL) -> None:
    for machine in MACHINES.values():
        player = Player(library, machine)
        assert min(player.faster(128, 0.0) for _ in range(20)) > 0.97


def test_good_guesses_pay(library: ct.CDLL) -> None:
    for machine, rate, wanted in (
        (STREAMING, 1.0, 6.0),
        (STREAMING, 0.8, 2.4),
        (CACHED, 1.0, 2.0),
        (CACHED, 0.9, 1.15),
    ):
        player = Player(library, machine)
        ratios = sorted(player.faster(512, rate) for _ in range(9))
        assert ratios[4] > wanted
    assert Player(library, TIMELESS).faster(512, 1.0) > 5


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 1.0])
def test_little_is_lost_in_a_page(of_web: ct.CDLL, rate: float) -> None:
    """Where products of a token are bound by arithmetic, and no clock says so."""
    for seed in range(8):
        player = Player(of_web, PAGE, seed)
        ratios = [player.faster(128, rate) for _ in range(40)]
        assert len(ratios) / sum(1 / ratio for ratio in ratios) > 0.98
    assert [round(player.call("pass", n), 2) for n in (1, 2, 20)] == [1.0, 1.6, 12.4]
    assert rate < 1 or sorted(ratios)[20] > 1.2


def test_guesses_that_become_bad_are_given_up_and_tried_again(library: ct.CDLL) -> None:
    player = Player(library, STREAMING)
    assert player.faster(500, 1.0) > 5
    assert player.faster(2000, 0.0) > 0.97
    player.faster(500, 1.0)
    assert player.faster(500, 1.0) > 5


def test_what_passes_cost_is_what_was_measured_and_on_lines_between(library: ct.CDLL) -> None:
    player = Player(library, STREAMING)
    player.call("start")
    assert [player.call("pass", n) for n in (1, 9, 17)] == [1.0, 2.0, 3.0]  # nothing is known
    for _ in range(4):
        player.call("ran", 1, 1000)
        player.call("passed", 1, 5, 3000)
        player.call("passed", 1, 9, 4000)
    found = [player.call("pass", n) for n in range(1, 10)]
    assert found == pytest.approx([1, 1.5, 2, 2.5, 3, 3.25, 3.5, 3.75, 4])
    assert player.call("pass", 17) == pytest.approx(7)  # beyond, as up to there
    for _ in range(9):
        player.call("passed", 1, 7, 5000)
    assert player.call("pass", 7) == pytest.approx(4)  # no more than more nodes


def test_costs_never_fall_with_more_nodes(library: ct.CDLL) -> None:
    """Whatever was measured, of few sizes or many, however little they fit together."""
    rng = random.Random(11)
    for _ in range(200):
        player = Player(library, STREAMING)
        player.call("start")
        for _ in range(rng.randrange(3, 40)):
            player.call("ran", 1, rng.randrange(800, 1300))
            player.call("passed", 1, rng.randrange(2, 21), rng.randrange(500, 9000))
        costs = [player.call("pass", n) for n in range(1, 21)]
        assert costs == sorted(costs)
        assert costs[0] > 0


def test_slow_times_among_the_last_do_not_matter(library: ct.CDLL) -> None:
    """The mean of the same times of two nodes is 1.96, with which a tree of two does not pay."""
    player = Player(library, STREAMING)
    player.call("start")
    for nanoseconds in (1300, 1300, 1310, 1290, 1305, 4000, 1300, 3900):
        player.call("ran", 1, 1000)
        player.call("passed", 1, 2, nanoseconds)
    assert player.call("pass", 2) == pytest.approx(1.3, abs=0.011)
