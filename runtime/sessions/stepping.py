"""Sessions that run tokens where they are told to, and are asked for the next one: native ones, ONNX, emulated ones."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Generator
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from chimerac.runtime.bundle_format import NO_LEDGER, NO_VALVE, Manifest, Refusal
from chimerac.runtime.bundle_format import Generation as Defaults
from chimerac.runtime.bundle_format import constants as c
from chimerac.runtime.errors import BundleError
from chimerac.runtime.options import GenerateOptions
from chimerac.runtime.sessions.checks import Progress, check_long_enough, check_room
from chimerac.runtime.sessions.interface import CheckedPrompt, Piece, Session
from chimerac.runtime.sessions.slices import Slices


class SteppingSession(Session):
    """The order of a generation: settings, prompt in slices, then one token after the other."""

    def __init__(self, manifest: Manifest) -> None:
        super().__init__(manifest)
        self._slices = Slices(manifest.memory.decode_bytes or manifest.memory.weights_bytes)

    def _generate(
        self, prompt: CheckedPrompt, options: GenerateOptions, tell: Progress
    ) -> Generator[Piece, None, None]:
        refusal = self._refusal_for(options)
        steps = self._steps(prompt, replace(options, score=options.score or refusal is not None), tell)
        return steps if refusal is None else self._unless_refused(steps, refusal)

    def _unless_refused(self, steps: Generator[Piece, None, None], refusal: Refusal) -> Generator[Piece, None, None]:
        """The same pieces, but the last has all of the text; ends with the refusal as soon as nothing else can come."""
        text, before = "", None
        try:
            for piece in steps:
                text += piece.text
                if before is not None:
                    yield Piece("", before)
                before = piece.token
                if refusal.refuses(self._score_now()):
                    self._refused, self._finish_reason = True, "stop"
                    yield Piece(refusal.answer, before)
                    return
            if before is not None:
                yield Piece(text, before)
        finally:
            steps.close()

    def _steps(self, prompt: CheckedPrompt, options: GenerateOptions, tell: Progress) -> Generator[Piece, None, None]:
        closing = self._configure(options := self._with_names(options))
        check_long_enough(closing, options.max_tokens)
        self._tokens, self._finish_reason = [], None
        self._scored, self._refused = options.score, False
        room = self.context - self._named_tokens if options.reset else self._room()
        tokens = self._prompt_tokens(prompt, room == self.context) if isinstance(prompt, bytes) else prompt
        check_room(len(tokens) + closing, room, self.context)
        if options.reset:
            self._start_sequence()
        self._prefill(tokens, tell)
        self._begin(options)
        while True:
            finished, token, text = self._next()
            if token >= 0:
                self._tokens.append(token)
            if finished:
                limited = len(self._tokens) == options.max_tokens or not self._room()  # else nothing may follow
                self._finish_reason = "stop" if token >= 0 or not limited else "length"
                if text or token >= 0:
                    yield Piece(text, token)
                return
            yield Piece(text, token)

    def _room(self) -> int:
        """Tokens that the sequence has room for."""
        return self.context - self._position()

    def _prompt_tokens(self, text: bytes, at_start: bool) -> NDArray[np.int32]:
        """As ``chm_session_prompt``: a begin token before the text that starts a sequence, an answer token after it.

        Between the two stands what of the names it says, if the tokenizer has a token for that.
        """
        begin = self._special(c.ROLE_BEGIN) if at_start else -1
        answer = self._special(c.ROLE_ANSWER)
        tokens = self._encode(text, False, at_start)
        if not tokens and at_start and begin < 0:
            raise BundleError("CHM420", "the prompt is empty")
        tokens += self._hint()
        return np.array([*([begin] if begin >= 0 else []), *tokens, *([answer] if answer >= 0 else [])], np.int32)

    def _prefill(self, tokens: NDArray[np.int32], tell: Progress) -> None:
        check_room(len(tokens), self._room(), self.context)
        if not len(tokens):
            self._run_slice(tokens, more=False)  # what was chosen and not run yet
        done = 0
        while done < len(tokens):
            count = self._slices.next(self._position(), len(tokens) - done)
            run = partial(self._run_slice, tokens[done : done + count], more=done + count < len(tokens))
            begun = time.perf_counter()
            if self._slices.long:
                self._guard.aside(run)
            else:
                run()
            self._slices.took(count, time.perf_counter() - begun)
            done += count
            tell(done, len(tokens))
            self._guard.check()

    def _valve(self, options: GenerateOptions) -> tuple[float, float, int, int, int, int]:
        """What ``chm_session_set_valve`` takes for a generation."""
        generation = self.manifest.generation
        return generation.valve.numbers if options.valve and generation and generation.valve else NO_VALVE

    def _ledger(self) -> tuple[int, int, int]:
        """What ``chm_session_set_ledger`` takes."""
        generation = self.manifest.generation
        return generation.ledger.numbers if generation and generation.ledger else NO_LEDGER

    def _shares(self, options: GenerateOptions) -> tuple[int, ...]:
        """What ``chm_session_set_shares`` takes for a generation."""
        return (self.manifest.generation or Defaults()).shares_of(options.mode).numbers

    def _score(self) -> float | None:
        return self._score_now() if self._scored else None

    @abstractmethod
    def _score_now(self) -> float:
        """The sum of the log probabilities of a generation's tokens, of one that counts it."""

    @abstractmethod
    def _configure(self, options: GenerateOptions) -> int:
        """Check and take over all options; the bytes that a text of the grammar needs at least."""

    @abstractmethod
    def _special(self, role: str) -> int:
        """The first special token of a role, or -1."""

    @abstractmethod
    def _hint(self) -> list[int]:
        """As ``chm_session_hint``: tokens that say which names of the grammar's lists its request says."""

    @abstractmethod
    def _run_slice(self, tokens: NDArray[np.int32], *, more: bool) -> None:
        """Run tokens, in one call that cannot be interrupted; ``more``: others follow, whose logits will do."""

    @abstractmethod
    def _begin(self, options: GenerateOptions) -> None: ...

    @abstractmethod
    def _next(self) -> tuple[bool, int, str]:
        """Whether the generation has ended, the token or -1, and the text that is complete with it."""
