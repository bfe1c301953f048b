"""``chimerac grammar check``: what a grammar compiles to."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from chimerac.runtime.bundle_format.fstpack import Automaton

_SENTENCE_BYTES: Final = 60
_LINE: Final = 100
_MOST_NOTES: Final = 20


@dataclass(frozen=True)
class GrammarReport:
    """A grammar and its tables.

    Attributes:
        opening: transitions that open a frame of the stack; 0 of a regular grammar.
        deepest: most frames that have to be opened to end a text.
        table_bytes: without masks, which depend on a tokenizer.
        shortest_bytes: of the shortest text.
        whitespace: most blanks in a row where they are optional.
        conflicts: places where a text has two readings.
        ignored: what of the source says nothing about texts.
        example: a text that it accepts.
    """

    name: str
    rules: int
    states: int
    byte_classes: int
    machines: int
    opening: int
    deepest: int
    table_bytes: int
    shortest_bytes: int
    whitespace: int
    conflicts: tuple[str, ...]
    ignored: tuple[str, ...]
    example: bytes

    def lines(self) -> Iterator[str]:
        """The same as aligned text."""
        yield f"grammar          {self.name}"
        yield f"rules            {self.rules}"
        yield f"states           {self.states}"
        yield f"byte classes     {self.byte_classes}"
        yield f"machines         {self.machines}"
        yield f"stack            {self._stack()}"
        yield f"tables           {self.table_bytes / 1024:.1f} KiB, without masks"
        yield f"shortest text    {self.shortest_bytes} byte{'s' * (self.shortest_bytes != 1)}"
        yield f"whitespace       at most {self.whitespace} in a row where it is optional"
        yield from (f"two readings     {conflict}" for conflict in self.conflicts)
        yield from (f"ignored          {note}" for note in self.ignored[:_MOST_NOTES])
        if len(self.ignored) > _MOST_NOTES:
            yield f"ignored          {len(self.ignored) - _MOST_NOTES} more"
        shown = repr(self.example.decode("utf-8", "replace"))
        yield f"example          {shown if len(shown) <= _LINE else shown[:_LINE] + '…'}"

    def _stack(self) -> str:
        if not self.opening:
            return "none needed: the grammar is regular"
        return f"{self.opening} ways to open a frame of 64; to end one, {self.deepest or 'no'} more frames are needed"


def check_grammar(source: str | Path, *, seed: int = 0) -> GrammarReport:
    """Compile a grammar and say what it became.

    Args:
        source: a .lark file, a JSON Schema (.json) or the name of a built-in mode.
        seed: of the example.

    Raises:
        UserError: CHM280 to CHM285, the grammar cannot be read or compiled.
    """
    from chimerac.compiler.packaging.grammar_packs import read_grammar
    from chimerac.frontends.grammar import MODES, mode_grammar
    from chimerac.passes.grammar_fst import GrammarFst
    from chimerac.runtime.bundle_format.fstpack import PUSH

    named = source in MODES and not Path(source).exists()
    found = mode_grammar(str(source)) if named else read_grammar(source)
    automaton, notes = GrammarFst().compile_with_notes(found)
    return GrammarReport(
        name=automaton.name,
        rules=len(found.rules),
        states=automaton.states,
        byte_classes=automaton.delta.shape[1] - 1,
        machines=automaton.machines,
        opening=sum(int(word) & 0xFF == PUSH for word in automaton.op),
        deepest=int((automaton.state[:, 1] & 0xFF).max()),
        table_bytes=automaton.bytes,
        shortest_bytes=automaton.closing,
        whitespace=automaton.space_cap,
        conflicts=tuple(notes),
        ignored=found.notes,
        example=example(automaton, seed),
    )


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
