"""Which form packed trits get: the one that is read fastest, by a small table of measured costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from chimerac.compiler.ir.layouts import ternary_bytes

#: Bytes of weights up to which they are taken to stay in a cache between two tokens.
CACHE = 16 << 20


@dataclass(frozen=True)
class TernaryCosts:
    """What products with packed trits cost a thread; benchmarks/matvec.py measures it.

    Attributes:
        compute: form → picoseconds per weight, with weights in a cache.
        memory: picoseconds per byte of weights from memory, while as many threads read as it takes to be bound by it.
        multiples: form → columns of which a matrix must have a multiple, for this form to cost that much.
    """

    compute: Mapping[str, float]
    memory: float = 0.0
    multiples: Mapping[str, int] = field(default_factory=dict)

    def of(self, form: str, rows: int, columns: int, panel_rows: int, *, streamed: bool) -> float:
        """Picoseconds of a product of one column with a matrix."""
        reading = self.memory * ternary_bytes(rows, columns, panel_rows, form) if streamed else 0.0
        return max(self.compute[form] * rows * columns, reading)

    def cheapest(self, rows: int, columns: int, panel_rows: int, *, streamed: bool) -> str:
        """The form for a matrix; the first of equally fast ones."""
        forms = [form for form in self.compute if columns % self.multiples.get(form, 1) == 0]
        return min(forms, key=lambda form: self.of(form, rows, columns, panel_rows, streamed=streamed))


#: Of an instruction set that was not measured, or that reads other forms several times slower.
TWO_BITS_ONLY = TernaryCosts({"t2": 1.0})
