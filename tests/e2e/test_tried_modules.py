"""The modules of docs/modules.md, "What was tried": PyTorch's numbers over 200 steps, and the same bits on targets."""

from __future__ import annotations

import inspect
from copy import deepcopy
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx_tools import assert_agrees
from plain_tools import run_plain
from replay import Program, Recorded
from tried_modules import REFUSED, TENSORS, TEXTS, VOCABULARY, made

import chimerac
from chimerac.compiler.build import pipeline
from chimerac.compiler.ir.interpreter import Session
from chimerac.compiler.ir.module import Module
from chimerac.frontends.export.importer import import_module
from chimerac.frontends.export.plain import import_plain
from chimerac.runtime.sessions.runner import find_emulator

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
TOKENS = np.random.default_rng(6).integers(0, VOCABULARY, 200)
CALLS = (tuple(range(8)), (3,), (1, 2, 3), *((i,) for i in range(4)), tuple(range(8, 16)), (5,))
NO_LENGTH = (
    "N4",
    "BitNet",
    "Llama",
    "Qwen3-Next",
)  #: that look back at all of a text and do not say how long it may be
QUICK = ("nn.LSTM", "Mamba", "Llama")


@cache
def lowered(name: str) -> Module:
    context = 256 if name in NO_LENGTH else None
    imported = import_module(made(name), name="tried", block=8, context=context)
    return pipeline.run(imported, pipeline.passes())[0]


def in_chunks() -> torch.nn.Module:
    """xLSTM as `transformers` computes it."""
    torch.manual_seed(3)
    return REFUSED["xLSTM"][0]().eval().requires_grad_(False)


def of_pytorch(name: str) -> np.ndarray:
    """Logits [T, V] after each token."""
    module = deepcopy(made(name)) if name != "xLSTM" else in_chunks()
    tokens = torch.from_numpy(TOKENS)
    if "position" in inspect.signature(module.forward).parameters:
        steps = [module(tokens[i : i + 1].int(), torch.tensor(i, dtype=torch.int32)) for i in range(len(tokens))]
        return torch.cat(steps).numpy()
    if name == "nanoGPT":  # logits of the last token only
        return torch.cat([module(tokens[None, : i + 1])[0][0] for i in range(len(tokens))]).numpy()
    found: np.ndarray = (
        module(tokens if name in ("nn.LSTM", "nn.GRU") else tokens[None]).reshape(-1, VOCABULARY).numpy()
    )
    return found


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in TEXTS])
def test_pytorchs_logits_over_two_hundred_tokens(name: str) -> None:
    session = Session(lowered(name))
    found = np.stack([session.forward([token]) for token in TOKENS.tolist()])
    np.testing.assert_allclose(found, of_pytorch(name), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", TENSORS)
def test_pytorchs_results(name: str) -> None:
    module, shape = made(name), TENSORS[name][1]
    given = torch.randn(shape)
    plain = pipeline.run(import_plain(module, (given,), name="tried").module, pipeline.passes())[0]
    for x in (given, torch.randn(shape)):
        (found,) = run_plain(plain, [x])
        np.testing.assert_allclose(found, module(x).numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_says_why(name: str) -> None:
    make, code, path = REFUSED[name]
    found = chimerac.explain(make().eval())
    assert [obstacle.code for obstacle in found.obstacles] == [code]
    assert [place.path for obstacle in found.obstacles for place in obstacle.places] == [path]


@pytest.mark.slow
@pytest.mark.parametrize("target", ["x86_64-avx2", "wasm32-simd128", "aarch64-neon"])
def test_targets_give_the_interpreters_bits(target: str, tmp_path: Path) -> None:
    if target == "aarch64-neon" and not find_emulator("aarch64"):
        pytest.skip("needs qemu-aarch64: scripts/setup-qemu.sh")
    recorded = [Recorded(lowered(name), CALLS, 1) for name in TEXTS]
    found = Program(target, recorded, tmp_path / "program").run(0, "cortex-a53" if target == "aarch64-neon" else "")
    for name, ours, one in zip(TEXTS, found, recorded, strict=True):
        for got, wanted in zip(ours, one.expected(), strict=True):
            assert {key: array.tobytes() for key, array in got.items()} == {
                key: array.tobytes() for key, array in wanted.items()
            }, name


@pytest.mark.slow
@pytest.mark.parametrize("name", TEXTS)
def test_onnx_gives_the_interpreters_bits(name: str, tmp_path: Path) -> None:
    assert_agrees(lowered(name), tmp_path, CALLS)
