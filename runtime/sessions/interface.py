"""What every kind of session offers: one sequence of tokens, whoever computes it."""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray

from chimerac.runtime.bundle_format import Manifest, SelfTest
from chimerac.runtime.errors import BundleError

Prompt = str | bytes | Sequence[int]  #: text, UTF-8 text, or token ids
FinishReason = Literal["stop", "length"]
NO_GRAMMAR: Final = "none"


@dataclass(frozen=True)
class Piece:
    """A step of a generation: the token, and the text that became complete with it (may be empty).

    ``token`` is -1 for text that was left over at the end. ``str(piece)`` is the text.
    """

    text: str
    token: int

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class GenerateOptions:
    """How to choose tokens; ranges are checked by the C runtime, which raises CHM420.

    Attributes:
        max_tokens: at most so many tokens, 0 to 2**31 - 1.
        temperature: 0 takes the most likely token, else 0.01 to 100.
        top_p: keep the likeliest tokens that have this mass together, 0 to 1; 1 keeps all.
        top_k: keep so many of the likeliest; 0 keeps all.
        repetition_penalty: 0.1 to 10 over the last 256 tokens; 1 does nothing.
        seed: 64 bits; the same seed gives the same tokens on every machine.
        stream: number of an independent stream of the seed, 32 bits.
        loops: iterations of the looped layers; 0 takes the model's own number.
        exit_threshold: leave the loop early below this relative movement, 0 to 1; 0 never does.
        reset: start a new sequence; otherwise the prompt continues the one that is there.
        grammar: what the text must follow: the name of one of the bundle's grammars, a compiled grammar
            (``compile_grammar``), "none", or None for the bundle's default grammar if it has one. The text is complete
            within max_tokens if that is possible; a warning tells if it isn't.
    """

    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    seed: int = 0
    stream: int = 0
    loops: int = 0
    exit_threshold: float = 0.0
    reset: bool = True
    grammar: str | bytes | None = None

    def check_widths(self) -> None:
        """Numbers must fit the C types, and JSON, before their ranges can be checked; raises BundleError CHM420."""
        limits = {"max_tokens": (0, 31), "top_k": (0, 31), "loops": (0, 31), "seed": (0, 64), "stream": (0, 32)}
        for name, (low, bits) in limits.items():
            value = getattr(self, name)
            if type(value) is not int or not low <= value < 1 << bits:
                raise BundleError("CHM420", f"{name} is {value!r}, not an integer from 0 to 2**{bits} - 1")
        for name in ("temperature", "top_p", "repetition_penalty", "exit_threshold"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise BundleError("CHM420", f"{name} is {value!r}, not a finite number")
        if not isinstance(self.grammar, str | bytes | None):
            raise BundleError("CHM420", f"grammar is {type(self.grammar).__name__}, not a name or a compiled grammar")


class Session(ABC):
    """An opened bundle with one sequence. Not for use by two threads at a time; close it, or use it in ``with``."""

    manifest: Manifest
    vocab_size: int
    max_loops: int
    self_test_compares = "the interpreter's tokens, logits and state"  #: what ``self_test`` finds again

    def generate(self, prompt: Prompt, **options: Any) -> Iterator[Piece]:
        """Run a prompt and generate; keyword arguments are the fields of GenerateOptions.

        Yields pieces as they come. Afterwards ``tokens()`` and ``finish_reason`` tell what was made and why it ended;
        a generator that is left early leaves the session usable. Raises BundleError CHM420 for a bad argument.
        """
        chosen = GenerateOptions(**options)
        chosen.check_widths()
        return self._generate(prompt, chosen)

    @abstractmethod
    def _generate(self, prompt: Prompt, options: GenerateOptions) -> Iterator[Piece]: ...

    @property
    @abstractmethod
    def finish_reason(self) -> FinishReason | None:
        """``"stop"``, ``"length"``, or None while, and before, a generation runs or when it was left early."""

    @abstractmethod
    def tokens(self) -> list[int]:
        """Tokens of the last generation, the stop token included."""

    @abstractmethod
    def encode(self, text: str | bytes, *, specials: bool = False) -> list[int]:
        """Tokens of a text, without a begin token.

        With ``specials`` the names of special tokens in it become these tokens: only for text of your own, because a
        stranger's could end turns and speak as the system.
        """

    @abstractmethod
    def prefill(self, tokens: Sequence[int]) -> None:
        """Run tokens through the model."""

    @abstractmethod
    def reset(self) -> None:
        """Back to position 0 and the initial state."""

    @abstractmethod
    def logits(self) -> NDArray[np.float32] | None:
        """Copy of the logits, float32[vocab], after the last token that was run; None before the first."""

    @property
    @abstractmethod
    def threads(self) -> int:
        """Threads that share the work of a call."""

    @property
    def kernels(self) -> str:
        """Which of the bundle's kernels are in use: a name from docs/targets.md."""
        return self.manifest.target.partition("-")[2]

    @property
    def process_id(self) -> int | None:
        """The process that computes, if it is another one."""
        return None

    @property
    @abstractmethod
    def position(self) -> int:
        """Number of tokens that were run."""

    @abstractmethod
    def state_hash(self) -> str:
        """64-bit hash of the recurrent state, 16 hexadecimal digits."""

    @abstractmethod
    def logits_hash(self) -> str:
        """64-bit hash of the logits, 16 hexadecimal digits."""

    @abstractmethod
    def close(self) -> None:
        """Give all memory back; may be called again."""

    def record_self_test(self, prompt: Sequence[int], max_tokens: int) -> SelfTest:
        """What ``self_test`` of this bundle should compute: greedy tokens after a prompt. Starts a new sequence."""
        for _ in self.generate(prompt, max_tokens=max_tokens, grammar=NO_GRAMMAR):
            pass
        recorded = SelfTest(tuple(prompt), tuple(self.tokens()), self.logits_hash(), self.state_hash())
        self.reset()
        return recorded

    def self_test(self) -> bool:
        """Compute the manifest's self-test here; False if it has none. Starts a new sequence.

        Raises BundleError CHM450 that names what differs.
        """
        expected = self.manifest.self_test
        if expected is None:
            return False
        found = self.record_self_test(expected.prompt, len(expected.tokens))
        for what in ("tokens", "logits_hash", "state_hash"):
            here, there = getattr(found, what), getattr(expected, what)
            if here != there:
                message = f"the {what} of the self-test differ: {here} here, {there} when the bundle was built"
                raise BundleError("CHM450", message, hint="report this with the name of the processor")
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def tell_too_short(closing: int, max_tokens: int) -> None:
    """Warn if a text that needs ``closing`` tokens at least need not be complete after ``max_tokens``."""
    if closing > max_tokens:
        message = f"max_tokens is {max_tokens}; the grammar's shortest text may need {closing}: it may be cut off"
        warnings.warn(message, stacklevel=3)
