"""Short convolutions: GGUF files give the logits of transformers, keys that say the same twice, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from published_models import CASES, assert_config_refused, change_config, logits_of, save, write_gguf
from torch import nn

from chimerac.compiler.errors import UserError
from chimerac.compiler.verbs.inspect_published import inspect_published
from chimerac.frontends.matrices.rules import Rules
from chimerac.frontends.published.filled import filled
from chimerac.frontends.published.reading import open_source, read_published, shape_of

TOKENS = torch.randint(0, 300, (9,), generator=torch.Generator().manual_seed(4))
#: Parts of names of transformers → what they are called in folders of Llama.
_LLAMA = {
    "self_attn.out_proj": "self_attn.o_proj",
    "layernorm": "norm",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w3": "mlp.up_proj",
    "feed_forward.w2": "mlp.down_proj",
    "operator_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder without fault."""
    torch.manual_seed(0)
    return save(CASES["lfm 2"].make(), tmp_path_factory.mktemp("saved"))


def write(model: nn.Module, path: Path, pairs: list[int] | None = None) -> Path:
    """A GGUF file as llama.cpp's converter makes it: layers without heads of keys are convolutions."""

    def name_of(name: str) -> str:
        if name == "model.embedding_norm.weight":
            return "token_embd_norm.weight"
        if ".conv." in name:
            _, _, layer, rest = name.split(".", 3)
            return f"blk.{layer}.short{rest}"
        return ""

    def converted(name: str, array: np.ndarray) -> list[tuple[str, np.ndarray]]:
        for part, llama in _LLAMA.items():
            name = name.replace(part, llama)
        if name.endswith("conv.conv.weight"):
            array = array.squeeze(1)
        return [(name_of(name) or gguf_name(name), array)]

    def keys(writer: gguf.GGUFWriter) -> None:
        for key in ("attention.head_count_kv", "feed_forward_length"):
            del writer.kv_data[0][f"lfm2.{key}"]
        writer.add_head_count_kv([0, 2, 0] if pairs is None else pairs)
        writer.add_feed_forward_length(64)
        writer.add_shortconv_l_cache(3)

    model.config.rms_norm_eps = model.config.norm_eps  # type: ignore[union-attr]
    return write_gguf(model, path, "lfm2", keys=keys, converted=converted)


def gguf_name(name: str) -> str:
    """By the names of Llama."""
    ends = {
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "self_attn.q_norm": "attn_q_norm",
        "self_attn.k_norm": "attn_k_norm",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
    }
    if name == "model.embed_tokens.weight":
        return "token_embd.weight"
    _, _, layer, rest = name.split(".", 3)
    return f"blk.{layer}.{ends[rest.removesuffix('.weight')]}.weight"


def test_gguf_files_give_the_logits_of_transformers(tmp_path: Path) -> None:
    model = CASES["lfm 2"].make()
    module = filled(read_published(open_source(write(model, tmp_path / "m.gguf")), Rules("f32")), 64).module
    with torch.no_grad():
        mine = module(TOKENS.to(torch.int32), torch.tensor(0, dtype=torch.int32))
    theirs = logits_of(model, TOKENS)
    assert float((mine - theirs).abs().max()) < 1e-5 * float(theirs.max() - theirs.min())


def test_what_inspect_says(saved: Path) -> None:
    assert "3 layers of 64 channels, of which 2 are convolutions over 3 tokens" in inspect_published(saved).render()


@pytest.mark.parametrize(
    ("changes", "inner"),
    [
        ({}, 64),  # two thirds of 96
        ({"block_ff_dim": 90}, 64),  # 60, rounded up
        ({"block_auto_adjust_ff_dim": False}, 96),
        ({"block_ffn_dim_multiplier": 1.3}, 96),  # 83, rounded up
    ],
    ids=str,
)
def test_the_size_of_the_network(changes: dict[str, Any], inner: int, saved: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(saved, folder)
    change_config(folder, **changes)
    assert shape_of(open_source(folder)).inner == inner


def test_keys_of_the_first_configs(saved: Path, tmp_path: Path) -> None:
    """As Liquid's have them."""
    folder = tmp_path / "model"
    shutil.copytree(saved, folder)
    other = shape_of(open_source(folder))
    again = {"block_dim": 64, "conv_dim": 64, "conv_dim_out": 64, "num_heads": 4, "block_norm_eps": 1e-5}
    again |= {"block_mlp_init_scale": 1.0, "block_use_xavier_init": True, "block_use_swiglu": True, "use_pos_enc": True}
    said = {"layer_types": None, "full_attn_idxs": [1], "rope_parameters": None, "rope_theta": 1e6, "theta": 1e6}
    change_config(folder, **again, **said, tie_embedding=True, tie_word_embeddings=None)
    assert shape_of(open_source(folder)) == other


#: What is wrong → the error's code, words of its message, what config.json says otherwise.
CONFIGS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "no taps": ("CHM111", "'conv_L_cache'", {"conv_L_cache": None}),
    "biases": ("CHM113", "'conv_bias'", {"conv_bias": True}),
    "two epsilons": ("CHM235", "there twice", {"rms_norm_eps": 1e-6}),
    "two bases": ("CHM235", "there twice", {"theta": 1e4}),
    "layers of another type": ("CHM234", "'linear_attention'", {"layer_types": ["conv", "linear_attention", "conv"]}),
    "an unknown key": ("CHM234", "says 'num_dense_layers'", {"num_dense_layers": 2}),
    "other layers": (
        "CHM241",
        "missing model.layers.0.self_attn.q_layernorm.weight",
        {"layer_types": ["full_attention", "conv", "conv"]},
    ),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_configs_are_refused_with_one_error(name: str, saved: Path, tmp_path: Path) -> None:
    assert_config_refused(saved, tmp_path / "model", CONFIGS[name])


@pytest.mark.parametrize(
    ("pairs", "code", "words"),
    [([0, 2], "CHM235", "has 2 of 3 layers"), ([1, 2, 0], "CHM234", "layers of [1, 2] heads")],
    ids=str,
)
def test_heads_that_do_not_fit(pairs: list[int], code: str, words: str, tmp_path: Path) -> None:
    path = write(CASES["lfm 2"].make(), tmp_path / "m.gguf", pairs)
    with pytest.raises(UserError) as caught:
        read_published(open_source(path))
    assert caught.value.code == code
    assert words in caught.value.message
