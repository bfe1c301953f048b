"""A session of an ONNX bundle: ONNX Runtime computes the calls, Python does what the C runtime does around them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chimerac.runtime.bundle_format import OBLIGATIONS, SECTION_ALIGNMENT, Manifest, SelfTest, Valve
from chimerac.runtime.bundle_format import constants as c
from chimerac.runtime.bundle_format.hashing import hash_words
from chimerac.runtime.bundle_format.state import (
    GrammarPlace,
    Progress,
    SequenceState,
    StateForm,
    parse_state,
    state_bytes,
)
from chimerac.runtime.errors import BundleError
from chimerac.runtime.options import GenerateOptions
from chimerac.runtime.reference.grammars import GrammarRun, PythonGrammars
from chimerac.runtime.reference.ledger import Debts
from chimerac.runtime.reference.sampler import log_probability, sample
from chimerac.runtime.reference.tokenizer import StreamDecoder, Tokenizer, read_tokenizer
from chimerac.runtime.reference.valve import FORCED, HIGH, Look, look, loops_at, next_level, routed_loops
from chimerac.runtime.sessions.checks import NO_TEXT
from chimerac.runtime.sessions.diagnostics import Diagnostics
from chimerac.runtime.sessions.onnx_model import (
    ONNX_FUSED,
    first_line,
    held_states,
    import_onnxruntime,
    open_model,
    read_interface,
)
from chimerac.runtime.sessions.speculation import Speculation
from chimerac.runtime.sessions.stepping import SteppingSession

#: How far below the best a token of the self-test may be in such a bundle, as a part of the range of the logits.
SELF_TEST_TOLERANCE = 0.02


@dataclass(frozen=True, kw_only=True)
class OnnxSequence(Progress):
    """The sequence up to now; ``grammar`` is that of a restored generation, the session's own is in its run.

    No array in it is ever written to.

    Attributes:
        states: name of the model's input → its value (an OrtValue).
        logits: after the last token that was run, or None.
    """

    states: dict[str, Any]
    logits: NDArray[np.float32] | None = None


class OnnxSession(SteppingSession):
    """Opened by ``load``."""

    def __init__(
        self,
        manifest: Manifest,
        model: Path,
        tokenizer: Path | None,
        grammars: Path | None = None,
        *,
        threads: int = 1,
    ) -> None:
        """Load the model; 0 threads are one per core, at most 8.

        Raises BundleError CHM414 if ONNX Runtime is missing or cannot load the model, CHM400 to CHM406 and CHM430 for
        the tokenizer.
        """
        super().__init__(manifest)
        self._runtime = import_onnxruntime()
        self._threads = threads or min(8, os.cpu_count() or 1)
        self._exact = manifest.target != ONNX_FUSED
        if not self._exact:
            self.self_test_compares = f"the interpreter's tokens, within {SELF_TEST_TOLERANCE:.0%} of the logits' range"
        self._session: Any = open_model(self._runtime, model, self._threads, exact=self._exact)
        self._interface = read_interface(self._session, model)
        self._outputs = [output.name for output in self._session.get_outputs()]
        self._held = held_states(self._session)
        self.vocab_size = int(self._session.get_outputs()[0].shape[0])
        self.max_loops = self._interface.loops[1]
        self._tokenizer = None if tokenizer is None else read_tokenizer(tokenizer)
        self._excluded = _excluded(self._tokenizer, self.vocab_size)
        self._grammars = PythonGrammars(self._tokenizer, grammars)
        self._loops, self._exit_threshold = self._interface.loops[0], 0.0
        self._valve_now: Valve | None = None
        self._looked, self._levels = 0.0, [0, 0, 0]  # bits of entropy; tokens by level
        self._form = StateForm(
            manifest.config_sha256,
            manifest.model_sha256,
            self.vocab_size,
            self.max_loops,
            {name: held.shape for name, held in self._held.items()},
            {name: held.stored for name, held in self._held.items()},
            self.context,
            self._interface.rows,
        )
        self._sequence = self._start()
        self._chosen: GrammarRun | None = None  # for the generation that is about to begin
        self._run_of_grammar: GrammarRun | None = None
        self._decoder = None if self._tokenizer is None else StreamDecoder(self._tokenizer)
        self._ends = {s.id for s in self._tokenizer.specials if s.role == c.ROLE_END} if self._tokenizer else set()
        self._options = GenerateOptions()
        self._sum = np.float32(0)  # of the log probabilities of the generation's tokens

    # ---- running tokens ----

    def _start(self) -> OnnxSequence:
        """The model itself puts the initial states in place at position 0."""
        value = self._runtime.OrtValue.ortvalue_from_numpy
        states = {f"state.{name}": value(np.zeros(held.shape, held.type)) for name, held in self._held.items()}
        return OnnxSequence(states=states)

    def _run(self, tokens: Sequence[int], *, chosen: bool = False) -> None:
        """Run checked tokens; no call crosses a multiple of the block, and an exit threshold makes each one token.

        ``chosen``: they are those that wait to be run, which the history has.
        """
        if self._sequence.position + len(tokens) > 2**31 - 1:
            raise BundleError("CHM421", "the sequence is longer than 2^31 - 1 tokens")
        done, block = 0, self._interface.block
        while done < len(tokens):
            room = 1 if self._exit_threshold > 0 else block - self._sequence.position % block
            self._call(tokens[done : done + room], chosen=chosen)
            done += room

    def _call(self, tokens: Sequence[int], *, chosen: bool) -> None:
        value = self._runtime.OrtValue.ortvalue_from_numpy
        self._route()
        self._spread_states()
        sequence = self._sequence
        feeds = dict(sequence.states)
        feeds["tokens"] = value(np.array(tokens, np.int32))
        feeds["position"] = value(np.array(sequence.position, np.int32))
        if self._interface.chooses_loops:
            feeds["loops"] = value(np.array(self._loops_now(), np.int64))
            feeds["exit_threshold"] = value(np.array(self._exit_threshold, np.float32))
        try:
            made = self._session.run_with_ort_values(self._outputs, feeds)
        except Exception as error:  # onnxruntime raises its own classes, which have no common base of their own
            raise BundleError("CHM414", f"ONNX Runtime failed: {first_line(error)}") from None
        results = dict(zip(self._outputs, made, strict=True))
        iterations = int(results["iterations"].numpy()) if "iterations" in results else self._interface.loops[1]
        self._sequence = replace(
            sequence,
            states={name: results["present." + name.removeprefix("state.")] for name in sequence.states},
            position=sequence.position + len(tokens),
            deepest=max(sequence.deepest, iterations),
            iterations=iterations,
            logits=results["logits"].numpy(),
            pending=sequence.pending[len(tokens) :] if chosen else sequence.pending,
            history=sequence.history if chosen else _remembered(sequence.history, tokens),
        )

    def _route(self) -> None:
        """Where a block begins: what the router makes of the token before it."""
        if self._sequence.position % self._interface.block == 0:
            self._forget_memory()
        sequence, scores = self._sequence, self._sequence.states.get(f"state.{c.ROUTER_STATE}")
        if scores is not None and self._interface.chooses_loops and sequence.position % self._interface.block == 0:
            self._sequence = replace(sequence, routed=routed_loops(scores.numpy(), self._interface.loops[1]))

    def _forget_memory(self) -> None:
        """What a snapshot of another target had read of a memory ends with its block, since sessions here read none."""
        states, value = self._sequence.states, self._runtime.OrtValue.ortvalue_from_numpy
        read = [name for name in (f"state.{c.KNOT_MEMORY}", f"state.{c.KNOT_HIT}") if name in states]
        if any(np.any(states[name].numpy()) for name in read):
            nothing = {name: value(np.zeros_like(states[name].numpy())) for name in read}
            self._sequence = replace(self._sequence, states={**states, **nothing})

    def _loops_now(self) -> int:
        """Iterations that tokens are run with at the level of the sequence, and as its router predicts."""
        valve, sequence, fewest = self._valve_now, self._sequence, self._interface.fewest_loops
        if valve is None:
            return self._loops
        return loops_at(valve, HIGH - sequence.lowered, self._loops, fewest, sequence.routed)

    def _turn(self, allowed: NDArray[np.bool_] | None) -> None:
        """Where a block begins: its level, from what may come there; None: one token only."""
        valve, sequence = self._valve_now, self._sequence
        if valve is None or (sequence.position + len(sequence.pending)) % self._interface.block:
            return
        seen: Look = FORCED if allowed is None else look(self._last_logits(), ~allowed)
        pressure = np.float32(0) if self._run_of_grammar is None else self._run_of_grammar.debts().fraction
        self._looked = float(seen.entropy)
        lowered = HIGH - next_level(valve, HIGH - sequence.lowered, seen, self.vocab_size, pressure)
        if lowered != sequence.lowered:
            self._settle()  # with the iterations of the block before
            self._sequence = replace(self._sequence, lowered=lowered)

    def _spread_states(self) -> None:
        """Give loop iterations that were never used the state of the deepest one that was."""
        deepest = self._sequence.deepest
        if not self._interface.chooses_loops or not 0 < deepest < self._loops_now():
            return
        states = dict(self._sequence.states)
        for name, copies in self._interface.copies.items():
            if copies > 1:
                array = states[f"state.{name}"].numpy().copy()
                array[deepest : self._loops_now()] = array[deepest - 1]
                states[f"state.{name}"] = self._runtime.OrtValue.ortvalue_from_numpy(array)
        self._sequence = replace(self._sequence, states=states)

    def _settle(self) -> None:
        """Run the tokens that were chosen and not run yet."""
        self._run(self._sequence.pending, chosen=True)

    def _run_slice(self, tokens: NDArray[np.int32], *, more: bool) -> None:
        self._settle()
        self._run(tokens.tolist())

    def _hint(self) -> list[int]:
        engine, heard = self._chosen and self._chosen.engine, self._special(c.ROLE_HEARD)
        said = engine.hint if engine and heard >= 0 else None
        return [] if said is None else [heard, *self._encode(said, False, False)]

    def _special(self, role: str) -> int:
        found = self._text_tokenizer().special_id(role)
        return -1 if found is None else found

    def _text_tokenizer(self) -> Tokenizer:
        if self._tokenizer is None:
            raise BundleError("CHM421", NO_TEXT)
        return self._tokenizer

    # ---- generating ----

    def _configure(self, options: GenerateOptions) -> int:
        self._set(options)
        generation = self.manifest.generation
        self._valve_now = generation.valve if options.valve and generation else None
        engine = self._grammars.choose(options.grammar)
        if engine is not None:
            self._grammars.set_words(engine, options)
            engine.check_slots()
        self._chosen = (
            None
            if engine is None
            else GrammarRun.begin(engine, options.max_tokens, generation.ledger if generation else None)
        )
        return 0 if engine is None else engine.closing(engine.start())

    def _begin(self, options: GenerateOptions) -> None:
        if self._sequence.position == 0:
            raise BundleError("CHM421", "nothing to continue: no token was run yet")
        self._sequence = replace(self._sequence, remaining=options.max_tokens, finished=False, grammar=GrammarPlace())
        self._options, self._run_of_grammar, self._sum = options, self._chosen, np.float32(0)
        self._looked, self._levels = 0.0, [0, 0, 0]

    def _next(self) -> tuple[bool, int, str]:
        decoder, token = self._decoder, -1
        remaining = min(self._sequence.remaining, self._room())  # what is chosen can be run, too
        self._sequence = replace(self._sequence, remaining=remaining)
        if self._run_of_grammar is not None:
            self._run_of_grammar.left = min(self._run_of_grammar.left, remaining)
        if self._sequence.remaining:
            token = self._choose(self._options, self._run_of_grammar)
        if token < 0 or token in self._ends:  # nothing may follow, or nothing more is wanted
            self._sequence = replace(self._sequence, finished=True)
            return True, token, decoder.finish() if decoder else ""
        return False, token, decoder.push(token) if decoder else ""

    def _choose(self, options: GenerateOptions, run: GrammarRun | None) -> int:
        """The next token; -1 if the grammar has nothing more to say."""
        if run is None:
            self._settle()
            self._turn(~self._excluded)
            return self._take(self._sample(self._last_logits(), self._excluded, options), run)
        allowed = run.allowed(self.vocab_size)
        choices = np.count_nonzero(allowed)
        if not choices:
            return -1
        if choices > 1 or len(self._sequence.pending) == c.MAX_PENDING:
            self._settle()
        self._turn(None if choices == 1 else allowed)
        if choices == 1:  # whatever the logits are: they are not computed, and several tokens are run at once
            return self._take(int(np.argmax(allowed)), run)
        weighted = run.weighted(self._last_logits(), self._sequence.history)
        return self._take(self._sample(weighted, ~allowed, options), run)

    def _sample(self, logits: NDArray[np.float32], excluded: NDArray[np.bool_], options: GenerateOptions) -> int:
        sequence = self._sequence
        token = sample(logits, excluded, sequence.history, sequence.position, options)
        if token < 0:
            message = f"every logit at position {sequence.position} is excluded or not a number"
            raise BundleError("CHM423", message)
        if options.score:
            self._sum = np.float32(self._sum + log_probability(self._last_logits(), excluded, token))
        return token

    def _score_now(self) -> float:
        return float(self._sum)

    def _take(self, token: int, run: GrammarRun | None) -> int:
        sequence = self._sequence
        self._sequence = replace(
            sequence,
            pending=(*sequence.pending, token),
            remaining=sequence.remaining - 1,
            history=_remembered(sequence.history, [token]),
        )
        if run is not None:
            run.accept(token)
        if self._valve_now is not None:
            self._levels[HIGH - sequence.lowered] += 1
        return token

    def _set(self, options: GenerateOptions) -> None:
        """Check and take over the options, as the C runtime does; raises BundleError CHM420."""
        default, most = self._interface.loops
        least = self._interface.fewest_loops if self._interface.chooses_loops else most
        problems = {
            f"{options.loops} loops; {least} to {most} are possible, or 0 for the default": options.loops != 0
            and not least <= options.loops <= most,
            "the exit threshold is not between 0 and 1": not 0 <= options.exit_threshold <= 1,
            "the temperature is neither 0 nor between 0.01 and 100": options.temperature != 0
            and not 0.01 <= options.temperature <= 100,
            "top_p is not between 0 and 1": not 0 <= options.top_p <= 1,
            "the repetition penalty is not between 0.1 and 10": not 0.1 <= options.repetition_penalty <= 10,
        }
        for problem, present in problems.items():
            if present:
                raise BundleError("CHM420", problem)
        options.check_speculation(False)
        self._loops, self._exit_threshold = options.loops or default, float(options.exit_threshold)

    def _encode(self, text: bytes, specials: bool, begins: bool) -> list[int]:
        return self._text_tokenizer().encode(text, specials=specials, begins=begins)

    # ---- looking ----

    def _diagnostics(self, speculation: Speculation) -> Diagnostics:
        debts = Debts({}, 0) if self._run_of_grammar is None else self._run_of_grammar.debts()
        ledger = [*(debts.open.get(name, 0) for name in OBLIGATIONS), debts.pressure]
        return Diagnostics.of(HIGH - self._sequence.lowered, self._looked, self._levels, ledger, speculation)

    def _reset(self) -> None:
        self._sequence = self._start()
        self._run_of_grammar = None
        if self._tokenizer is not None:
            self._decoder = StreamDecoder(self._tokenizer)

    def _logits(self) -> NDArray[np.float32] | None:
        return None if self._sequence.logits is None else self._sequence.logits.copy()

    @property
    def threads(self) -> int:
        self._guard.check()
        return self._threads

    @property
    def kernels(self) -> str:
        """ONNX Runtime chooses its kernels itself."""
        return f"onnxruntime {self._runtime.__version__}"

    def _room(self) -> int:
        return self.context - self._sequence.position - len(self._sequence.pending)

    def _position(self) -> int:
        return self._sequence.position

    def _state_hash(self) -> str:
        self._settle()
        padded = []
        for value in self._sequence.states.values():
            data = value.numpy().tobytes()
            padded.append(data.ljust(-(-len(data) // SECTION_ALIGNMENT) * SECTION_ALIGNMENT, b"\0"))
        return f"{hash_words(b''.join(padded)):016x}"

    def _logits_hash(self) -> str:
        self._settle()
        logits = self._sequence.logits
        data = np.zeros(self.vocab_size, np.float32) if logits is None else logits
        return f"{hash_words(data.tobytes()):016x}"

    def self_test(self) -> bool:
        """As for every session; a model that is not exact is given the expected tokens, and each must be the best
        of its position, or nearly so.
        """
        expected = self.manifest.self_test
        if self._exact or expected is None:
            return super().self_test()
        with self._guard.call(changes=True):
            self._approximate_test(expected)
        return True

    def _approximate_test(self, expected: SelfTest) -> None:
        self._set(GenerateOptions())
        self._reset()
        self._run_slice(np.array(expected.prompt, np.int32), more=False)
        for number, token in enumerate(expected.tokens):
            logits = np.where(self._excluded, np.float32(-np.inf), self._last_logits())
            behind = float(logits.max() - logits[token]) / (float(np.ptp(self._last_logits())) or 1.0)
            if not behind <= SELF_TEST_TOLERANCE:
                message = f"token {number} of the self-test is {behind:.1%} of the logits' range behind the best"
                raise BundleError("CHM450", message, hint="report this with the name of the processor")
            self._run_slice(np.array([token], np.int32), more=False)
        self._reset()

    def _last_logits(self) -> NDArray[np.float32]:
        assert self._sequence.logits is not None  # a token was run
        return self._sequence.logits

    def _snapshot(self) -> bytes:
        sequence, run = self._sequence, self._run_of_grammar
        logits = np.zeros(self.vocab_size, np.float32) if sequence.logits is None else sequence.logits
        state = SequenceState(
            states={name: sequence.states[f"state.{name}"].numpy() for name in self._form.shapes},
            logits=logits,
            position=sequence.position,
            deepest=sequence.deepest,
            iterations=sequence.iterations,
            finished=sequence.finished,
            remaining=sequence.remaining,
            history=sequence.history,
            pending=sequence.pending,
            text=self._decoder.held if self._decoder else b"",
            lowered=sequence.lowered,
            routed=sequence.routed,
            grammar=sequence.grammar if run is None else run.place(),
        )
        return state_bytes(self._form, state)

    def _restore(self, snapshot: bytes) -> None:
        state = parse_state(self._form, snapshot)
        value = self._runtime.OrtValue.ortvalue_from_numpy
        self._sequence = OnnxSequence(
            states={f"state.{name}": value(array.copy()) for name, array in state.states.items()},
            position=state.position,
            deepest=state.deepest,
            iterations=state.iterations,
            finished=state.finished,
            remaining=state.remaining,
            pending=state.pending,
            history=state.history,
            logits=state.logits if state.position else None,
            lowered=state.lowered,
            routed=state.routed,
            grammar=state.grammar,
        )
        self._run_of_grammar = None
        if self._tokenizer is not None:
            self._decoder = StreamDecoder(self._tokenizer, state.text)

    def _close(self) -> None:
        self._session = None
        self._sequence = OnnxSequence(states={})


def _remembered(history: Sequence[int], tokens: Sequence[int]) -> tuple[int, ...]:
    return (*history, *tokens)[-c.HISTORY_TOKENS :]


def _excluded(tokenizer: Tokenizer | None, vocabulary: int) -> NDArray[np.bool_]:
    """Tokens that are never generated: no text, and neither ending nor control tokens."""
    excluded = np.zeros(vocabulary, bool)
    if tokenizer is not None:
        if len(tokenizer.tokens) != vocabulary:
            message = f"the tokenizer has {len(tokenizer.tokens)} tokens, the model {vocabulary}"
            raise BundleError("CHM407", message)
        chosen = {s.id for s in tokenizer.specials if s.role in (c.ROLE_END, c.ROLE_CONTROL)}
        excluded[:] = [not text and id not in chosen for id, text in enumerate(tokenizer.tokens)]
    return excluded
