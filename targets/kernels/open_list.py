"""Numbers of the elements of a row that are not 0, which kernels of gated neurons go through."""

from __future__ import annotations

from tvm import tirx

from chimerac.targets.kernels.arithmetic import TirOps
from chimerac.targets.kernels.tensorir import Expr, KernelBuilder, Memory, integer, intrinsic, reinterpret

TESTED = 32  #: neurons that are looked at together
HALF = TESTED // 2  #: that every instruction set makes bits of
FIRST, SECOND = (", ".join(f"i32 {begin + i}" for i in range(HALF)) for begin in (0, HALF))
#: Bit i of the result is set if element i is not 0 or -0: the bits are looked at, so that the smallest numbers are none
#: even where a program has the processor take them for 0.
HELPER = f"""define internal i32 @open_bits(<{TESTED} x i32> %values) alwaysinline {{
  %twice = shl <{TESTED} x i32> %values, splat (i32 1)
  %first = shufflevector <{TESTED} x i32> %twice, <{TESTED} x i32> poison, <{HALF} x i32> <{FIRST}>
  %second = shufflevector <{TESTED} x i32> %twice, <{TESTED} x i32> poison, <{HALF} x i32> <{SECOND}>
  %open_first = icmp ne <{HALF} x i32> %first, zeroinitializer
  %open_second = icmp ne <{HALF} x i32> %second, zeroinitializer
  %low = bitcast <{HALF} x i1> %open_first to i16
  %high = bitcast <{HALF} x i1> %open_second to i16
  %low_bits = zext i16 %low to i32
  %high_bits = zext i16 %high to i32
  %shifted = shl i32 %high_bits, {HALF}
  %result = or i32 %low_bits, %shifted
  ret i32 %result
}}"""


class OpenList:
    """A list of numbers on the stack, with room for ``most``."""

    def __init__(self, b: KernelBuilder, hidden: Memory, most: int) -> None:
        self.b, self.hidden = b, hidden
        self.numbers = b.local("int32", most + 1)
        self.found = b.cell(integer(0))
        b.helper(HELPER)

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
        b = self.b
        if isinstance(extent, int):
            whole: int | Expr = extent // TESTED
            rest: int | Expr = extent % TESTED
        else:
            whole = b.let(tirx.truncdiv(extent, integer(TESTED)))
            rest = b.let(extent - whole * TESTED)
        if not isinstance(whole, int) or whole:
            with b.loop(whole) as i:
                begin = b.let(i * TESTED)
                self._some(b.let(place + begin), b.let(first + begin))
        if not isinstance(rest, int) or rest:
            self._rest(place, first, integer(whole * TESTED) if isinstance(whole, int) else b.let(whole * TESTED), rest)

    def _some(self, place: Expr, first: Expr) -> None:
        """The open ones of ``TESTED`` neurons: the first without a branch, which none or one of them mostly is."""
        from tvm.script import tirx as T

        b, ops = self.b, TirOps(self.b, 1)
        values = reinterpret(self.hidden.load(place, TESTED), f"int32x{TESTED}")
        bits = b.hold(T.call_extern("int32", "open_bits", values))
        at, count = self.found.get(), b.let(intrinsic("llvm.ctpop.i32", "int32", bits))
        self.found.set(ops.iadd(at, count))
        left = b.cell(bits)

        def take(behind: int | Expr) -> None:
            now = left.get()
            lowest = intrinsic("llvm.cttz.i32", "int32", now, tirx.IntImm("bool", 0))
            b.store(self.numbers, at + behind, first + b.let(lowest))
            left.set(ops.iand(now, ops.isub(now, ops.i32(1))))

        take(0)
        with b.loop(b.let(count - 1)) as j:
            take(j + 1)

    def _rest(self, place: Expr, first: Expr, begin: Expr, count: int | Expr) -> None:
        """Neurons that are looked at one by one."""
        b, ops = self.b, TirOps(self.b, 1)
        with b.loop(count) as i:
            number = b.let(begin + i)
            twice = ops.ishl(ops.bits(self.hidden.load(place + number)), 1)
            at = self.found.get()
            b.store(self.numbers, at, first + number)
            self.found.set(ops.iadd(at, ops.iselect(ops.iequal(twice, ops.i32(0)), ops.i32(0), ops.i32(1))))
