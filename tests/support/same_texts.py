"""Two automata of docs/fstpack.md beside each other: whether they take the same texts."""

from __future__ import annotations

import random

from grammar_tools import byte_engine

from chimerac.runtime.bundle_format.fstpack import Automaton


def difference(left: Automaton, right: Automaton, most: int, seed: int = 0, *, nearer: bool = False) -> str | None:
    """A text after which two automata differ, and in what; None if ``most`` pairs of places that a text leads to agree.

    Each pair is asked for each byte, whether the text may end, and the fewest bytes to its end, of which ``left`` may
    know fewer where it is to be ``nearer``.
    """
    engines = byte_engine(left), byte_engine(right)
    joint = list(zip(left.classes.tolist(), right.classes.tolist(), strict=True))
    members = [bytes([byte for byte, pair in enumerate(joint) if pair == one]) for one in dict.fromkeys(joint)]
    generator = random.Random(seed)
    start = engines[0].start(), engines[1].start()
    known, waiting = {start}, [(start, b"")]
    while waiting:
        place = generator.randrange(len(waiting))
        waiting[place], waiting[-1] = waiting[-1], waiting[place]
        (a, b), text = waiting.pop()
        said = [(engine.complete(at), engine.closing(at)) for engine, at in zip(engines, (a, b), strict=True)]
        same_ends = said[0][1] <= said[1][1] if nearer else said[0][1] == said[1][1]
        if said[0][0] != said[1][0] or not same_ends:
            return f"after {text!r}: (whole, bytes to the end) {said[0]} and {said[1]}"
        for bytes_ in members:
            byte = generator.choice(bytes_)
            after = engines[0].step(a, byte), engines[1].step(b, byte)
            if (after[0] is None) != (after[1] is None):
                return f"after {text!r}: {bytes([byte])!r} is taken by the {'first' if after[0] else 'second'} only"
            if after[0] is not None and after[1] is not None:
                pair = after[0], after[1]
                if pair not in known and len(known) < most:
                    known.add(pair)
                    waiting.append((pair, text + bytes([byte])))
    return None
