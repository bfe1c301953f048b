"""Hybrids: what is left out of models that see pictures, what is refused, and rows that are in pieces."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
import transformers
from hybrid_files import write_hybrid
from published_models import CASES, HYBRID, SIZES, assert_config_refused, change_config, logits_of, save
from safetensors.torch import load_file, save_file
from torch import nn

from chimerac.compiler.errors import UserError
from chimerac.compiler.verbs.inspect_published import inspect_published
from chimerac.frontends.matrices.rules import Rules
from chimerac.frontends.published.filled import filled
from chimerac.frontends.published.reading import open_source, read_published
from chimerac.frontends.published.stored import Gathered

TOKENS = torch.randint(0, 300, (9,), generator=torch.Generator().manual_seed(4))
VISION = {"depth": 1, "hidden_size": 32, "num_heads": 2, "intermediate_size": 32, "out_hidden_size": 64}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a hybrid without fault."""
    torch.manual_seed(0)
    return save(CASES["qwen 3.5"].make(), tmp_path_factory.mktemp("saved"))


def whole_model() -> nn.Module:
    """A model of texts and pictures."""
    vision = VISION | {"num_position_embeddings": 16}
    config = transformers.Qwen3_5Config(text_config={**SIZES, **HYBRID}, vision_config=vision, tie_word_embeddings=True)
    model: Any = transformers.Qwen3_5ForConditionalGeneration(config)
    made: nn.Module = model.eval()
    return made


def test_the_text_part_of_a_model_that_sees_pictures(tmp_path: Path) -> None:
    model = whole_model()
    save(model, tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    save_file({**tensors, "mtp.fc.weight": torch.zeros(4, 4)}, tmp_path / "model.safetensors")
    published = read_published(open_source(tmp_path), Rules("f32"))
    pictures = sum(name.startswith("model.visual.") for name in tensors)
    assert published.remarks == (
        f"{pictures} tensors left out: what sees pictures",
        "1 tensors left out: what guesses further tokens",
    )
    with torch.no_grad():
        mine = filled(published, 64).module(TOKENS.to(torch.int32), torch.tensor(0, dtype=torch.int32))
    theirs = logits_of(model, TOKENS)
    assert float((mine - theirs).abs().max()) < 1e-5 * float(theirs.max() - theirs.min())
    told = inspect_published(tmp_path).render()
    assert "3 layers of 64 channels, of which 2 are gated delta rules" in told
    assert "what sees pictures" in told


def text(**keys: Any) -> dict[str, Any]:
    return {"text_config": keys}


#: What is wrong → the error's code, words of its message, what config.json of a whole says otherwise.
WHOLES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "no text": ("CHM112", "'text_config' is missing", {"text_config": None}),
    "text that is a list": ("CHM112", "must be an object, not a list", {"text_config": []}),
    "text of another type": ("CHM234", "must be of the type 'qwen3_5_text'", text(model_type="llama")),
    "a key beside the text": ("CHM234", "says 'audio_config'", {"audio_config": {}}),
}


@pytest.mark.parametrize("name", WHOLES)
def test_wholes_are_refused_with_one_error(name: str, tmp_path: Path) -> None:
    code, words, changes = WHOLES[name]
    save(whole_model(), tmp_path)
    change_config(tmp_path, **changes)
    with pytest.raises(UserError) as caught:
        read_published(open_source(tmp_path))
    assert caught.value.code == code, caught.value.message
    assert words in caught.value.message
    assert caught.value.span is not None


