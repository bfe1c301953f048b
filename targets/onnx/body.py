"""What functions in ONNX nodes are written with: the operators that round once, or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import TensorProto

from chimerac.targets.onnx.graph import Nodes


class Body:
    """Appends the nodes of a function to a graph; every method returns the name of the value it computes."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes

    def op(self, op: str, *inputs: str, **attributes: Any) -> str:
        return self._nodes.op(op, *inputs, **attributes)

    def constant(self, value: object, dtype: str = "float32") -> str:
        return self._nodes.pool.constant(
            np.asarray(value, dtype), "f32" if dtype == "float32" else "i64" if dtype == "int64" else dtype
        )

    def add(self, a: str, b: str | float) -> str:
        return self.op("Add", a, self._operand(b))

    def sub(self, a: str | float, b: str | float) -> str:
        return self.op("Sub", self._operand(a), self._operand(b))

    def mul(self, a: str, b: str | float) -> str:
        return self.op("Mul", a, self._operand(b))

    def div(self, a: str | float, b: str) -> str:
        return self.op("Div", self._operand(a), b)

    def where(self, condition: str, a: str | float, b: str | float) -> str:
        return self.op("Where", condition, self._operand(a), self._operand(b))

    def less(self, a: str, b: str | float) -> str:
        return self.op("Less", a, self._operand(b))

    def greater(self, a: str, b: str | float) -> str:
        return self.op("Greater", a, self._operand(b))

    def clip(self, x: str, low: float, high: float) -> str:
        return self.op("Clip", x, self.constant(low), self.constant(high))

    def horner(self, x: str, coefficients: Sequence[float]) -> str:
        result = self.add(self.mul(x, coefficients[-1]), coefficients[-2])
        for coefficient in reversed(coefficients[:-2]):
            result = self.add(self.mul(result, x), coefficient)
        return result

    def _operand(self, value: str | float) -> str:
        return value if isinstance(value, str) else self.constant(value)

    def equal(self, a: str, b: str | float) -> str:
        return self.op("Equal", a, self._operand(b))

    def cast(self, x: str, to: int) -> str:
        """As another type of ``TensorProto``."""
        return self.op("Cast", x, to=to)

    def truth(self, condition: str) -> str:
        """A bool as int32, which truth values of the IR are."""
        return self.cast(condition, TensorProto.INT32)

    def is_true(self, x: str) -> str:
        """An int32 as bool: whether it is not 0."""
        return self.cast(x, TensorProto.BOOL)

    def integer(self, value: int) -> str:
        """An int32 constant without axes."""
        return self.constant(value, "int32")

    def with_sign_of(self, magnitude: str, x: str) -> str:
        """A number that is not negative, with the sign of another."""
        return self.where(self.less(x, 0.0), self.op("Neg", magnitude), magnitude)
