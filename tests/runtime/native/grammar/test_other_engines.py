"""Masks beside those of llguidance and xgrammar: what is allowed by one only is whitespace, or proven to be valid."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import jsonschema
import numpy as np
import pytest
from numpy.typing import NDArray

from chimerac.compiler.packaging.grammar_packs import compile_grammar
from chimerac.runtime.bundle_format.fstpack import Vocabulary
from chimerac.runtime.reference.tokenizer import Tokenizer

from .conftest import Compiled

llguidance = pytest.importorskip("llguidance")
llguidance_numpy = pytest.importorskip("llguidance.numpy")
xgrammar = pytest.importorskip("xgrammar")

Step = tuple[NDArray[np.bool_], Callable[[int], Any]]

DOCUMENTS: list[Any] = [
    {"a": 1, "b": [True, None, {"c": "d é\n\\"}]},
    [1.5e-3, -0, "x", 10**20, "\u0001"],
    {"": {}, "k": [[], [[]], "漢字"]},
    ["a long string, with commas: and colons", False],
]
SCHEMAS: list[tuple[dict[str, Any], Any]] = [
    (
        {
            "type": "object",
            "properties": {"s": {"enum": ["a", "bc"]}, "n": {"type": "number"}, "b": {"type": "boolean"}},
            "required": ["s", "n", "b"],
            "additionalProperties": False,
        },
        {"s": "bc", "n": 1.25, "b": True},
    ),
    ({"type": "array", "items": {"type": "integer"}}, [1, 2, -30]),
    (
        {
            "$ref": "#/$defs/n",
            "$defs": {
                "n": {
                    "type": "object",
                    "properties": {"l": {"type": "string"}, "c": {"type": "array", "items": {"$ref": "#/$defs/n"}}},
                    "required": ["l", "c"],
                    "additionalProperties": False,
                }
            },
        },
        {"l": "x", "c": [{"l": "y é", "c": []}, {"l": "\n", "c": [{"l": "", "c": []}]}]},
    ),
    ({"type": "array", "items": {"type": "null"}, "minItems": 2, "maxItems": 3}, [None, None, None]),
    ({"anyOf": [{"const": "one"}, {"type": "boolean"}, {"const": 12}]}, "one"),
]


class Others:
    """The two engines over the same tokens."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.size = len(tokenizer.tokens)
        ends = [special.id for special in tokenizer.specials if special.role == "end"]
        self.guidance = llguidance.LLTokenizer.from_tiktoken(
            encoder={token: number for number, token in enumerate(tokenizer.tokens) if token},
            special_tokens={special.name: special.id for special in tokenizer.specials},
            pattern=r"\S+|\s+",
            eos_token=ends[0],
            n_vocab=self.size,
        )
        table = xgrammar.TokenizerInfo(list(tokenizer.tokens), stop_token_ids=ends)
        self.compiler = xgrammar.GrammarCompiler(table, max_threads=1, cache_enabled=False)

    def _bits(self, words: NDArray[np.int32]) -> NDArray[np.bool_]:
        return np.unpackbits(words.view(np.uint8), bitorder="little").astype(bool)[: self.size]

    def guided(self, schema: Any, document: bytes) -> Iterator[NDArray[np.bool_]]:
        grammar = llguidance.LLMatcher.grammar_from_json_schema(schema, defaults={"whitespace_flexible": False})
        matcher = llguidance.LLMatcher(self.guidance, grammar)
        for byte in document:
            words = np.zeros((1, (self.size + 31) // 32), np.int32)
            llguidance_numpy.fill_next_token_bitmask(matcher, words, 0)
            yield self._bits(words[0])
            assert matcher.consume_token(byte)

    def grammared(self, schema: Any, document: bytes) -> Iterator[NDArray[np.bool_]]:
        if schema is None:
            compiled = self.compiler.compile_builtin_json_grammar()
        else:
            compiled = self.compiler.compile_json_schema(schema, any_whitespace=False, separators=(",", ":"))
        matcher = xgrammar.GrammarMatcher(compiled)
        for byte in document:
            words = np.zeros((1, (self.size + 31) // 32), np.int32)
            matcher.fill_next_token_bitmask(words)
            yield self._bits(words[0])
            assert matcher.accept_token(byte)


@pytest.fixture(scope="module")
def others(tokenizer: Tokenizer) -> Others:
    return Others(tokenizer)


def ours(grammar: Compiled, document: bytes) -> Iterator[NDArray[np.bool_]]:
    at = grammar.engine.start()
    for byte in document:
        yield grammar.engine.mask(at)
        after = grammar.engine.step(at, byte)
        assert after is not None, document
        at = after


def compact(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def completed(grammar: Compiled, text: bytes) -> bytes:
    """A whole text of the grammar that begins with this one, by the shortest way."""
    engine = grammar.engine
    at = engine.feed(engine.start(), text)
    assert at is not None
    while not engine.complete(at):
        steps = [(engine.closing(after), byte) for byte in range(256) if (after := engine.step(at, byte)) is not None]
        text += bytes([min(steps)[1]])
        at = engine.step(at, text[-1])
        assert at is not None
    return text


def compare(grammar: Compiled, schema: Any, document: bytes, masks: Iterator[NDArray[np.bool_]]) -> None:
    """What they allow is allowed here too, but for whitespace. What is allowed here only leads to a valid text."""
    ends = list(grammar.engine.ends)
    for position, (mine, theirs) in enumerate(zip(ours(grammar, document), masks, strict=True)):
        assert mine[ends].all() == theirs[ends[0]], "they agree on where a text may end"
        tokens = grammar.tokenizer.tokens
        for token in np.flatnonzero(theirs & ~mine).tolist():
            assert set(tokens[token]) & set(b" \t\r\n"), (document[:position], tokens[token])
        if theirs.sum() == 1:  # llguidance shows the one token that it would force, not the others it would take
            continue
        for token in np.flatnonzero(mine & ~theirs).tolist():
            if tokens[token]:
                value = json.loads(completed(grammar, document[:position] + tokens[token]))
                if schema is not None:
                    jsonschema.validate(value, schema)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_json(document: Any, others: Others, compiled: Callable[[str], Compiled]) -> None:
    grammar, data = compiled("json"), compact(document)
    compare(grammar, None, data, others.grammared(None, data))
    compare(grammar, None, data, others.guided({"type": ["object", "array"]}, data))


@pytest.mark.parametrize("number", range(len(SCHEMAS)))
def test_schemas(number: int, others: Others, tokenizer: Tokenizer, vocabulary: Vocabulary) -> None:
    schema, instance = SCHEMAS[number]
    grammar = Compiled("schema", compile_grammar(schema=schema, whitespace=0), tokenizer, vocabulary)
    data = compact(instance)
    compare(grammar, schema, data, others.grammared(schema, data))
    compare(grammar, schema, data, others.guided(schema, data))
