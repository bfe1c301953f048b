"""The grammar file of a bundle: what the config's ``grammar`` section asks for, compiled for the bundle's tokenizer."""

from __future__ import annotations

from pathlib import Path

from chimerac.compiler.errors import UserError
from chimerac.compiler.packaging.grammar_packs import HARD, PackRequest, check_request, make_pack
from chimerac.frontends.config import ModelConfig, builtin_names
from chimerac.frontends.config.locate import BUILTIN, SUFFIX
from chimerac.runtime.bundle_format.fstpack import write_pack
from chimerac.runtime.reference.tokenizer import Tokenizer
from chimerac.targets.code.codegen import cache_directory

ROLE = "grammar"


def grammar_file_name(config: ModelConfig) -> str:
    """Name of the grammar file, or "" for a model without grammars."""
    grammar = config.grammar
    if not grammar.enabled or not (grammar.modes or grammar.schema):
        return ""
    return config.files.grammar or f"{config.name or 'model'}.fstpack"


def pack_request(config: ModelConfig) -> PackRequest:
    """Which grammars the config asks for.

    Raises UserError CHM285 for a schema that can't be read, CHM286 for names that nothing has.
    """
    grammar = config.grammar
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
            schema = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError("CHM285", f"cannot read the schema {path}: {error}", span=place) from None
    request = PackRequest(
        grammar.modes, schema, grammar.schema_whitespace, grammar.default or "", grammar.soft_constraints
    )
    check_request(request)
    return request


def _beside(config_file: str, name: str) -> Path:
    """The file of a name in the folder of the config that names it."""
    if config_file.removesuffix(SUFFIX) in builtin_names():
        return BUILTIN / name
    return Path(config_file).parent / name


def write_grammars(folder: Path, config: ModelConfig, tokenizer: Tokenizer) -> dict[str, str]:
    """Write the grammar file; its name and role, or nothing for a model without grammars.

    Raises UserError CHM280 to CHM286, and CHM287 where the tables exceed ``grammar.storage_mb``.
    """
    name = grammar_file_name(config)
    if not name:
        return {}
    pack = make_pack(pack_request(config), tokenizer, cache=cache_directory() / "grammars")
    write_pack(folder / name, pack, config.digest)
    size, limit = (folder / name).stat().st_size, config.grammar.storage_mb
    if limit is not None and size > limit * (1 << 20):
        message = f"the grammars take {size / (1 << 20):.1f} MiB, over grammar.storage_mb of {limit:g}"
        raise UserError("CHM287", message, span=config.place("grammar.storage_mb"), hint="leave modes out, or raise it")
    return {name: ROLE}
