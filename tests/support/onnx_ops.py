"""Runs single ops in ONNX Runtime and compares them with their references, in tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnxruntime
from kernel_harness import Case
from onnx import helper, numpy_helper

from chimerac.compiler.ir.interpreter import evaluate
from chimerac.compiler.ir.module import Module
from chimerac.targets.onnx.assembly import IR_VERSION, OPSET
from chimerac.targets.onnx.context import Context
from chimerac.targets.onnx.graph import Nodes, Pool, tensor
from chimerac.targets.onnx.translate import find_translator

LEVELS = ("ORT_DISABLE_ALL", "ORT_ENABLE_ALL")


def run_onnx(case: Case, level: str = LEVELS[0]) -> list[np.ndarray]:
    """Results of a case's op in ONNX Runtime, its operands the inputs of the model."""
    op = case.ir_op
    nodes = Nodes(Pool())
    context = Context(Module("m", {}, {}, {}, 1), nodes, find_translator, {v.name: v.name for v in op.operands})
    made = [nodes.op("Identity", name) for name in find_translator(op)(context, op)]
    inputs = [tensor(v.name, v.type.numpy.name, list(v.type.shape)) for v in op.operands]
    outputs = [tensor(name, v.type.numpy.name, list(v.type.shape)) for name, v in zip(made, op.results, strict=True)]
    weights = [numpy_helper.from_array(array, name) for name, array in nodes.pool.initializers.items()]
    graph = helper.make_graph(nodes.nodes, op.name, inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feeds = {v.name: a for v, a in zip(op.operands, case.arrays, strict=True)}
    return list(session.run(None, feeds))


def check_onnx(cases: Sequence[Case], levels: Sequence[str] = LEVELS) -> None:
    """Every case against its reference: the same bits, but for the sign of zeros and what a NaN holds."""
    for case in cases:
        op = case.ir_op
        expected = evaluate(op, [np.array(a, copy=True) for a in case.arrays])
        for level in levels:
            for want, got in zip(expected, run_onnx(case, level), strict=True):
                what = f"{op.name} {tuple(map(str, case.types))} {dict(case.attributes)} {level}"
                assert (want.shape, want.dtype) == (got.shape, got.dtype), f"{what}: {got.dtype}{got.shape}"
                same = (want == got) | ((want != want) & (got != got))
                place = tuple(np.argwhere(~same)[0]) if not same.all() else ()
                given = [a[place] for a in case.arrays if a.shape == want.shape]
                assert same.all(), f"{what}: {got[place]}, expected {want[place]} at {place} of {given}"
