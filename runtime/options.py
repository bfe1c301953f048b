"""How a caller wants tokens to be chosen, whoever computes them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from chimerac.runtime.errors import BundleError

NO_GRAMMAR: Final = "none"  #: in place of a grammar's name
#: The likeliest tokens with all loop iterations, whatever a bundle's defaults: for self-tests and measurements.
PLAIN: Final[Mapping[str, Any]] = {
    "temperature": 0.0, "top_p": 1.0, "top_k": 0, "repetition_penalty": 1.0, "loops": 0, "exit_threshold": 0.0,
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
