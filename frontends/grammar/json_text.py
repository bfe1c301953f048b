"""JSON as text: expressions for its strings, numbers, whitespace, and values of any kind."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from typing import Final

from chimerac.compiler.ir.grammar import (
    EMPTY,
    Bytes,
    Call,
    Choice,
    Concat,
    Counted,
    Expression,
    Literal,
    Repeat,
    Space,
    byte_set,
    choice,
    optional,
    sequence,
    star,
)
from chimerac.frontends.grammar import characters as ch
from chimerac.frontends.grammar.characters import CharSet

SPACES: Final = star(Space(byte_set(b" \t\r\n")))
#: Characters that a string may hold as they are.
PLAIN: Final = ch.difference(ch.ALL, ch.char_set([(0, 0x1F), (0x22, 0x22), (0x5C, 0x5C)]))
_ALONE: Final = re.compile("[\ud800-\udfff]")
_SHORT: Final = {8: b"\\b", 9: b"\\t", 10: b"\\n", 12: b"\\f", 13: b"\\r", 0x22: b'\\"', 0x5C: b"\\\\"}
_HEX: Final = byte_set(b"0123456789abcdefABCDEF")
_DIGIT: Final = byte_set(b"0123456789")
_DIGITS: Final = Repeat(_DIGIT, 1, None)

_ESCAPE_SIGNS: Final = byte_set(b'"\\/bfnrt')
#: One character of a string, in any spelling; a surrogate may stand alone, as RFC 8259 allows.
CHARACTER: Final = choice(
    [ch.utf8(PLAIN), Concat((Literal(b"\\"), Choice((_ESCAPE_SIGNS, Concat((Literal(b"u"), Repeat(_HEX, 4, 4)))))))]
)
_UNIT: Final = Choice(
    (
        Concat((byte_set(b"0123456789abcefABCEF"), _HEX, _HEX, _HEX)),
        Concat((byte_set(b"dD"), byte_set(b"01234567"), _HEX, _HEX)),
    )
)
_HIGH: Final = Concat((byte_set(b"dD"), byte_set(b"89abAB"), _HEX, _HEX))
_LOW: Final = Concat((byte_set(b"dD"), byte_set(b"cdefCDEF"), _HEX, _HEX))
#: One character of a string, counted as one: a pair of surrogates is one, a lone surrogate is none.
WHOLE_CHARACTER: Final = choice(
    [
        ch.utf8(PLAIN),
        Concat((Literal(b"\\"), _ESCAPE_SIGNS)),
        Concat((Literal(b"\\u"), Choice((_UNIT, Concat((_HIGH, Literal(b"\\u"), _LOW)))))),
    ]
)
STRING: Final = sequence(Literal(b'"'), star(CHARACTER), Literal(b'"'))
#: What is left of a string once it is known which one it is not.
STRING_REST: Final = sequence(star(CHARACTER), Literal(b'"'))
#: The same after a character that isn't ASCII, which comes first; a rule of its own, so that its bytes are shared.
WIDE_REST: Final = sequence(ch.utf8(((0x80, 0xD7FF), (0xE000, ch.LAST))), STRING_REST)
INTEGER: Final = sequence(
    optional(Literal(b"-")), choice([Literal(b"0"), Concat((byte_set(b"123456789"), star(_DIGIT)))])
)
_EXPONENT: Final = sequence(byte_set(b"eE"), optional(byte_set(b"+-")), _DIGITS)
NUMBER: Final = sequence(INTEGER, optional(Concat((Literal(b"."), _DIGITS))), optional(_EXPONENT))
BOOLEAN: Final = Choice((Literal(b"true"), Literal(b"false")))
NULL: Final = Literal(b"null")

COMMA: Final = sequence(Literal(b","), SPACES)
COLON: Final = sequence(SPACES, Literal(b":"), SPACES)

#: Rules that schemas share; objects, arrays and strings are called with a frame of their own.
ANY_OBJECT, ANY_ARRAY, ANY_STRING = "any object", "any array", "string"
ANY: Final[Expression] = Choice((Call(ANY_OBJECT), Call(ANY_ARRAY), Call(ANY_STRING), NUMBER, BOOLEAN, NULL))
_PAIR: Final = sequence(Call(ANY_STRING), COLON, ANY, SPACES)
REST, WIDE = "rest of a string", "wide rest of a string"
LIBRARY: Final[Mapping[str, Expression]] = {
    ANY_STRING: STRING,
    ANY_OBJECT: sequence(Literal(b"{"), SPACES, optional(sequence(_PAIR, star(sequence(COMMA, _PAIR)))), Literal(b"}")),
    ANY_ARRAY: sequence(
        Literal(b"["), SPACES, optional(sequence(ANY, SPACES, star(sequence(COMMA, ANY, SPACES)))), Literal(b"]")
    ),
}
KINDS: Final = {ANY_STRING: 4, ANY_OBJECT: 17, ANY_ARRAY: 18}


@functools.lru_cache(maxsize=4096)
def encode(chars: CharSet) -> Expression:
    """One character of a set inside a string, in the shortest spelling JSON has for it."""
    options: list[Expression] = []
    plain = ch.intersection(chars, PLAIN)
    if plain:
        options.append(ch.utf8(plain))
    for first, last in ch.difference(chars, PLAIN):
        for point in range(first, last + 1):
            if point in _SHORT:
                options.append(Literal(_SHORT[point]))
            else:
                low = format(point & 15, "x")
                options.append(Concat((Literal(b"\\u00%d" % (point >> 4)), byte_set((low + low.upper()).encode()))))
    return choice(options)


def string_literal(text: str) -> Expression:
    """A string in its shortest spelling, quotes included; surrogates that stand alone are escaped."""
    return Literal(text_of(text))


def text_of(text: str) -> bytes:
    """The bytes of the same."""
    written = json.dumps(text, ensure_ascii=False)
    return _ALONE.sub(lambda found: f"\\u{ord(found[0]):04x}", written).encode()


def value_spellings(value: object) -> list[Expression]:
    """The same as ``value_literal``, whole numbers as two texts: many texts are less work than as many choices."""
    made = value_literal(value)
    if isinstance(value, int | float) and isinstance(made, Concat) and isinstance(made.parts[0], Literal):
        return [made.parts[0], Literal(made.parts[0].data + b".0")]
    return [made]


def value_literal(value: object) -> Expression:
    """A JSON value: strings in their shortest spelling, whitespace free, whole numbers with or without ``.0``."""
    if isinstance(value, str):
        return string_literal(value)
    if isinstance(value, bool) or value is None:
        return Literal(json.dumps(value).encode())
    if isinstance(value, int | float):
        if value == int(value) and abs(value) < 1 << 63:
            return sequence(Literal(str(int(value)).encode()), optional(Literal(b".0")))
        return Literal(json.dumps(value).encode())
    if isinstance(value, list):
        return array([value_literal(item) for item in value])
    assert isinstance(value, dict)
    pairs = [sequence(string_literal(key), COLON, value_literal(item)) for key, item in value.items()]
    return _listed(b"{", pairs, b"}")


def array(items: Sequence[Expression]) -> Expression:
    """An array of exactly these items."""
    return _listed(b"[", items, b"]")


def _listed(opening: bytes, items: Sequence[Expression], closing: bytes) -> Expression:
    parts: list[Expression] = [Literal(opening), SPACES]
    for index, item in enumerate(items):
        parts += [COMMA if index else EMPTY, item, SPACES]
    return sequence(*parts, Literal(closing))


def counted_string(minimum: int, maximum: int | None) -> Expression:
    """A string of so many characters, in any spelling."""
    return Counted(Literal(b'"'), WHOLE_CHARACTER, EMPTY, Literal(b'"'), minimum, maximum)


def other_key(names: Sequence[str]) -> Expression:
    """A key, quotes included, that is none of some names.

    Up to where it differs from all names the key is in its shortest spelling.
    """
    return sequence(Literal(b'"'), _differing(tuple(n.encode() for n in names), 0))


def _differing(names: tuple[bytes, ...], depth: int) -> Expression:
    taken: dict[int, list[bytes]] = {}
    for name in names:
        if len(name) > depth:
            taken.setdefault(name[depth], []).append(name)
    options: list[Expression] = []
    if all(len(name) != depth for name in names):
        options.append(Literal(b'"'))
    following = bytes(taken)
    other = [c for c in range(0x20, 0x80) if c not in following and c not in b'"\\']
    options.append(sequence(byte_set(bytes(other)), Call(REST)))
    options.append(Call(WIDE))
    # an escape is another character than a name's next one, unless that needs an escape itself
    escapes = bytes(c for c in b'"\\bfnrt' if c not in {_SHORT[b][1] for b in following if b in _SHORT})
    options.append(sequence(Literal(b"\\"), byte_set(escapes), Call(REST)))
    for byte, members in taken.items():
        spelled = Literal(_SHORT.get(byte, bytes([byte])))
        options.append(sequence(spelled, _differing(tuple(members), depth + 1)))
    return choice(options)


def simple_names(names: Sequence[str]) -> bool:
    """Whether ``other_key`` can tell these names apart: ASCII without control characters."""
    return all(name.isascii() and name.isprintable() for name in names)


__all__ = ["Bytes", "array", "counted_string", "encode", "other_key", "string_literal", "value_literal"]
