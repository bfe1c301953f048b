"""Whole modules in ONNX Runtime: logits and states are the interpreter's, to the bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from nano_model import BLOCK, lowered_nano, make_model, nano
from onnx_tools import OnnxModule, assert_agrees
from random_modules import modules

from chimerac.compiler.build import pipeline
from chimerac.compiler.ir.interpreter import Session
from chimerac.compiler.ir.module import Module, Op
from chimerac.frontends.export.importer import import_module
from chimerac.frontends.families.chimera.shape import ChimeraShape, MixerKind
from chimerac.frontends.families.chimera.stateful import Stateful
from chimerac.frontends.layers.shapes import EmbeddingFormat, LoopShape, MoeShape, QuantizationShape, TitansShape

#: A block, a block in two parts, and single tokens across the next boundary.
CALLS = [list(range(3, 19)), [5, 9, 2], list(range(100, 113)), [7], [250], [8, 7, 6]]


def lowered(shape: ChimeraShape, loops: int | None = None) -> Module:
    module = import_module(Stateful(make_model(shape), BLOCK).eval(), name="m", block=BLOCK)
    return pipeline.run(module, pipeline.passes(loops=loops))[0]


def small(**changes: object) -> ChimeraShape:
    """Two layers at sizes that are multiples of nothing."""
    odd = {"hidden": 72, "heads": 3, "head_width": 24, "width": 100, "vocabulary": 301, "loop": None, "moe": None}
    return nano(**{**odd, "mixers": ("gated_deltanet", "xlstm_m"), **changes})


@pytest.mark.parametrize("loops", [1, 2, 3])
def test_nano_model(loops: int, tmp_path: Path) -> None:
    assert_agrees(lowered_nano(), tmp_path, CALLS, loops=loops)


@pytest.mark.parametrize("loops", [1, 3])
def test_nano_model_unrolled(loops: int, tmp_path: Path) -> None:
    assert_agrees(lowered_nano(loops), tmp_path, CALLS[-3:], loops=loops)


def test_nano_model_without_optional_passes(tmp_path: Path) -> None:
    assert_agrees(lowered_nano(None, tuple(sorted(pipeline.OPTIONAL))), tmp_path, CALLS[:2])


@pytest.mark.parametrize("exit_threshold", [0.3, 1.0])
def test_early_exit(exit_threshold: float, tmp_path: Path) -> None:
    assert_agrees(lowered_nano(), tmp_path, [[t] for t in range(40, 48)], loops=3, exit_threshold=exit_threshold)


def test_early_exit_not_before_the_least_iterations(tmp_path: Path) -> None:
    def bounded(op: Op) -> Op:
        return replace(op, attributes={**op.attributes, "minimum": 3}) if op.name == "loop" else op

    module = lowered_nano().map_graphs(lambda graph: replace(graph, ops=tuple(map(bounded, graph.ops))))
    assert_agrees(module, tmp_path, [[t] for t in range(40, 44)], loops=3, exit_threshold=1.0)


@pytest.mark.parametrize("kind", ["gated_deltanet", "xlstm_m", "titans_mac", "tsp_span_knot"])
def test_each_kind_of_layer_alone_at_odd_sizes(kind: MixerKind, tmp_path: Path) -> None:
    titans = TitansShape(persistent_slots=3, window=21)
    assert_agrees(lowered(small(mixers=(kind,), titans=titans)), tmp_path, CALLS)


@pytest.mark.parametrize(("experts", "chosen"), [(1, 1), (5, 1), (7, 3)])
def test_experts_at_odd_sizes(experts: int, chosen: int, tmp_path: Path) -> None:
    moe = MoeShape(layers=(1,), experts=experts, shared_experts=1, experts_per_token=chosen, width=40)
    assert_agrees(lowered(small(moe=moe)), tmp_path, CALLS)


def test_loop_at_odd_sizes(tmp_path: Path) -> None:
    loop = LoopShape(first=0, last=1, minimum=1, maximum=2, default=2, exit_threshold=0.01)
    titans = TitansShape(persistent_slots=0, window=16)
    assert_agrees(lowered(small(mixers=("titans_mac", "xlstm_m"), loop=loop, titans=titans)), tmp_path, CALLS)


@pytest.mark.parametrize(("group", "block"), [(64, 64), (256, 64), (32, 32)])
def test_sizes_of_groups_and_blocks(group: int, block: int, tmp_path: Path) -> None:
    quantization = QuantizationShape(group_size=group, block_size=block)
    assert_agrees(lowered(small(quantization=quantization, width=300)), tmp_path, CALLS[:2])


@pytest.mark.parametrize("kind", ["float32", "ternary", "bfloat16"])
def test_other_embeddings(kind: EmbeddingFormat, tmp_path: Path) -> None:
    assert_agrees(lowered(small(embedding_format=kind)), tmp_path, CALLS[:2])


def test_prefill_equals_decoding_token_by_token(tmp_path: Path) -> None:
    module = lowered_nano()
    whole, single = OnnxModule(module, tmp_path), OnnxModule(module, tmp_path)
    tokens = list(range(30, 46))
    at_once = whole.call(tokens)
    for token in tokens:
        one = single.call([token])
    assert np.array_equal(at_once, one)
    assert all(np.array_equal(whole.states[name], single.states[name]) for name in whole.states)


def test_greedy_tokens(tmp_path: Path) -> None:
    module = lowered_nano()
    model, reference = OnnxModule(module, tmp_path), Session(module)
    ours, expected = [11], [11]
    for _ in range(20):
        ours.append(int(np.argmax(model.call(ours[-1:]))))
        expected.append(int(np.argmax(reference.forward(expected[-1:]))))
    assert ours == expected


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(module=modules())
def test_random_modules(module: Module, tmp_path: Path) -> None:
    lowered_module, _ = pipeline.run(module, pipeline.passes())
    assert_agrees(lowered_module, tmp_path, [(1, 2, 3), (0,), (3, 1)])
