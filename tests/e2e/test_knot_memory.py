"""Span knots that read a memory: what PyTorch makes of it, in the interpreter, in trees and in ONNX."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from nano_model import BLOCK, MIXERS, make_model, nano
from onnx_tools import OnnxModule
from random_models import same_numbers
from token_trees import Tree
from tree_models import calls_of

from chimerac.compiler.build import pipeline
from chimerac.compiler.ir.interpreter import Session
from chimerac.compiler.ir.module import Module
from chimerac.frontends.export.importer import import_module
from chimerac.frontends.families.chimera.stateful import Stateful
from chimerac.frontends.layers.shapes import KnotShape
from chimerac.runtime.bundle_format.constants import KNOT_HIT, KNOT_MEMORY, KNOT_SKETCH

BITS = 512
#: A span knot inside the loop and one after it.
KINDS = tuple("tsp_span_knot" if layer == 4 else kind for layer, kind in enumerate(MIXERS))


@cache
def stateful(reads: bool) -> Stateful:
    knot = KnotShape(sketch_bits=BITS, memory_weight=0.8, reads_memory=reads)
    model = make_model(nano(mixers=KINDS, knot=knot))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("kappa"):
                parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)) * 200)
    return Stateful(model, BLOCK).eval()


@cache
def lowered(reads: bool) -> Module:
    module = import_module(stateful(reads), name="knots", block=BLOCK)
    return pipeline.run(module, pipeline.passes(speculate=True))[0]


def remember(states: dict[str, np.ndarray], prefix: str = "") -> None:
    """Let a session have read a memory."""
    words = np.random.default_rng(5).integers(-(2**31), 2**31, BITS // 32).astype(np.int32)
    states[prefix + KNOT_MEMORY] = words.reshape(states[prefix + KNOT_MEMORY].shape)
    states[prefix + KNOT_HIT] = np.full_like(states[prefix + KNOT_HIT], 0.25)


def test_without_a_memory_nothing_changes() -> None:
    session, plain = Session(lowered(True)), Session(lowered(False))
    assert {KNOT_MEMORY, KNOT_HIT, KNOT_SKETCH} == session.states.keys() - plain.states.keys()
    for call in ([1, 2, 3], [4], [250, 7]):
        assert session.forward(call).tobytes() == plain.forward(call).tobytes()
    assert all(session.states[name].tobytes() == plain.states[name].tobytes() for name in plain.states)
    assert not any(session.states[name].any() for name in (KNOT_MEMORY, KNOT_HIT, KNOT_SKETCH))


def test_layers_read_the_memory_as_in_pytorch() -> None:
    session, plain, eager = Session(lowered(True), loops=1), Session(lowered(True), loops=1), stateful(True)
    before = {name: buffer.clone() for name, buffer in eager.named_buffers()}
    remember(session.states)
    held = {name: session.states[name].copy() for name in (KNOT_MEMORY, KNOT_HIT)}
    for name, value in held.items():
        eager.get_buffer(name).copy_(torch.from_numpy(value.reshape(eager.get_buffer(name).shape)))
    position = 0
    for call in ([1, 2, 3], [4], [250, 7]):
        got = session.forward(call)
        with torch.no_grad():
            wanted = eager(torch.tensor(call, dtype=torch.int32), torch.tensor(position, dtype=torch.int32))[-1].numpy()
        position += len(call)
        assert np.abs(got - plain.forward(call)).max() > 0.05 * np.ptp(wanted)
        np.testing.assert_allclose(got, wanted, atol=1e-3 * np.ptp(wanted))
    assert all(np.array_equal(session.states[name], value) for name, value in held.items())
    with torch.no_grad():
        for name, buffer in eager.named_buffers():
            buffer.copy_(before[name])


def test_trees_read_it_as_tokens_do() -> None:
    tree, plain, nodes = Session(lowered(True)), Session(lowered(True)), 0
    for session in (tree, plain):
        remember(session.states)
    for call in calls_of(lowered(True), 5):
        if not isinstance(call, Tree):
            assert same_numbers(tree.forward(call), plain.forward(call))
            continue
        logits = tree.verify(call.tokens, call.parents)
        tree.commit(call.path)
        assert all(same_numbers(logits[node], plain.forward([call.tokens[node]])) for node in call.path)
        assert all(same_numbers(tree.states[name], plain.states[name]) for name in plain.states)
        nodes += len(call.path)
    assert nodes > 5


def test_onnx_has_its_bits(tmp_path: Path) -> None:
    module = lowered(True)
    graphs = {name: graph for name, graph in module.graphs.items() if graph.role in ("decode", "prefill")}
    onnx, session = OnnxModule(replace(module, graphs=graphs), tmp_path), Session(module)
    remember(session.states)
    remember(onnx.states, "state.")
    for call in ([1, 2, 3], [4], [250, 7]):
        assert onnx.call(call).tobytes() == session.forward(call).tobytes()
