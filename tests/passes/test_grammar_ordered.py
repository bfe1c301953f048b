"""Objects of many properties, whose states are made at once: the same texts as of those that are written out."""

from __future__ import annotations

import random
from typing import Any

import pytest
from grammar_walks import Walker

from chimerac.compiler.errors import UserError
from chimerac.frontends.grammar import schema_objects
from chimerac.frontends.grammar.schema import schema_grammar
from chimerac.passes.grammar_fst import GrammarFst

_NAMES = ["", "a", "ab", "abc", "abd", "b", "ba", '"', "\\", '\\"', "a\nb", "é", "éa", "x y", "/"]
_VALUES: list[Any] = [
    {"type": "string"},
    {"type": "integer"},
    {"enum": ["a", 1]},
    {},
    {"$ref": "#"},
    {"type": "string", "maxLength": 9},
    {"type": "array", "items": {"type": "null"}, "minItems": 2},
    {"properties": {"a": {"$ref": "#"}}, "type": "object"},
    False,
]
_ALL: list[Any] = [{}, {"additionalProperties": False}, {"additionalProperties": {"type": "integer"}}]
_MORE: list[Any] = [
    {"patternProperties": {"^a": {"type": "boolean"}}},
    {"propertyNames": {"maxLength": 2}},
    {"propertyNames": {"pattern": "^[ab]*$"}},
]
_WITHIN: list[Any] = [
    lambda one: one,
    lambda one: {"type": "array", "items": one, "minItems": 2, "maxItems": 3},
    lambda one: {"anyOf": [one, {"type": "null"}]},
    lambda one: {"anyOf": [one, {**one, "additionalProperties": False}]},
]


def _schema(kind: int) -> Any:
    names = random.sample(_NAMES, random.randint(2, 9))
    one = {
        "type": "object",
        "properties": {name: random.choice(_VALUES[:4] if random.random() < 0.7 else _VALUES) for name in names},
        "required": [name for name in names if random.random() < 0.2],
        **random.choice(_ALL if random.random() < 0.7 else _MORE),
    }
    return _WITHIN[kind](one)


def _walker(schema: Any, many: int, monkeypatch: pytest.MonkeyPatch) -> Walker | str:
    monkeypatch.setattr(schema_objects, "_MANY", many)
    try:
        return Walker(GrammarFst(minimise=False).compile(schema_grammar(schema)))
    except UserError as error:
        return error.code


def _compare(made: Walker, written: Walker) -> None:
    """Walk through both at once: the same bytes, ends and bounds of what is left."""
    bytes_ = sorted({members[0] for one in (made, written) for members in one.members})
    at, beside = made.engine.start(), written.engine.start()
    for _ in range(50):
        steps = [(made.engine.step(at, byte), written.engine.step(beside, byte)) for byte in bytes_]
        assert all((one is None) == (other is None) for one, other in steps)
        assert made.engine.complete(at) == written.engine.complete(beside)
        assert made.engine.closing(at) == written.engine.closing(beside)
        both = [(one, other) for one, other in steps if one is not None and other is not None]
        if not both:
            break
        at, beside = random.choice(both)


@pytest.mark.parametrize("kind", range(len(_WITHIN)))
def test_the_same_texts_as_written_out(kind: int, monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0
    for _ in range(10):
        schema = _schema(kind)
        made, written = (_walker(schema, many, monkeypatch) for many in (1, 1000))
        if isinstance(made, str) or isinstance(written, str):
            assert type(made) is type(written), schema  # refused for one reason or another
            continue
        for _ in range(8):
            _compare(made, written)
        compared += 1
    assert compared > 4
