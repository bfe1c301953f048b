"""The value of a state while a graph is translated: as it came in, and the copies that were written since."""

from __future__ import annotations

from dataclasses import dataclass, field

from chimerac.targets.onnx.graph import Nodes


@dataclass
class StateValue:
    """A state with one copy is a tensor; one with several has them along a first axis.

    Attributes:
        whole: all copies, without ``written``.
        written: copy → its new value.
    """

    whole: str
    copies: int
    written: dict[int, str] = field(default_factory=dict)

    def read(self, nodes: Nodes, copy: int) -> str:
        """One copy."""
        if copy in self.written:
            return self.written[copy]
        return self.whole if self.copies == 1 else nodes.op("Gather", self.whole, nodes.i64(copy), axis=0)

    def write(self, copy: int, value: str) -> None:
        """Set one copy."""
        self.written[copy] = value

    def all(self, nodes: Nodes) -> str:
        """All copies."""
        if not self.written:
            return self.whole
        if self.copies == 1:
            return self.written[0]
        rows = [nodes.unsqueeze(self.read(nodes, copy), 0) for copy in range(self.copies)]
        return nodes.op("Concat", *rows, axis=0)
