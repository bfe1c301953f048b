"""What every kind of session offers: one sequence of tokens, whoever computes it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from chimerac.runtime.bundle_format import Generation, Manifest, SelfTest
from chimerac.runtime.errors import BundleError
from chimerac.runtime.options import NO_GRAMMAR, PLAIN, GenerateOptions

Prompt = str | bytes | Sequence[int]  #: text, UTF-8 text, or token ids
FinishReason = Literal["stop", "length"]


@dataclass(frozen=True)
class Piece:
    """A step of a generation: the token, and the text that became complete with it (may be empty).

    ``token`` is -1 for text that was left over at the end. ``str(piece)`` is the text.
    """

    text: str
    token: int

    def __str__(self) -> str:
        return self.text


class Session(ABC):
    """An opened bundle with one sequence. Not for use by two threads at a time; close it, or use it in ``with``."""

    manifest: Manifest
    vocab_size: int
    max_loops: int
    _tokens: list[int]  #: of the last generation
    _finish_reason: FinishReason | None
    self_test_compares = "the interpreter's tokens, logits and state"  #: what ``self_test`` finds again

    def generate(self, prompt: Prompt, *, mode: str | None = None, **options: Any) -> Iterator[Piece]:
        """Run a prompt and generate; keyword arguments are the fields of GenerateOptions.

        What is not given, or None, comes from ``mode``, the name of one of the bundle's modes, else from the bundle's
        defaults (``manifest.generation``), else from GenerateOptions.

        Yields pieces as they come. Afterwards ``tokens()`` and ``finish_reason`` tell what was made and why it ended;
        a generator that is left early leaves the session usable. Raises BundleError CHM420 for a bad argument.
        """
        given = {name: value for name, value in options.items() if value is not None}
        chosen = GenerateOptions(**{**self._defaults(mode), **given})
        chosen.check_widths()
        return self._generate(prompt, chosen)

    def _defaults(self, mode: str | None) -> dict[str, Any]:
        """The bundle's options of a mode; raises BundleError CHM420 if there is none of that name."""
        generation = self.manifest.generation or Generation()
        options = generation.options()
        if mode is not None:
            if mode not in generation.modes:
                hint = f"it has {', '.join(generation.modes)}" if generation.modes else "the bundle has no modes"
                raise BundleError("CHM420", f"there is no mode {mode!r}", hint=hint)
            options["loops"] = generation.modes[mode]
        return options

    @abstractmethod
    def _generate(self, prompt: Prompt, options: GenerateOptions) -> Iterator[Piece]: ...

    @property
    def finish_reason(self) -> FinishReason | None:
        """``"stop"``, ``"length"``, or None while, and before, a generation runs or when it was left early."""
        return self._finish_reason

    def tokens(self) -> list[int]:
        """Tokens of the last generation, the stop token included."""
        return list(self._tokens)

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
    def snapshot(self) -> bytes:
        """The sequence as a file of kind ``state`` (docs/bundle.md), for ``restore`` here or in any other runtime of
        the model: state, logits, position, history; not the settings. A restored sequence goes on bit for bit.
        """

    @abstractmethod
    def restore(self, snapshot: bytes) -> None:
        """Go back to a snapshot; where it is refused, nothing changes.

        Raises BundleError CHM401 to CHM406 for bytes that are no snapshot that this runtime reads, CHM407 for one of
        another model, CHM420 for numbers out of range.
        """

    @abstractmethod
    def close(self) -> None:
        """Give all memory back; may be called again."""

    def record_self_test(self, prompt: Sequence[int], max_tokens: int) -> SelfTest:
        """What ``self_test`` of this bundle should compute: greedy tokens after a prompt. Starts a new sequence."""
        for _ in self.generate(prompt, max_tokens=max_tokens, grammar=NO_GRAMMAR, **PLAIN):
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


def check_long_enough(closing: int, max_tokens: int) -> None:
    """Raises BundleError CHM420 if ``max_tokens`` may not do for a text of a grammar, which takes ``closing``."""
    if closing > max_tokens:
        message = f"max_tokens is {max_tokens}; the grammar's shortest text may need {closing}"
        raise BundleError("CHM420", message, hint=f"give max_tokens of at least {closing}")
