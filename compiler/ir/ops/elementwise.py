"""Element-wise ops and ops that only move or relabel elements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chimerac.compiler.ir import numerics, numpy_math
from chimerac.compiler.ir.module import Op
from chimerac.compiler.ir.ops.definition import Attributes, OpDef, Types, attribute_int, require, static
from chimerac.compiler.ir.types import TOKENS, Dim, TensorType


def broadcast(shapes: Sequence[tuple[Dim, ...]]) -> tuple[Dim, ...]:
    """The common shape under numpy's rules, the token dimension matching itself and 1 only."""
    rank = max((len(shape) for shape in shapes), default=0)
    result: list[Dim] = []
    for axis in range(rank):
        dims = {shape[axis - rank + len(shape)] for shape in shapes if axis - rank + len(shape) >= 0} - {1}
        require(len(dims) <= 1, f"shapes {', '.join(map(str, shapes))} do not broadcast")
        result.append(dims.pop() if dims else 1)
    return tuple(result)


def _infer_elementwise(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    require(all(o.dtype == "f32" for o in operands), "operands must be f32")
    return (TensorType("f32", broadcast([o.shape for o in operands])),)


#: name → (operand count, meaning over a ``numerics.Ops``, one line). The fused op and the kernel generator use it too.
ELEMENTWISE: dict[str, tuple[int, Callable[..., object], str]] = {
    "add": (2, lambda o, a, b: o.add(a, b), "a + b"),
    "sub": (2, lambda o, a, b: o.sub(a, b), "a - b"),
    "mul": (2, lambda o, a, b: o.mul(a, b), "a * b"),
    "div": (2, lambda o, a, b: o.div(a, b), "a / b"),
    "maximum": (2, numerics.maximum, "a if a > b else b"),
    "minimum": (2, numerics.minimum, "a if a < b else b"),
    "neg": (1, numerics.negate, "-a"),
    "abs": (1, numerics.absolute, "|a|"),
    "zero": (1, lambda o, a: o.select(o.less(a, a), a, o.f32(0.0)), "0 in the shape of a"),
    "sqrt": (1, lambda o, a: o.sqrt(a), "square root"),
    "exp": (1, numerics.exp, "e to the a"),
    "log": (1, numerics.log, "natural logarithm"),
    "tanh": (1, numerics.tanh, "hyperbolic tangent"),
    "sigmoid": (1, numerics.sigmoid, "1 / (1 + exp(-a))"),
    "silu": (1, numerics.silu, "a * sigmoid(a)"),
    "softplus": (1, numerics.softplus, "log(1 + exp(a))"),
    "gelu": (1, numerics.gelu_erf, "a * normal distribution function of a (exact form, by erf)"),
}


def _elementwise(name: str) -> OpDef:
    count, function, doc = ELEMENTWISE[name]

    def reference(op: Op, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        ready = np.broadcast_arrays(*arrays) if count > 1 else arrays
        return (np.asarray(function(numpy_math.NUMPY, *ready), np.float32).reshape(ready[0].shape),)

    operands = ("a", "b")[:count]
    return OpDef(name, doc, operands, _infer_elementwise, reference, elementwise=True, row_wise=True, folds=True)


def parse_expression(text: str) -> list[tuple[str, tuple[str, ...]]]:
    """Steps of a fused expression: ``"silu(a0);mul(t0,a1)"`` → [("silu", ("a0",)), ("mul", ("t0", "a1"))].

    ``a<i>`` is operand i, ``t<j>`` the result of step j; the last step is the result.
    """
    steps = []
    for step in text.split(";"):
        name, _, rest = step.partition("(")
        steps.append((name, tuple(rest.rstrip(")").split(","))))
    return steps


def evaluate_expression(text: str, ops: numerics.Ops[Any, Any, Any], operands: Sequence[object]) -> object:
    """The value of a fused expression over any ``numerics.Ops``: numpy arrays here, TensorIR in the kernels."""
    values = {f"a{i}": operand for i, operand in enumerate(operands)}
    result: object = None
    for index, (name, arguments) in enumerate(parse_expression(text)):
        result = ELEMENTWISE[name][1](ops, *(values[a] for a in arguments))
        values[f"t{index}"] = result
    return result


def _fused_reference(op: Op, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    ready = np.broadcast_arrays(*arrays)
    result = np.asarray(evaluate_expression(op.text("expression"), numpy_math.NUMPY, ready), np.float32)
    return (result.reshape(ready[0].shape),)


def _infer_reshape(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    source = operands[0]
    text = attributes["shape"]
    require(isinstance(text, str), "attribute 'shape' must be text such as \"T,4,32\"")
    shape = parse_shape(str(text))
    require(all(d == TOKENS or (isinstance(d, int) and d >= 0) for d in shape), f"no shape {text!r}")
    require(shape.count(TOKENS) == source.shape.count(TOKENS), f"cannot reshape {source} to {text}")
    require(source.elements(7) == TensorType(source.dtype, shape).elements(7), f"cannot reshape {source} to {text}")
    return (source.with_shape(shape),)


def parse_shape(text: str) -> tuple[Dim, ...]:
    """``"T,4,32"`` → ("T", 4, 32)."""
    return tuple(int(d) if d.lstrip("-").isdigit() else d for d in (p.strip() for p in text.split(",")) if d)


def _reshape_reference(op: Op, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    shape = parse_shape(op.text("shape"))
    return (arrays[0].reshape([-1 if d == TOKENS else int(d) for d in shape]),)


def _infer_slice(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    source = operands[0]
    require(len(source.shape) > 0, f"cannot slice {source}")
    start, stop = attribute_int(attributes, "start"), attribute_int(attributes, "stop")
    last = static(source.shape[-1], "the sliced axis")
    require(0 <= start < stop <= last, f"slice {start}:{stop} outside an axis of {last}")
    return (source.with_shape((*source.shape[:-1], stop - start)),)


def _slice_reference(op: Op, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    return (np.ascontiguousarray(arrays[0][..., op.integer("start") : op.integer("stop")]),)


def _infer_concat(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    require(len(operands) > 0 and all(o.shape for o in operands), "operands must have a last axis")
    require(len({(o.dtype, o.shape[:-1]) for o in operands}) == 1, "operands differ in more than the last axis")
    return (operands[0].with_shape((*operands[0].shape[:-1], sum(static(o.shape[-1], "last axis") for o in operands))),)


def _concat_reference(op: Op, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    return (np.concatenate(arrays, axis=-1),)


def _infer_last(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    require(len(operands[0].shape) > 0, f"{operands[0]} has no rows")
    return (operands[0].with_shape((1, *operands[0].shape[1:])),)


OPS = [
    *(_elementwise(name) for name in ELEMENTWISE),
    OpDef(
        "fused",
        "a chain of element-wise ops in one pass over memory; the expression names operands a<i> and steps t<j>",
        ("*operands",),
        _infer_elementwise,
        _fused_reference,
        {"expression": str},
        elementwise=True,
        row_wise=True,
        folds=True,
    ),
    OpDef(
        "reshape",
        "the same elements in another shape",
        ("x",),
        _infer_reshape,
        _reshape_reference,
        {"shape": str},
        relabels="all",
        folds=True,
    ),
    OpDef(
        "slice",
        "columns start to stop of the last axis",
        ("x",),
        _infer_slice,
        _slice_reference,
        {"start": int, "stop": int},
        row_wise=True,
        folds=True,
    ),
    OpDef(
        "concat",
        "operands side by side along the last axis",
        ("*x",),
        _infer_concat,
        _concat_reference,
        row_wise=True,
        folds=True,
    ),
    OpDef(
        "last_token",
        "the row of the last token of the call",
        ("x",),
        _infer_last,
        lambda op, arrays: (arrays[0][-1:],),
        relabels="last row",
    ),
]
