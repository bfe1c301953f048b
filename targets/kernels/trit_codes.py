"""Codes of packed trits, word after word: how a kernel reads the forms of compiler/ir/layouts.py.

A word is 4 columns of every row of a vector. Its codes 0, 1, 2 lie in a bit plane of a vector of uint16, as
``TernaryDot.accumulate`` takes them. Base 3 is read by look-up where the instruction set has one; elsewhere a panel is
brought into the form of two bits first, so that everything else is the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from tvm import tirx

from chimerac.compiler.ir.base3 import DIGITS
from chimerac.targets.kernels.tensorir import Expr, KernelBuilder, Memory, constant, reinterpret

PLANES = 4  #: words that a vector of two-bit codes holds

#: (vector number within the row) → that vector of each stream
Loader = Callable[[int | Expr], list[Expr]]


def period_of(form: str, group_words: int) -> int:
    """Groups after which words and vectors begin together again."""
    return DIGITS // math.gcd(DIGITS, group_words) if form == "t5" else 1


class WordCodes:
    """The words of a row from a vector on; they are asked for in order.

    Args:
        form: of the vectors; ``t5`` only where the instruction set looks base 3 up.
        first: number of the vector that holds word 0.
        load: loads vectors.
    """

    def __init__(self, b: KernelBuilder, form: str, first: int | Expr, load: Loader) -> None:
        self._b, self._form, self._first, self._load = b, form, first, load
        self._vector = -1
        self._words: Sequence[tuple[list[Expr], int]] = []

    @property
    def form(self) -> str:
        """One of ``layouts.FORMS``."""
        return self._form

    def moved(self, vectors: int | Expr) -> WordCodes:
        """The words of a row so many vectors further on."""
        return WordCodes(self._b, self._form, self._first + vectors, self._load)

    def word(self, number: int) -> tuple[list[Expr], int]:
        """The codes of a word in each stream, and the plane they lie in."""
        vector, place = divmod(number, DIGITS if self._form == "t5" else PLANES)
        if vector != self._vector:
            self._vector = vector
            packed = self._load(self._first + vector)
            self._words = self._base3(packed) if self._form == "t5" else [(packed, plane) for plane in range(PLANES)]
        return self._words[place]

    def _base3(self, packed: list[Expr]) -> list[tuple[list[Expr], int]]:
        decode = self._b.isa.base3_codes
        assert decode is not None
        by_stream = [[(self._b.let(codes), plane) for codes, plane in decode(vector)] for vector in packed]
        return [([stream[p][0] for stream in by_stream], by_stream[0][p][1]) for p in range(DIGITS)]


def two_bit_vectors(vectors: int) -> int:
    """Vectors of two-bit codes that ``to_two_bits`` makes of so many of base 3."""
    return -(-vectors * DIGITS // PLANES)


def to_two_bits(
    b: KernelBuilder, source: Memory, start: int | Expr, vectors: int, target: Memory, place: int | Expr, size: int
) -> None:
    """Vectors of base 3, of ``size`` bytes each, as vectors of two-bit codes, from a place of ``target`` on."""

    def some(first: int | Expr, count: int) -> None:
        """Vectors 4·first and those after it."""
        made: list[Expr | None] = [None] * two_bit_vectors(count)
        for v in range(count):
            packed = reinterpret(source.load(start + (first * PLANES + v) * size, size), f"uint16x{size // 2}")
            for digit, codes in enumerate(_digits(b, b.let(packed), size // 2)):
                vector, plane = divmod(v * DIGITS + digit, PLANES)
                shifted = tirx.shift_left(codes, constant(2 * plane, f"uint16x{size // 2}")) if plane else codes
                before = made[vector]
                made[vector] = b.let(shifted if before is None else tirx.bitwise_or(before, shifted))
        for vector, codes in enumerate(made):
            b.store(target, place + (first * DIGITS + vector) * size, reinterpret(codes, f"uint8x{size}"))

    whole, rest = divmod(vectors, PLANES)
    if whole:
        with b.loop(whole) as i:
            some(i, PLANES)
    if rest:
        some(whole, rest)


def _digits(b: KernelBuilder, packed: Expr, lanes: int) -> list[Expr]:
    """The five codes of each byte in plane 0: even and odd bytes are multiplied by 3 in 16-bit lanes."""
    kind = f"uint16x{lanes}"
    low, three, eight = constant(0x00FF, kind), constant(3, kind), constant(8, kind)
    even, odd = b.let(tirx.bitwise_and(packed, low)), b.let(tirx.shift_right(packed, eight))
    found = []
    for digit in range(DIGITS):
        even, odd = b.let(tirx.Mul(even, three)), b.let(tirx.Mul(odd, three))
        high = tirx.bitwise_and(odd, constant(0xFF00, kind))
        found.append(b.let(tirx.bitwise_or(tirx.shift_right(even, eight), high)))
        if digit < DIGITS - 1:
            even, odd = b.let(tirx.bitwise_and(even, low)), b.let(tirx.bitwise_and(odd, low))
    return found
