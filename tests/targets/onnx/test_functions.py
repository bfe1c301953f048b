"""The functions in ONNX nodes give the bits of ``numerics``, under ONNX Runtime's own graph changes too."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from chimerac.compiler.ir import numerics, numpy_math
from chimerac.targets.onnx.assembly import IR_VERSION, OPSET
from chimerac.targets.onnx.functions import FUNCTIONS, call
from chimerac.targets.onnx.graph import Nodes, Pool

REFERENCES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "exp": numpy_math.exp_f32,
    "log": numpy_math.log_f32,
    "log1p": numpy_math.log1p_f32,
    "sigmoid": numpy_math.sigmoid_f32,
    "silu": numpy_math.silu_f32,
    "softplus": numpy_math.softplus_f32,
    "logsigmoid": numpy_math.logsigmoid_f32,
    "tanh": numpy_math.tanh_f32,
    "erf": numpy_math.erf_f32,
    "gelu": numpy_math.gelu_erf_f32,
}


def run_function(name: str, x: np.ndarray, level: str) -> np.ndarray:
    nodes = Nodes(Pool())
    result = call(nodes, name, "x")
    graph = helper.make_graph(
        nodes.nodes,
        name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor_value_info(result, TensorProto.FLOAT, ["n"])],
        [numpy_helper.from_array(array, key) for key, array in nodes.pool.initializers.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    y: np.ndarray = session.run(None, {"x": x})[0]
    return y


def arguments() -> np.ndarray:
    """Numbers of all sizes, and the edges of the functions."""
    random = np.random.default_rng(0)
    parts = [random.standard_normal(4000) * scale for scale in (1e-3, 0.1, 1, 10, 60)]
    any_bits = random.integers(0, 2**32, 20000, dtype=np.uint32).view(np.float32)
    edges = [0, np.inf, -np.inf, 0.625, 1, 4, 10, 20, -100, 1e-45, 1.1754943508222875e-38]
    ends = [numerics.EXP_MAX, numerics.EXP_MIN]
    near = [np.nextafter(np.float32(e), np.float32(side)) for e in ends for side in (-np.inf, np.inf)]
    whole = np.concatenate([*(np.asarray(p, np.float32) for p in (*parts, edges, ends, near)), any_bits])
    numbers: np.ndarray = whole[~np.isnan(whole)]
    return numbers


@pytest.mark.parametrize("level", ["ORT_DISABLE_ALL", "ORT_ENABLE_ALL"])
@pytest.mark.parametrize("name", REFERENCES)
def test_bits_are_those_of_numerics(name: str, level: str) -> None:
    x = arguments()
    x = {"log": np.abs(x), "log1p": x[x > -1]}.get(name, x)
    assert np.array_equal(run_function(name, x, level), REFERENCES[name](x), equal_nan=True)


def test_sine_and_cosine_of_an_eighth_turn() -> None:
    t = np.linspace(-np.pi / 4, np.pi / 4, 4001).astype(np.float32)
    assert np.abs(run_function("sine", t, "ORT_DISABLE_ALL") - np.sin(t.astype(np.float64))).max() < 1.3e-7
    assert np.abs(run_function("cosine", t, "ORT_DISABLE_ALL") - np.cos(t.astype(np.float64))).max() < 1.3e-7


def test_every_function_is_tested() -> None:
    assert {*REFERENCES, "sine", "cosine"} == FUNCTIONS.keys()
