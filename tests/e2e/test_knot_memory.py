"""Span knots that read a memory: what PyTorch makes of it, in the interpreter, in trees and in ONNX, and what runtimes
read where blocks begin."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from beside import CHOICES, PROMPT, TARGETS, odd_bundles, skip_without_emulator
from made_once import Once
from nano_model import BLOCK, MIXERS, make_model, nano
from onnx_tools import OnnxModule
from random_models import same_numbers
from token_trees import Tree
from tree_models import calls_of

import chimerac
from chimerac.compiler.build import pipeline
from chimerac.compiler.build.importing import import_model, read_description
from chimerac.compiler.build.self_test import state_hash
from chimerac.compiler.ir.interpreter import Session
from chimerac.compiler.ir.module import Module
from chimerac.frontends.export.importer import import_module
from chimerac.frontends.families.chimera.family import FAMILY
from chimerac.frontends.families.chimera.model import ChimeraModel
from chimerac.frontends.families.chimera.stateful import Stateful
from chimerac.frontends.layers.shapes import KnotShape
from chimerac.frontends.weights.sources import RandomWeights
from chimerac.runtime.bundle_format.constants import KNOT_HIT, KNOT_MEMORY, KNOT_SKETCH
from chimerac.runtime.errors import BundleError
from chimerac.runtime.reference.knot import Relaxing, read, sketch_of, taken, token_bits

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


CHANGES = ["seed=6", 'tsp_knot.energy_terms.memory_coherence=[0.8, "bits"]']
TOKENS = 70


def shape_of(weights: Path) -> Any:
    return read_description(weights.parent / "odd.chimera", overrides=CHANGES).description.shape


@pytest.fixture(scope="module")
def reading(once: Once) -> dict[str, Path]:
    """Bundles of a small model whose span knots weigh what they read."""

    def make(shape: Any) -> ChimeraModel:
        model = ChimeraModel(shape)
        RandomWeights(FAMILY, shape, shape.seed).fill(model)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith("kappa"):
                    parameter.copy_(torch.randn(parameter.shape, generator=generator) * 100)
        return model

    return odd_bundles(once, "reading", CHANGES, make)


def seed_memory(bits: int) -> np.ndarray:
    """Sketches of the prompt at some places, a tenth of their bits turned, among random ones: bool [count, n]."""
    random, counters, vectors = np.random.default_rng(8), np.zeros(bits, np.int8), []
    for position, token in enumerate(PROMPT, start=1):
        counters = taken(counters, token_bits(token, bits))
        if position in (15, 16, 30, 33, 36):
            vectors.append(sketch_of(counters) ^ (random.random(bits) < 0.1))
    return np.concatenate([random.random((9, bits)) < 0.5, np.stack(vectors)])


def packed(memory: np.ndarray) -> np.ndarray:
    return np.packbits(memory, axis=1, bitorder="little")


@pytest.mark.slow
def test_a_bundle_reads_what_the_reference_reads(reading: dict[str, Path]) -> None:
    """The states and logits of a text are the interpreter's, told at each block what numpy reads of the memory."""
    knot = shape_of(reading["weights"]).knot
    assert knot.reads_memory
    memory = seed_memory(knot.sketch_bits)
    config = reading["weights"].parent / "odd.chimera"
    model = import_model(config, overrides=CHANGES, weights=reading["weights"])
    lowered, _ = pipeline.run(model.module, pipeline.passes())
    rule = Relaxing(knot.flips, knot.max_iterations, knot.memory_weight, knot.early_exit)
    with chimerac.load(reading["x86_64-avx2"]) as session:
        session.set_memory(packed(memory))
        list(session.generate(PROMPT, max_tokens=TOKENS, grammar="none", **CHOICES[0]))
        text, reference = PROMPT + session.tokens(), Session(lowered)
        counters, hits = np.zeros(knot.sketch_bits, np.int8), []
        for begin in range(0, len(text), BLOCK):
            found = read(counters, memory, rule)
            hits.append(found.hit)
            words = packed(found.memory[None]).view(np.int32)
            reference.states[KNOT_MEMORY] = words.reshape(reference.states[KNOT_MEMORY].shape)
            reference.states[KNOT_HIT] = np.full_like(reference.states[KNOT_HIT], found.hit)
            counters = found.counters
            logits = reference.forward(text[begin : begin + BLOCK])
            for token in text[begin : begin + BLOCK]:
                counters = taken(counters, token_bits(token, knot.sketch_bits))
            reference.states[KNOT_SKETCH] = counters.view(np.int32).reshape(reference.states[KNOT_SKETCH].shape)
        assert 0 < np.count_nonzero(hits) < len(hits)
        assert f"{state_hash(reference):016x}" == session.state_hash()
        np.testing.assert_array_equal(session.logits(), logits)
        told = session.logits_hash()
        session.reset()
        session.set_memory(None)
        list(session.generate(PROMPT, max_tokens=TOKENS, grammar="none", **CHOICES[0]))
        assert session.tokens() != text[len(PROMPT) :] or session.logits_hash() != told


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS[:3])
def test_every_target_reads_alike(target: str, reading: dict[str, Path]) -> None:
    """With and without guesses, saved on the way, greedy and sampled."""
    skip_without_emulator(target)
    memory = packed(seed_memory(shape_of(reading["weights"]).knot.sketch_bits))
    with chimerac.load(reading["x86_64-avx2"]) as native, chimerac.load(reading[target]) as session:
        native.set_memory(memory)
        session.set_memory(memory)
        for choice in CHOICES:
            options = {"max_tokens": TOKENS, "grammar": "none", **choice}
            list(native.generate(PROMPT, speculate=False, **options))
            expected = native.tokens(), native.snapshot()
            for guesses in (False, True):
                list(session.generate(PROMPT, speculate=guesses, **options))
                assert (session.tokens(), session.snapshot()) == expected
        list(session.generate(PROMPT, **options | {"max_tokens": 21}))
        session.restore(session.snapshot())
        list(session.generate([], reset=False, **options | {"max_tokens": TOKENS - 21}))
        assert session.state_hash() == native.state_hash()
        halves = memory.reshape(2 * len(memory), -1)
        many = np.zeros((40000, memory.shape[1]), np.uint8)
        wrongs: list[Any] = [memory[:, 1:], halves, memory.astype(np.int32), many]
        for wrong in wrongs:
            with pytest.raises(BundleError) as error:
                session.set_memory(wrong)
            assert error.value.code == "CHM420"


@pytest.mark.slow
def test_onnx_reads_no_memory_and_goes_on_from_one(reading: dict[str, Path]) -> None:
    memory = packed(seed_memory(shape_of(reading["weights"]).knot.sketch_bits))
    with chimerac.load(reading["x86_64-avx2"]) as native, chimerac.load(reading["onnx"]) as onnx:
        with pytest.raises(BundleError, match="read no memory") as error:
            onnx.set_memory(memory)
        assert error.value.code == "CHM421"
        native.set_memory(memory)
        native.prefill(PROMPT)
        onnx.restore(native.snapshot())
        native.set_memory(None)
        for session in (native, onnx):
            session.prefill(PROMPT[:20])
        assert onnx.state_hash() == native.state_hash()
