"""Friendly words for frequent syntax mistakes, found by looking at the text around the place the parser stopped."""

from __future__ import annotations

import re
import unicodedata

from chimerac.compiler.errors import UserError
from chimerac.frontends.config.source import Source

_VALUE_END = re.compile(r'(?:["\]}\w])\s*$')
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+"')
_WORD = re.compile(r"[^\s,:{}\[\]\"'|]+")
_NUMBER_LIKE = re.compile(r"[+-]?\.?\d")
_NOT_FINITE = re.compile(r"[+-]?(?:nan|inf|infinity)$", re.IGNORECASE)
_CONSTANTS = {"True": "true", "False": "false", "None": "null", "yes": "true", "no": "false", "undefined": "null"}
_ESCAPE = re.compile(r'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})')


def explain(source: Source, offset: int, expected: frozenset[str]) -> UserError:
    """The error for a parser that stopped at ``offset`` and would have accepted the terminals ``expected``."""
    text = source.text
    if offset >= len(text) or not text[offset:].strip():
        return _at_end(source, expected)
    here = text[offset]
    if here == '"' and not _STRING.match(text, offset):
        return _bad_string(source, offset)
    if here in "'‘’“”„«»`":
        name = "single quotes" if here == "'" else f"the quote {here}"
        return _error(source, offset, offset + 1, f"{name} can't hold a string", 'use double quotes: "…"')
    if here == "=" and "COLON" in expected:
        return _error(source, offset, offset + 1, "expected ':' after the key, found '='", "write key: value")
    if here == "," and "COMMA" not in expected:
        return _error(source, offset, offset + 1, "there is a comma but no value before it", "remove the comma")
    if here == ":":
        return _error(source, offset, offset + 1, "unexpected ':'", "a colon stands between a key and its value only")
    if here == ";":
        return _error(source, offset, offset + 1, "unexpected ';'", "separate entries with commas")
    if here == "|":
        return _error(source, offset, offset + 1, "unexpected '|'", "a fence stands at the two ends of a row only")
    if here.isspace() or unicodedata.category(here) in ("Cf", "Cc", "Zs"):
        name = unicodedata.name(here, "control character").lower()
        return _error(
            source, offset, offset + 1, f"invisible character U+{ord(here):04X} ({name})", "replace it by a space"
        )
    return _unexpected_word(source, offset, expected)


def _unexpected_word(source: Source, offset: int, expected: frozenset[str]) -> UserError:
    text = source.text
    match = _WORD.match(text, offset)
    word = match.group() if match else text[offset]
    end = offset + len(word)
    if "COLON" in expected:
        key = text[:offset].rstrip().rpartition("\n")[2].strip().rpartition(",")[2].strip(" {|")
        return _error(source, offset, end, f"missing ':' after the key {key}", "write key: value")
    if "COMMA" in expected and "STRING" not in expected and _VALUE_END.search(text[:offset]):
        before = len(text[:offset].rstrip())
        message = "missing ',' after this value"
        return _error(source, before - 1, before, message, f"add a comma before {_shown(text, offset, word)}")
    if text[offset] in "[{" and "NAME" in expected:
        return _error(source, offset, offset + 1, f"expected a key, found '{text[offset]}'", "write key: value")
    if text[offset] in "]}":
        return _error(source, offset, offset + 1, f"expected a value, found '{text[offset]}'", "write the value")
    if _NOT_FINITE.match(word):
        return not_finite(source, word, offset, end)
    if word in _CONSTANTS and "TRUE" in expected:
        return _error(source, offset, end, f"unknown word {word}", f"write {_CONSTANTS[word]}")
    if _NUMBER_LIKE.match(word):
        if "NUMBER" in expected:
            return _error(source, offset, end, f"{word} is not a valid number", _number_hint(word))
        if "NAME" in expected:
            return _error(source, offset, end, "a key can't start with a digit", f'put it in quotes: "{word}"')
    if "NUMBER" in expected:
        return _error(source, offset, end, f"unexpected {word!r} in place of a value", f'strings need quotes: "{word}"')
    hint = "a key is a name or a string in double quotes" if "NAME" in expected else None
    return _error(source, offset, end, f"unexpected {_shown(text, offset, word)}", hint)


def _shown(text: str, offset: int, word: str) -> str:
    match = re.compile(r'"[^"\n]{0,40}"').match(text, offset)
    return match.group() if match else repr(word[:40])


def _number_hint(word: str) -> str:
    if re.match(r"[+-]?0[xX]", word):
        return "write numbers in decimal"
    if re.match(r"[+-]?0\d", word):
        return "remove the leading zero"
    if word.startswith("+"):
        return "remove the '+'"
    if re.match(r"[+-]?\.\d", word) or re.search(r"\.(?!\d)", word):
        return "write digits on both sides of the point"
    if "_" in word:
        return "write the digits without '_'"
    if re.fullmatch(r"[+-]?\d+(?:\.\d+)?[KMGBT]", word, re.IGNORECASE):
        return f'put sizes in quotes: "{word}"'
    return "a number looks like 12, -0.5 or 3e-4"


def _at_end(source: Source, expected: frozenset[str]) -> UserError:
    end = len(source.text.rstrip())
    if "COLON" in expected:
        return _error(source, end, end + 1, "the text ends after a key", "write key: value")
    if "NUMBER" in expected:
        return _error(source, end, end + 1, "the text ends where a value should be", "write the value")
    return _error(source, end, end + 1, "the text ends too early", None)


def _bad_string(source: Source, offset: int) -> UserError:
    """Walks a string that the grammar refused to the first character that is wrong in it."""
    text, at = source.text, offset + 1
    while at < len(text):
        here = text[at]
        if here == '"':
            break
        if here == "\n":
            stop = len(text[offset:at].rstrip()) + offset
            return _error(source, offset, stop, "this string is never closed", "add a closing '\"' on the same line")
        if here == "\\":
            match = _ESCAPE.match(text, at)
            if match is None:
                wrong = text[at : at + 2].rstrip("\n")
                hint = (
                    "\\u takes four hexadecimal digits"
                    if wrong == "\\u"
                    else 'known escapes: \\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX; write \\\\ for a backslash'
                )
                return _error(source, at, at + len(wrong), f"unknown escape {wrong}", hint)
            at = match.end()
            continue
        if here < " ":
            name = "a tab" if here == "\t" else f"the control character U+{ord(here):04X}"
            hint = "write \\t" if here == "\t" else f"write \\u{ord(here):04x}"
            return _error(source, at, at + 1, f"{name} can't stand in a string as it is", hint)
        at += 1
    return _error(source, offset, at, "this string is never closed", "add a closing '\"'")


def not_finite(source: Source, word: str, start: int, end: int) -> UserError:
    """For NaN and infinities."""
    return _error(source, start, end, f"{word} is not a number a config can hold", "write a finite number or null")


def _error(source: Source, start: int, end: int, message: str, hint: str | None) -> UserError:
    return UserError("CHM102", message, span=source.span(start, end), hint=hint)
