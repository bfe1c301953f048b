"""What a config's ``grammar`` section asks for."""

from __future__ import annotations

from pathlib import Path

from chimerac.compiler.errors import UserError
from chimerac.compiler.model import GrammarRequest
from chimerac.compiler.texts import MOST_GRAMMAR, read_text
from chimerac.frontends.config import ModelConfig, builtin_names
from chimerac.frontends.config.locate import BUILTIN, SUFFIX
from chimerac.frontends.grammar.request import HARD, check_request
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
    schema = ""
    if grammar.schema:
        place = config.place("grammar.schema")
        path = _beside(place.file if place else "", grammar.schema)
        try:
            schema = read_text(path, "the schema", "CHM285", MOST_GRAMMAR)
        except UserError as error:
            raise UserError(error.code, error.message, span=place) from None
    request = GrammarRequest(
        grammar.modes,
        schema,
        grammar.schema_whitespace,
        grammar.default or "",
        grammar.soft_constraints,
        grammar.storage_mb,
    )
    check_request(request)
    return request


def refusal_of(config: ModelConfig) -> Refusal | None:
    """Which answers of a bundle are too unlikely to be given."""
    written = config.grammar.refusal if config.grammar.enabled else None
    return None if written is None else Refusal(written.threshold, written.temperature, written.answer)


def _beside(config_file: str, name: str) -> Path:
    """The file of a name in the folder of the config that names it."""
    if config_file.removesuffix(SUFFIX) in builtin_names():
        return BUILTIN / name
    return Path(config_file).parent / name
