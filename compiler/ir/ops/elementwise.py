"""Element-wise ops: one table of them, and the fused op that is a chain of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chimerac.compiler.ir import numerics, numpy_math, powers, whole_numbers
from chimerac.compiler.ir.axes import Axis, collapse
from chimerac.compiler.ir.module import Op
from chimerac.compiler.ir.ops.definition import Attributes, Infer, OpDef, Shared, Types, Work, require
from chimerac.compiler.ir.types import DTYPES, Dim, TensorType

#: Letter of a signature → element type. Truth values are i32 of 0 and 1.
ELEMENTS = {"f": "f32", "i": "i32"}


@dataclass(frozen=True)
class Elementwise:
    """An element-wise op; the fused op, the kernel generator and the ONNX form use it too.

    Attributes:
        signature: ``"iff>f"``: a letter of ``ELEMENTS`` for each operand, and that of the result.
        meaning: over a ``numerics.Ops``, and the operands.
        doc: one line.
    """

    signature: str
    meaning: Callable[..., object]
    doc: str

    @property
    def takes(self) -> tuple[str, ...]:
        """Element types of the operands."""
        return tuple(ELEMENTS[letter] for letter in self.signature.partition(">")[0])

    @property
    def gives(self) -> str:
        """Element type of the result."""
        return ELEMENTS[self.signature.partition(">")[2]]


def broadcast(shapes: Sequence[tuple[Dim, ...]]) -> tuple[Dim, ...]:
    """The common shape under numpy's rules, the token dimension matching itself and 1 only."""
    rank = max((len(shape) for shape in shapes), default=0)
    result: list[Dim] = []
    for axis in range(rank):
        dims = {shape[axis - rank + len(shape)] for shape in shapes if axis - rank + len(shape) >= 0} - {1}
        require(len(dims) <= 1, f"shapes {', '.join(map(str, shapes))} do not broadcast")
        result.append(dims.pop() if dims else 1)
    return tuple(result)


