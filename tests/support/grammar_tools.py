"""Grammars in tests: compile, run over bytes, generate random texts."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from typing import Any

from chimerac.compiler.ir.grammar import Grammar
from chimerac.passes.grammar_fst import GrammarFst
from chimerac.runtime.bundle_format.fstpack import Automaton
from chimerac.runtime.bundle_format.grammar_trie import vocabulary_of
from chimerac.runtime.reference.grammar_engine import GrammarEngine, GrammarState

BYTES = [bytes([byte]) for byte in range(256)]
BYTE_VOCABULARY = vocabulary_of(BYTES)


def byte_engine(grammar: Grammar | Automaton, *, minimise: bool = True, space_cap: int | None = None) -> GrammarEngine:
    """The engine of a grammar over single bytes and no end token."""
    automaton = grammar if isinstance(grammar, Automaton) else GrammarFst(minimise).compile(grammar)
    return GrammarEngine(automaton, BYTE_VOCABULARY, BYTES, space_cap=space_cap)


def accepts(engine: GrammarEngine, text: str | bytes) -> bool:
    """Whether a whole text is in the grammar."""
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    at = engine.feed(engine.start(), data)
    return at is not None and engine.complete(at)


def words_engine(grammar: Grammar, words: Sequence[bytes], ends: tuple[int, ...] = ()) -> GrammarEngine:
    """The engine of a grammar over single bytes and some longer tokens."""
    tokens = [*BYTES, *dict.fromkeys(word for word in words if len(word) > 1)]
    return GrammarEngine(GrammarFst().compile(grammar), vocabulary_of(tokens), tokens, ends)


def random_text(engine: GrammarEngine, generator: random.Random, length: int, alphabet: bytes = b"") -> bytes:
    """A text of the grammar: random bytes, ``alphabet`` preferred, then a shortest way to the end."""
    at, text = engine.start(), bytearray()
    while not (len(text) >= length and engine.complete(at)):
        following = _following(engine, at)
        if len(text) >= length:
            following = [pair for pair in following if engine.closing(pair[1]) < engine.closing(at)]
        elif not following:
            break
        elif generator.random() < 0.8:
            following = [pair for pair in following if pair[0] in alphabet] or following
        byte, at = generator.choice(following)
        text.append(byte)
    assert engine.complete(at)
    return bytes(text)


def _following(engine: GrammarEngine, at: GrammarState) -> list[tuple[int, GrammarState]]:
    found = ((byte, engine.step(at, byte)) for byte in range(256))
    return [(byte, after) for byte, after in found if after is not None]


def orders(value: Any) -> Iterator[Any]:
    """A value with its properties in every order: the grammar wants the schema's."""
    if isinstance(value, dict):
        for keys in itertools.islice(itertools.permutations(value), 24):
            for items in itertools.islice(
                itertools.product(*(list(itertools.islice(orders(value[k]), 24)) for k in keys)), 144
            ):
                yield dict(zip(keys, items, strict=True))
    elif isinstance(value, list):
        yield from map(
            list, itertools.islice(itertools.product(*(list(itertools.islice(orders(v), 24)) for v in value)), 144)
        )
    else:
        yield value
