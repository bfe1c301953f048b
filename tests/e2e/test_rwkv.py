"""RWKV-7 as bundles: the tokens and logits of a plain recurrence in float64, and of llama.cpp."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rwkv_models import VOCABULARY, make, save, write

import chimerac
from chimerac.compiler.build.build import build
from chimerac.compiler.verbs.verify import verify
from chimerac.frontends.matrices.rules import Rules
from chimerac.frontends.published.filled import filled
from chimerac.frontends.published.reading import open_source, read_published
from chimerac.frontends.published.session import PublishedSession
from chimerac.runtime.options import NO_GRAMMAR, PLAIN
from chimerac.runtime.reference.tokenizer import byte_tokenizer, write_tokenizer

torch.set_num_threads(1)
PROMPT = np.random.default_rng(2).integers(3, 256, 20).tolist()


def check(path: Path, target: str, folder: Path) -> Path:
    """A bundle with float32 weights gives the logits, and continues a prompt, as the recurrence does."""
    model, table = make(), folder / "bytes.tokenizer"
    write_tokenizer(table, byte_tokenizer(VOCABULARY))
    report = build(path, targets=[target], out=folder / "dist", tokenizer=table, weights_format="f32")
    with chimerac.load(report.bundles[0].path) as session:
        session.prefill(PROMPT)
        mine, theirs = session.logits(), model.logits(PROMPT)[-1]
        assert mine is not None
        assert np.abs(mine - theirs).max() < 1e-5 * np.ptp(theirs)
        list(session.generate(PROMPT, max_tokens=16, grammar=NO_GRAMMAR, **PLAIN))
        assert session.tokens() == model.greedy(PROMPT, 16, among=256)
    return report.bundles[0].path


def test_bundles_of_folders(tmp_path: Path) -> None:
    source = save(make(), tmp_path / "model")
    check(source, "onnx", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["x86_64-avx2", "wasm"])
def test_bundles_of_files(target: str, tmp_path: Path) -> None:
    bundle = check(write(make(), tmp_path / "model.gguf"), target, tmp_path)
    found = verify(bundle, config=tmp_path / "model.gguf")
    assert found.agreement is not None
    assert found.agreement.holds


def test_the_tokens_of_llama_cpp(tmp_path: Path) -> None:
    """Of the same file, with logits within 1e-3 of their range. Its kernel takes heads of 64 numbers."""
    llama = pytest.importorskip("llama_cpp")
    path = write(make(), tmp_path / "model.gguf", ["<s>", *(f"\\x{byte:02x}" for byte in range(256)),
                                                   *(f"xx{number}" for number in range(VOCABULARY - 257))])  # fmt: skip
    mine = PublishedSession(filled(read_published(open_source(path), Rules("f32")), 64).module)
    theirs: Any = llama.Llama(str(path), n_ctx=64, n_batch=64, logits_all=True, verbose=False)
    given, count = list(PROMPT), 0
    for _ in range(16):
        theirs.eval(given)
        for token in given:
            logits = np.array(theirs.scores[count])
            step = mine.step(token)
            assert np.abs(step - logits).max() < 1e-3 * np.ptp(logits)
            count += 1
        assert step.argmax() == logits.argmax()
        given = [int(logits.argmax())]
