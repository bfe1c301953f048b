"""``chimerac grammar``: what a grammar compiles to."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from chimerac.runtime.bundle_format.fstpack import Automaton

_SENTENCE_BYTES: Final = 60
_LINE: Final = 100


@click.group()
def grammar() -> None:
    """Look at grammars before a build."""


@grammar.command()
@click.argument("source")
@click.option("--seed", default=0, show_default=True, help="Of the example.")
def check(source: str, seed: int) -> None:
    """Compile SOURCE: a .lark file, a JSON Schema (.json) or the name of a built-in mode.

    Prints states, frames, sizes, where two readings exist, and an example of what the grammar accepts.
    """
    for line in describe(source, seed):
        click.echo(line)


def describe(source: str, seed: int = 0) -> list[str]:
    """Lines about a grammar; raises UserError CHM280 to CHM285."""
    from chimerac.compiler.packaging.grammar_packs import read_grammar
    from chimerac.frontends.grammar import MODES, mode_grammar
    from chimerac.passes.grammar_fst import GrammarFst
    from chimerac.runtime.bundle_format.fstpack import PUSH

    found = mode_grammar(source) if source in MODES and not Path(source).exists() else read_grammar(source)
    automaton, notes = GrammarFst().compile_with_notes(found)
    opening = sum(int(word) & 0xFF == PUSH for word in automaton.op)
    deepest = int((automaton.state[:, 1] & 0xFF).max())
    lines = [
        f"grammar          {automaton.name}",
        f"rules            {len(found.rules)}",
        f"states           {automaton.states}",
        f"byte classes     {automaton.delta.shape[1] - 1}",
        f"machines         {automaton.machines}",
        f"stack            {_stack(opening, deepest)}",
        f"tables           {automaton.bytes / 1024:.1f} KiB, without masks",
        f"shortest text    {automaton.closing} bytes",
        f"whitespace       at most {automaton.space_cap} in a row where it is optional",
    ]
    lines += [f"two readings     {note}" for note in notes]
    return [*lines, f"example          {_shown(example(automaton, seed))}"]


def _stack(opening: int, deepest: int) -> str:
    if not opening:
        return "none needed: the grammar is regular"
    return f"{opening} ways to open a frame of 64; to end one, {deepest or 'no'} more frames are needed"


def example(automaton: Automaton, seed: int = 0) -> bytes:
    """A text that the grammar accepts: random bytes for a while, then the shortest way to the end."""
    from chimerac.runtime.bundle_format.grammar_trie import vocabulary_of
    from chimerac.runtime.reference.grammar_engine import GrammarEngine

    tokens = [bytes([byte]) for byte in range(256)]
    engine = GrammarEngine(automaton, vocabulary_of(tokens), tokens, space_cap=min(1, automaton.space_cap))
    generator = random.Random(seed)
    at, text = engine.start(), bytearray()
    while True:
        following = [(byte, after) for byte in range(256) if (after := engine.step(at, byte)) is not None]
        whole = engine.complete(at)
        if whole and (not following or len(text) >= _SENTENCE_BYTES):
            return bytes(text)
        if len(text) >= _SENTENCE_BYTES:
            shorter = [pair for pair in following if engine.closing(pair[1]) < engine.closing(at)]
            following = shorter
        else:
            plain = [pair for pair in following if 0x20 < pair[0] < 0x7F]
            following = plain or following
        byte, at = generator.choice(following)
        text.append(byte)


def _shown(text: bytes) -> str:
    shown = repr(text.decode("utf-8", "replace"))
    return shown if len(shown) <= _LINE else shown[:_LINE] + "…"