ELEMENTWISE: dict[str, Elementwise] = {
    "add": Elementwise("ff>f", lambda o, a, b: o.add(a, b), "a + b"),
    "sub": Elementwise("ff>f", lambda o, a, b: o.sub(a, b), "a - b"),
    "mul": Elementwise("ff>f", lambda o, a, b: o.mul(a, b), "a * b"),
    "div": Elementwise("ff>f", lambda o, a, b: o.div(a, b), "a / b"),
    "maximum": Elementwise("ff>f", numerics.maximum, "a if a > b else b"),
    "minimum": Elementwise("ff>f", numerics.minimum, "a if a < b else b"),
    "neg": Elementwise("f>f", numerics.negate, "-a"),
    "abs": Elementwise("f>f", numerics.absolute, "|a|"),
    "zero": Elementwise("f>f", lambda o, a: o.select(o.less(a, a), a, o.f32(0.0)), "0 in the shape of a"),
    "sqrt": Elementwise("f>f", lambda o, a: o.sqrt(a), "square root"),
    "exp": Elementwise("f>f", numerics.exp, "e to the a"),
    "log": Elementwise("f>f", numerics.log, "natural logarithm"),
    "tanh": Elementwise("f>f", numerics.tanh, "hyperbolic tangent"),
    "sigmoid": Elementwise("f>f", numerics.sigmoid, "1 / (1 + exp(-a))"),
    "silu": Elementwise("f>f", numerics.silu, "a * sigmoid(a)"),
    "softplus": Elementwise("f>f", numerics.softplus, "log(1 + exp(a))"),
    "gelu": Elementwise("f>f", numerics.gelu_erf, "a * normal distribution function of a (exact form, by erf)"),
    "rsqrt": Elementwise("f>f", powers.rsqrt, "1 / sqrt(a)"),
    "pow": Elementwise("ff>f", powers.power, "a to the b, with the special cases of C"),
    "expm1": Elementwise("f>f", powers.expm1, "exp(a) - 1"),
    "log1p": Elementwise("f>f", powers.log1p_total, "log(1 + a)"),
    "erf": Elementwise("f>f", numerics.erf, "error function"),
    "sin": Elementwise("f>f", powers.sine, "sine"),
    "cos": Elementwise("f>f", powers.cosine, "cosine"),
    "floor": Elementwise("f>f", whole_numbers.floor, "rounded down"),
    "ceil": Elementwise("f>f", whole_numbers.ceil, "rounded up"),
    "trunc": Elementwise("f>f", whole_numbers.trunc, "rounded towards zero"),
    "round": Elementwise("f>f", lambda o, a: o.round_even(a), "rounded to nearest, halves to even"),
    "sign": Elementwise("f>f", whole_numbers.sign, "1, -1, or 0 of zeros and NaN"),
    "less": Elementwise("ff>i", whole_numbers.less, "a < b"),
    "less_equal": Elementwise("ff>i", whole_numbers.less_equal, "a <= b"),
    "equal": Elementwise("ff>i", whole_numbers.equal, "a == b"),
    "not_equal": Elementwise("ff>i", whole_numbers.not_equal, "a != b"),
    "where": Elementwise("iff>f", whole_numbers.where, "b if condition is 0 else a"),
    "to_float": Elementwise("i>f", lambda o, a: o.to_float(a), "the nearest float32"),
    "to_int": Elementwise("f>i", whole_numbers.to_int, "towards zero; the nearest there is, 0 of NaN"),
    "int_add": Elementwise("ii>i", lambda o, a, b: o.iadd(a, b), "a + b; integers wrap"),
    "int_sub": Elementwise("ii>i", lambda o, a, b: o.isub(a, b), "a - b"),
    "int_mul": Elementwise("ii>i", lambda o, a, b: o.imul(a, b), "a * b"),
    "int_floor_div": Elementwise("ii>i", whole_numbers.int_floor_div, "a / b rounded down; 0 where b is 0"),
    "int_mod": Elementwise("ii>i", whole_numbers.int_mod, "a - b * floor(a / b); 0 where b is 0"),
    "int_maximum": Elementwise("ii>i", whole_numbers.int_maximum, "the larger one"),
    "int_minimum": Elementwise("ii>i", whole_numbers.int_minimum, "the smaller one"),
    "int_neg": Elementwise("i>i", whole_numbers.int_negate, "-a"),
    "int_abs": Elementwise("i>i", whole_numbers.int_absolute, "|a|"),
    "int_and": Elementwise("ii>i", lambda o, a, b: o.iand(a, b), "bits of both"),
    "int_or": Elementwise("ii>i", lambda o, a, b: o.ior(a, b), "bits of either"),
    "int_xor": Elementwise("ii>i", lambda o, a, b: o.ixor(a, b), "bits of one"),
    "int_less": Elementwise("ii>i", whole_numbers.int_less, "a < b"),
    "int_less_equal": Elementwise("ii>i", whole_numbers.int_less_equal, "a <= b"),
    "int_equal": Elementwise("ii>i", whole_numbers.int_equal, "a == b"),
    "int_not_equal": Elementwise("ii>i", whole_numbers.int_not_equal, "a != b"),
    "int_where": Elementwise("iii>i", whole_numbers.int_where, "b if condition is 0 else a"),
    "logical_not": Elementwise("i>i", whole_numbers.logical_not, "1 where a is 0, else 0"),
    "logical_and": Elementwise("ii>i", whole_numbers.logical_and, "whether neither is 0"),
    "logical_or": Elementwise("ii>i", whole_numbers.logical_or, "whether one is not 0"),
    "logical_xor": Elementwise("ii>i", whole_numbers.logical_xor, "whether exactly one is not 0"),
}


ELEMENTS_TOGETHER = 32  #: of the innermost axis, that one thread computes: two cache lines
LEAST_WORK = 1 << 14  #: of a token, from which on threads share it
CHEAP, DEAR = 8, 64  #: work of an element: of a simple op, and of one that takes a polynomial
_DEAR = frozenset(
    ("exp", "log", "tanh", "sigmoid", "silu", "softplus", "gelu", "pow", "expm1", "log1p", "erf", "sin", "cos")
)


