"""What the options --grammar, --schema, --choices and --regex of ``chimerac run`` mean."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from chimerac.compiler.errors import UserError, as_user_error
from chimerac.runtime.bundle_format import read_container, read_manifest
from chimerac.runtime.errors import BundleError
from chimerac.runtime.options import NO_GRAMMAR


def chosen_grammar(
    bundle: str, *, grammar: str | None, schema: str | None, choices: str | None, regex: str | None
) -> str | bytes | None:
    """The value of ``Session.generate``'s argument ``grammar``.

    Args:
        bundle: folder of the bundle, which may have the grammar of a name.
        grammar: name of one of its grammars or of a built-in mode, a file in Lark's notation, or "none".
        schema: file with a JSON Schema.
        choices: texts separated by commas.
        regex: regular expression of the whole text.

    Raises:
        UserError: CHM280 to CHM285 for what cannot be compiled, CHM420 for more than one option, CHM431 for a name
            that nothing has, CHM4xx for a bundle that cannot be read.
    """
    options = {"--grammar": grammar, "--schema": schema, "--choices": choices, "--regex": regex}
    given = [name for name, value in options.items() if value is not None]
    if len(given) > 1:
        raise UserError("CHM420", f"{' and '.join(given)} exclude each other", hint="give one of them")
    if not given or grammar == NO_GRAMMAR:
        return grammar
    from chimerac.compiler.packaging.grammar_packs import compile_grammar  # only who wants a grammar pays for it
    from chimerac.frontends.grammar import MODES

    if schema is not None:
        return compile_grammar(schema=_read(schema, "schema"))
    if choices is not None:
        return compile_grammar(choices=[text for text in choices.split(",") if text])
    if regex is not None:
        return compile_grammar(regex=regex)
    assert grammar is not None
    if grammar.endswith(".lark"):
        return compile_grammar(lark=_read(grammar, "grammar"))
    own = _grammar_names(bundle)
    if grammar in own:
        return grammar
    if grammar in MODES:
        return compile_grammar(mode=grammar)
    hint = f"there are {', '.join(dict.fromkeys((*own, *MODES)))}; a file is one that ends in .lark"
    raise UserError("CHM431", f"there is no grammar {grammar!r}", hint=hint)


def _read(path: str, what: str) -> str:
    try:
        return Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError("CHM285", f"cannot read the {what} {path}: {error}") from None


def _grammar_names(bundle: str) -> list[str]:
    """Names of the grammars in a bundle."""
    try:
        entry = read_manifest(bundle).file("grammar")
        if entry is None:
            return []
        path = Path(bundle) / entry.name
        pack = read_container(path, verify=False)
        names = bytes(pack.raw("names")) if "names" in pack.sections else b""
        return names.decode("ascii", "replace").rstrip("\0").split("\0")
    except BundleError as error:
        raise as_user_error(error) from None


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Warnings of the runtime as one line each on standard error, without a place in the sources."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *_, **__: click.echo(f"warning: {message}", err=True)
        yield
