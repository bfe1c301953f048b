"""The modules of docs/modules.md, "What was tried", as their dylibs compute them in the emulator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from apple_machine import A9, M1
from apple_session import AppleSession
from tried_modules import TENSORS, TEXTS, VOCABULARY, made

import chimerac
from chimerac.runtime.bundle_format import SelfTest, read_manifest

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")]
#: That look back at all of a text and do not say how long it may be.
NO_LENGTH = ("N4", "BitNet", "Llama", "Qwen3-Next")


@pytest.mark.parametrize("name", TEXTS)
def test_the_interpreters_bits(name: str, tmp_path: Path) -> None:
    context = 256 if name in NO_LENGTH else None
    report = chimerac.compile(
        made(name), name="tried", targets=["apple-amx", "ios-arm64"], context=context, out=tmp_path
    )
    for bundle in report.bundles:
        expected = read_manifest(bundle.path).self_test  # the interpreter's
        assert expected is not None
        assert max(expected.prompt) < VOCABULARY
        session = AppleSession(bundle.path, M1 if bundle.target == "apple-amx" else A9)
        session.prefill(expected.prompt)
        tokens = tuple(session.generate(len(expected.tokens)))
        assert SelfTest(expected.prompt, tokens, *session.hashes()) == expected
        session.close()


@pytest.mark.parametrize("name", TENSORS)
def test_the_bits_of_calls(name: str, tmp_path: Path) -> None:
    example = torch.randn(TENSORS[name][1])
    targets = ["apple-amx", "ios-arm64", "x86_64-avx2"]
    report = chimerac.compile(made(name), name="tried", targets=targets, example=(example,), out=tmp_path)
    paths = {bundle.target: bundle.path for bundle in report.bundles}
    (entry,) = read_manifest(paths["x86_64-avx2"]).entries
    (port,), (result,) = entry.inputs, entry.results
    given = torch.randn(TENSORS[name][1]).numpy()
    with chimerac.load(paths["x86_64-avx2"]) as native:
        expected = native.call({port.name: given})[result.name]
    for target, chip in (("apple-amx", M1), ("ios-arm64", A9)):
        session = AppleSession(paths[target], chip)
        found = session.call({port.name: given}, {result.name: np.empty_like(expected)})[result.name]
        assert found.tobytes() == expected.tobytes()
        session.close()
