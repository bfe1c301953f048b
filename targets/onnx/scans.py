"""A region that runs for each row of its sequences, as the ONNX operator of the same name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onnx import TensorProto

from chimerac.compiler.ir.module import Op, Value
from chimerac.compiler.ir.scans import Scan
from chimerac.targets.onnx.context import Context, Translate
from chimerac.targets.onnx.graph import Nodes, untyped


def build_scan(context: Context, op: Op) -> tuple[str, ...]:
    """``Scan``: its rows have no first axis, those of the IR one of 1."""
    nodes, scan = context.nodes, Scan.of(op)
    body = nodes.subgraph()
    inner = context.inside(body, {})
    carried = [body.pool.fresh("carried") for _ in scan.carried]
    rows = [body.pool.fresh("row") for _ in scan.rows]
    inner.values.update((v.name, name) for v, name in zip(scan.carried, carried, strict=True))
    for value, name in zip(scan.rows, rows, strict=True):
        inner.values[value.name] = body.unsqueeze(name, 0)
    inner.translate(scan.region.ops)
    results = [_typed(body, v, inner.value(v)) for v in scan.following]
    results += [body.op("Squeeze", _typed(body, v, inner.value(v)), body.i64([0])) for v in scan.made]
    outputs = [untyped(body.op("Identity", name)) for name in results]  # each its own, and made in the body
    begin = [_typed(nodes, v, context.value(v)) for v in scan.begin]
    directions: dict[str, Any] = {
        f"scan_{what}_directions": [1] * len(values)
        for what, values in (("input", rows), ("output", scan.made))
        if scan.reverse and values
    }
    return nodes.emit(
        "Scan",
        *begin,
        *(context.value(v) for v in scan.sequences),
        outputs=len(outputs),
        num_scan_inputs=len(rows),
        body=body.graph("row", [untyped(name) for name in (*carried, *rows)], outputs),
        **directions,
    )


def _typed(nodes: Nodes, value: Value, name: str) -> str:
    """Integers as int32: what is carried has one type in all rows, and they may be held as int64."""
    return nodes.op("Cast", name, to=TensorProto.INT32) if value.type.dtype == "i32" else name


TRANSLATORS: Mapping[str, Translate] = {"scan": build_scan}
