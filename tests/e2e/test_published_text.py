"""Tokenizer and chat template of a published model in its bundle: what transformers makes of a conversation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from published_models import CASES, logits_of, save
from tokenizers import Tokenizer as Library
from tokenizers import decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import chimerac
from chimerac.compiler.build.build import build

TEMPLATE = (
    "{% for m in messages %}{{ '<|start|>' + m.role + '\n' + m.content + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant\n' }}{% endif %}"
)
MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Grüße, 世界!"},
    {"role": "assistant", "content": "hi"},
    {"role": "user", "content": "12 the thing"},
]


def library() -> Library:
    """Three special tokens, the bytes, and some merges; 300 are in the model's vocabulary."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("t", "h"), ("th", "e"), ("i", "n"), ("in", "g"), ("th", "ing")]
    tokens = ["<pad>", "<|start|>", "<|end|>", *alphabet, *(left + right for left, right in merges)]
    made = Library(models.BPE({token: id for id, token in enumerate(tokens)}, merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(["<pad>", "<|start|>", "<|end|>"])
    return made


@pytest.mark.slow
@pytest.mark.parametrize("target", ["onnx", "x86_64-avx2"])
def test_a_folder_with_its_tokenizer_answers_a_conversation(target: str, tmp_path: Path) -> None:
    folder, model = tmp_path / "small", CASES["smollm 3"].make()
    save(model, folder)
    library().save(str(folder / "tokenizer.json"))
    config = {"chat_template": TEMPLATE, "eos_token": "<|end|>", "pad_token": "<pad>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    told: list[str] = []
    report = build(
        folder, targets=[target], out=tmp_path, weights_format="f32", progress=lambda step, what, s: told.append(what)
    )
    assert any("10,000 texts have the tokens of the library tokenizers" in line for line in told)
    theirs: Any = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=library(), chat_template=TEMPLATE, eos_token="<|end|>"
    )
    prompt = theirs.apply_chat_template(MESSAGES, add_generation_prompt=True, return_dict=False)
    with chimerac.load(report.bundles[0].path) as session:
        assert session.encode(MESSAGES[1]["content"]) == theirs.encode(MESSAGES[1]["content"])
        next(iter(session.chat(MESSAGES, max_tokens=1)))
        mine, expected = session.logits(), logits_of(model, torch.tensor(prompt))[-1].numpy()
        assert mine is not None
        assert np.abs(mine - expected).max() < 1e-3 * np.ptp(expected)
