"""Names that a request for grammars may use, and what they stand for."""

from __future__ import annotations

from typing import Final

from chimerac.compiler.errors import UserError
from chimerac.compiler.model import GrammarRequest
from chimerac.frontends.grammar import MODES
from chimerac.runtime.bundle_format.fstpack import FLAG_PARAGRAPH, FLAG_REPETITION, FLAG_RHYTHM

#: Soft weights and their flags in a pack.
SOFT_FLAGS: Final = {
    "sentence_rhythm": FLAG_RHYTHM,
    "paragraph_length": FLAG_PARAGRAPH,
    "repetition_avoidance": FLAG_REPETITION,
}
#: What may hold always; each is part of the modes that it concerns.
HARD: Final = {
    "balanced_brackets": ("json", "python", "javascript", "sql", "math_latex", "shell"),
    "valid_json_in_json_mode": ("json",),
    "json_strict": ("json",),
    "fence_closure": ("markdown",),
    "string_literal_closure": ("json", "python", "javascript", "sql", "shell"),
}


def check_request(request: GrammarRequest) -> None:
    """Raise UserError CHM286 for a name in a request that nothing has."""
    for what, names, known in (
        ("grammar.modes", request.modes, MODES),
        ("grammar.soft_constraints", request.soft, tuple(SOFT_FLAGS)),
        ("grammar.default", (request.default,) if request.default else (), (*request.modes, "schema")),
    ):
        for name in names:
            if name not in known:
                raise UserError("CHM286", f"{what}: there is no {name!r}", hint=f"there are {', '.join(known)}")
    if request.default == "schema" and not request.schema:
        raise UserError("CHM286", "grammar.default is the schema, but there is none", hint="give grammar.schema")
