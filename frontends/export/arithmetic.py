"""Handlers of element-wise PyTorch ops: arithmetic, comparisons, rounding, conversions, activations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch.fx import Node

from chimerac.compiler.ir.module import Value
from chimerac.frontends.export.handler import (
    Handle,
    Handler,
    Importer,
    argument,
    cast,
    dtype_of,
    operands,
    promoted,
    result_type,
    same,
    truth,
    unsupported,
)

#: Largest exponent of which a power is products.
MOST_PRODUCTS = 16


def _typed(integers: str) -> Handle:
    """One op for floats, which the handler names, and another for integers."""

    def handle(importer: Importer, node: Node, makes: str) -> Any:
        kind = result_type(node)
        given = operands(importer, node, node.args[:2], kind)
        return importer.emit(makes if kind == "f32" else integers, given, {}, node)

    return handle


def _scaled(integers: str, *, reverse: bool = False) -> Handle:
    """``a + alpha * b`` and ``a - alpha * b``; reversed, ``b - alpha * a``."""

    def handle(importer: Importer, node: Node, makes: str) -> Any:
        kind = result_type(node)
        alpha = argument(node, 2, "alpha", 1)
        first, second = node.args[1::-1] if reverse else node.args[:2]
        a, b = operands(importer, node, (first, second), kind)
        if alpha != 1:
            factor = importer.value(alpha, kind)
            b = importer.emit("mul" if kind == "f32" else "int_mul", [b, factor], {}, node)
        return importer.emit(makes if kind == "f32" else integers, [a, b], {}, node)

    return handle


def _compare(integers: str, *, swapped: bool = False) -> Handle:
    """A comparison in the type that both operands have in common."""

    def handle(importer: Importer, node: Node, makes: str) -> Any:
        kind = promoted(node.args[:2])
        a, b = operands(importer, node, node.args[:2], kind)
        return importer.emit(makes if kind == "f32" else integers, [b, a] if swapped else [a, b], {}, node)

    return handle


def _divide(importer: Importer, node: Node, makes: str) -> Any:
    mode = node.kwargs.get("rounding_mode")
    kind = result_type(node)
    a, b = operands(importer, node, node.args[:2], kind)
    if kind == "i32":
        if mode != "floor":
            raise unsupported(node, "of integers is supported rounded down only")
        return importer.emit("int_floor_div", [a, b], {}, node)
    quotient = importer.emit(makes, [a, b], {}, node)
    return quotient if mode is None else importer.emit(str(mode), [quotient], {}, node)


def _floor_divide(importer: Importer, node: Node, makes: str) -> Any:
    if result_type(node) == "i32":
        return importer.emit(makes, operands(importer, node, node.args[:2], "i32"), {}, node)
    quotient = importer.emit("div", operands(importer, node, node.args[:2], "f32"), {}, node)
    return importer.emit("floor", [quotient], {}, node)


def _remainder(importer: Importer, node: Node, makes: str) -> Any:
    """a - b floor(a / b), for floats as it is written."""
    kind = result_type(node)
    a, b = operands(importer, node, node.args[:2], kind)
    if kind == "i32":
        return importer.emit(makes, [a, b], {}, node)
    whole = importer.emit("floor", [importer.emit("div", [a, b], {}, node)], {}, node)
    return importer.emit("sub", [a, importer.emit("mul", [whole, b], {}, node)], {}, node)


def _power(importer: Importer, node: Node, makes: str) -> Any:
    kind = result_type(node)
    base, exponent = node.args[:2]
    if isinstance(exponent, int | float):
        (value,) = operands(importer, node, [base], kind)
        known = _known_power(importer, node, value, float(exponent))
        if known is not None:
            return known
    if kind == "i32":
        raise unsupported(node, f"of integers is supported with exponents from 0 to {MOST_PRODUCTS} only")
    return importer.emit(makes, operands(importer, node, [base, exponent], "f32"), {}, node)


def _known_power(importer: Importer, node: Node, value: Value, exponent: float) -> Value | None:
    """A power by products, square roots and a division, where these are exact or nearly so."""
    floats = value.type.dtype == "f32"
    if exponent == 0.5 and floats:
        return _value(importer.emit("sqrt", [value], {}, node))
    if exponent == -0.5 and floats:
        return _value(importer.emit("rsqrt", [value], {}, node))
    if not exponent.is_integer() or abs(exponent) > MOST_PRODUCTS or exponent == 0 or (exponent < 0 and not floats):
        return None
    result: Value | None = None
    square = value
    product = "mul" if floats else "int_mul"
    for bit in range(int(abs(exponent)).bit_length()):
        if bit:
            square = importer.emit(product, [square, square], {}, node)
        if int(abs(exponent)) >> bit & 1:
            result = square if result is None else importer.emit(product, [result, square], {}, node)
    if exponent < 0:
        result = importer.emit("div", [importer.value(1.0), _value(result)], {}, node)
    return _value(result)


def _value(value: object) -> Value:
    assert isinstance(value, Value)
    return value


def _clamp(importer: Importer, node: Node, makes: str) -> Any:
    kind = result_type(node)
    prefix = "" if kind == "f32" else "int_"
    (value,) = operands(importer, node, node.args[:1], kind)
    for name, index, label in (("maximum", 1, "min"), ("minimum", 2, "max")):
        bound = argument(node, index, label)
        if bound is not None:
            value = importer.emit(prefix + name, [value, *operands(importer, node, [bound], kind)], {}, node)
    return value


def _bounded(name: str) -> Handle:
    """``clamp_min`` and ``clamp_max``."""

    def handle(importer: Importer, node: Node, makes: str) -> Any:
        kind = result_type(node)
        given = operands(importer, node, node.args[:2], kind)
        return importer.emit(name if kind == "f32" else f"int_{name}", given, {}, node)

    return handle


def _where(importer: Importer, node: Node, makes: str) -> Any:
    kind = result_type(node)
    condition = importer.value(node.args[0], "i32")
    given = operands(importer, node, node.args[1:3], kind)
    return importer.emit(makes if kind == "f32" else "int_where", [condition, *given], {}, node)


def _masked_fill(importer: Importer, node: Node, makes: str) -> Any:
    kind = result_type(node)
    x, mask, filling = node.args[:3]
    value, other = operands(importer, node, [x, filling], kind)
    name = makes if kind == "f32" else "int_where"
    return importer.emit(name, [importer.value(mask, "i32"), other, value], {}, node)


def _logical(importer: Importer, node: Node, makes: str) -> Any:
    """Logical ops, and bitwise ones of truth values."""
    given = [importer.value(a, "i32") for a in node.args[:2]]
    return importer.emit(makes, [truth(importer, v, node) if v.type.dtype == "f32" else v for v in given], {}, node)


def _bitwise(importer: Importer, node: Node, makes: str) -> Any:
    return importer.emit(makes, operands(importer, node, node.args[:2], "i32"), {}, node)


def _bitwise_not(importer: Importer, node: Node, makes: str) -> Any:
    value = importer.value(node.args[0], "i32")
    if str(dtype_of(node)) == "torch.bool":
        return importer.emit(makes, [value], {}, node)
    return importer.emit("int_xor", [value, importer.value(-1, "i32")], {}, node)


def _convert(importer: Importer, node: Node, makes: str) -> Any:
    """``to`` and the like: only the element type can change."""
    value = importer.value(node.args[0])
    target, source = dtype_of(node), dtype_of(node.args[0])
    if str(target) == "torch.bool" and str(source) != "torch.bool":
        return truth(importer, value, node)
    return cast(importer, value, result_type(node), node)


def _softplus(importer: Importer, node: Node, makes: str) -> Any:
    """softplus(beta x) / beta; the op is x itself above 20, where PyTorch is beyond its threshold over beta."""
    beta, threshold = argument(node, 1, "beta", 1), argument(node, 2, "threshold", 20)
    if beta == 1 and threshold == 20:
        return same(importer, node, makes)
    value, factor = importer.value(node.args[0]), importer.value(float(beta))
    scaled = importer.emit("mul", [value, factor], {}, node)
    soft = importer.emit("div", [importer.emit(makes, [scaled], {}, node), factor], {}, node)
    beyond = importer.emit("less", [importer.value(float(threshold)), scaled], {}, node)
    return importer.emit("where", [beyond, value, soft], {}, node)


def _gelu(importer: Importer, node: Node, makes: str) -> Any:
    if node.kwargs.get("approximate", "none") == "none":
        return same(importer, node, makes)
    x = importer.value(node.args[0])

    def emit(name: str, *values: Value | float) -> Value:
        return _value(importer.emit(name, [importer.value(v) if isinstance(v, float) else v for v in values], {}, node))

    cube = emit("mul", emit("mul", x, x), x)
    inside = emit("mul", emit("add", x, emit("mul", cube, 0.044715)), math.sqrt(2 / math.pi))
    return emit("mul", emit("mul", x, 0.5), emit("add", emit("tanh", inside), 1.0))


def _relu(importer: Importer, node: Node, makes: str) -> Any:
    kind = result_type(node)
    given = [importer.value(node.args[0]), importer.value(0, kind)]
    return importer.emit(makes if kind == "f32" else f"int_{makes}", given, {}, node)


def _leaky_relu(importer: Importer, node: Node, makes: str) -> Any:
    slope = float(argument(node, 1, "negative_slope", 0.01))
    return _two_sides(importer, node, lambda x: importer.emit("mul", [x, importer.value(slope)], {}, node))


def _elu(importer: Importer, node: Node, makes: str) -> Any:
    alpha, scale, inner = (argument(node, i + 1, n, 1) for i, n in enumerate(("alpha", "scale", "input_scale")))

    def times(value: Value, factor: Any) -> Value:
        if factor == 1:
            return value
        return _value(importer.emit("mul", [value, importer.value(float(factor))], {}, node))

    def below(x: Value) -> Value:
        return times(_value(importer.emit("expm1", [times(x, inner)], {}, node)), alpha * scale)

    return _two_sides(importer, node, below, lambda x: times(x, scale))


def _two_sides(importer: Importer, node: Node, below: Any, above: Any = lambda x: x) -> Any:
    """One function above 0, another from 0 down."""
    x = importer.value(node.args[0])
    positive = importer.emit("less", [importer.value(0.0), x], {}, node)
    return importer.emit("where", [positive, above(x), below(x)], {}, node)


def _reciprocal(importer: Importer, node: Node, makes: str) -> Any:
    return importer.emit(makes, [importer.value(1.0), *operands(importer, node, node.args[:1], "f32")], {}, node)


def _tangent(importer: Importer, node: Node, makes: str) -> Any:
    (value,) = operands(importer, node, node.args[:1], "f32")
    return importer.emit("div", [importer.emit(name, [value], {}, node) for name in ("sin", "cos")], {}, node)


def _logarithm(base: float) -> Handle:
    """log(x) / log(base)."""

    def handle(importer: Importer, node: Node, makes: str) -> Any:
        log = importer.emit("log", operands(importer, node, node.args[:1], "f32"), {}, node)
        return importer.emit("div", [log, importer.value(math.log(base))], {}, node)

    return handle


def _exp2(importer: Importer, node: Node, makes: str) -> Any:
    return importer.emit(makes, [importer.value(2.0), *operands(importer, node, node.args[:1], "f32")], {}, node)


def _is_nan(importer: Importer, node: Node, makes: str) -> Any:
    """A NaN is the only number that differs from itself."""
    (value,) = operands(importer, node, node.args[:1], "f32")
    return importer.emit(makes, [value, value], {}, node)


def _is_infinite(importer: Importer, node: Node, makes: str) -> Any:
    size = importer.emit("abs", operands(importer, node, node.args[:1], "f32"), {}, node)
    return importer.emit(makes, [size, importer.value(math.inf)], {}, node)


def _rounded(importer: Importer, node: Node, makes: str) -> Any:
    """Of an integer, itself."""
    value = importer.value(node.args[0])
    return importer.emit(makes, [value], {}, node) if value.type.dtype == "f32" else value


def _sign(importer: Importer, node: Node, makes: str) -> Any:
    value = importer.value(node.args[0])
    if value.type.dtype == "f32":
        return importer.emit(makes, [value], {}, node)
    bounded = importer.emit("int_maximum", [value, importer.value(-1, "i32")], {}, node)
    return importer.emit("int_minimum", [bounded, importer.value(1, "i32")], {}, node)


def _log_sigmoid(importer: Importer, node: Node, makes: str) -> Any:
    """-softplus(-x), as ``numerics.logsigmoid`` has it."""
    value = importer.value(node.args[0])
    for name in ("neg", "softplus", "neg"):
        value = importer.emit(name, [value], {}, node)
    return value


def _forms(name: str, handler: Handler, forms: Sequence[str] = ("Tensor", "Scalar")) -> dict[str, Handler]:
    return {f"aten.{name}.{form}": handler for form in forms}


_BOUNDS = ("maximum", "minimum", "int_maximum", "int_minimum")

HANDLERS: Mapping[str, Handler] = {
    **_forms("add", Handler(_scaled("int_add"), "add", ("int_add",))),
    **_forms("sub", Handler(_scaled("int_sub"), "sub", ("int_sub",))),
    **_forms("rsub", Handler(_scaled("int_sub", reverse=True), "sub", ("int_sub",))),
    **_forms("mul", Handler(_typed("int_mul"), "mul", ("int_mul",))),
    **_forms(
        "div",
        Handler(_divide, "div", ("int_floor_div", "floor", "trunc")),
        ("Tensor", "Scalar", "Tensor_mode", "Scalar_mode"),
    ),
    "aten.floor_divide.default": Handler(_floor_divide, "int_floor_div", ("floor",)),
    **_forms("remainder", Handler(_remainder, "int_mod", ("floor",))),
    **_forms("pow", Handler(_power, "pow", ("sqrt", "rsqrt", "mul")), ("Tensor_Scalar", "Tensor_Tensor", "Scalar")),
    "aten.maximum.default": Handler(_typed("int_maximum"), "maximum", ("int_maximum",)),
    "aten.minimum.default": Handler(_typed("int_minimum"), "minimum", ("int_minimum",)),
    "aten.clamp.default": Handler(_clamp, "", _BOUNDS),
    "aten.clamp.Tensor": Handler(_clamp, "", _BOUNDS),
    **_forms("clamp_min", Handler(_bounded("maximum"), "maximum", ("int_maximum",)), ("default", "Tensor")),
    **_forms("clamp_max", Handler(_bounded("minimum"), "minimum", ("int_minimum",)), ("default", "Tensor")),
    "aten.hardtanh.default": Handler(_clamp, "", _BOUNDS),
    "aten.neg.default": Handler(_typed("int_neg"), "neg", ("int_neg",)),
    "aten.abs.default": Handler(_typed("int_abs"), "abs", ("int_abs",)),
    **{
        f"aten.{name}.default": Handler(same, name)
        for name in ("sqrt", "rsqrt", "exp", "expm1", "log", "log1p", "tanh", "sigmoid", "silu", "erf", "sin", "cos")
    },
    **{f"aten.{name}.default": Handler(_rounded, name) for name in ("floor", "ceil", "trunc", "round")},
    "aten.sign.default": Handler(_sign, "sign", ("int_maximum", "int_minimum")),
    "aten.tan.default": Handler(_tangent, "", ("sin", "cos", "div")),
    "aten.log2.default": Handler(_logarithm(2), "", ("log", "div")),
    "aten.log10.default": Handler(_logarithm(10), "", ("log", "div")),
    "aten.exp2.default": Handler(_exp2, "pow"),
    "aten.reciprocal.default": Handler(_reciprocal, "div"),
    "aten.log_sigmoid.default": Handler(_log_sigmoid, "", ("neg", "softplus")),
    "aten.softplus.default": Handler(_softplus, "softplus"),
    "aten.gelu.default": Handler(_gelu, "gelu"),
    "aten.relu.default": Handler(_relu, "maximum", ("int_maximum",)),
    "aten.leaky_relu.default": Handler(_leaky_relu, "where"),
    "aten.elu.default": Handler(_elu, "where", ("expm1",)),
    **_forms("lt", Handler(_compare("int_less"), "less", ("int_less",))),
    **_forms("le", Handler(_compare("int_less_equal"), "less_equal", ("int_less_equal",))),
    **_forms("gt", Handler(_compare("int_less", swapped=True), "less", ("int_less",))),
    **_forms("ge", Handler(_compare("int_less_equal", swapped=True), "less_equal", ("int_less_equal",))),
    **_forms("eq", Handler(_compare("int_equal"), "equal", ("int_equal",))),
    **_forms("ne", Handler(_compare("int_not_equal"), "not_equal", ("int_not_equal",))),
    "aten.isnan.default": Handler(_is_nan, "not_equal"),
    "aten.isinf.default": Handler(_is_infinite, "equal"),
    "aten.where.self": Handler(_where, "where", ("int_where",)),
    **_forms("masked_fill", Handler(_masked_fill, "where", ("int_where",))),
    "aten.logical_not.default": Handler(_logical, "logical_not"),
    "aten.logical_and.default": Handler(_logical, "logical_and"),
    "aten.logical_or.default": Handler(_logical, "logical_or"),
    "aten.logical_xor.default": Handler(_logical, "logical_xor"),
    **{
        form: handler
        for name in ("and", "or", "xor")
        for written in (f"bitwise_{name}", f"__{name}__")
        for form, handler in _forms(written, Handler(_bitwise, f"int_{name}")).items()
    },
    "aten.bitwise_not.default": Handler(_bitwise_not, "logical_not", ("int_xor",)),
    **_forms(
        "to", Handler(_convert, "", ("to_float", "to_int", "not_equal")), ("dtype", "dtype_layout", "device", "other")
    ),
    "aten._to_copy.default": Handler(_convert, "", ("to_float", "to_int", "not_equal")),
    "aten.type_as.default": Handler(_convert, "", ("to_float", "to_int", "not_equal")),
}
