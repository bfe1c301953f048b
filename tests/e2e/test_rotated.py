"""Files in a rotated basis as bundles: the tokens of the model that they were made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from published_models import CASES, logits_of, save
from rotated_files import CASE, rotated

import chimerac
from chimerac.compiler.build.build import build
from chimerac.runtime.options import NO_GRAMMAR, PLAIN
from chimerac.runtime.reference.tokenizer import byte_tokenizer, write_tokenizer

torch.set_num_threads(1)
CONTEXT, PROMPT = 48, 20


def check(target: str, folder: Path) -> None:
    """With float32 weights a bundle continues a prompt as transformers does, up to its context."""
    model, table = CASE.make(), folder / "bytes.tokenizer"
    write_tokenizer(table, byte_tokenizer(300))
    path = rotated(folder / "rotated.gguf", model)
    report = build(path, targets=[target], out=folder, tokenizer=table, context=CONTEXT, weights_format="f32")
    prompt = np.random.default_rng(2).integers(3, 300, PROMPT).tolist()
    with chimerac.load(report.bundles[0].path) as session:
        session.prefill(prompt)
        mine, theirs = session.logits(), logits_of(model, torch.tensor(prompt))[-1].numpy()
        assert mine is not None
        assert np.abs(mine - theirs).max() < 1e-3 * np.ptp(theirs)
        list(session.generate(prompt, max_tokens=100, grammar=NO_GRAMMAR, **PLAIN))
        tokens = list(prompt)
        while len(tokens) < CONTEXT:
            tokens.append(int(logits_of(model, torch.tensor(tokens))[-1, :256].argmax()))
        assert session.tokens()[: CONTEXT - PROMPT] == tokens[PROMPT:]


def test_a_rotated_file_for_onnx(tmp_path: Path) -> None:
    check("onnx", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("weights_format", ["int8", "bf16"])
def test_hybrids_with_experts_are_built_for_other_targets(weights_format: str, tmp_path: Path) -> None:
    """Whose bits are those of the interpreter, where they can be run: builds prove it."""
    table = tmp_path / "bytes.tokenizer"
    write_tokenizer(table, byte_tokenizer(300))
    save(CASES["qwen 3 next"].make(), tmp_path / "next")
    for source in (tmp_path / "next", rotated(tmp_path / "rotated.gguf", CASE.make())):
        targets = ["x86_64-avx2", "wasm", "aarch64", "onnx", "onnx-fused", "ios-arm64"]
        build(source, targets=targets, out=tmp_path, tokenizer=table, context=64, weights_format=weights_format)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["x86_64-avx2", "wasm"])
def test_code_of_a_rotated_file(target: str, tmp_path: Path) -> None:
    check(target, tmp_path)
