"""Snapshots, the kind ``state``: a sequence as every runtime of a model saves and continues it.

docs/bundle.md is the contract; ``native/chm_state.c`` writes the same bytes and checks the same things.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chimerac.runtime.bundle_format import constants as c
from chimerac.runtime.bundle_format.container import (
    Container,
    Section,
    array_section,
    container_bytes,
    parse_container,
)
from chimerac.runtime.errors import BundleError

#: What the section ``sequence`` counts, in this order.
_NUMBERS = ("position", "deepest", "iterations", "finished", "remaining", "n_history", "n_pending", "n_text")
MAX_REMAINING = 2**31 - 1


@dataclass(frozen=True)
class GrammarPlace:
    """Where a generation is in its grammar.

    Attributes:
        identity: of the grammar's tables, 64 bits; 0 where the generation follows none.
        rhythm: tokens since the last sentence end, and since the last blank line.
        place: the configuration, as ``chm_grammar_save`` gives it.
        ledger: the 68 numbers of open obligations (docs/ledger.md); None where there is no ledger.
    """

    identity: int = 0
    rhythm: tuple[int, int] = (0, 0)
    place: bytes = bytes(c.GRAMMAR_PLACE_BYTES)
    ledger: tuple[int, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a sequence is, apart from what the model computed.

    Attributes:
        position: tokens that were run.
        deepest: loop iterations whose states are in use, 0 before the first token.
        iterations: loop iterations of the last call.
        finished: whether the generation has ended.
        remaining: tokens that the generation may still make.
        history: tokens that the repetition penalty counts, oldest first, at most 256.
        pending: tokens that were chosen but not run yet, at most 16.
        lowered: how many levels of the valve it is below the high one, 0 to 2.
        routed: most loop iterations of the block, as its router predicts; 0 for all.
    """

    position: int = 0
    deepest: int = 0
    iterations: int = 0
    finished: bool = False
    remaining: int = MAX_REMAINING
    history: tuple[int, ...] = ()
    pending: tuple[int, ...] = ()
    grammar: GrammarPlace = field(default_factory=GrammarPlace)
    lowered: int = 0
    routed: int = 0


@dataclass(frozen=True, kw_only=True)
class SequenceState(Progress):
    """A sequence between two calls. No array in it is ever written to.

    Attributes:
        states: name → recurrent state, the copies of loop iterations first; zeros before the first token.
        logits: float32[vocabulary] after the last token that was run; zeros before the first.
        text: bytes of a character that is not complete, at most 3.
    """

    states: Mapping[str, NDArray[Any]]
    logits: NDArray[np.float32]
    text: bytes


