"""``--weights-format``: which form the matrices of a module get, by a default and by patterns over their names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from chimerac.compiler.errors import UserError, did_you_mean
from chimerac.frontends.matrices.forms import Kind

#: What matrices may become, by its name on the command line.
FORMATS: Final[Mapping[str, Kind]] = {
    "f32": "float32",
    "f16": "float16",
    "bf16": "bfloat16",
    "int8": "int8",
    "ternary": "ternary",
    "ternary-qat": "ternary",
    "ternary-qat-64": "ternary",
}
#: Formats of masters (masters.py) → columns that share a scale.
MASTERS: Final[Mapping[str, int]] = {"ternary-qat": 128, "ternary-qat-64": 64}
AUTO: Final = "auto"  #: ternary where a matrix is that already, float32 otherwise

#: A default, rules like ``head.*=f32``, of which the last that fits decides, or the same as a mapping.
Given = str | Sequence[str] | Mapping[str, str]


@dataclass(frozen=True)
class Rules:
    """Formats by name.

    Attributes:
        default: of matrices that no pattern fits: a key of ``FORMATS``, or ``AUTO``.
        patterns: pattern and format, in order; ``*`` is any characters, ``?`` is one, ``[ab]`` one of some.
    """

    default: str = "f32"
    patterns: tuple[tuple[str, str], ...] = ()

    def format_of(self, names: Iterable[str]) -> str:
        """The format of a parameter that has these names."""
        names = tuple(names)
        found = [wanted for pattern, wanted in self.patterns if any(fnmatchcase(name, pattern) for name in names)]
        return found[-1] if found else self.default

    def __str__(self) -> str:
        return ", ".join([self.default, *(f"{pattern}={wanted}" for pattern, wanted in self.patterns)])


def rules_of(given: Given, default: str = "f32") -> Rules:
    """The rules that somebody wrote; raises UserError CHM236 for a format that there is not.

    Args:
        default: of matrices of which nothing is said.
    """
    if isinstance(given, Mapping):
        return Rules(default, tuple((pattern, _checked(wanted)) for pattern, wanted in given.items()))
    patterns = []
    for text in (given,) if isinstance(given, str) else given:
        pattern, equals, wanted = text.rpartition("=")
        if equals:
            patterns.append((pattern, _checked(wanted)))
        else:
            default = _checked(text)
    return Rules(default, tuple(patterns))


def _checked(wanted: str) -> str:
    known = [*FORMATS, AUTO]
    if wanted not in known:
        listed = f"there are {', '.join(known)}, alone or for a pattern, head.*=f32"
        hint = did_you_mean(wanted, known)
        message = f"{wanted[:80]!r} is no format of weights"
        raise UserError("CHM236", message, hint=f"{hint}; {listed}" if hint else listed)
    return wanted
