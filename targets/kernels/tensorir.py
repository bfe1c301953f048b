"""Writing kernels as TensorIR: a small statement builder, vectors, and lowering; arithmetic.py has the exact numerics.

A kernel is built statement by statement from Python, so that a Python loop unrolls and a list of values is a list of
registers. Nodes are made directly (``tirx.Add(a, b)``), because TVM's operators simplify as they build (``x + 0.0``
becomes ``x``, which is wrong for -0.0), and only passes that leave arithmetic alone run afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm
from tvm import ir, tirx

from chimerac.compiler.ir.types import Dim, TensorType
from chimerac.targets.isa import Isa
from chimerac.targets.kernel_spec import KernelSpec

Expr = Any  #: a TensorIR expression (tvm has no type stubs)
Build = Callable[[KernelSpec, Isa], Any]  #: what makes a kernel's TensorIR function

#: element type in the IR → in TensorIR; fp16 and bf16 travel as their bits
TVM_DTYPES = {"f32": "float32", "f16": "uint16", "bf16": "uint16", "i32": "int32", "i8": "int8", "u8": "uint8"}


def lanes_of(dtype: str) -> tuple[str, int]:
    """``"float32x8"`` → ("float32", 8); a scalar type has one lane."""
    base, _, lanes = dtype.partition("x")
    return base, int(lanes or 1)


def with_lanes(dtype: str, lanes: int) -> str:
    """("float32", 8) → ``"float32x8"``."""
    return dtype if lanes == 1 else f"{dtype}x{lanes}"


def type_of(value: Expr) -> str:
    """TensorIR type of an expression as text."""
    return str(value.ty.dtype) if hasattr(value.ty, "dtype") else str(value.dtype)


def integer(value: int | Expr) -> Expr:
    """An index expression."""
    return tirx.IntImm("int32", value) if isinstance(value, int) else value


def constant(value: float, dtype: str) -> Expr:
    """A constant of a scalar or vector type."""
    base, lanes = lanes_of(dtype)
    scalar = tirx.FloatImm(base, value) if base.startswith("float") else tirx.IntImm(base, int(value))
    return scalar if lanes == 1 else tirx.Broadcast(scalar, lanes)


def splat(value: Expr, lanes: int) -> Expr:
    """A scalar in every lane."""
    return value if lanes == 1 else tirx.Broadcast(value, lanes)


def intrinsic(name: str, dtype: str, *arguments: Expr) -> Expr:
    """Call of a pure LLVM intrinsic; ``dtype`` is that of the result."""
    from tvm.script import tirx as T

    return T.call_llvm_pure_intrin(dtype, name, *arguments)


def reinterpret(value: Expr, dtype: str) -> Expr:
    """The same bits as another type of the same size."""
    from tvm.script import tirx as T

    return T.reinterpret(dtype, value)


def shuffle(vectors: Sequence[Expr], lanes: Sequence[int]) -> Expr:
    """Lanes picked from vectors laid end to end."""
    return tirx.Shuffle(list(vectors), [tirx.IntImm("int32", i) for i in lanes])


@dataclass(frozen=True)
class Memory:
    """Elements behind a pointer, or a local array; indices count elements."""

    buffer: Any
    dtype: str
    type: TensorType | None = None  #: of an operand or result

    def load(self, index: int | Expr, lanes: int = 1) -> Expr:
        """``lanes`` consecutive elements from ``index``; any alignment of the element type will do."""
        return tirx.BufferLoad(self.buffer, [_places(index, lanes)])


def _places(index: int | Expr, lanes: int) -> Expr:
    place = integer(index)
    return place if lanes == 1 else tirx.Ramp(place, tirx.IntImm("int32", 1), lanes)


@dataclass(frozen=True)
class Cell:
    """A mutable variable, scalar or vector: it lives in registers once LLVM has promoted it."""

    builder: KernelBuilder
    memory: Memory
    lanes: int

    def get(self) -> Expr:
        """The value now."""
        return self.builder.let(self.memory.load(0, self.lanes))

    def set(self, value: Expr) -> None:
        """Assign."""
        self.builder.store(self.memory, 0, value)


class KernelBuilder:
    """Collects the statements of one kernel.

    Attributes:
        operands: one per operand of the spec: ``Memory``, or an int32 expression for a rank-0 i32 operand.
        results: one per result: ``Memory``; that of an in-place result is the operand's.
        n: tokens of the call: an expression, or 1 when nothing depends on it.
        begin, end: units to compute, in a kernel that threads share (``Shared`` of compiler/ir/ops/definition.py).
    """

    def __init__(self, spec: KernelSpec, isa: Isa) -> None:
        from chimerac.compiler.ir.ops import OPS

        self.spec, self.isa = spec, isa
        self._names = 0
        self._blocks: list[list[Any]] = [[]]
        self._header: list[Any] = []
        self._parameters: list[Any] = []
        self._helpers = [isa.helpers] if isa.helpers else []
        self.operands: list[Any] = [self._parameter(f"a{i}", t) for i, t in enumerate(spec.operands)]
        in_place = OPS[spec.op].in_place
        self.results: list[Memory] = [
            self.operands[in_place[i]] if i in in_place else self._pointer(f"r{i}", t)
            for i, t in enumerate(spec.results)
        ]
        self.n: Any = 1
        if spec.dynamic:
            self.n = tirx.Var("n", "int32")
            self._parameters.append(self.n)
        self.begin, self.end = tirx.Var("begin", "int32"), tirx.Var("end", "int32")
        if spec.sharing is not None:
            self._parameters += [self.begin, self.end]

    def _parameter(self, name: str, type_: TensorType) -> Any:
        if type_.dtype == "i32" and type_.shape == ():
            scalar = tirx.Var(name, "int32")
            self._parameters.append(scalar)
            return scalar
        return self._pointer(name, type_)

    def _pointer(self, name: str, type_: TensorType) -> Memory:
        dtype = TVM_DTYPES[type_.dtype]
        pointer = tirx.Var(name, ir.PointerType(ir.PrimType(dtype)))
        self._parameters.append(pointer)
        buffer = tirx.decl_buffer((tirx.IntImm("int32", 1),), dtype, data=pointer, name=name)
        self._header.append(tirx.DeclBuffer(buffer, data=pointer))
        return Memory(buffer, dtype, type_)

    def extent(self, dims: Sequence[Dim]) -> Any:
        """Product of dimensions: an int if none depends on the call, else an expression."""
        static = math.prod(d for d in dims if isinstance(d, int))
        dynamic = any(isinstance(d, str) for d in dims)
        return self.n * static if dynamic else static

    def emit(self, statement: Any) -> None:
        """Append a statement."""
        self._blocks[-1].append(statement)

    def let(self, value: Expr) -> Expr:
        """A name for a value: computed once, here.

        Integers of loops and addresses become TensorIR bindings. Everything else is stored to a stack slot of its own
        and read back, which LLVM undoes at once: TVM substitutes bindings into each other as it analyses them, which
        takes time exponential in the length of a chain of float operations.
        """
        if type_of(value) == "int32":
            self._names += 1
            variable = tirx.Var(f"v{self._names}", "int32")
            self.emit(tirx.Bind(variable, value))
            return variable
        return self.hold(value)

    def hold(self, value: Expr) -> Expr:
        """``let`` by way of a stack slot, for integers too."""
        base, lanes = lanes_of(type_of(value))
        slot = self.local(base, lanes)
        self.store(slot, 0, value)
        return slot.load(0, lanes)

    def local(self, dtype: str, size: int) -> Memory:
        """An array on the stack, contents undefined."""
        self._names += 1
        buffer = tirx.decl_buffer((size,), dtype, name=f"l{self._names}", scope="local")
        self._header.append(tirx.AllocBuffer(buffer))
        return Memory(buffer, dtype)

    def aligned(self, dtype: str, size: int, alignment: int) -> Memory:
        """An array on the stack that begins at a multiple of ``alignment`` bytes. LLVM is told of 16 only, and vectors
        that cross cache lines take twice as long."""
        width = np.dtype(dtype).itemsize
        memory = self.local(dtype, size + alignment // width)
        address = reinterpret(tirx.address_of(memory.load(0)), "int64")
        missing = tirx.bitwise_and(tirx.Sub(tirx.IntImm("int64", 0), address), tirx.IntImm("int64", alignment - 1))
        start = self.let(tirx.truncdiv(tirx.Cast("int32", missing), integer(width)))
        self._names += 1
        place = tirx.address_of(memory.load(start))
        pointer = tirx.Var(f"l{self._names}", place.ty)
        self.emit(tirx.Bind(pointer, place))
        buffer = tirx.decl_buffer((size,), dtype, data=pointer, name=f"l{self._names}")
        self.emit(tirx.DeclBuffer(buffer, data=pointer))
        return Memory(buffer, dtype)

    def cell(self, value: Expr) -> Cell:
        """A variable with this value to begin with."""
        base, lanes = lanes_of(type_of(value))
        cell = Cell(self, self.local(base, lanes), lanes)
        cell.set(value)
        return cell

    def hidden(self, value: int) -> Expr:
        """An integer that LLVM does not know, so that it cannot unroll a loop; needs the helper ``hidden_i32``."""
        from tvm.script import tirx as T

        return self.let(T.call_extern("int32", "hidden_i32", integer(value)))

    def helper(self, text: str) -> None:
        """An LLVM function, as text, that this kernel calls, beside those of its instruction set."""
        if text not in self._helpers:
            self._helpers.append(text)

    def store(self, memory: Memory, index: int | Expr, value: Expr) -> None:
        """Write the lanes of a value to consecutive elements."""
        lanes = lanes_of(type_of(value))[1]
        self.emit(tirx.BufferStore(memory.buffer, value, [_places(index, lanes)]))

    def prefetch(self, memory: Memory, index: int | Expr) -> None:
        """Ask for the cache line of an element that will be read soon; it may lie beyond the end."""
        place = tirx.address_of(memory.load(index))
        self.emit(tirx.Evaluate(tirx.call_intrin("void", "tirx.prefetch", place, 0, 3, 1)))

    @contextmanager
    def loop(self, extent: int | Expr) -> Iterator[Expr]:
        """A serial loop from 0 to ``extent``; yields the index. With a constant extent of 1 there is no loop."""
        if isinstance(extent, int) and extent == 1:
            yield tirx.IntImm("int32", 0)
            return
        self._names += 1
        index = tirx.Var(f"i{self._names}", "int32")
        self._blocks.append([])
        yield index
        body = self._blocks.pop()
        if body:
            self.emit(tirx.For(index, integer(0), integer(extent), tirx.ForKind.SERIAL, _sequence(body)))

    @contextmanager
    def units(self) -> Iterator[Expr]:
        """A loop over the units of this call; yields the unit."""
        with self.loop(self.let(self.end - self.begin)) as i:
            yield self.let(self.begin + i)

    @contextmanager
    def when(self, condition: Expr) -> Iterator[None]:
        """Statements that run if the condition holds."""
        self._blocks.append([])
        yield
        body = self._blocks.pop()
        if body:
            self.emit(tirx.IfThenElse(condition, _sequence(body), None))

    def finish(self) -> Any:
        """The PrimFunc."""
        body = _sequence([*self._header, *self._blocks[0]])
        if self._helpers:
            helpers = ir.StringImm("\n".join(self._helpers))
            body = tirx.AttrStmt(integer(0), "pragma_import_llvm", helpers, body)
        function = tirx.PrimFunc(self._parameters, body)
        symbol = self.spec.symbol + self.isa.symbol_suffix
        return function.with_attr({"global_symbol": symbol, "tirx.noalias": True})


def _sequence(statements: list[Any]) -> Any:
    return statements[0] if len(statements) == 1 else tirx.SeqStmt(statements)


def strips(builder: KernelBuilder, extent: int | Expr, body: Callable[[Expr, int], None], lanes: int = 8) -> None:
    """``body(index, lanes)`` over a row: whole vectors first, then single elements."""
    if isinstance(extent, int):
        whole = extent // lanes
        if whole:
            with builder.loop(whole) as i:
                body(i * lanes, lanes)
        rest: Any = extent % lanes
    else:
        whole = builder.let(tirx.truncdiv(extent, integer(lanes)))
        with builder.loop(whole) as i:
            body(i * lanes, lanes)
        rest = extent - whole * lanes
    if not isinstance(rest, int) or rest:
        with builder.loop(rest) as i:
            body(whole * lanes + i, 1)


def lower(function: Any, isa: Isa) -> Any:
    """The LLVM module of a PrimFunc: a plain C function that needs no TVM runtime."""
    target = tvm.target.Target(dict(isa.target))
    module = tvm.IRModule({str(function.attrs["global_symbol"]): function})
    for step in (
        tirx.transform.BindTarget(target),  # functions say what they are compiled for
        tirx.transform.LowerIntrin(),  # floor division of indices → shifts and the like
    ):
        module = step(module)
    return tvm.get_global_func("target.build.llvm")(module, target)
