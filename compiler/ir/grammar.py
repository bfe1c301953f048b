"""The IR of grammars: rules over bytes, as frontends make them and the pass ``grammar_fst`` takes them."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from chimerac.compiler.errors import UserError
from chimerac.runtime.bundle_format.fstpack import SLOT_MARKS

MAX_SOURCE_BYTES: Final = 1 << 20
MAX_NESTING: Final = 256
MAX_RULES: Final = 4096
MAX_CHOICES: Final = 10_000
MAX_STATES: Final = 40_000
MAX_ACTION_WORDS: Final = 65_535
MAX_REPETITIONS: Final = 65_534
MAX_NODES: Final = 150_000  #: of the nondeterministic automaton
MAX_CELLS: Final = 4_000_000  #: of the tables: states times columns
MAX_WORK: Final = 2_000_000  #: edges looked at
MAX_BYTES: Final = 240 << 20  #: of memory for all that is made on the way, about
DEFAULT_SPACE_CAP: Final = 8

PROSE: Final = 1  #: flag of a grammar whose text gets the soft weights


@dataclass(frozen=True, slots=True)
class Bytes:
    """One byte in any of the ranges ``(first, last)``, ascending and apart; no range: matches nothing."""

    ranges: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Literal:
    """These bytes; may be empty."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Concat:
    """One after the other."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """Any of the options; none: matches nothing."""

    options: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """``minimum`` to ``maximum`` times; None: without end."""

    item: Expression
    minimum: int
    maximum: int | None


@dataclass(frozen=True, slots=True)
class Space:
    """Optional whitespace: what ``item`` matches counts towards the cap of whitespace runs."""

    item: Expression


@dataclass(frozen=True, slots=True)
class Counted:
    """``opening (item (separator item)*)? closing`` with a counter of items, which no other counter may cross.

    The first bytes of ``separator`` (or of ``item``, if that is empty) must differ from those of ``closing``.
    """

    opening: Expression
    item: Expression
    separator: Expression
    closing: Expression
    minimum: int
    maximum: int | None


@dataclass(frozen=True, slots=True)
class Graph:
    """``minimum`` to ``maximum`` steps through a deterministic automaton, from its state 0 to a final one.

    Args:
        steps: for each state what a step matches, never nothing, and the state after it; what the steps of one state
            match differs early enough to tell them apart byte by byte. Steps call no rules.
        final: for each state whether the way may end there.
    """

    steps: tuple[tuple[tuple[Expression, int], ...], ...]
    final: tuple[bool, ...]
    minimum: int = 0
    maximum: int | None = None


@dataclass(frozen=True, slots=True)
class Ordered:
    """One or more of many entries in their order, each at most once, then any number of others.

    Args:
        entries: of each its key, and what comes after that. All keys and ``other`` begin with the same byte; none
            begins with another one.
        required: whether each must come.
        other: an entry whose key is none of those; it opens no frame before the key ends and counts nothing. NOTHING if
            there is none.
        separator: between any two.
    """

    entries: tuple[tuple[bytes, Expression], ...]
    required: tuple[bool, ...]
    other: Expression
    separator: Expression


@dataclass(frozen=True, slots=True)
class Call:
    """What the rule of this name matches."""

    rule: str


Expression: TypeAlias = Bytes | Literal | Concat | Choice | Repeat | Space | Counted | Graph | Ordered | Call

EMPTY: Final = Literal(b"")
NOTHING: Final = Choice(())


def sequence(*parts: Expression) -> Expression:
    """The parts one after the other, neighbouring sequences and literals joined."""
    flat: list[Expression] = []
    for part in parts:
        for piece in part.parts if isinstance(part, Concat) else (part,):
            if isinstance(piece, Literal):
                if not piece.data:
                    continue
                if flat and isinstance(flat[-1], Literal):
                    flat[-1] = Literal(flat[-1].data + piece.data)
                    continue
            flat.append(piece)
    return EMPTY if not flat else flat[0] if len(flat) == 1 else Concat(tuple(flat))


def choice(options: Sequence[Expression]) -> Expression:
    """Any of the options, nested choices joined, doubled bytes, literals and calls dropped."""
    flat: list[Expression] = []
    seen: set[Expression] = set()
    for option in options:
        for piece in option.options if isinstance(option, Choice) else (option,):
            if isinstance(piece, Literal | Bytes | Call):  # larger ones would cost more to compare than to keep
                if piece in seen:
                    continue
                seen.add(piece)
            flat.append(piece)
    return flat[0] if len(flat) == 1 else Choice(tuple(flat))


def optional(item: Expression) -> Expression:
    """The item or nothing."""
    return Repeat(item, 0, 1)


def star(item: Expression) -> Expression:
    """The item any number of times."""
    return Repeat(item, 0, None)


def byte_set(data: bytes) -> Bytes:
    """One of these bytes."""
    ranges: list[tuple[int, int]] = []
    for byte in sorted(set(data)):
        if ranges and ranges[-1][1] == byte - 1:
            ranges[-1] = (ranges[-1][0], byte)
        else:
            ranges.append((byte, byte))
    return Bytes(tuple(ranges))


def slot(kind: str) -> Expression:
    """What is known when a generation begins only: words of the request, or a name of a list; one of SLOT_KINDS."""
    return Literal(bytes([SLOT_MARKS[kind]]))


NODES: Final = "nodes"
WORK: Final = "steps of work"
BYTES: Final = "bytes of memory"


class Budget:
    """What compiling one grammar may use, whatever the machine: nodes of its automaton, steps of work, memory.

    One budget goes through everything that is done for a grammar. ``use`` comes before the work it is for.
    """

    def __init__(self, name: str, nodes: int = MAX_NODES, work: int = MAX_WORK, bytes_: int = MAX_BYTES) -> None:
        self.name = name
        self.limits: Final = {NODES: nodes, WORK: work, BYTES: bytes_}
        self.used: Final = {NODES: 0, WORK: 0, BYTES: 0}

    def use(self, what: str, amount: int) -> None:
        """Take something of the budget. Raises UserError CHM282, naming the limit, where it is not there any more."""
        self.used[what] += amount
        if self.used[what] > self.limits[what]:
            message = f"the grammar {self.name} is too large: over {self.limits[what]:,} {what}"
            raise UserError("CHM282", message, hint="make repetitions shorter or the grammar simpler")


@dataclass(frozen=True)
class Grammar:
    """A grammar: the texts that the rule ``start`` matches.

    Args:
        rules: name → expression; every call names one of them.
        shared: rules that get a machine and a stack frame of their own wherever they are called.
        source: text it was made from.
        flags: PROSE, and FLAG_SLOTS and FLAG_JSON_SLOTS of ``fstpack`` where it has slots.
    """

    name: str
    rules: Mapping[str, Expression]
    start: str = "start"
    shared: frozenset[str] = frozenset()
    source: str = ""
    space_cap: int = DEFAULT_SPACE_CAP
    flags: int = 0
    kinds: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()  #: what of the source says nothing about texts and was ignored


def children(expression: Expression) -> tuple[Expression, ...]:
    """The parts of an expression."""
    match expression:
        case Concat(parts):
            return parts
        case Choice(options):
            return options
        case Repeat(item) | Space(item):
            return (item,)
        case Counted(opening, item, separator, closing):
            return (opening, item, separator, closing)
        case Graph(steps):
            return tuple(item for listed in steps for item, _ in listed)
        case Ordered(entries, _, other, separator):
            return (*(rest for _, rest in entries), other, separator)
    return ()


@contextmanager
def deep_recursion() -> Iterator[None]:
    """Room for sources nested up to the limit; Python's own frames take no C stack.

    Meanwhile the collector of cycles rests: it would walk through all that is made, again and again, and find nothing.
    """
    before, collecting = sys.getrecursionlimit(), gc.isenabled()
    sys.setrecursionlimit(max(before, 20_000))
    gc.disable()
    try:
        yield
    finally:
        sys.setrecursionlimit(before)
        if collecting:
            gc.enable()
