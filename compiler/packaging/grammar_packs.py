"""Grammars from source to tables: one grammar for a request, or the pack of a bundle."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.grammar import Grammar
from chimerac.compiler.model import GrammarRequest
from chimerac.compiler.texts import MOST_GRAMMAR, read_text
from chimerac.frontends.grammar import mode_grammar
from chimerac.frontends.grammar.request import SOFT_FLAGS, check_request
from chimerac.passes.grammar_fst import GrammarFst
from chimerac.runtime.bundle_format import contents_sha256
from chimerac.runtime.bundle_format.constants import ROLE_END
from chimerac.runtime.bundle_format.container import parse_container
from chimerac.runtime.bundle_format.fstpack import (
    FLAG_DEFAULT,
    FLAG_PROSE,
    Automaton,
    Pack,
    pack_bytes,
    pack_of_container,
)
from chimerac.runtime.bundle_format.grammar_trie import vocabulary_of
from chimerac.runtime.errors import BundleError
from chimerac.runtime.reference.grammar_engine import GrammarEngine
from chimerac.runtime.reference.tokenizer import Tokenizer, tokenizer_sections


def compile_grammar(
    *,
    mode: str | None = None,
    lark: str | None = None,
    schema: Any = None,
    regex: str | None = None,
    choices: Sequence[str] | None = None,
    whitespace: int | None = None,
) -> bytes:
    """One grammar as a container that any session takes, whatever its tokenizer.

    Args:
        mode: name of a built-in mode.
        lark: text in Lark's notation; its first rule is ``start``.
        schema: JSON Schema, parsed or as text.
        regex: regular expression of Python that the whole text matches.
        choices: texts, one of which is generated.
        whitespace: most optional whitespace in a row, 0..255; 8 by default.

    Raises:
        UserError: CHM280 to CHM285; CHM420 unless exactly one source is given.
    """
    sources = {"mode": mode, "lark": lark, "schema": schema, "regex": regex, "choices": choices}
    given = {name: source for name, source in sources.items() if source is not None}
    if len(given) != 1:
        raise UserError("CHM420", f"one grammar is needed, not {' and '.join(given) or 'none'}")
    ((kind, source),) = given.items()
    return pack_bytes(Pack((compiled(_grammar(kind, source), whitespace, minimise=kind in ("mode", "lark")),)))


def _grammar(kind: str, source: Any) -> Grammar:
    """The grammar of a source; ``kind`` is an argument of ``compile_grammar``."""
    if kind == "mode":
        return mode_grammar(source)
    if kind == "lark":
        from chimerac.frontends.grammar.lark_files import lark_grammar

        return lark_grammar(source)
    if kind == "schema":
        from chimerac.frontends.grammar.schema import schema_grammar

        return schema_grammar(source)
    from chimerac.frontends.grammar.choices import choices_grammar
    from chimerac.frontends.grammar.regex import regex_grammar

    return regex_grammar(source) if kind == "regex" else choices_grammar(source)


def compiled(grammar: Grammar, whitespace: int | None = None, *, minimise: bool = True) -> Automaton:
    """The automaton of a grammar, with another cap of whitespace if that is given."""
    if whitespace is not None:
        if not 0 <= whitespace <= 255:
            raise UserError("CHM420", f"whitespace {whitespace} is not a number from 0 to 255")
        grammar = replace(grammar, space_cap=whitespace)
    return GrammarFst(minimise).compile(grammar)


def read_grammar(path: str | Path) -> Grammar:
    """The grammar of a file: ``.lark``, or ``.json`` for a schema. Raises UserError CHM280 to CHM285."""
    path = Path(path)
    if path.suffix == ".lark":
        from chimerac.frontends.grammar.lark_files import read_lark

        return read_lark(path)
    from chimerac.frontends.grammar.schema import schema_grammar

    text = read_text(path, "the grammar", "CHM285", MOST_GRAMMAR)
    if path.suffix != ".json":
        hint = "name it .lark for Lark's notation, or .json for a JSON Schema"
        raise UserError("CHM285", f"{path} has no ending that says what it is", hint=hint)
    return schema_grammar(text)


def engine(automaton: Automaton, tokenizer: Tokenizer) -> GrammarEngine:
    """The reference engine of a grammar over a tokenizer."""
    ends = tuple(special.id for special in tokenizer.specials if special.role == ROLE_END)
    return GrammarEngine(automaton, vocabulary_of(tokenizer.tokens), tokenizer.tokens, ends)


def make_pack(
    request: GrammarRequest,
    tokenizer: Tokenizer,
    tell: Callable[[str], None] = lambda line: None,
    *,
    cache: Path | None = None,
) -> Pack:
    """The pack of a bundle, with masks for its tokenizer; taken from ``cache`` if it was made before.

    Raises UserError CHM280 to CHM285 for a grammar, CHM286 for an unknown name in the request.
    """
    check_request(request)
    digest = contents_sha256(tokenizer_sections(tokenizer))
    place = None if cache is None else cache / f"{_key(request, digest)}.fstpack"
    if place is not None and (found := _cached(place)) is not None:
        return found
    from chimerac.passes.grammar_fst.masks import with_masks
    from chimerac.runtime.bundle_format.grammar_trie import TrieShape

    vocabulary = vocabulary_of(tokenizer.tokens)
    shape = TrieShape(vocabulary.trie)
    weights = sum(SOFT_FLAGS[name] for name in request.soft)
    automata = []
    for name in request.modes:
        automata.append(compiled(mode_grammar(name)))
    if request.schema:
        from chimerac.frontends.grammar.schema import schema_grammar

        automata.append(compiled(schema_grammar(request.schema, "schema"), request.schema_whitespace))
    finished = []
    for automaton in automata:
        flags = automaton.flags | (weights if automaton.flags & FLAG_PROSE else 0)
        flags |= FLAG_DEFAULT if automaton.name == request.default else 0
        made = with_masks(replace(automaton, flags=flags), vocabulary, shape)
        masks = 0 if made.masks is None else len(made.masks.entry)
        tell(f"{made.name}: {made.states} states, {masks} masks, {made.bytes / 1024:.0f} KiB")
        finished.append(made)
    pack = Pack(tuple(finished), vocabulary, digest)
    if place is not None:
        _store(place, pack)
    return pack


def _key(request: GrammarRequest, digest: str) -> str:
    """A name for the pack of a request: it changes with every source that the tables depend on."""
    total = hashlib.sha256(json.dumps([vars(request), digest], sort_keys=True).encode())
    root = Path(__file__).resolve().parents[2]
    formats = ("runtime/bundle_format/grammar_trie.py", "runtime/bundle_format/fstpack.py")
    for name in ("frontends/grammar", "passes/grammar_fst", "compiler/ir/grammar.py", *formats):
        path = root / name
        files = sorted(p for p in path.rglob("*") if p.suffix in (".py", ".lark")) if path.is_dir() else [path]
        for file in files:
            total.update(file.read_bytes())
    return total.hexdigest()[:32]


def _cached(place: Path) -> Pack | None:
    try:
        return pack_of_container(parse_container(place.read_bytes(), path=place))
    except (OSError, BundleError):
        return None


def _store(place: Path, pack: Pack) -> None:
    """Keep a pack for the next build; a cache that can't be written to is no error."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=place.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(pack_bytes(pack))
        os.replace(temporary, place)
    except OSError:
        return
