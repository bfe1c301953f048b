"""Walks through automata of grammars: all places that can be reached, and texts as a model without knowledge makes."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import numpy as np

from chimerac.runtime.bundle_format.fstpack import REJECT, Automaton
from chimerac.runtime.bundle_format.grammar_trie import vocabulary_of
from chimerac.runtime.reference.grammar_engine import GrammarEngine, GrammarState

_BYTES = [bytes([byte]) for byte in range(256)]
_VOCABULARY = vocabulary_of(_BYTES)
_LONGEST_TOKEN = 4


@dataclass
class Walker:
    """The engine of an automaton over bytes, which only tries bytes of classes that a state knows."""

    automaton: Automaton
    space_cap: int | None = None
    engine: GrammarEngine = field(init=False)
    members: list[bytes] = field(init=False)  #: the bytes of each class
    _known: dict[int, list[int]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.engine = GrammarEngine(self.automaton, _VOCABULARY, _BYTES, space_cap=self.space_cap)
        classes = self.automaton.classes
        self.members = [bytes(np.flatnonzero(classes == n).tolist()) for n in range(self.automaton.delta.shape[1] - 1)]

    def classes(self, at: GrammarState) -> list[int]:
        """Classes whose bytes may be allowed."""
        found = self._known.get(at.state)
        if found is None:
            found = self._known[at.state] = np.flatnonzero(self.automaton.delta[at.state, :-1] != REJECT).tolist()
        return found

    def following(self, at: GrammarState) -> list[tuple[int, GrammarState]]:
        """A byte of each class that is allowed, and the configuration after it."""
        steps = ((self.members[number][0], number) for number in self.classes(at))
        tried = ((byte, self.engine.step(at, byte)) for byte, _ in steps)
        return [(byte, after) for byte, after in tried if after is not None]

    def random_byte(self, at: GrammarState, generator: random.Random) -> tuple[int, GrammarState] | None:
        """One byte that is allowed; None where there is none."""
        order = self.classes(at)[:]
        generator.shuffle(order)
        for number in order:
            byte = generator.choice(self.members[number])
            after = self.engine.step(at, byte)
            if after is not None:
                return byte, after
        return None

    def text(self, generator: random.Random, most: int) -> bytes:
        """A generation of at most ``most`` tokens of 1 to 4 bytes, drawn from those that docs/fstpack.md allows.

        Fails where none may, or the text is not whole at the end.
        """
        engine, at, text = self.engine, self.engine.start(), bytearray()
        assert engine.closing(at) <= most
        for left in range(most, 0, -1):
            if engine.complete(at) and generator.random() < 0.2:
                break
            before = engine.closing(at)
            limit = max(left, before) - 1
            token = self._token(at, generator, limit)
            if token is None:
                assert engine.complete(at), f"nothing may follow {bytes(text)!r}"
                break
            text += token[0]
            at = token[1]
        assert engine.complete(at), f"{bytes(text)!r} is not whole after {most} tokens"
        return bytes(text)

    def _token(self, at: GrammarState, generator: random.Random, limit: int) -> tuple[bytes, GrammarState] | None:
        found: tuple[bytes, GrammarState] | None = None
        place, data = at, b""
        for _ in range(generator.randint(1, _LONGEST_TOKEN)):
            drawn = self.random_byte(place, generator)
            if drawn is None:
                break
            data, place = data + bytes([drawn[0]]), drawn[1]
            if self.engine.closing(place) <= limit:
                found = data, place
        if found is None:
            short = [pair for pair in self.following(at) if self.engine.closing(pair[1]) <= limit]
            found = (bytes([short[0][0]]), short[0][1]) if short else None
        return found

    def check_everywhere(self, most: int) -> int:
        """Look at the configurations that can be reached, breadth first, up to ``most``; their number.

        From each one a byte that is no optional whitespace lowers ``closing`` by one at least, or the text is whole.
        """
        engine = self.engine
        strict = GrammarEngine(self.automaton, _VOCABULARY, _BYTES, space_cap=0)
        start = engine.start()
        before: dict[GrammarState, tuple[GrammarState, int] | None] = {start: None}
        queue = [start]
        for at in queue:
            closing = engine.closing(at)
            if closing == 0:
                assert engine.complete(at), self._way(before, at)
            else:
                bytes_ = [self.members[number][0] for number in self.classes(at)]
                after = [s for byte in bytes_ if (s := strict.step(at, byte)) is not None]
                assert any(engine.closing(s) < closing for s in after), self._way(before, at)
            if len(before) < most:
                for byte, after_ in self.following(at):
                    if after_ not in before:
                        before[after_] = at, byte
                        queue.append(after_)
        return len(queue)

    def shortest(self, most: int) -> int | None:
        """Bytes of the shortest text, found by trying; None if more than ``most`` configurations are to be seen."""
        level, seen, size = {self.engine.start()}, set[GrammarState](), 0
        while level and len(seen) < most:
            if any(self.engine.complete(at) for at in level):
                return size
            seen |= level
            level = {after for at in level for _, after in self.following(at)} - seen
            size += 1
        return None

    @staticmethod
    def _way(before: dict[GrammarState, tuple[GrammarState, int] | None], at: GrammarState) -> bytes:
        text = bytearray()
        while (step := before[at]) is not None:
            at = step[0]
            text.append(step[1])
        return bytes(reversed(text))
