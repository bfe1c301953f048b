"""Slots in grammars: what is compiled, and what is refused, with its place."""

from __future__ import annotations

from typing import Any

import pytest

from chimerac.compiler.errors import UserError
from chimerac.compiler.packaging.grammar_packs import compile_grammar
from chimerac.runtime.bundle_format.container import parse_container
from chimerac.runtime.bundle_format.fstpack import SLOT_BYTES, pack_of_container
from chimerac.runtime.bundle_format.grammar_trie import vocabulary_of
from chimerac.runtime.reference.grammar_engine import GrammarEngine

COPY: dict[str, Any] = {"type": "string", "x-copy": "request"}


def engine(**source: Any) -> GrammarEngine:
    tokens = tuple(bytes([byte]) for byte in range(256))
    automaton = pack_of_container(parse_container(compile_grammar(**source))).grammars[0]
    return GrammarEngine(automaton, vocabulary_of(tokens), tokens)


def accepts(made: GrammarEngine, text: str) -> bool:
    at = made.feed(made.start(), text.encode())
    return at is not None and made.complete(at)


def test_schemas_copy() -> None:
    made = engine(schema={"type": "array", "items": {"anyOf": [COPY, {"type": "null"}]}, "minItems": 1})
    assert made.automaton.slots == ("request",)
    assert made.closing(made.start()) == len("[null]")
    made.set_words("request", b'say "hi there" now')
    assert accepts(made, r'["hi", null, "say \"hi there", "hi there\" now"]')
    for wrong in ('["h"]', '["hi ther"]', '["say now"]', '["hi ]', '["', '[""]', "[\xff]"):
        assert not accepts(made, wrong), wrong
    made.set_words("request", b"")
    assert accepts(made, '["", null]')
    assert engine(schema=COPY).closing(engine(schema=COPY).start()) == SLOT_BYTES + 2


def test_lark_copies() -> None:
    made = engine(lark='start: "play " REQUEST (";" NAMES)?\n%declare REQUEST NAMES')
    assert made.automaton.slots == ("request", "names")
    made.set_words("request", b"please play some jazz")
    made.set_words("names", b"radio\nradio two\n")
    for right in ("play some jazz", "play jazz;radio", "play jazz;radio two"):
        assert accepts(made, right), right
    for wrong in ("play ", "play some funk", "play jazz;radi", "play jazz;radio t"):
        assert not accepts(made, wrong), wrong


def test_all_64_frames_can_be_closed() -> None:
    """What stands in a slot takes a frame of its own, for which there is always room."""
    nested: dict[str, Any] = {"anyOf": [COPY, {"type": "array", "items": {"$ref": "#"}, "minItems": 1, "maxItems": 1}]}
    made = engine(schema=nested)
    made.set_words("request", b"x")
    at = made.start()
    depth = 0
    while (after := made.feed(at, b"[")) is not None:
        at, depth = after, depth + 1
    assert depth > 25
    while not made.complete(at):
        before = made.closing(at)
        steps = [after for byte in range(256) if (after := made.step(at, byte)) is not None]
        at = min(steps, key=made.closing)
        assert made.closing(at) < before


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"schema": {"type": "string", "x-copy": "all"}}, "CHM280", "x-copy is one of request, names, areas, floors"),
    ({"schema": {**COPY, "maxLength": 3}}, "CHM281", "maxLength cannot be obeyed of what is copied"),
    ({"schema": {"allOf": [COPY, {"pattern": "a"}]}}, "CHM281", "/allOf/1/pattern: pattern cannot be obeyed"),
    ({"schema": {"allOf": [COPY, {"x-copy": "names"}]}}, "CHM281", "/allOf/1/x-copy"),
    ({"schema": {**COPY, "enum": ["a"]}}, "CHM281", "not one of fixed values"),
    ({"schema": {"type": "object", "propertyNames": COPY}}, "CHM281", "names of properties cannot be copied"),
    ({"schema": {"anyOf": [COPY, {"const": "none"}]}}, "CHM283", "something else may stand where words of the request"),
    ({"schema": {"anyOf": [COPY, {"x-copy": "names"}]}}, "CHM283", "something else may stand"),
    ({"lark": "start: REQUEST | /[a-z]+/\n%declare REQUEST"}, "CHM283", "something else may stand"),
    ({"lark": "start: WORDS\n%declare WORDS"}, "CHM280", "WORDS is declared, but nothing says what it is"),
]


@pytest.mark.parametrize(("source", "code", "message"), REFUSED)
def test_what_is_refused(source: dict[str, Any], code: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        compile_grammar(**source)
    assert caught.value.code == code
    assert message in f"{caught.value.message}"
