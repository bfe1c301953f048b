"""What one kernel computes: an op with its types and attributes, and the C function that serves it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from chimerac.compiler.ir.module import Attribute, Op
from chimerac.compiler.ir.ops import OPS
from chimerac.compiler.ir.types import TensorType


@dataclass(frozen=True)
class Sharing:
    """Units of a kernel that threads share, and the multiply-adds of one of them for one token.

    A unit's bits depend on nothing that another unit computes, so they are the same however units are divided. What one
    unit costs only decides whether a kernel is worth sharing (``chm_share`` in runtime/native/chm_threads.c).
    """

    units: int
    work: int


@dataclass(frozen=True)
class KernelSpec:
    """Ops with equal specs share one kernel, whatever model or layer they belong to.

    The C function is ``void symbol(operands…, results…, int32_t n)``: a pointer per tensor operand, an ``int32_t`` per
    rank-0 i32 operand, a pointer per result that is not written in place of an operand, and ``n``, the tokens of the
    call, if any type has the token dimension. Pointers of one call do not overlap, except where an op is in place.
    A kernel that threads can share ends with ``int32_t begin, int32_t end``, the units that it computes.
    """

    op: str
    operands: tuple[TensorType, ...]
    results: tuple[TensorType, ...]
    attributes: tuple[tuple[str, Attribute], ...]

    @staticmethod
    def of(op: Op) -> KernelSpec:
        """The spec of an op of a lowered graph."""
        return KernelSpec(
            op.name,
            tuple(o.type for o in op.operands),
            tuple(r.type for r in op.results),
            tuple(sorted(op.attributes.items())),
        )

    @property
    def symbol(self) -> str:
        """C name: the op and a digest of everything else."""
        text = repr((self.operands, self.results, self.attributes))
        return f"chk_{self.op.replace('.', '_')}_{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    @property
    def dynamic(self) -> bool:
        """Whether the function takes the number of tokens ``n``."""
        return any(t.is_dynamic for t in (*self.operands, *self.results))

    @property
    def sharing(self) -> Sharing | None:
        """How threads share the kernel; None if it has no ``begin`` and ``end``."""
        found = OPS[self.op].work.sharing(self.operands, dict(self.attributes))
        return None if found is None else Sharing(*found)

    @property
    def integer_product(self) -> bool:
        """Whether results are sums of integer products: exact in any order and with any instruction."""
        return OPS[self.op].integer_product

    @property
    def wide(self) -> bool:
        """Whether wider registers take more of its rows at a time: those of whole registers of 16 numbers."""
        rows = [t.shape[-1] for t in self.operands if t.shape and t.dtype == "f32"]
        return OPS[self.op].wide and all(isinstance(width, int) and width % 16 == 0 for width in rows)

    @property
    def separate_results(self) -> tuple[int, ...]:
        """Indices of the results that have a pointer of their own."""
        in_place = OPS[self.op].in_place
        return tuple(i for i in range(len(self.results)) if i not in in_place)

    @property
    def c_parameters(self) -> tuple[str, ...]:
        """C types of the function's parameters."""
        operands = ["int32_t" if t.dtype == "i32" and t.shape == () else "const void *" for t in self.operands]
        counts = ["int32_t"] * (self.dynamic + 2 * (self.sharing is not None))
        return (*operands, *["void *"] * len(self.separate_results), *counts)

    def attribute(self, name: str) -> Attribute:
        """The value of an attribute; KeyError if the op has none of that name."""
        return dict(self.attributes)[name]

    def integer(self, name: str) -> int:
        """An attribute that must be an integer."""
        value = self.attribute(name)
        assert isinstance(value, int)
        return value

    def number(self, name: str) -> float:
        """An attribute that must be a number."""
        value = self.attribute(name)
        assert isinstance(value, int | float)
        return float(value)
