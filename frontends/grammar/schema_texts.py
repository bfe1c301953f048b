"""What ``pattern`` and ``format`` of a schema say about a text."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from chimerac.compiler.errors import UserError
from chimerac.frontends.grammar import regex
from chimerac.frontends.grammar.character_dfa import CharacterDfa, complement, of_texts
from chimerac.frontends.grammar.formats import FORMATS, known_format
from chimerac.frontends.grammar.json_source import UnsupportedKeyword
from chimerac.frontends.grammar.regex_language import automaton, language
from chimerac.frontends.grammar.regex_tree import Regex, anchored
from chimerac.frontends.grammar.schema_facts import Document
from chimerac.frontends.grammar.schema_not import ruled_out
from chimerac.frontends.grammar.schema_parts import Part


@functools.lru_cache(maxsize=256)
def _pattern(text: str) -> Regex | CharacterDfa:
    return language(regex.parse(text, "ecma"), search=True)


@functools.lru_cache(maxsize=256)
def _pattern_dfa(text: str) -> CharacterDfa:
    return automaton(_pattern(text))


@functools.cache
def _format(name: str) -> Regex:
    return anchored(regex.parse(FORMATS[name], "ecma"))


@functools.cache
def _format_dfa(name: str) -> CharacterDfa:
    return automaton(_format(name))


def pattern_language(text: str, pointer: str) -> Regex | CharacterDfa:
    """The texts in which a pattern is found; raises UnsupportedKeyword for one that can't be obeyed, or CHM282."""
    try:
        return _pattern(text)
    except UserError as error:
        raise _placed(error, pointer) from None


def pattern_dfa(text: str, pointer: str) -> CharacterDfa:
    """The same as an automaton."""
    try:
        return _pattern_dfa(text)
    except UserError as error:
        raise _placed(error, pointer) from None


def _placed(error: UserError, pointer: str) -> UserError:
    if error.code == "CHM282":
        return UserError("CHM282", f"schema at {pointer}: {error.message}", hint=error.hint)
    wrong = UnsupportedKeyword(pointer, error.message, error.hint)
    wrong.span = error.span
    return wrong


def format_language(document: Document, part: Part) -> Regex | None:
    """The texts of a part's ``format``; None, and a note, for one that only annotates; raises UnsupportedKeyword."""
    name, pointer = part.schema["format"], part.pointer + "/format"
    note = known_format(name, pointer)
    if not note:
        return _format(name)
    document.note(pointer, note)
    return None


def accepts(document: Document, part: Part, text: str) -> bool:
    """Whether a text has the pattern and the format that a schema asks for."""
    if "pattern" in part.schema and not pattern_dfa(part.schema["pattern"], part.pointer + "/pattern").accepts(text):
        return False
    if "format" not in part.schema or format_language(document, part) is None:
        return True
    return _format_dfa(part.schema["format"]).accepts(text)


def text_languages(document: Document, parts: Sequence[Part]) -> list[Regex | CharacterDfa]:
    """The texts that each pattern and format of some schemas allows."""
    found: list[Regex | CharacterDfa] = []
    for part in parts:
        if "pattern" in part.schema:
            found.append(pattern_language(part.schema["pattern"], part.pointer + "/pattern"))
        if "format" in part.schema and (own := format_language(document, part)) is not None:
            found.append(own)
        texts = [value for value in ruled_out(part.schema)[1] if isinstance(value, str)]
        if texts:
            found.append(complement(of_texts(texts)))
    return found
