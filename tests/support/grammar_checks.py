"""What random grammars must keep to, one seed at a time: every text that is generated is whole, and valid elsewhere.

The texts are read by other parsers: jsonschema and llguidance, ``re``, Lark's Earley parser. What those allow is
allowed, too, where they mean the same. A check gives "" where all is well, the code of an error where the grammar is
refused, and fails otherwise.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import jsonschema
import lark
import regex
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
#: What a check counts where all of a grammar's texts are whole, and one of them takes its judge too long.
NOT_JUDGED: Final = "not judged"
_JUDGE_SECONDS: Final = 0.5  #: for a text
#: What tells of a refusal that the text which leads there is known.
_WITH_EXAMPLE = re.compile(r"after [‹'\"…]")


def _refused(error: UserError) -> str:
    if error.code not in _REFUSALS:
        raise error
    assert error.code != "CHM283" or _WITH_EXAMPLE.search(error.message), error.message
    return error.code


def walked(grammar: Grammar, seed: int) -> Walker:
    """The automaton of a grammar, with every place near the start looked at."""
    found = Walker(GrammarFst(minimise=seed % 2 == 0).compile(grammar))
    found.check_everywhere(_PLACES)
    shortest = found.shortest(_PLACES)
    assert shortest is None or found.automaton.closing >= shortest
    return found


def _budgets(found: Walker, generator: random.Random, count: int) -> list[int]:
    return [found.automaton.closing + generator.choice([0, 0, 1, 2, 5, 30, 80]) for _ in range(count)]


def _number(text: str) -> int | float:
    """A number as it is written: a float would lose digits of a whole one, and a whole one may have no end of them."""
    try:
        exact = Decimal(text)
    except InvalidOperation:  # the exponent has too many digits for it: judged as a float, 0 or endless
        return float(text)
    return int(exact) if abs(exact.adjusted()) < 400 and exact == exact.to_integral_value() else float(text)


def check_schema(seed: int, generations: int) -> str:
    """A random schema: its value is taken, and jsonschema takes what is generated."""
    schema, value = SchemaMaker(seed).made()
    try:
        found = walked(schema_grammar(schema), seed)
    except UserError as error:
        return _refused(error)
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    assert accepts(found.engine, text), (schema, text)
    validator = jsonschema.Draft202012Validator(schema)
    generator = random.Random(seed)
    for most in _budgets(found, generator, generations):
        made = found.text(generator, most)
        validator.validate(json.loads(made, parse_float=_number))
    return ""


def check_expression(seed: int, generations: int) -> str:
    """A random regular expression: ``regex`` takes what is generated, or, as it can be stopped, gives up."""
    generator = random.Random(seed)
    pattern = random_regex(generator)
    try:
        found = walked(regex_grammar(pattern), seed)
    except UserError as error:
        return _refused(error)
    code = ""
    for most in _budgets(found, generator, generations):
        text = found.text(generator, most).decode()
        try:
            assert regex.fullmatch(pattern, text, timeout=_JUDGE_SECONDS), (pattern, text)
        except TimeoutError:
            code = NOT_JUDGED
    return code


def check_lark(seed: int, generations: int) -> str:
    """A random grammar in Lark's notation: its Earley parser takes what is generated, where that is short."""
    generator = random.Random(seed)
    source = random_lark(generator)
    try:
        found = walked(lark_grammar(source), seed)
    except UserError as error:  # Lark itself may refuse it
        return _refused(error)
    parser = lark.Lark(source, parser="earley", lexer="dynamic_complete")
    for number, most in enumerate(_budgets(found, generator, generations)):
        text = found.text(generator, most).decode()
        if len(text) < 60 and number < 5:  # the parser is slow
            parser.parse(text)
    return ""


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


def _alike(generator: random.Random, depth: int) -> dict[str, Any]:
    """A schema of which llguidance and we take the same texts."""
    if not depth:
        return generator.choice(_ALIKE)
    if generator.random() < 0.5:
        least = generator.randint(0, 3)
        most = least + generator.choice([1, 2, 40])
        return {"type": "array", "items": _alike(generator, depth - 1), "minItems": least, "maxItems": most}
    names = generator.sample(["a", "ab", "name", "x"], generator.randint(1, 3))
    properties = {name: _alike(generator, depth - 1) for name in names}
    required = [name for name in names if generator.random() < 0.6]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def guidance_matcher(schema: Any) -> Any:
    """llguidance's matcher of a schema over single bytes, without whitespace; its ``is_error`` may hold."""
    import llguidance

    tokens = [bytes([byte]) for byte in range(256)] + [b"<end>"]
    tokenizer = llguidance.LLTokenizer(llguidance.TokenizerWrapper(_ByteTokenizer(tokens)))
    grammar = llguidance.LLMatcher.grammar_from_json_schema(schema, defaults={"whitespace_flexible": False})
    return llguidance.LLMatcher(tokenizer, grammar)


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


def check_beside_llguidance(seed: int, generations: int) -> str:
    """A random schema: llguidance takes what is generated, and we take what it allows."""
    generator = random.Random(seed)
    schema = _alike(generator, generator.randint(1, 3))
    found = Walker(GrammarFst().compile(schema_grammar(schema)), space_cap=0)
    for most in _budgets(found, generator, generations):
        text = found.text(generator, most)
        other = guidance_matcher(schema)
        assert not other.is_error(), other.get_error()
        assert all(other.consume_token(byte) for byte in text), (schema, text)
        assert other.is_accepting(), (schema, text)
    other, at = guidance_matcher(schema), found.engine.start()
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
    return ""


#: Checks by name: each takes a seed and a number of generations.
CHECKS: dict[str, Callable[[int, int], str]] = {
    "schemas": check_schema,
    "expressions": check_expression,
    "lark": check_lark,
    "llguidance": check_beside_llguidance,
}
