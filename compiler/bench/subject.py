"""What a benchmark measures: a session of a bundle that runs prompts and generates tokens while a clock looks on."""

from __future__ import annotations

import ctypes as ct
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from chimerac.compiler.bench.times import Clock
from chimerac.runtime.options import NO_GRAMMAR, PLAIN
from chimerac.runtime.sessions.interface import Session
from chimerac.runtime.sessions.native import NativeSession
from chimerac.runtime.sessions.profile import Profile, Step

#: Where the tokens of prompts come from.
TEXT = (
    "The lamp beside the window went out when the storm came over the hill. Somebody in the kitchen looked for "
    "candles, two of which were left in a drawer under the radio, and the children counted how long the thunder took."
)
PROMPT_TOKENS = 16  #: that every generation begins with
NODES = 20  #: of a pass with guesses at most
_SIZES = (1, 2, 4, 8, 12, 16, 20)  #: of the passes that are run
_PASSES = 5  #: of each size
_GUESS = ct.CFUNCTYPE(ct.c_int32, ct.c_void_p, ct.c_int32, ct.POINTER(ct.c_int32), ct.POINTER(ct.c_int32), ct.c_int32)
ATTEMPTS = 20  #: generations that may end at once before decoding is given up


@dataclass(frozen=True)
class Profiled:
    """Where the time of some decoded tokens went.

    Attributes:
        steps: of the model.
        seconds: all the time, that of choosing tokens and making text among it.
        tokens: that were decoded.
    """

    steps: Sequence[Step]
    seconds: float
    tokens: int


def prompt_tokens(session: Session, count: int) -> list[int]:
    """The first tokens of the text, which is repeated; of a model without tokenizer, any tokens."""
    if session.manifest.file("tokenizer") is None:
        return [(1 + 7 * i) % session.vocab_size for i in range(count)]
    tokens = session.encode(TEXT)
    return [tokens[i % len(tokens)] for i in range(count)]


class Subject:
    """A session of any kind; what a token takes is the mean of a generation, as pieces may arrive several at a time."""

    def __init__(self, session: Session, clock: Clock = time.perf_counter) -> None:
        self.session, self._clock = session, clock
        self._attempt = 0

    def prefill(self, count: int) -> float:
        """Seconds for a prompt of so many tokens, from the start of a sequence."""
        tokens = prompt_tokens(self.session, count)
        self.session.reset()
        begun = self._clock()
        self.session.prefill(tokens)
        return self._clock() - begun

    def decode(self, count: int, after: int = PROMPT_TOKENS) -> list[float]:
        """Seconds that a token took, after a prompt of so many tokens, for each of some generations of ``count`` tokens
        together.

        Empty if the model ends every text at once.
        """
        times: list[float] = []
        made = futile = 0
        while made < count and futile < ATTEMPTS:
            seconds, tokens = self._generate(count - made, after)
            made += tokens
            futile += not tokens
            times += [seconds / tokens] if tokens else []
        return times

    def _generate(self, count: int, after: int) -> tuple[float, int]:
        """Seconds and number of the tokens of a generation after its first token."""
        prompt = prompt_tokens(self.session, after + self._attempt)[self._attempt :]
        self._attempt = (self._attempt + 1) % (2 * ATTEMPTS)
        pieces = self.session.generate(prompt, max_tokens=count + 1, grammar=NO_GRAMMAR, **PLAIN)
        if next(pieces, None) is None:
            return 0.0, 0
        begun = self._clock()
        tokens = sum(piece.token >= 0 for piece in pieces)
        return self._clock() - begun, tokens

    def profile(self, count: int) -> Profiled | None:
        """Decode while the model measures itself; None if it cannot."""
        del count
        return None

    def passes(self) -> list[float]:
        """What passes of 1 to 20 tokens take, in passes of one; empty where nothing is guessed."""
        return []


class NativeSubject(Subject):
    """A session of the C runtime in this process: every token is measured, and no token ends a generation."""

    session: NativeSession

    def __init__(self, session: NativeSession, clock: Clock = time.perf_counter) -> None:
        super().__init__(session, clock)
        self._read: dict[int, bytes] = {}  # snapshots after prompts, by their length
        session.invoke("chm_session_set_stop_tokens", None, 0)
        if session.library.speculates:
            session.invoke("chm_session_set_speculation", 0)

    def decode(self, count: int, after: int = PROMPT_TOKENS) -> list[float]:
        """Seconds of each ``chm_session_generate``: the model, the likeliest token, its text."""
        times = list(self._tokens(self._fitting(count, after), after))
        return [after - before for before, after in itertools.pairwise(times)]

    def _fitting(self, count: int, after: int = PROMPT_TOKENS) -> int:
        """So many tokens, or as many as the context has room for after the prompt."""
        return min(count, self.session.context - after - 1)

    def _tokens(self, count: int, after: int = PROMPT_TOKENS) -> Iterator[float]:
        """The time before each token, and after the last."""
        session, clock, token = self.session, self._clock, ct.byref(ct.c_int32())
        if after not in self._read:
            session.reset()
            session.prefill(prompt_tokens(session, after))
            self._read[after] = session.snapshot()
        session.restore(self._read[after])
        session.invoke("chm_session_begin_generation", count + 1)
        session.invoke("chm_session_generate", token)  # of the prompt: the model is not run
        yield clock()
        for _ in range(count):
            session.invoke("chm_session_generate", token)
            yield clock()

    def profile(self, count: int) -> Profiled | None:
        if not self.session.measures:
            return None
        count = self._fitting(count)
        with self.session.profile() as profile:
            seconds = self._profiled(profile, count)
            return Profiled(profile.steps(), seconds, count)

    def _profiled(self, profile: Profile, count: int) -> float:
        tokens = self._tokens(count)
        begun = next(tokens)
        profile.clear()  # of the prompt
        *_, ended = tokens
        return ended - begun

    def passes(self) -> list[float]:
        """What the session itself has measured, and chooses by, after passes of some sizes whose guesses are chance."""
        session = self.session
        if not (session.library.speculates and session.library.has_costs):
            return []
        nodes = 1

        def guess(_context: int, _position: int, tokens: Any, parents: Any, most: int) -> int:
            for i in range(min(most, nodes - 1)):
                tokens[i], parents[i] = (1 + 7 * i) % session.vocab_size, i - 1
            return min(most, nodes - 1)

        callback = _GUESS(guess)
        session.invoke("chm_session_set_drafter", ct.cast(callback, ct.c_void_p), None)
        try:
            for nodes in _SIZES:
                session.invoke("chm_session_set_speculation", nodes)
                for _ in itertools.islice(self._tokens(self._fitting(_PASSES + NODES)), _PASSES + 1):
                    pass
            costs = (ct.c_float * NODES)()
            session.invoke("chm_session_costs", costs, NODES)
        finally:
            session.invoke("chm_session_set_speculation", 0)
            session.invoke("chm_session_set_drafter", None, None)
        return list(costs)


def subject_of(session: Session) -> Subject:
    """The way to measure a session."""
    return NativeSubject(session) if isinstance(session, NativeSession) else Subject(session)
