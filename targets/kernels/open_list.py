"""Numbers of the elements of a row that are not 0, which kernels of gated neurons go through."""

from __future__ import annotations

from tvm import tirx

from chimerac.targets.kernels.arithmetic import TirOps
from chimerac.targets.kernels.tensorir import Expr, KernelBuilder, Memory, integer, shuffle

MAGNITUDE = 0x7FFFFFFF  #: bits of a float32 but for its sign
TESTED = 32  #: neurons that are found to be all shut at once


class OpenList:
    """A list of numbers on the stack, with room for ``most``."""

    def __init__(self, b: KernelBuilder, hidden: Memory, most: int) -> None:
        self.b, self.hidden = b, hidden
        self.numbers = b.local("int32", most)
        self.found = b.cell(integer(0))

    def number(self, place: Expr) -> Expr:
        """The number at a place of the list."""
        return self.b.let(self.numbers.load(place))

    def count(self) -> Expr:
        """Numbers that are in the list now."""
        return self.b.let(self.found.get() + integer(0))

    def gather(self, place: Expr, first: Expr, extent: int | Expr) -> None:
        """Put the numbers of what is open behind those in the list.

        Args:
            place: of the first element that is looked at; first: its number. extent: elements to look at.
        """
        b, ops = self.b, TirOps(self.b, 1)

        def look(begin: Expr, length: int | Expr) -> None:
            with b.loop(length) as i:
                number = b.let(begin + i)
                bits = ops.iand(ops.bits(self.hidden.load(place + number)), ops.i32(MAGNITUDE))
                at = self.found.get()
                b.store(self.numbers, at, first + number)
                self.found.set(ops.iadd(at, ops.iselect(ops.iequal(bits, ops.i32(0)), ops.i32(0), ops.i32(1))))

        if isinstance(extent, int):
            whole: int | Expr = extent // TESTED
            rest: int | Expr = extent % TESTED
        else:
            whole = b.let(tirx.truncdiv(extent, integer(TESTED)))
            rest = b.let(extent - whole * TESTED)
        if not isinstance(whole, int) or whole:
            with b.loop(whole) as i:
                begin = b.let(i * TESTED)
                with b.when(tirx.NE(self._any(b.let(place + begin), TESTED), integer(0))), b.loop(TESTED // 8) as j:
                    eight = b.let(begin + j * 8)
                    with b.when(tirx.NE(self._any(b.let(place + eight), 8), integer(0))):
                        look(eight, 8)
        if not isinstance(rest, int) or rest:
            look(integer(whole * TESTED) if isinstance(whole, int) else b.let(whole * TESTED), rest)

    def _any(self, place: Expr, count: int) -> Expr:
        """Bits of which some are set if one of 8 or 32 neurons is open."""
        b, ops = self.b, TirOps(self.b, 8)
        parts = [ops.bits(self.hidden.load(place + i, 8)) for i in range(0, count, 8)]
        while len(parts) > 1:
            parts = [ops.ior(parts[i], parts[i + 1]) for i in range(0, len(parts), 2)]
        found = parts[0]
        for lanes in (4, 2, 1):
            halves = [shuffle([found], range(start, start + lanes)) for start in (0, lanes)]
            found = TirOps(b, lanes).ior(b.hold(halves[0]), b.hold(halves[1]))
        return b.let(TirOps(b, 1).iand(found, integer(MAGNITUDE)))