#: The same of hybrids.
CONFIGS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "no size of heads": ("CHM111", "'head_dim'", {"head_dim": None}),
    "no heads of keys": ("CHM111", "'linear_num_key_heads'", {"linear_num_key_heads": None}),
    "heads that do not share": ("CHM235", "6 heads of values do not share 4", {"linear_num_key_heads": 4}),
    "a convolution of one token": ("CHM113", "'linear_conv_kernel_dim'", {"linear_conv_kernel_dim": 1}),
    "layers of windows": ("CHM234", "'sliding_attention'", {"layer_types": ["sliding_attention"] * 3}),
    "attention without gates": ("CHM113", "'attn_output_gate'", {"attn_output_gate": False}),
    "a rule in half precision": ("CHM113", "'mamba_ssm_dtype'", {"mamba_ssm_dtype": "bfloat16"}),
    "another activation": ("CHM234", "another activation", {"hidden_act": "relu2"}),
    "a share that makes no pairs": (
        "CHM235",
        "3 channels of 32 make no pairs",
        {"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.1}},
    ),
    "two shares": ("CHM235", "there twice", {"partial_rotary_factor": 0.5}),
    "experts": ("CHM234", "'num_experts'", {"num_experts": 4}),
    "a longer convolution": ("CHM241", "expected [208, 1, 5]", {"linear_conv_kernel_dim": 5}),
    "other layers": (
        "CHM241",
        "missing model.layers.1.linear_attn.in_proj_qkv.weight",
        {"layer_types": ["full_attention", "linear_attention", "linear_attention"]},
    ),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_configs_are_refused_with_one_error(name: str, saved: Path, tmp_path: Path) -> None:
    assert_config_refused(saved, tmp_path / "model", CONFIGS[name])


def test_a_decay_that_is_no_number(saved: Path, tmp_path: Path) -> None:
    """exp(A_log) beyond float32."""
    folder = tmp_path / "model"
    shutil.copytree(saved, folder)
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.0.linear_attn.A_log"] += 100
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(UserError, match="A_log has numbers") as caught:
        read_published(open_source(folder))
    assert caught.value.code == "CHM242"


Keys = Callable[[gguf.GGUFWriter], None]


def _replaced(key: str, value: int) -> Keys:
    """A number of the metadata in place of the one that is there."""

    def keys(writer: gguf.GGUFWriter) -> None:
        name = f"qwen35.{key}"
        del writer.kv_data[0][name]
        writer.add_uint32(name, value)

    return keys


#: What is wrong → the error's code, words of its message, what the file has beside the rest.
FILES: dict[str, tuple[str, str, Keys]] = {
    "an unknown key": ("CHM234", "ssm.dt_b_c_rms", lambda w: w.add_ssm_dt_b_c_rms(True)),
    "more layers than weights": ("CHM235", "3 of 3 layers guess", lambda w: w.add_nextn_predict_layers(3)),
    "heads that do not share": ("CHM235", "do not share 4 keys", _replaced("ssm.group_count", 4)),
    "a part that is no part": ("CHM235", "34 channels of heads of 32", _replaced("rope.dimension_count", 34)),
    "a convolution of one token": ("CHM234", "conv_kernel is 1", _replaced("ssm.conv_kernel", 1)),
    "more heads than any model has": ("CHM231", "time_step_rank is 1048576", _replaced("ssm.time_step_rank", 1 << 20)),
    "an interval of 0": ("CHM231", "full_attention_interval is 0", _replaced("full_attention_interval", 0)),
}


@pytest.mark.parametrize("name", FILES)
def test_gguf_files_are_refused_with_one_error(name: str, tmp_path: Path) -> None:
    code, words, keys = FILES[name]
    path = write_hybrid(CASES["qwen 3.5"].make(), tmp_path / "model.gguf", "qwen35", keys=keys)
    with pytest.raises(UserError) as caught:
        read_published(open_source(path))
    assert caught.value.code == code, caught.value.message
    assert words in caught.value.message


def test_layers_that_guess_further_tokens_are_left_out_of_gguf_files(tmp_path: Path) -> None:
    def keys(writer: gguf.GGUFWriter) -> None:
        writer.add_nextn_predict_layers(1)
        _replaced("block_count", 4)(writer)
        writer.add_tensor("blk.3.nextn.eh_proj.weight", np.zeros((64, 128), np.float32))

    path = write_hybrid(CASES["qwen 3.5"].make(), tmp_path / "model.gguf", "qwen35", keys=keys)
    published = read_published(open_source(path), Rules("f32"))
    assert published.shape.layers == 3
    assert published.remarks == ("1 tensors left out: what guesses further tokens",)


def test_rows_that_are_in_pieces(tmp_path: Path) -> None:
    """Any part of them is that part of all of them."""
    numbers = np.arange(40 * 256, dtype=np.float32).reshape(40, 256) % 251
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "qwen35")
    for kind in (gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.TQ2_0):
        writer.add_tensor(kind.name, gguf.quants.quantize(numbers, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    tensors = open_source(tmp_path / "m.gguf").tensors
    runs = [(30, 5), (0, 1), (7, 12), (39, 1)]
    order = np.concatenate([np.arange(first, first + count) for first, count in runs])
    for start, end in ((0, 19), (0, 1), (4, 7), (18, 19), (6, 18)):
        found = Gathered(tensors["F32"], runs).floats(start, end)
        assert np.array_equal(found, numbers[order[start:end]])
        codes, scales = Gathered(tensors["TQ2_0"], runs).integers(start, end)
        whole = tensors["TQ2_0"].integers()
        assert np.array_equal(codes, whole[0][order[start:end]])
        assert np.array_equal(scales, whole[1][order[start:end]])