@dataclass(frozen=True)
class StateForm:
    """What a model's snapshots look like.

    Attributes:
        config_sha256: of the bundle's manifest, like the next.
        shapes: name of a state → its shape, the copies of loop iterations first.
        dtypes: name of a state → its dtype; those that are left out are F32.
        context: most tokens of a sequence.
        rows: name of a cache with a row for each position → the axis of the rows; those of positions that no token
            has reached are zeros, and not in a snapshot.
        max_loops: most loop iterations.
    """

    config_sha256: str
    model_sha256: str
    vocabulary: int
    max_loops: int
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str] = field(default_factory=dict)
    context: int = MAX_REMAINING
    rows: Mapping[str, int] = field(default_factory=dict)

    def used(self, name: str, position: int) -> tuple[slice, ...]:
        """The part of a state that is in the snapshot of a sequence at a position."""
        ends = list(self.shapes[name])
        if name in self.rows:
            ends[self.rows[name]] = min(position, ends[self.rows[name]])
        return tuple(map(slice, ends))

    def sections(self, position: int) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Name → dtype and shape, in the order of the file, of a sequence at a position."""
        shapes = {name: tuple(int(part.stop) for part in self.used(name, position)) for name in self.shapes}
        return {
            **{name: (dtype, (count,)) for name, (dtype, count) in c.STATE_SECTIONS.items()},
            c.SECTION_LOGITS: ("F32", (self.vocabulary,)),
            **{c.STATE_PREFIX + name: (self.dtypes.get(name, "F32"), shape) for name, shape in shapes.items()},
        }


def state_bytes(form: StateForm, state: SequenceState) -> bytes:
    """The snapshot of a sequence; equal sequences give equal bytes in every runtime."""
    identity, numbers = state.grammar.identity, (
        state.position, state.deepest, state.iterations, int(state.finished), state.remaining,
        len(state.history), len(state.pending), len(state.text),
    )  # fmt: skip
    ledger, valve = state.grammar.ledger, state.lowered + c.LEVELS * state.routed
    words = np.array([identity & 0xFFFFFFFF, identity >> 32, *state.grammar.rhythm], np.uint32)
    sections = [
        array_section("sequence", np.array(numbers, np.int32)),
        array_section("sequence.history", _filled(state.history, c.HISTORY_TOKENS)),
        array_section("sequence.pending", _filled(state.pending, c.MAX_PENDING)),
        Section("sequence.text", "U8", (4,), state.text.ljust(4, b"\0")),
        array_section("grammar", words),
        Section("grammar.place", "U8", (c.GRAMMAR_PLACE_BYTES,), state.grammar.place),
        array_section(c.SECTION_LOGITS, state.logits),
        *(
            array_section(c.STATE_PREFIX + name, np.array(array[form.used(name, state.position)], order="C"))
            for name, array in ((name, state.states[name]) for name in form.shapes)
        ),
        *([array_section(c.SECTION_VALVE, np.array([valve], np.int32))] if valve else []),
        *([array_section(c.SECTION_LEDGER, np.array(ledger, np.uint32))] if ledger is not None else []),
    ]
    return container_bytes(c.KIND_STATE, sections, {c.KEY_CONFIG: form.config_sha256, c.KEY_MODEL: form.model_sha256})


def _filled(tokens: tuple[int, ...], size: int) -> NDArray[np.int32]:
    whole = np.zeros(size, np.int32)
    whole[: len(tokens)] = tokens
    return whole


def parse_state(form: StateForm, data: bytes) -> SequenceState:
    """The sequence in a snapshot, which is not trusted.

    Raises BundleError CHM401 to CHM406 for a container that is not valid, of another kind or version, or with sections
    that this runtime does not know; CHM404 for sections that are missing or of another type; CHM407 for another model;
    CHM420 for numbers out of range.
    """
    container = parse_container(data)
    if container.kind != c.KIND_STATE:
        raise BundleError("CHM405", f"a container of kind {container.kind!r}, not {c.KIND_STATE!r}")
    found = (container.metadata[c.KEY_CONFIG], container.metadata.get(c.KEY_MODEL))
    if found != (form.config_sha256, form.model_sha256):
        raise BundleError("CHM407", "the snapshot is of another model")
    _check_sections(form, container)
    state = _sequence(form, container)
    if state is None:
        raise BundleError("CHM420", "the snapshot is damaged: a number is out of range")
    return state


def _check_sections(form: StateForm, container: Container) -> None:
    optional: dict[str, tuple[str, tuple[int, ...]]]
    optional = {c.SECTION_VALVE: ("I32", (1,)), c.SECTION_LEDGER: ("U32", (c.LEDGER_WORDS,))}
    wanted = form.sections(0) | optional
    for name in container.sections:
        if name not in wanted and not name.startswith(c.EXTRA_PREFIX):
            raise BundleError("CHM405", f"snapshot: this runtime does not know section {name!r}")
    _check_shapes({name: wanted[name] for name in c.STATE_SECTIONS}, container)
    _check_shapes({name: wanted[name] for name in optional if name in container.sections}, container)


def _check_shapes(wanted: Mapping[str, tuple[str, tuple[int, ...]]], container: Container) -> None:
    for name, (dtype, shape) in wanted.items():
        view = container.sections.get(name)
        if view is None:
            raise BundleError("CHM404", f"snapshot: there is no section {name}")
        if (view.dtype, view.shape) != (dtype, shape):
            raise BundleError("CHM404", f"snapshot: section {name} is not {dtype}{list(shape)}")


def _sequence(form: StateForm, container: Container) -> SequenceState | None:
    """The sequence in sections of the right types; None where a number is out of range."""
    numbers = dict(zip(_NUMBERS, container.array("sequence").tolist(), strict=True))
    limits = {
        "position": MAX_REMAINING, "deepest": form.max_loops, "iterations": numbers["deepest"], "finished": 1,
        "remaining": MAX_REMAINING, "n_history": c.HISTORY_TOKENS, "n_pending": c.MAX_PENDING, "n_text": 3,
    }  # fmt: skip
    if not all(0 <= numbers[name] <= limit for name, limit in limits.items()):
        return None
    history = tuple(container.array("sequence.history")[: numbers["n_history"]].tolist())
    pending = tuple(container.array("sequence.pending")[: numbers["n_pending"]].tolist())
    text = bytes(container.raw("sequence.text")[: numbers["n_text"]])
    valve = int(container.array(c.SECTION_VALVE)[0]) if c.SECTION_VALVE in container.sections else 0
    ledger = tuple(container.array(c.SECTION_LEDGER).tolist()) if c.SECTION_LEDGER in container.sections else None
    if not 0 <= valve < c.LEVELS * (form.max_loops + 1) or not _may_be_owed(ledger):
        return None
    started = numbers["position"] > 0
    if numbers["position"] + len(pending) > form.context:
        return None
    if started != (numbers["deepest"] > 0) or (pending and not started) or not _is_part_of_a_character(text):
        return None
    if not all(0 <= token < form.vocabulary for token in (*history, *pending)):
        return None
    _check_shapes(form.sections(numbers["position"]), container)
    low, high, sentence, paragraph = container.array("grammar").tolist()
    states = {name: _whole_state(form, container, name, numbers["position"]) for name in form.shapes}
    if not all(map(_may_be_held, states.values())):
        return None
    logits = container.array(c.SECTION_LOGITS)
    if not started:  # the initial states are the model's, whatever the file says
        states, logits = {name: np.zeros_like(state) for name, state in states.items()}, np.zeros_like(logits)
    return SequenceState(
        states=states,
        logits=logits,
        position=numbers["position"],
        deepest=numbers["deepest"],
        iterations=numbers["iterations"],
        finished=bool(numbers["finished"]),
        remaining=numbers["remaining"],
        history=history,
        pending=pending,
        text=text,
        lowered=valve % c.LEVELS,
        routed=valve // c.LEVELS,
        grammar=GrammarPlace(high << 32 | low, (sentence, paragraph), bytes(container.raw("grammar.place")), ledger),
    )


def _whole_state(form: StateForm, container: Container, name: str, position: int) -> NDArray[Any]:
    found = container.array(c.STATE_PREFIX + name)
    if name not in form.rows:
        return found
    whole = np.zeros(form.shapes[name], found.dtype)
    whole[form.used(name, position)] = found
    return whole


def _may_be_held(state: NDArray[Any]) -> bool:
    """Whether a cache has such numbers: those of float16 are finite, codes are within ±127."""
    if state.dtype == np.int8:
        return not (state == -128).any()
    return state.dtype != np.float16 or bool(np.isfinite(state).all())


def _may_be_owed(ledger: tuple[int, ...] | None) -> bool:
    """Whether a ledger has such numbers: nothing was opened after the last token."""
    if ledger is None:
        return True
    tokens, sentence, found, line, *opened = ledger
    return tokens <= MAX_REMAINING and line <= 4 and max(sentence, found, *opened) <= tokens


def _is_part_of_a_character(text: bytes) -> bool:
    """Whether more bytes could make one character of all of these."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    return decoder.decode(text) == "" and decoder.getstate()[0] == text
