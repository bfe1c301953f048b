"""RWKV-7: folders and GGUF files give the logits of a plain recurrence, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from published_models import assert_config_refused
from rwkv_models import HIDDEN, Rwkv, make, save, write

from chimerac.compiler.build.published import open_published
from chimerac.compiler.errors import UserError
from chimerac.compiler.verbs.inspect_published import inspect_published
from chimerac.frontends.matrices.rules import Rules
from chimerac.frontends.published.filled import filled
from chimerac.frontends.published.reading import open_source, read_published
from chimerac.frontends.published.session import PublishedSession

TOKENS = np.random.default_rng(4).integers(0, 300, 11).tolist()


@pytest.fixture(scope="module")
def model() -> Rwkv:
    return make()


@pytest.fixture(scope="module")
def saved(model: Rwkv, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder without fault."""
    return save(model, tmp_path_factory.mktemp("saved") / "model")


def logits_of(path: Path) -> np.ndarray:
    """Of the module that a source becomes, in float32."""
    module = filled(read_published(open_source(path), Rules("f32")), 64).module
    with torch.no_grad():
        found: np.ndarray = module(torch.tensor(TOKENS, dtype=torch.int32), torch.tensor(0, dtype=torch.int32)).numpy()
    return found


def assert_logits(path: Path, model: Rwkv) -> None:
    mine, theirs = logits_of(path), model.logits(TOKENS)
    assert np.abs(mine - theirs).max() < 1e-5 * np.ptp(theirs)


def test_folders_give_the_logits_of_a_plain_recurrence(saved: Path, model: Rwkv) -> None:
    assert_logits(saved, model)


def test_folders_as_they_were_written_at_first(model: Rwkv, tmp_path: Path) -> None:
    folder = save(model, tmp_path / "model", early=True)
    assert_logits(folder, model)
    assert "3 tensors left out: what would mix the values of the first layer" in inspect_published(folder).render()


def test_gguf_files_give_the_logits_of_a_plain_recurrence(model: Rwkv, tmp_path: Path) -> None:
    assert_logits(write(model, tmp_path / "m.gguf"), model)


def test_tokens_one_by_one_give_the_same(saved: Path, model: Rwkv) -> None:
    """States and the tokens before are kept between calls."""
    module = filled(read_published(open_source(saved), Rules("f32")), 64).module
    session = PublishedSession(module)
    for token, expected in zip(TOKENS, model.logits(TOKENS), strict=True):
        assert np.abs(session.step(token) - expected).max() < 1e-5 * np.ptp(expected)


def test_what_inspect_says(saved: Path) -> None:
    said = inspect_published(saved).render()
    assert "2 layers of 128 channels: generalised delta rules of 2 heads of 64 × 64, 96 channels within" in said
    assert "and a head of its own; texts have no end" in said


def test_a_text_has_no_end_that_could_be_said(saved: Path) -> None:
    with pytest.raises(UserError, match="texts have no end") as caught:
        open_published(saved, context=128)
    assert caught.value.code == "CHM236"


#: What is wrong → the error's code, words of its message, what config.json says otherwise.
CONFIGS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "heads": ("CHM235", "128 channels are not 2 heads of 24", {"head_dim": 24}),
    "another number of heads": ("CHM235", "128 channels are not 5 heads of 64", {"num_heads": 5}),
    "layers of attention": ("CHM234", "layers of attention", {"attn": {"layers": [1]}}),
    "wide values": ("CHM234", "'value_dim' other than the 128", {"value_dim": [HIDDEN, 2 * HIDDEN]}),
    "wide values everywhere": ("CHM234", "'value_dim' other than the 128", {"value_dim": 256}),
    "no biases": ("CHM113", "'norm_bias' can only be true", {"norm_bias": False}),
    "another activation": ("CHM113", "'hidden_act'", {"hidden_act": "relu"}),
    "an unknown key": ("CHM234", "says 'num_experts'", {"num_experts": 2}),
    "BitNet's rules": ("CHM234", "rwkv7 of BitNet", {"quantization_config": {"quant_method": "bitnet"}}),
    "another rank": ("CHM241", "w_lora.lora.0.weight has shape [8, 128], expected [9, 128]", {"decay_low_rank_dim": 9}),
    "channels that follow": ("CHM241", "ffn.key.weight has shape [96, 128], expected [416, 128]",
                             {"intermediate_size": None, "hidden_ratio": 3.2}),
}  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
def test_configs_are_refused_with_one_error(name: str, saved: Path, tmp_path: Path) -> None:
    assert_config_refused(saved, tmp_path / "model", CONFIGS[name])


@pytest.mark.parametrize(
    ("other", "code", "words"),
    [
        ({"attention__head_count": 4}, "CHM234", "attention.head_count is not 0"),
        ({"token_shift_count": 1}, "CHM234", "token_shift_count is not 2"),
        ({"wkv__head_size": 24}, "CHM235", "128 channels are not heads of 24"),
        ({"wkv__head_size": 0}, "CHM231", "wkv.head_size is 0"),
        ({"attention__gate_lora_rank": None}, "CHM231", "attention.gate_lora_rank"),
        ({"attention__iclr_lora_rank": 8}, "CHM241", "time_mix_a1.weight has shape [12, 128], expected [8, 128]"),
        ({"rescale_every_n_layers": 6}, "CHM234", "says rwkv7.rescale_every_n_layers"),
    ],
    ids=str,
)
def test_metadata_are_refused(other: dict[str, Any], code: str, words: str, model: Rwkv, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        read_published(open_source(write(model, tmp_path / "m.gguf", **other)))
    assert caught.value.code == code
    assert words in caught.value.message
