"""Rules that a module cannot follow."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Final

from chimerac.compiler.errors import UserError, did_you_mean
from chimerac.compiler.ir.module import Module
from chimerac.frontends.matrices.rules import AUTO, Rules
from chimerac.frontends.matrices.uses import Uses

MOST_LISTED: Final = 5  #: names in a hint
_FLOATS: Final = ("f32", AUTO)  #: formats that every parameter can have


def check(
    rules: Rules,
    module: Module,
    aliases: Mapping[str, Sequence[str]],
    uses: Mapping[str, Uses],
    able: Container[str],
) -> None:
    """Raise UserError CHM236 if a rule fits no parameter, or none that can have its format.

    Args:
        aliases: all names of each parameter and buffer, by that of its constant.
        able: constants that can have any format.
    """
    matrices = [name for name in aliases if name in able]
    listed = ", ".join(matrices[:MOST_LISTED]) + (", …" if len(matrices) > MOST_LISTED else "")
    possible = f"the matrices that can have another format are {listed}" if matrices else "no matrix of it can"
    for pattern, wanted in rules.patterns:
        fitting = [name for name, names in aliases.items() if any(fnmatchcase(one, pattern) for one in names)]
        if not fitting:
            near = did_you_mean(pattern, [one for names in aliases.values() for one in names])
            message = f"no parameter or buffer of {module.name} is called {pattern[:80]!r}"
            raise UserError("CHM236", message, hint=near or possible)
        if wanted not in _FLOATS and not any(name in able for name in fitting):
            first, *others = fitting
            why = f"{aliases[first][0]} {_reason(first, module, uses)}" + (", like the others" if others else "")
            raise UserError("CHM236", f"{pattern[:80]!r} cannot be {wanted}: {why}", hint=possible)
    if rules.default not in _FLOATS and not matrices:
        message = f"no matrix of {module.name} can be {rules.default}"
        hint = "a matrix float32 can that nn.Linear, nn.Embedding and their like use, and nothing else"
        raise UserError("CHM236", message, hint=hint)


def _reason(name: str, module: Module, uses: Mapping[str, Uses]) -> str:
    """Why a parameter cannot have another format."""
    if name not in module.constants or name not in uses:
        return "is a state" if name in module.states else "is not used"
    kind = module.constants[name].type
    if kind.dtype != "f32" or len(kind.shape) != 2:
        return f"is {kind}, and no matrix of floats"
    if uses[name].others:
        return f"is used by {', '.join(sorted(uses[name].others))}, which takes float32"
    return "is used as it is and transposed, so that its groups would be others"
