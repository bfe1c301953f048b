"""The ``grammar`` of a config: what the bundle's grammar file is to hold, for every family."""

# ruff: noqa: RUF009  (key() makes a dataclasses.field)

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from chimerac.compiler.errors import Span, UserError
from chimerac.compiler.model import GrammarRequest
from chimerac.compiler.texts import MOST_GRAMMAR, read_text
from chimerac.frontends.config import builtin_names
from chimerac.frontends.config.fields import key
from chimerac.frontends.config.locate import BUILTIN, SUFFIX
from chimerac.frontends.config.sections.grammar import Refusal as RefusalKeys
from chimerac.frontends.grammar.request import check_request
from chimerac.runtime.bundle_format import Refusal


@dataclass(frozen=True, kw_only=True)
class GrammarKeys:
    """``grammar`` in configs of families that say no more of it; the names are those of Chimera's section."""

    modes: tuple[str, ...] = key("Grammars in the bundle.", default=())
    schema: str | None = key("JSON Schema, a file beside the config, that becomes the grammar `schema`.", default=None)
    schema_whitespace: int = key("Most blanks in a row in texts of the schema.", default=8, minimum=0, maximum=255)
    default: str | None = key("Grammar of a generation that names none: a mode, or `schema`.", default=None)
    refusal: RefusalKeys | None = key("Refuse unlikely answers of the default grammar; absent: none.", default=None)

    def request(self, place: Callable[[str], Span | None]) -> GrammarRequest | None:
        """What is asked for; ``place`` and errors as of ``asked``."""
        return asked(self.modes, self.schema, self.schema_whitespace, self.default, place)


def asked(
    modes: tuple[str, ...],
    schema: str | None,
    whitespace: int,
    default: str | None,
    place: Callable[[str], Span | None],
    soft: tuple[str, ...] = (),
    most_mib: float | None = None,
) -> GrammarRequest | None:
    """The grammars of a config; None where it names none.

    Args:
        schema: name of a file in the folder of the config that names it. place: where a dotted key is written.

    Raises:
        UserError: CHM285 for a schema that can't be read, CHM286 for names that nothing has.
    """
    if not (modes or schema):
        return None
    text = ""
    if schema:
        span = place("grammar.schema")
        try:
            text = read_text(_beside(span.file if span else "", schema), "the schema", "CHM285", MOST_GRAMMAR)
        except UserError as error:
            raise UserError(error.code, error.message, span=span) from None
    request = GrammarRequest(modes, text, whitespace, default or "", soft, most_mib)
    check_request(request)
    return request


def refused(keys: RefusalKeys | None) -> Refusal | None:
    """Which answers of a bundle are too unlikely to be given."""
    return None if keys is None else Refusal(keys.threshold, keys.temperature, keys.answer)


def _beside(config_file: str, name: str) -> Path:
    """The file of a name in the folder of the config that names it."""
    if config_file.removesuffix(SUFFIX) in builtin_names():
        return BUILTIN / name
    return Path(config_file).parent / name