def _work(steps: Callable[[Attributes], Sequence[str]]) -> Work:
    """How threads share a chain of ops: elements of the innermost axis, once neighbouring axes are one, or tokens."""

    def element(operands: Types, attributes: Attributes) -> int:
        return sum(DEAR if name in _DEAR else CHEAP for name in steps(attributes))

    def each(operands: Types, attributes: Attributes) -> int:
        outer = [axis.static for axis in _axes(operands)[:-1]]
        return math.prod(outer) * element(operands, attributes)

    def units(operands: Types, attributes: Attributes) -> int:
        inner = _axes(operands)[-1].static
        return inner if inner > ELEMENTS_TOGETHER and inner * each(operands, attributes) >= LEAST_WORK else 0

    shared = Shared(units, each, lambda operands, attributes: ELEMENTS_TOGETHER, elements=True)
    return Work(shared=shared, element=element)


def _axes(operands: Types) -> list[Axis]:
    shapes = [operand.shape for operand in operands]
    return collapse(broadcast(shapes), shapes)


def _check(name: str, found: Sequence[str]) -> None:
    wanted = ELEMENTWISE[name].takes
    if tuple(found) != wanted:
        kinds = wanted[0] if len(set(wanted)) == 1 else ", ".join(wanted)
        require(False, f"operands must be {kinds}")


def _infer_of(name: str) -> Infer:
    def infer(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
        _check(name, [o.dtype for o in operands])
        return (TensorType(ELEMENTWISE[name].gives, broadcast([o.shape for o in operands])),)

    return infer


def _elementwise(name: str) -> OpDef:
    entry = ELEMENTWISE[name]

    def reference(op: Op, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        ready = np.broadcast_arrays(*arrays) if len(arrays) > 1 else arrays
        result = np.asarray(entry.meaning(numpy_math.NUMPY, *ready), DTYPES[entry.gives])
        return (result.reshape(ready[0].shape),)

    count = len(entry.takes)
    operands = ("a", "b")[:count] if count < 3 else ("condition", "a", "b")
    work = _work(lambda attributes: (name,))
    infer = _infer_of(name)
    return OpDef(name, entry.doc, operands, infer, reference, elementwise=True, row_wise=True, folds=True, work=work)


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
        result = ELEMENTWISE[name].meaning(ops, *(values[a] for a in arguments))
        values[f"t{index}"] = result
    return result


def _infer_fused(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    text = attributes["expression"]
    require(isinstance(text, str), "attribute 'expression' must be text such as \"silu(a0);mul(t0,a1)\"")
    types = {f"a{i}": operand.dtype for i, operand in enumerate(operands)}
    gives = ""
    for index, (name, arguments) in enumerate(parse_expression(str(text))):
        require(name in ELEMENTWISE, f"{name!r} is no element-wise op")
        require(all(a in types for a in arguments), f"{name} of {', '.join(arguments)}, one of which there is not")
        _check(name, [types[a] for a in arguments])
        gives = types[f"t{index}"] = ELEMENTWISE[name].gives
    return (TensorType(gives, broadcast([o.shape for o in operands])),)


def _fused_reference(op: Op, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    ready = np.broadcast_arrays(*arrays)
    result = evaluate_expression(op.text("expression"), numpy_math.NUMPY, ready)
    gives = ELEMENTWISE[parse_expression(op.text("expression"))[-1][0]].gives
    return (np.asarray(result, DTYPES[gives]).reshape(ready[0].shape),)


OPS = [
    *(_elementwise(name) for name in ELEMENTWISE),
    OpDef(
        "fused",
        "a chain of element-wise ops in one pass over memory; the expression names operands a<i> and steps t<j>",
        ("*operands",),
        _infer_fused,
        _fused_reference,
        {"expression": str},
        elementwise=True,
        row_wise=True,
        folds=True,
        work=_work(lambda attributes: [step for step, _ in parse_expression(str(attributes["expression"]))]),
    ),
]
