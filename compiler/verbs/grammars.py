"""Which grammar a text is to follow: one of the bundle's, a built-in mode, or one that is compiled on the spot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from chimerac.compiler.errors import UserError, as_user_error
from chimerac.compiler.texts import MOST_GRAMMAR, read_text
from chimerac.runtime.bundle_format import read_container, read_manifest
from chimerac.runtime.errors import BundleError
from chimerac.runtime.options import NO_GRAMMAR


def chosen_grammar(
    bundle: str | Path,
    *,
    grammar: str | bytes | None = None,
    schema: str | Path | None = None,
    choices: Sequence[str] | None = None,
    regex: str | None = None,
) -> str | bytes | None:
    """The value of ``Session.generate``'s argument ``grammar``.

    Args:
        bundle: folder of the bundle, which may have the grammar of a name.
        grammar: name of one of its grammars or of a built-in mode, a file in Lark's notation that ends in .lark, what
            ``compile_grammar`` made, or "none".
        schema: file with a JSON Schema.
        choices: texts, one of which is generated.
        regex: regular expression of the whole text.

    Raises:
        UserError: CHM280 to CHM285 for what cannot be compiled, CHM420 for more than one argument, CHM431 for a name
            that nothing has, CHM4xx for a bundle that cannot be read.
    """
    arguments = {"grammar": grammar, "schema": schema, "choices": choices, "regex": regex}
    given = [name for name, value in arguments.items() if value is not None]
    if len(given) > 1:
        raise UserError("CHM420", f"{' and '.join(given)} exclude each other", hint="give one of them")
    if not given or grammar == NO_GRAMMAR or isinstance(grammar, bytes):
        return grammar
    from chimerac.compiler.packaging.grammar_packs import compile_grammar  # only who wants a grammar pays for it

    if schema is not None:
        return compile_grammar(schema=_read(schema, "schema"))
    if choices is not None:
        return compile_grammar(choices=choices)
    if regex is not None:
        return compile_grammar(regex=regex)
    assert grammar is not None
    return _named(bundle, grammar)


def read_choices(text: str) -> list[str]:
    """The texts of a line such as ``on,off,"a, b"``; raises UserError CHM280 for an empty one and for open quotes."""
    from chimerac.frontends.grammar.choices import read_choices as read

    return read(text)


def _named(bundle: str | Path, name: str) -> str | bytes:
    """The bundle's grammar of a name, else the compiled one of a file or of a mode."""
    from chimerac.compiler.packaging.grammar_packs import compile_grammar
    from chimerac.frontends.grammar import MODES

    if name.endswith(".lark"):
        return compile_grammar(lark=_read(name, "grammar"))
    own = _grammar_names(bundle)
    if name in own:
        return name
    if name in MODES:
        return compile_grammar(mode=name)
    hint = f"there are {', '.join(dict.fromkeys((*own, *MODES)))}; a file is one that ends in .lark"
    raise UserError("CHM431", f"there is no grammar {name!r}", hint=hint)


def _read(path: str | Path, what: str) -> str:
    return read_text(path, f"the {what}", "CHM285", MOST_GRAMMAR)


def _grammar_names(bundle: str | Path) -> list[str]:
    """Names of the grammars in a bundle."""
    try:
        entry = read_manifest(bundle).file("grammar")
        if entry is None:
            return []
        pack = read_container(Path(bundle) / entry.name, verify=False)
        names = bytes(pack.raw("names")) if "names" in pack.sections else b""
        return names.decode("ascii", "replace").rstrip("\0").split("\0")
    except BundleError as error:
        raise as_user_error(error) from None
