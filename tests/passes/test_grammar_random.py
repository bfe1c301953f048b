"""Random schemas, regular expressions and Lark grammars: what is generated is whole and valid, with however few tokens.

The texts are read by other parsers: jsonschema and llguidance, ``re``, Lark's Earley parser. What those allow is
allowed, too, where they mean the same. The large runs are marked slow.
"""

from __future__ import annotations

import json
import random
import re
from decimal import Decimal
from typing import Any

import jsonschema
import lark
import pytest
from grammar_tools import accepts
from grammar_walks import Walker
from random_grammars import SchemaMaker, random_lark, random_regex

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.grammar import Grammar
from chimerac.frontends.grammar.lark_files import lark_grammar
from chimerac.frontends.grammar.regex import regex_grammar
from chimerac.frontends.grammar.schema import schema_grammar
from chimerac.passes.grammar_fst import GrammarFst

_REFUSALS = {"CHM280", "CHM282", "CHM283", "CHM284"}
_PLACES = 250


def walker(grammar: Grammar, seed: int) -> Walker | None:
    """The automaton of a grammar, walked; None where it is refused as too large or for one stack."""
    try:
        automaton = GrammarFst(minimise=seed % 2 == 0).compile(grammar)
    except UserError as error:
        if error.code not in _REFUSALS:
            raise
        return None
    found = Walker(automaton)
    found.check_everywhere(_PLACES)
    shortest = found.shortest(_PLACES)
    assert shortest is None or automaton.closing >= shortest
    return found


def budgets(found: Walker, generator: random.Random, count: int) -> list[int]:
    return [found.automaton.closing + generator.choice([0, 0, 1, 2, 5, 30, 80]) for _ in range(count)]


def number(text: str) -> int | float:
    """A number as it is written: a float would lose digits of a whole one."""
    exact = Decimal(text)
    return int(exact) if exact == exact.to_integral_value() else float(text)


def check_schemas(seeds: range, generations: int) -> None:
    refused = 0
    for seed in seeds:
        schema, value = SchemaMaker(seed).made()
        found = walker(schema_grammar(schema), seed)
        if found is None:
            refused += 1
            continue
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        assert accepts(found.engine, text), (schema, text)
        validator = jsonschema.Draft202012Validator(schema)
        generator = random.Random(seed)
        for most in budgets(found, generator, generations):
            made = found.text(generator, most)
            validator.validate(json.loads(made, parse_float=number))
    assert refused <= 1 + len(seeds) // 50


def check_expressions(seeds: range, generations: int) -> None:
    followed = 0
    for seed in seeds:
        generator = random.Random(seed)
        pattern = random_regex(generator)
        found = walker(regex_grammar(pattern), seed)
        if found is not None:
            followed += 1
            for most in budgets(found, generator, generations):
                text = found.text(generator, most).decode()
                assert re.fullmatch(pattern, text), (pattern, text)
    assert followed > len(seeds) // 2


def check_lark(seeds: range, generations: int) -> None:
    followed = 0
    for seed in seeds:
        generator = random.Random(seed)
        source = random_lark(generator)
        found = walker_of_lark(source, seed)
        if found is not None:
            followed += 1
            parser = lark.Lark(source, parser="earley", lexer="dynamic_complete")
            for number, most in enumerate(budgets(found, generator, generations)):
                text = found.text(generator, most).decode()
                if len(text) < 60 and number < 5:  # the parser is slow
                    parser.parse(text)
    assert followed > len(seeds) // 4


def walker_of_lark(source: str, seed: int) -> Walker | None:
    try:
        return walker(lark_grammar(source), seed)
    except UserError as error:  # Lark itself may refuse it
        if error.code not in _REFUSALS:
            raise
        return None


def test_schemas() -> None:
    check_schemas(range(30), 5)


def test_regular_expressions() -> None:
    check_expressions(range(14), 5)


def test_lark_grammars() -> None:
    check_lark(range(14), 5)


@pytest.mark.slow
def test_ten_thousand_schemas() -> None:
    check_schemas(range(10_000), 20)


@pytest.mark.slow
def test_a_thousand_expressions_and_grammars() -> None:
    check_expressions(range(500), 20)
    check_lark(range(1000), 20)


# -- beside llguidance

#: Parts of schemas of which both take the same texts, without whitespace; whole numbers may end in ".0" here only.
_ALIKE: list[dict[str, Any]] = [
    {"type": "boolean"},
    {"type": "null"},
    {"enum": ["a", "ab", "b"]},
    {"const": "x"},
    {"type": "string", "pattern": "^[a-c]{2,40}$"},
    {"type": "string", "pattern": "^(?:ab|c)*d$"},
]


def alike(generator: random.Random, depth: int) -> dict[str, Any]:
    """A schema of which llguidance and we take the same texts."""
    if not depth:
        return generator.choice(_ALIKE)
    if generator.random() < 0.5:
        least = generator.randint(0, 3)
        most = least + generator.choice([1, 2, 40])
        return {"type": "array", "items": alike(generator, depth - 1), "minItems": least, "maxItems": most}
    names = generator.sample(["a", "ab", "name", "x"], generator.randint(1, 3))
    properties = {name: alike(generator, depth - 1) for name in names}
    required = [name for name in names if generator.random() < 0.6]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def check_beside_llguidance(seeds: range) -> None:
    llguidance = pytest.importorskip("llguidance")
    tokens = [bytes([byte]) for byte in range(256)] + [b"<end>"]
    tokenizer = llguidance.LLTokenizer(llguidance.TokenizerWrapper(_ByteTokenizer(tokens)))
    for seed in seeds:
        generator = random.Random(seed)
        schema = alike(generator, generator.randint(1, 3))
        found = Walker(GrammarFst().compile(schema_grammar(schema)), space_cap=0)
        theirs = llguidance.LLMatcher.grammar_from_json_schema(schema, defaults={"whitespace_flexible": False})

        def matcher(grammar: str = theirs) -> Any:
            made = llguidance.LLMatcher(tokenizer, grammar)
            assert not made.is_error(), made.get_error()
            return made

        for most in budgets(found, generator, 3):
            text = found.text(generator, most)
            other = matcher()
            assert all(other.consume_token(byte) for byte in text), (schema, text)
            assert other.is_accepting(), (schema, text)
        other, at = matcher(), found.engine.start()
        for _ in range(60):  # a walk of theirs
            allowed = _allowed(other)
            assert other.is_accepting() == found.engine.complete(at), schema
            if not allowed:
                break
            byte = generator.choice(allowed)
            assert other.consume_token(byte)
            after = found.engine.step(at, byte)
            assert after is not None, (schema, byte)
            at = after


class _ByteTokenizer:
    """What llguidance needs of a tokenizer."""

    def __init__(self, tokens: list[bytes]) -> None:
        self.tokens = tokens
        self.eos_token_id, self.bos_token_id, self.special_token_ids = 256, None, [256]

    def __call__(self, text: bytes | str) -> list[int]:
        return list(text.encode() if isinstance(text, str) else text)


def _allowed(matcher: Any) -> list[int]:
    """The bytes that may come next."""
    bits = matcher.compute_bitmask()
    return [byte for byte in range(256) if bits[byte >> 3] >> (byte & 7) & 1]


def test_llguidance_takes_the_same_texts() -> None:
    check_beside_llguidance(range(30))


@pytest.mark.slow
def test_llguidance_takes_the_same_texts_of_many() -> None:
    check_beside_llguidance(range(1000))
