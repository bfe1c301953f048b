"""Builds the nodes of one ONNX graph or subgraph, with one pool of names and constants for all of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, helper

#: Domain of the operators that ONNX Runtime adds to the standard.
MICROSOFT = "com.microsoft"

ONNX_TYPES: dict[str, int] = {
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "int8": TensorProto.INT8,
    "uint8": TensorProto.UINT8,
    "bool": TensorProto.BOOL,
}


class Pool:
    """What all graphs of a model share: value names, initializers, and whether it is the form of ``fused.py``."""

    def __init__(self, fused: bool = False) -> None:
        self.fused = fused
        self._taken: dict[str, int] = {}
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        #: name → array, in the order of first use
        self.initializers: dict[str, np.ndarray] = {}

    def fresh(self, hint: str) -> str:
        """A name that nothing in the model has yet."""
        count = self._taken.get(hint, 0)
        self._taken[hint] = count + 1
        return hint if count == 0 else self.fresh(f"{hint}.{count}")

    def constant(self, array: np.ndarray, hint: str) -> str:
        """The initializer of a small array; equal arrays share one."""
        array = np.ascontiguousarray(array).reshape(array.shape)  # ascontiguousarray makes rank 0 rank 1
        key = (array.dtype.name, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self.weight(array, hint)
        return self._constants[key]

    def weight(self, array: np.ndarray, hint: str) -> str:
        """A new initializer."""
        name = self.fresh(hint)
        self.initializers[name] = array
        return name


class Nodes:
    """The nodes of one graph; a subgraph's ``Nodes`` has the surrounding one as parent and may use its values."""

    def __init__(self, pool: Pool, parent: Nodes | None = None) -> None:
        self.pool = pool
        self.parent = parent
        self.nodes: list[NodeProto] = []
        self._cache: dict[Hashable, tuple[str, ...]] = {}

    def emit(
        self, op: str, *inputs: str, hint: str = "", domain: str = "", outputs: int = 1, **attributes: Any
    ) -> tuple[str, ...]:
        """Append a node; the names of its outputs."""
        names = tuple(self.pool.fresh(hint or op.lower()) for _ in range(outputs))
        self.nodes.append(helper.make_node(op, list(inputs), list(names), domain=domain, **attributes))
        return names

    def op(self, op: str, *inputs: str, hint: str = "", domain: str = "", **attributes: Any) -> str:
        """Append a node with one output; its name."""
        return self.emit(op, *inputs, hint=hint, domain=domain, **attributes)[0]

    def subgraph(self) -> Nodes:
        """Nodes of a graph inside this one."""
        return Nodes(self.pool, self)

    def cached(self, key: Hashable, make: Callable[[], tuple[str, ...]]) -> tuple[str, ...]:
        """The values that ``make`` computes, once for this graph and the graphs inside it."""
        scope: Nodes | None = self
        while scope is not None:
            if key in scope._cache:
                return scope._cache[key]
            scope = scope.parent
        self._cache[key] = make()
        return self._cache[key]

    # ---- constants ----

    def f32(self, value: float | np.floating[Any] | np.ndarray) -> str:
        """A float32 constant; a Python number must be exactly representable, or is rounded to float32."""
        return self.pool.constant(np.asarray(value, np.float32), "f32")

    def i64(self, value: int | Sequence[int] | Sequence[Sequence[int]] | np.ndarray) -> str:
        """An int64 constant."""
        return self.pool.constant(np.asarray(value, np.int64), "i64")

    # ---- movement ----

    def reshape(self, x: str, *shape: int) -> str:
        """``x`` in another shape; -1 for the one extent that follows from the others."""
        return self.op("Reshape", x, self.i64(shape))

    def transpose(self, x: str, *order: int) -> str:
        """Axes in another order."""
        return self.op("Transpose", x, perm=list(order))

    def unsqueeze(self, x: str, *axes: int) -> str:
        """Axes of extent 1 at these places of the result."""
        return self.op("Unsqueeze", x, self.i64(axes))

    def slice(self, x: str, start: int, stop: int, axis: int) -> str:
        """``x[start:stop]`` of one axis."""
        return self.op("Slice", x, self.i64([start]), self.i64([stop]), self.i64([axis]))

    def extent(self, x: str, axis: int) -> str:
        """Extent of one axis, int64[1]."""
        return self.cached(("extent", x, axis), lambda: (self.op("Shape", x, start=axis, end=axis + 1),))[0]

    def arange(self, extent: str) -> str:
        """int64[T]: 0, 1, … for an extent int64[1]."""

        def make() -> tuple[str, ...]:
            stop = self.op("Squeeze", extent)
            return (self.op("Range", self.i64(0), stop, self.i64(1)),)

        return self.cached(("arange", extent), make)[0]

    def pad_last(self, x: str, rank: int, missing: int) -> str:
        """``missing`` zeros after the last axis."""
        return self.op("Pad", x, self.i64([0] * (2 * rank - 1) + [missing])) if missing else x

    def to_float(self, x: str) -> str:
        """``x`` as float32."""
        return self.op("Cast", x, to=TensorProto.FLOAT)

    def to_int(self, x: str) -> str:
        """``x`` as int64, rounded towards zero."""
        return self.op("Cast", x, to=TensorProto.INT64)

    # ---- arithmetic ----

    def sum_first(self, x: str, *, keep: bool = False) -> str:
        """Sum over axis 0 in ascending order: ONNX Runtime adds one row after the other when the first axis goes."""
        return self.op("ReduceSum", x, self.i64([0]), keepdims=int(keep))

    def lanes8_sum(self, x: str, extent: int) -> str:
        """``numpy_math.lanes8_sum`` over the last axis.

        Args:
            x: f32[..., extent].
            extent: of the last axis.

        Returns:
            f32[R, 1] with R the product of the other extents.
        """
        x = self.reshape(x, -1, extent)
        if self.pool.fused:
            return self.op("ReduceSum", x, self.i64([1]), keepdims=1)
        x = self.pad_last(x, 2, -extent % 8)
        steps = -(-extent // 8)
        if steps > 1:
            x = self.transpose(self.reshape(x, -1, steps, 8), 1, 0, 2)
            x = self.sum_first(x)
        x = self.reshape(x, -1, 2, 2, 2)  # lane = 4 a + 2 b + c
        for last in (False, False, True):  # lanes 0..3 + 4..7, then first two + last two, then the two
            x = self.op("ReduceSum", x, self.i64([1]), keepdims=int(last))
        return x

    def lanes8_sum_first(self, x: str, extent: int, rank: int) -> str:
        """``numpy_math.lanes8_sum`` over the first axis: f32[extent, ...] to f32[...], other extents as they are."""
        if self.pool.fused:
            return self.sum_first(x)
        missing = -extent % 8
        if missing:
            x = self.op("Pad", x, self.i64([0] * rank + [missing] + [0] * (rank - 1)))
        # the extents after the first stay what they are: a 0 in a reshape copies the extent at the same place
        x = self.op("Reshape", x, self._split_first(x, (extent + missing) // 8, 8, rank))
        x = self.sum_first(x)
        x = self.op("Reshape", x, self._split_first(x, 2, 4, rank))
        x = self.sum_first(x)
        x = self.op("Reshape", x, self._split_first(x, 2, 2, rank))
        return self.sum_first(self.sum_first(x))

    def _split_first(self, x: str, outer: int, inner: int, rank: int) -> str:
        rest = self.op("Shape", x, start=1, end=rank)
        return self.op("Concat", self.i64([outer, inner]), rest, axis=0)

    # ---- control flow ----

    def branch(
        self, condition: str, then: Nodes, then_values: Sequence[str], other: Nodes, values: Sequence[str]
    ) -> tuple[str, ...]:
        """``If``: the values of one of two subgraphs."""
        return self.emit(
            "If",
            condition,
            outputs=len(values),
            then_branch=then.graph("then", [], [untyped(then.own(v)) for v in then_values]),
            else_branch=other.graph("else", [], [untyped(other.own(v)) for v in values]),
        )

    def scan(
        self,
        body: Nodes,
        carried: Sequence[tuple[str, str, str, Sequence[int]]],
        steps: Sequence[tuple[str, str]],
        results: Sequence[tuple[str, Sequence[int]]],
    ) -> tuple[str, ...]:
        """``Scan`` over the first axis, of float32 values.

        Args:
            body: nodes of one step.
            carried: (initial value outside, name inside before the step, value inside after it, shape).
            steps: (sequence outside, name inside of its element).
            results: (value inside, shape); their sequences are returned.

        Returns:
            the final carried values, then the sequences.
        """
        inputs = [tensor(inside, "float32", shape) for _, inside, _, shape in carried]
        inputs += [untyped(inside) for _, inside in steps]
        ends = [(after, shape) for *_, after, shape in carried] + list(results)
        outputs = [tensor(body.own(value), "float32", shape) for value, shape in ends]
        return self.emit(
            "Scan",
            *(outside for outside, *_ in carried),
            *(outside for outside, _ in steps),
            outputs=len(outputs),
            num_scan_inputs=len(steps),
            body=body.graph("step", inputs, outputs),
        )

    def own(self, value: str) -> str:
        """``value``, passed through a node unless one of this graph makes it: a subgraph's results must be its own."""
        if any(value in node.output for node in self.nodes):
            return value
        return self.op("Identity", value)

    def graph(self, name: str, inputs: Sequence[ValueInfoProto], outputs: Sequence[ValueInfoProto]) -> GraphProto:
        """These nodes as a graph."""
        return helper.make_graph(self.nodes, name, list(inputs), list(outputs))


def untyped(name: str) -> ValueInfoProto:
    """A value of a subgraph; its type follows from the nodes."""
    return helper.make_empty_tensor_value_info(name)


def tensor(name: str, dtype: str, shape: Sequence[int | str]) -> ValueInfoProto:
    """An input or output of the model."""
    return helper.make_tensor_value_info(name, ONNX_TYPES[dtype], list(shape))
