"""Speculation on and off, in turns: bundles that were built with ``--speculate``.

    python benchmarks/speculation.py BUNDLE… [--tokens N] [--rounds N] [--prompt TEXT] [--grammar NAME] [--out FILE]

The text is what the model says by itself, greedily. Guesses come from a function that knows it and gets each token
right with a given probability, so that acceptance is what is asked for whatever the model; "lookup" is what sessions do
by themselves, and "never" guesses that are all wrong, to a session that may stop guessing. Processor time of one thread
is counted, not that of the clock: other programs on the machine disturb it less. A ratio is the median of the ratios of
rounds; over 1 speculation is faster. Every run is compared with the one without: tokens, state and logits.
"""

from __future__ import annotations

import argparse
import ctypes as ct
import json
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import chimerac
from chimerac.runtime.sessions.native import NativeSession

NODES = (2, 4, 8, 12, 20)  #: of trees, for the cost of a pass
ACCEPTANCE = (0.6, 0.8, 0.9)
_DRAFTER = ct.CFUNCTYPE(ct.c_int32, ct.c_void_p, ct.c_int32, ct.POINTER(ct.c_int32), ct.POINTER(ct.c_int32), ct.c_int32)
Guess = Callable[[int, int], list[int]]  #: position, most → tokens in a row


@dataclass(frozen=True)
class Case:
    """A way to guess: most nodes as of chm_session_set_speculation, and the function, if there is one."""

    name: str
    nodes: int
    guess: Guess | None = None


class Subject:
    """A session, and what it says by itself."""

    def __init__(self, session: NativeSession, prompt: str | list[int], tokens: int, grammar: str) -> None:
        self.session, self.tokens, self.grammar = session, tokens, grammar
        self.prompt = session.encode(prompt) if isinstance(prompt, str) else prompt
        self.plain, _ = self.run(Case("off", 0))
        self.text = [*self.prompt, *self.plain[0]]

    def run(self, case: Case) -> tuple[tuple[list[int], str, str], float]:
        """What came out, and the seconds of processor time of the tokens after the first."""

        def call(_: int, position: int, tokens: Any, parents: Any, most: int) -> int:
            assert case.guess is not None
            guessed = case.guess(position, most)
            for i, token in enumerate(guessed):
                tokens[i], parents[i] = token, i - 1
            return len(guessed)

        callback = _DRAFTER(call)
        session = self.session
        session.invoke("chm_session_set_drafter", ct.cast(callback, ct.c_void_p) if case.guess else None, None)
        pieces = session.generate(
            self.prompt, max_tokens=self.tokens, exit_threshold=0.0, temperature=0.0, grammar=self.grammar
        )
        next(pieces)
        session._library.call("chm_session_set_speculation", session._session, case.nodes)
        begun = time.process_time()
        for _piece in pieces:
            pass
        seconds = time.process_time() - begun
        return (session.tokens(), session.state_hash(), session.logits_hash()), seconds

    def right(self, acceptance: float, seed: int) -> Guess:
        """The text's tokens, of which each is right with a probability; what is after a wrong one is of no matter."""
        rng = random.Random(seed)
        vocabulary = self.session.vocab_size

        def guess(position: int, most: int) -> list[int]:
            following = self.text[position : position + most]
            return [t if rng.random() < acceptance else (t + 1) % vocabulary for t in following]

        return guess


def measure(open_subject: Callable[[], Subject], rounds: int, chosen: list[str] | None) -> list[dict[str, Any]]:
    """A row for each case: the median ratio, and what was guessed.

    Each case has a session of its own, which learns from round to round what passes cost and how good guesses are, and
    is closed before the next one's is opened: those of a large model would take gigabytes together.
    """
    names = [f"{share:.0%} right" for share in ACCEPTANCE]
    names += ["all right", "never", "lookup", *(f"all right, {n} nodes" for n in NODES)]
    rows = []
    for name in chosen or names:
        subject = open_subject()
        row = measure_case(subject, case_of(subject, name), rounds)
        subject.session.close()
        print(
            "  {case:22} {faster:6.2f}x  {accepted:4d} of {proposed:4d} in {passes:4d} passes".format(**row), flush=True
        )
        rows.append(row)
    return rows


def case_of(subject: Subject, name: str) -> Case:
    """The case of a name of ``measure``."""
    if name == "lookup":
        return Case(name, 1)
    shares = {"never": 0.0, **{f"{share:.0%} right": share for share in ACCEPTANCE}}
    nodes = next((n for n in NODES if name.endswith(f", {n} nodes")), 1)
    return Case(name, nodes, subject.right(shares.get(name, 1.0), 1))


def measure_case(subject: Subject, case: Case, rounds: int) -> dict[str, Any]:
    """Its row: rounds with guesses between two without, whose mean counts: drifts of the machine are no gain."""
    ratios = []
    for _ in range(rounds):
        found, off = subject.run(Case("off", 0))
        assert found == subject.plain
        found, on = subject.run(case)
        assert found == subject.plain, f"{case.name}: speculation changed the text"
        counted = subject.session.speculation()
        found, again = subject.run(Case("off", 0))
        assert found == subject.plain
        ratios.append((off + again) / 2 / on)
    return {
        "case": case.name,
        "faster": round(statistics.median(ratios), 3),
        "least": round(min(ratios), 3),
        "accepted": counted.accepted,
        "proposed": counted.proposed,
        "passes": counted.passes,
        "tokens_a_pass": round(subject.tokens / max(1, subject.tokens - counted.accepted), 2),
    }


def main() -> None:
    """Measure the bundles of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prompt", help="text; 48 random tokens where there is none")
    parser.add_argument("--grammar", default="none")
    parser.add_argument(
        "--case", action="append", help='one only, such as "80%% right" or "never"; all where none is given'
    )
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    results = {}
    for bundle in arguments.bundles:

        def open_subject(bundle: Path = bundle) -> Subject:
            session = chimerac.load(bundle, verify=False)
            assert isinstance(session, NativeSession)
            rng = random.Random(2)
            prompt = arguments.prompt or [rng.randrange(session.vocab_size - 2) for _ in range(48)]
            return Subject(session, prompt, arguments.tokens, arguments.grammar)

        print(bundle.name, flush=True)
        results[bundle.name] = measure(open_subject, arguments.rounds, arguments.case)
    if arguments.out:
        arguments.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
