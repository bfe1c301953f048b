"""Golden vectors of the integer products: packed weights, activations and results that every kernel must reproduce.

``python tests/support/golden_products.py`` writes tests/golden/products.json again, from the numpy references. Results
may not change: bundles that were built before hold weights in these layouts, and self-tests with these bits.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from chimerac.compiler.ir.layouts import pack_scales, pack_ternary, scale_layout, ternary_layout
from chimerac.compiler.ir.module import Attribute, Op, Value
from chimerac.compiler.ir.ops import OPS
from chimerac.compiler.ir.types import TensorType
from chimerac.targets.kernel_spec import KernelSpec

FILE = Path(__file__).parent.parent / "golden" / "products.json"
PANEL_ROWS = 8
F32, F16, I8 = np.float32, np.float16, np.int8


@dataclass(frozen=True)
class GoldenCase:
    """One call: a kernel, its operands as it takes them, and what it must compute for ``n`` tokens."""

    name: str
    spec: KernelSpec
    n: int
    operands: tuple[np.ndarray, ...]
    results: tuple[np.ndarray, ...]


def load() -> list[GoldenCase]:
    """The committed cases."""
    return [_read(entry) for entry in json.loads(FILE.read_text(encoding="ascii"))]


def make() -> str:
    """The text of the file."""
    entries = []
    for name, op, types, operands, packed, attributes, n in _cases():
        results = OPS[op].infer(list(types), attributes)
        plain = Op(op, tuple(Value(f"a{i}", t) for i, t in enumerate(types)), (), attributes)
        reference = OPS[op].reference
        assert reference is not None
        with np.errstate(all="ignore"):
            expected = reference(plain, [a.copy() for a in operands])
        taken = [packed.get(i, (types[i], a)) for i, a in enumerate(operands)]
        entry = {
            "name": name,
            "op": op,
            "attributes": attributes,
            "n": n,
            "operands": [[str(kind), _encode(a)] for kind, a in taken],
            "results": [[str(kind), _encode(a)] for kind, a in zip(results, expected, strict=True)],
        }
        entries.append(json.dumps(entry))
    return "[\n" + ",\n".join(entries) + "\n]\n"


def _encode(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")


def _read(entry: Mapping[str, object]) -> GoldenCase:
    n = entry["n"]
    assert isinstance(n, int)

    def arrays(key: str) -> tuple[tuple[TensorType, ...], tuple[np.ndarray, ...]]:
        pairs = entry[key]
        assert isinstance(pairs, list)
        types = tuple(TensorType.parse(kind) for kind, _ in pairs)
        bound = [kind.bind(n) for kind in types]
        data = (np.frombuffer(base64.b64decode(text), kind.numpy) for kind, (_, text) in zip(bound, pairs, strict=True))
        shaped = (a.reshape([int(d) for d in kind.shape]) for a, kind in zip(data, bound, strict=True))
        return types, tuple(shaped)

    attributes = entry["attributes"]
    assert isinstance(attributes, dict)
    operand_types, operands = arrays("operands")
    result_types, results = arrays("results")
    spec = KernelSpec(str(entry["op"]), operand_types, result_types, tuple(sorted(attributes.items())))
    return GoldenCase(str(entry["name"]), spec, n, operands, results)


#: name, op, plain types, plain operands, packed ones by index, attributes, tokens
_Case = tuple[
    str,
    str,
    Sequence[TensorType],
    Sequence[np.ndarray],
    Mapping[int, tuple[TensorType, np.ndarray]],
    dict[str, Attribute],
    int,
]


def _cases() -> Iterator[_Case]:
    random = np.random.default_rng(20261122)

    def codes(n: int, columns: int) -> np.ndarray:
        return random.integers(-127, 128, (n, columns)).astype(I8)

    def scales(n: int, columns: int, block: int = 64) -> np.ndarray:
        return (random.random((n, -(-columns // block))) * 0.1 + 1e-3).astype(F32)

    def weight_scales(rows: int, columns: int, group: int = 128) -> np.ndarray:
        return (random.random((rows, -(-columns // group))) * 0.1 + 1e-3).astype(F16)

    for op, limit in (("ternary_matmul", 1), ("int8_matmul", 127)):

        def weights(rows: int, columns: int, limit: int = limit) -> np.ndarray:
            return random.integers(-limit, limit + 1, (rows, columns)).astype(I8)

        for n, rows, columns in ((1, 8, 128), (3, 9, 200), (5, 17, 72), (4, 16, 64), (2, 7, 1), (16, 3, 130)):
            pair = (codes(n, columns), scales(n, columns))
            yield _product(
                f"random {n} {rows}x{columns}", op, *pair, weights(rows, columns), weight_scales(rows, columns)
            )
        # the largest sums of a block, of every sign
        full = np.full((4, 128), 127, I8)
        full[1] = -127
        full[2] = np.where(np.arange(128) % 2, 127, -127)
        full[3] = 0
        sides = np.full((8, 128), limit, I8)
        sides[1] = -limit
        sides[2] = np.where(np.arange(128) % 2, limit, -limit)
        sides[3] = 0
        sides[4, 64:] = -limit
        yield _product("saturation", op, full, scales(4, 128), sides, weight_scales(8, 128))
        wide = np.full((1, 256), -127, I8)
        yield _product(
            "block of 256", op, wide, np.ones((1, 1), F32), np.tile(sides, (1, 2)), np.ones((8, 1), F16), 256, 256
        )
        # scales of weights: subnormal, least normal, largest, negative, zero; of activations: subnormal, huge, zero
        edges = np.array([[6e-8, 6.1e-5], [65504, 1], [-2, 0.5], [0, 1], [1e-3, 65504]], F16)
        actives = np.array([[1e-40, 3e38, 0, 1], [1.2e-38, 1e-30, 3e38, -1], [1, np.inf, 1, 1], [1e-39] * 4], F32)
        yield _product("edge scales", op, codes(4, 256), actives, weights(5, 256), edges)
        yield _product(
            "group 96, block 32",
            op,
            codes(2, 100),
            scales(2, 100, 32),
            weights(9, 100),
            weight_scales(9, 100, 96),
            96,
            32,
        )
    yield _experts(random)
    x = random.standard_normal((4, 100)).astype(F32)
    x[1] = 0
    x[2, :64] = 1e-41  # denormal
    x[2, 64:] = 3e38
    x[3, :6] = [127, 0.5, 1.5, 2.5, -0.5, -1.5]  # halves round to even
    x[3, 6:64] = 0
    attributes: dict[str, Attribute] = {"block": 64}
    yield "edge activations", "quantize", [TensorType.parse("f32[T,100]")], [x], {}, attributes, 4
    for n, rows, columns in ((1, 9, 640), (9, 17, 1000), (3, 8, 68), (2, 7, 1), (18, 3, 320)):
        trits = random.integers(-1, 2, (rows, columns)).astype(I8)
        name = f"base 3, {n} {rows}x{columns}"
        x, y = codes(n, columns), scales(n, columns)
        yield _product(name, "ternary_matmul", x, y, trits, weight_scales(rows, columns), form="t5")
    yield _experts(random, "t5")
    yield _experts(random, "")
    for limit in (1, 127):
        yield _chosen(random, limit)


def _product(
    name: str,
    op: str,
    codes: np.ndarray,
    scales: np.ndarray,
    weights: np.ndarray,
    weight_scales: np.ndarray,
    group: int = 128,
    block: int = 64,
    form: str = "t2",
) -> _Case:
    rows, columns = weights.shape
    attributes: dict[str, Attribute] = {"rows": rows, "columns": columns, "group": group, "block": block}
    operands = (codes, scales, weights, weight_scales)
    types = [TensorType.of(a) for a in operands]
    types[:2] = [t.with_shape(("T", *t.shape[1:])) for t in types[:2]]
    packed = _packed(weights, weight_scales, form) if op == "ternary_matmul" else {}
    return f"{op}: {name}", op, types, operands, packed, attributes, len(codes)


def _packed(
    weights: np.ndarray, scales: np.ndarray, form: str, first: int = 2, high: int = PANEL_ROWS
) -> dict[int, tuple[TensorType, np.ndarray]]:
    """Operands ``first`` and the next one, in panels of ``high`` rows."""
    trits, panels = pack_ternary(weights, high, form), pack_scales(scales, high)
    return {
        first: (TensorType("u8", trits.shape, ternary_layout(high, form)), trits),
        first + 1: (TensorType("f16", panels.shape, scale_layout(high)), panels),
    }


def _chosen(random: np.random.Generator, limit: int) -> _Case:
    """Rows of trits or int8 codes, more of them than are multiplied together, and none of one token."""
    kind = "ternary" if limit == 1 else "int8"
    _, _, types, operands, _, attributes, n = _product(
        "",
        f"{kind}_matmul",
        random.integers(-127, 128, (3, 200)).astype(I8),
        (random.random((3, 4)) * 0.1).astype(F32),
        random.integers(-limit, limit + 1, (70, 200)).astype(I8),
        (random.random((70, 2)) * 0.1).astype(F16),
    )
    chosen = np.where(random.random((3, 70)) < 0.6, F32(1e-45), F32(-0.0))
    chosen[1] = 0
    packed = _packed(operands[2], operands[3], "t2", 3, 1) if limit == 1 else {}
    name = f"{kind}_chosen_matmul"
    kinds = [TensorType("f32", ("T", 70)), *types]
    return f"{name}: random rows", name, kinds, (chosen, *operands), packed, attributes, n


def _experts(random: np.random.Generator, form: str = "t2") -> _Case:
    """Three experts, one of which no token has chosen; without a form of trits the weights are int8."""
    n, chosen, rows, columns = 3, 2, 9, 72
    codes = random.integers(-127, 128, (n, chosen, columns)).astype(I8)
    scales = (random.random((n, chosen, 2)) * 0.1).astype(F32)
    limit = 1 if form else 127
    weights = random.integers(-limit, limit + 1, (3, rows, columns)).astype(I8)
    weight_scales = (random.random((3, rows, 1)) * 0.1).astype(F16)
    operands = (codes, scales, weights, weight_scales, np.array([0, 2, 2, 6], np.int32))
    types = [TensorType.of(a) for a in operands]
    types[:2] = [t.with_shape(("T", *t.shape[1:])) for t in types[:2]]
    attributes: dict[str, Attribute] = {"rows": rows, "columns": columns, "group": 128, "block": 64}
    op = "grouped_ternary_matmul" if form else "grouped_int8_matmul"
    packed = _packed(weights, weight_scales, form) if form else {}
    return f"{op}: three experts, {form or 'int8'}", op, types, operands, packed, attributes, n


if __name__ == "__main__":
    FILE.write_text(make(), encoding="ascii")
