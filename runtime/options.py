"""How a caller wants tokens to be chosen, whoever computes them."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from numbers import Real
from typing import Any, Final, Self

from chimerac.runtime.arguments import checked_lists, checked_names, checked_text, kind, shown
from chimerac.runtime.bundle_format.fstpack import SLOT_KINDS
from chimerac.runtime.errors import BundleError

NO_GRAMMAR: Final = "none"  #: in place of a grammar's name
#: The likeliest tokens with all loop iterations, whatever a bundle's defaults: for self-tests and measurements.
PLAIN: Final[Mapping[str, Any]] = {
    "temperature": 0.0, "top_p": 1.0, "top_k": 0, "repetition_penalty": 1.0, "loops": 0, "exit_threshold": 0.0,
    "speculate": False, "refuse": False, "valve": False,
}  # fmt: skip


@dataclass(frozen=True)
class GenerateOptions:
    """How to choose tokens; ranges are checked by the C runtime, which raises CHM420.

    The defaults here are those of a bundle that has none of its own; ``Session.generate`` says what comes first.

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
        request: the text whose words a grammar may copy (docs/grammar.md, "Copying"), or its bytes; None: a prompt that
            is a text, the last message of a conversation.
        lists: names that a grammar may copy, by the list: names, areas, floors. Words of the request stand in for a
            list that is not given.
        speculate: guess several tokens and run them in one pass, which changes no token (docs/spans.md): None does
            where the bundle was built for it and it pays, False never, True is refused (CHM421) by other bundles.
        score: count how likely the tokens are (``Session.score``), which takes an exponential for each that may come;
            where a bundle refuses answers, it is counted anyway.
        refuse: let the bundle refuse an answer that is not likely enough, where its manifest has a ``refusal`` and the
            text follows its default grammar.
        mode: the name of the bundle's mode that the other options come from, whose candidates guesses are made of.
        valve: let the bundle's entropy valve, where it has one, take fewer iterations where the next tokens are certain
            (docs/valve.md); ``loops`` are the most.
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
    request: str | bytes | None = None
    lists: Mapping[str, Sequence[str]] | None = None
    speculate: bool | None = None
    score: bool = False
    refuse: bool = True
    valve: bool = True
    mode: str | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """Options by name; raises BundleError CHM420 for a name that is none, and for a value of a wrong type."""
        checked_names(given, OPTION_NAMES)
        return cls(**given).checked()

    def checked(self) -> Self:
        """The same with numbers of Python's own types, which fit those of C, and JSON, before their ranges are checked.

        Raises BundleError CHM420.
        """
        values: dict[str, Any] = {name: _whole(name, getattr(self, name), bits) for name, bits in _BITS.items()}
        values |= {name: _number(name, getattr(self, name)) for name in _NUMBERS}
        for name in ("reset", "score", "refuse", "valve"):
            if not isinstance(getattr(self, name), bool):
                raise BundleError("CHM420", f"{name} is {kind(getattr(self, name))}, not True or False")
        if not isinstance(self.grammar, str | bytes | None):
            raise BundleError("CHM420", f"grammar is {kind(self.grammar)}, not a name or a compiled grammar")
        if not isinstance(self.mode, str | None):
            raise BundleError("CHM420", f"mode is {kind(self.mode)}, not a name")
        if not isinstance(self.speculate, bool | None):
            raise BundleError("CHM420", f"speculate is {kind(self.speculate)}, not True or False")
        if self.request is not None:
            values["request"] = checked_text(self.request, "the request")
        if self.lists is not None:
            values["lists"] = checked_lists(self.lists)
        return replace(self, **values)

    def check_speculation(self, possible: bool) -> None:
        """Raise BundleError where speculation was asked for and cannot be: CHM421 by the bundle, CHM420 by options."""
        if self.speculate and not possible:
            hint = "build it with --speculate"
            raise BundleError("CHM421", "the bundle was built without speculation", hint=hint)
        if self.speculate and self.exit_threshold > 0:
            hint = "set exit_threshold to 0"
            raise BundleError("CHM420", "speculation needs a fixed number of loops for all tokens", hint=hint)

    def copying_from(self, text: str | bytes) -> Self:
        """The same with a text as the request, if none was given."""
        return replace(self, request=text) if self.request is None else self

    def with_lists(self, lists: Mapping[str, Sequence[str]]) -> Self:
        """The same with lists of names, if none were given."""
        return replace(self, lists=lists) if self.lists is None else self

    @property
    def slot_texts(self) -> Iterator[tuple[str, bytes | None]]:
        """What may stand in a grammar's slots: of each kind the request, or the names, one a line; None: not given."""
        for slot in SLOT_KINDS:
            listed = None if self.lists is None else self.lists.get(slot)
            given = None if listed is None else "".join(f"{name}\n" for name in listed)
            yield slot, _bytes(self.request if slot == "request" else given)


def _bytes(text: str | bytes | None) -> bytes | None:
    return text.encode() if isinstance(text, str) else text


#: What ``Session.generate`` takes beside ``on_progress``.
OPTION_NAMES: Final = tuple(field.name for field in fields(GenerateOptions))
_BITS: Final = {"max_tokens": 31, "top_k": 31, "loops": 31, "seed": 64, "stream": 32}
_NUMBERS: Final = ("temperature", "top_p", "repetition_penalty", "exit_threshold")


def _whole(name: str, value: Any, bits: int) -> int:
    try:
        number = -1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = -1
    if not 0 <= number < 1 << bits:
        raise BundleError("CHM420", f"{name} is {_value(value)}, not an integer from 0 to 2**{bits} - 1")
    return number


def _number(name: str, value: Any) -> float:
    try:
        finite = not isinstance(value, bool) and isinstance(value, Real) and math.isfinite(value)
    except OverflowError:  # an integer or fraction that no float is near
        finite = False
    if not finite:
        raise BundleError("CHM420", f"{name} is {_value(value)}, not a finite number")
    return float(value)


def _value(value: object) -> str:
    return kind(value) if not isinstance(value, str | bytes) else shown(value)
