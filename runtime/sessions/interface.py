"""What every kind of session offers: one sequence of tokens or calls, whoever computes it. Its doors, one at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from chimerac.runtime.arguments import checked_names, checked_text, checked_tokens, kind, nearest, shown
from chimerac.runtime.bundle_format import CallRecord, CallTest, Entry, Manifest, SelfTest
from chimerac.runtime.bundle_format import Generation as Defaults
from chimerac.runtime.bundle_format.chat import Chat
from chimerac.runtime.bundle_format.conversation import Message, continued, tokens_of, whole
from chimerac.runtime.bundle_format.entries import comparable, drawn
from chimerac.runtime.bundle_format.hashing import hash_words
from chimerac.runtime.errors import BundleError
from chimerac.runtime.options import NO_GRAMMAR, OPTION_NAMES, PLAIN, GenerateOptions
from chimerac.runtime.sessions.checks import Progress, check_has_text, check_has_tokens, check_same, checked_progress
from chimerac.runtime.sessions.conversation import ChatPiece, Held, Parts, checked_messages
from chimerac.runtime.sessions.diagnostics import Diagnosing
from chimerac.runtime.sessions.guard import Generation, Guard
from chimerac.runtime.sessions.memory import ReadsMemory
from chimerac.runtime.sessions.named import NamedSession
from chimerac.runtime.sessions.scoring import ScoringSession
from chimerac.runtime.sessions.tensors import as_given_back, checked_inputs, entry_of

Prompt = str | bytes | Sequence[int]  #: text, the bytes of a text, or token ids
CheckedPrompt = bytes | NDArray[np.int32]  #: the bytes of a text, or token ids of the vocabulary
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


class Session(NamedSession, ScoringSession, Diagnosing, ReadsMemory, ABC):
    """An opened bundle with one sequence; close it, or use it in ``with``.

    A bundle of a language model runs tokens: ``generate``, ``prefill``, ``logits``. One of any other module is called
    with tensors: ``call``; then ``vocab_size`` is 0, and what is of tokens raises BundleError CHM421.

    Any thread may use it, by one call at a time: a second call while one runs raises BundleError CHM421 and does
    nothing, and so does a call that would change the sequence of a generation that has not ended. Several sessions of
    a bundle share its memory.

    Every call may be interrupted, by a signal whose handler raises (Ctrl-C) or by closing from another thread: long
    ones run in slices of some hundredths of a second. What was run until then stays: ``position`` tells how much, and
    the session can be used on.
    """

    vocab_size: int
    max_loops: int
    self_test_compares = "the interpreter's tokens, logits and state"  #: what ``self_test`` finds again

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        if manifest.entries:
            self.self_test_compares = "the interpreter's results and state"
        self._guard = Guard()
        self._tokens: list[int] = []  # of the last generation
        self._conversation: Held | None = None
        self._finish_reason: FinishReason | None = None

    def generate(
        self, prompt: Prompt, *, mode: str | None = None, on_progress: Progress | None = None, **options: Any
    ) -> Generation[Piece]:
        """Run a prompt and generate; keyword arguments are the fields of GenerateOptions.

        What is not given, or None, comes from ``mode``, the name of one of the bundle's modes, else from the bundle's
        defaults (``manifest.generation``), else from GenerateOptions. ``on_progress(done, total)`` is told how many
        tokens of the prompt were run, some times a second.

        Yields pieces as they come. Afterwards ``tokens()`` and ``finish_reason`` tell what was made and why it ended.
        Where the bundle has a ``refusal`` the text comes with the last piece, the answer or the refusal (``refused``).

        The generation has the session until it ends, is closed, or nobody refers to it any more. Raises BundleError
        CHM420 for a bad argument, CHM421 (from the first step) while another call or generation runs, and CHM424,
        before anything changes, for a prompt that does not fit the context, at whose end a generation ends
        (``"length"``).
        """
        self.need_tokens()
        checked_names(options, (*OPTION_NAMES, "on_progress"))
        self._conversation = None
        given = {name: value for name, value in options.items() if value is not None}
        chosen = GenerateOptions.of({**self._defaults(mode), **given})
        if isinstance(prompt, str | bytes | bytearray | memoryview):
            self._need_text()
            checked: CheckedPrompt = (text := checked_text(prompt, "the prompt"))
            chosen = chosen.copying_from(text)
        else:
            checked = checked_tokens(prompt, self.vocab_size)
        return Generation(self._guard, self._generate(checked, chosen, checked_progress(on_progress)))

    @property
    def context(self) -> int:
        """Most tokens of a sequence, prompts and answers together."""
        return self.manifest.context or 2**31 - 1

    def chat(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        mode: str | None = None,
        on_progress: Progress | None = None,
        **options: Any,
    ) -> Generation[ChatPiece]:
        """Answer a conversation.

        Args:
            messages: mappings with ``role`` and ``content``: perhaps one of the system, then of the user and the
                assistant in turns, the user's last. If all but the last are those of the call before with the answer
                (the text of its parts ``answer``), only the last is run.

        Other arguments are those of ``generate``, but for ``reset``. Yields pieces with the part of the answer that
        they are of: answer, thinking or tool_call. Text of messages becomes no special token. Raises BundleError CHM420
        for other messages, CHM421 if the bundle has no chat.
        """
        checked = checked_messages(messages, self.manifest.chat)
        assert self.manifest.chat is not None
        checked_names(options, tuple(name for name in (*OPTION_NAMES, "on_progress") if name != "reset"))
        given = {name: value for name, value in options.items() if value is not None}
        chosen = GenerateOptions.of({**self._defaults(mode), **given})
        return Generation(self._guard, self._chat(self.manifest.chat, checked, chosen, checked_progress(on_progress)))

    def _chat(
        self, chat: Chat, messages: tuple[Message, ...], options: GenerateOptions, tell: Progress
    ) -> Generator[ChatPiece, None, None]:
        assert chat.pieces is not None
        held, self._conversation = self._conversation, None
        continues = held is not None and held.messages == messages[:-1]
        items = continued(chat.pieces, messages[-1], held.end) if held and continues else whole(chat.pieces, messages)
        tokens = tokens_of(items, lambda text, begins: self._encode(text.encode(), False, begins), begins=not continues)
        prompt = checked_tokens(tokens, self.vocab_size, "the conversation")
        parts, text = Parts(chat, chat.pieces.prompt), ""
        steps = self._generate(prompt, replace(options.copying_from(messages[-1].content), reset=not continues), tell)
        answered = False
        try:
            for step in steps:
                piece, answered = parts.piece(step.text, step.token), True
                text += piece.text if piece.part == "answer" else ""
                yield piece
        finally:
            steps.close()
            if answered:
                end = self._tokens[-1] if self._finish_reason == "stop" and self._tokens else None
                self._conversation = Held((*messages, Message("assistant", text)), end)

    def _defaults(self, mode: str | None) -> dict[str, Any]:
        """The bundle's options of a mode; raises BundleError CHM420 if there is none of that name."""
        generation = self.manifest.generation or Defaults()
        options = generation.options()
        if mode is not None:
            if not isinstance(mode, str):
                raise BundleError("CHM420", f"mode is {kind(mode)}, not a name")
            if mode not in generation.modes:
                hint = f"it has {', '.join(generation.modes)}" if generation.modes else "the bundle has no modes"
                near = nearest(mode, generation.modes)
                hint = f"did you mean {near!r}? {hint}" if near else hint
                raise BundleError("CHM420", f"there is no mode {shown(mode)}", hint=hint)
            options |= {"mode": mode, "loops": generation.modes[mode]}
        return options

    @abstractmethod
    def _generate(
        self, prompt: CheckedPrompt, options: GenerateOptions, tell: Progress
    ) -> Generator[Piece, None, None]: ...

    @property
    def finish_reason(self) -> FinishReason | None:
        """``"stop"``, ``"length"``, or None while, and before, a generation runs or when it was left early."""
        return self._finish_reason

    def tokens(self) -> list[int]:
        """Tokens of the last generation, the stop token included."""
        return list(self._tokens)

    def encode(self, text: str | bytes, *, specials: bool = False, begins: bool = True) -> list[int]:
        """Tokens of a text, without a begin token.

        With ``specials`` the names of special tokens in it become these tokens: only for text of your own, because a
        stranger's could end turns and speak as the system. Some tokenizers put a space before a text; without
        ``begins``, of a text that follows others, those do not that put it before the first only. Raises BundleError
        CHM420 for what is no text, and for ``specials`` in a text that does not begin.
        """
        self._need_text()
        data = checked_text(text, "the text")
        for name, value in (("specials", specials), ("begins", begins)):
            if not isinstance(value, bool):
                raise BundleError("CHM420", f"{name} is {kind(value)}, not True or False")
        if specials and not begins:
            raise BundleError("CHM420", "specials are for a text that begins")
        with self._guard.call():
            return self._encode(data, specials, begins)

    @abstractmethod
    def _encode(self, text: bytes, specials: bool, begins: bool) -> list[int]: ...

    def prefill(self, tokens: Sequence[int], *, on_progress: Progress | None = None) -> None:
        """Run tokens through the model; all of them are checked first. ``on_progress`` as of ``generate``."""
        self.need_tokens()
        tell = checked_progress(on_progress)
        values = checked_tokens(tokens, self.vocab_size, "tokens")
        self._conversation = None
        with self._guard.call(changes=True):
            self._prefill(values, tell)

    @abstractmethod
    def _prefill(self, tokens: NDArray[np.int32], tell: Progress) -> None: ...

    def call(self, inputs: Mapping[str, Any], *, entry: str | None = None) -> dict[str, NDArray[Any]]:
        """Results of a module that is no language model, by name; the only result of a module is ``output``.

        Args:
            inputs: name → array, of the types and shapes of ``manifest.entries``: floats are float32, whatever
                PyTorch's type was, integers of any type with values that fit, truth values bool. An axis ``T`` may have
                1 to ``most`` elements.
            entry: name of what is called; None: the first, most often the only one.

        State goes on from call to call; ``reset`` starts anew. A call cannot be interrupted. Raises BundleError CHM420
        for names, types, shapes and values that do not fit, CHM421 where the bundle holds a language model.
        """
        chosen = entry_of(self.manifest.entries, entry)
        arrays, n = checked_inputs(chosen, inputs)
        with self._guard.call(changes=True):
            return as_given_back(chosen, self._call_entry(chosen, arrays, n), n)

    def _call_entry(self, entry: Entry, inputs: Sequence[NDArray[Any]], n: int) -> Sequence[NDArray[Any]]:
        """Results in the order of the entry, float32 or int32, given such inputs in its order."""
        raise BundleError("CHM421", "this session takes no tensors")

    def need_tokens(self) -> None:
        """Raise BundleError CHM421 if the bundle holds no language model."""
        check_has_tokens(self.manifest)

    def _need_text(self) -> None:
        """Raise BundleError CHM421 if the model's tokens are no text."""
        self.need_tokens()
        check_has_text(self.manifest, self.vocab_size)

    def reset(self) -> None:
        """Back to position 0 and the initial state."""
        self._conversation = None
        with self._guard.call(changes=True):
            self._reset()

    def logits(self) -> NDArray[np.float32] | None:
        """Copy of the logits, float32[vocab], after the last token that was run; None before the first."""
        self.need_tokens()
        with self._guard.call():
            return self._logits()

    @abstractmethod
    def _logits(self) -> NDArray[np.float32] | None: ...

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
    def position(self) -> int:
        """Number of tokens that were run; of calls, where the bundle holds no language model."""
        with self._guard.call():
            return self._position()

    @abstractmethod
    def _position(self) -> int: ...

    def state_hash(self) -> str:
        """64-bit hash of the recurrent state, 16 hexadecimal digits."""
        with self._guard.call():
            return self._state_hash()

    @abstractmethod
    def _state_hash(self) -> str: ...

    def logits_hash(self) -> str:
        """64-bit hash of the logits, 16 hexadecimal digits."""
        self.need_tokens()
        with self._guard.call():
            return self._logits_hash()

    @abstractmethod
    def _logits_hash(self) -> str: ...

    def snapshot(self) -> bytes:
        """The sequence as a file of kind ``state`` (docs/bundle.md), for ``restore`` here or in any other runtime of
        the model: state, logits, position, history; not the settings. A restored sequence goes on bit for bit.
        """
        with self._guard.call():
            return self._snapshot()

    @abstractmethod
    def _snapshot(self) -> bytes: ...

    def restore(self, snapshot: bytes) -> None:
        """Go back to a snapshot; where it is refused, nothing changes.

        Raises BundleError CHM401 to CHM406 for bytes that are no snapshot that this runtime reads, CHM407 for one of
        another model, CHM420 for numbers out of range, and for what is not bytes.
        """
        if not isinstance(snapshot, bytes | bytearray | memoryview):
            raise BundleError("CHM420", f"the snapshot is {kind(snapshot)}, not bytes")
        self._conversation = None
        with self._guard.call(changes=True):
            self._restore(bytes(snapshot))

    def close(self) -> None:
        """Give all memory back; may be called again.

        A call of another thread that runs is ended, with CHM421, and waited for; raises BundleError CHM421 in a call
        of its own (``on_progress``, a signal handler).
        """
        self._guard.close(self._hasten, self._close)

    @abstractmethod
    def _close(self) -> None: ...

    def _hasten(self) -> None:
        """Help a call that runs in another thread to see soon that the session is to be closed."""

    def record_self_test(self, prompt: Sequence[int], max_tokens: int) -> SelfTest:
        """What ``self_test`` of this bundle should compute: greedy tokens after a prompt. Starts a new sequence."""
        with self._without_names():
            for _ in self.generate(prompt, max_tokens=max_tokens, grammar=NO_GRAMMAR, **PLAIN):
                pass
            recorded = SelfTest(tuple(prompt), tuple(self.tokens()), self.logits_hash(), self.state_hash())
        self.reset()
        return recorded

    def self_test(self) -> bool:
        """Compute the manifest's self-test here, or its call test; False if it has none. Starts a new sequence.

        Raises BundleError CHM450 that names what differs.
        """
        if self.manifest.call_test is not None:
            self._test_calls(self.manifest.call_test)
            return True
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

    def _test_calls(self, expected: CallTest) -> None:
        """The self-test of a module that is no language model; raises BundleError CHM450 that names what differs."""
        entry = entry_of(self.manifest.entries, expected.entry)
        self.reset()
        for number, record in enumerate(expected.calls):
            with self._guard.call(changes=True):
                results = self._call_entry(entry, drawn(entry, number, record.n), record.n)
            self._compare_call(entry, number, record, results)
        if expected.state_hash and self._is_exact:
            check_same("the state of the self-test", self.state_hash(), expected.state_hash)
        self.reset()

    _is_exact = True  #: whether it computes the bits of the interpreter

    def _compare_call(self, entry: Entry, number: int, record: CallRecord, results: Sequence[NDArray[Any]]) -> None:
        for port, there, result in zip(entry.results, record.hashes, results, strict=True):
            here = f"{hash_words(comparable(result)):016x}"
            check_same(f"{port.name} of call {number} of the self-test", here, there)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
