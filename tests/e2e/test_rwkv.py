"""RWKV-7 as bundles: the tokens and logits of a plain recurrence in float64, and of llama.cpp."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from public_tokenizers import texts_with_names
from rwkv_models import VOCABULARY, make, save, write

import chimerac
from chimerac.compiler.build.build import build
from chimerac.compiler.verbs.verify import verify
from chimerac.frontends.matrices.rules import Rules
from chimerac.frontends.published.filled import filled
from chimerac.frontends.published.reading import open_source, read_published
from chimerac.frontends.published.session import PublishedSession
from chimerac.frontends.sources.gguf import open_gguf
from chimerac.frontends.tokenizers import read_gguf
from chimerac.runtime.options import NO_GRAMMAR, PLAIN
from chimerac.runtime.reference.tokenizer import Tokenizer, write_tokenizer

torch.set_num_threads(1)
PROMPT = np.random.default_rng(2).integers(3, 256, 20).tolist()


#: A world tokenizer of as many tokens as the models have, as files spell it.
WORLD = [
    "<s>",
    *(f"\\x{byte:02x}" for byte in range(256)),
    *(f"a\\n{'b' * count}" for count in range(VOCABULARY - 257)),
]


def check(path: Path, target: str, folder: Path, table: Path | None = None) -> Path:
    """A bundle with float32 weights gives the logits, and continues a prompt, as the recurrence does."""
    model = make()
    report = build(path, targets=[target], out=folder / "dist", tokenizer=table, weights_format="f32")
    with chimerac.load(report.bundles[0].path) as session:
        session.prefill(PROMPT)
        mine, theirs = session.logits(), model.logits(PROMPT)[-1]
        assert mine is not None
        assert np.abs(mine - theirs).max() < 1e-5 * np.ptp(theirs)
        list(session.generate(PROMPT, max_tokens=16, grammar=NO_GRAMMAR, **PLAIN))
        assert session.tokens() == model.greedy(PROMPT, 16)
        if table is None:
            assert session.encode("a\nbbbb<s>é") == [261, 61, 116, 63, 196, 170]
    return report.bundles[0].path


def test_bundles_of_folders(tmp_path: Path) -> None:
    table = tmp_path / "bytes.tokenizer"
    write_tokenizer(table, Tokenizer((*(bytes([byte]) for byte in range(256)), *(bytes([65, k]) for k in range(44)))))
    check(save(make(), tmp_path / "model"), "onnx", tmp_path, table)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["x86_64-avx2", "wasm"])
def test_bundles_of_files(target: str, tmp_path: Path) -> None:
    bundle = check(write(make(), tmp_path / "model.gguf", WORLD), target, tmp_path)
    found = verify(bundle, config=tmp_path / "model.gguf")
    assert found.agreement is not None
    assert found.agreement.holds


def test_the_tokens_of_llama_cpp(tmp_path: Path) -> None:
    """Of the same file, with logits within 1e-3 of their range. Its kernel takes heads of 64 numbers."""
    llama = pytest.importorskip("llama_cpp")
    path = write(make(), tmp_path / "model.gguf", WORLD)
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
    tokenizer = read_gguf(open_gguf(path), VOCABULARY, strings=1).tokenizer
    for text in texts_with_names(9, 100):
        expected = theirs.tokenize(text.encode(), add_bos=False, special=False) if text else []
        assert "<s>" in text or tokenizer.encode(text) == expected, text
