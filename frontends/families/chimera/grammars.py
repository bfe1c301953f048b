"""What a config's ``grammar`` section asks for."""

from __future__ import annotations

from chimerac.compiler.errors import UserError
from chimerac.compiler.model import GrammarRequest
from chimerac.frontends.config import ModelConfig
from chimerac.frontends.families.grammars import asked, refused
from chimerac.frontends.grammar.request import HARD
from chimerac.runtime.bundle_format import Refusal


def grammar_request(config: ModelConfig) -> GrammarRequest | None:
    """The grammars of a config; None for a model without.

    Raises:
        UserError: CHM285 for a schema that can't be read, CHM286 for names that nothing has.
    """
    grammar = config.grammar
    if not grammar.enabled or not (grammar.modes or grammar.schema):
        return None
    for name in grammar.hard_constraints:
        if name not in HARD:
            raise UserError(
                "CHM286", f"grammar.hard_constraints: there is no {name!r}", hint=f"there are {', '.join(HARD)}"
            )
    return asked(
        grammar.modes,
        grammar.schema,
        grammar.schema_whitespace,
        grammar.default,
        config.place,
        grammar.soft_constraints,
        grammar.storage_mb,
    )


def refusal_of(config: ModelConfig) -> Refusal | None:
    """Which answers of a bundle are too unlikely to be given."""
    return refused(config.grammar.refusal if config.grammar.enabled else None)
