"""What is not supported, not known, or contradictory in a model of others is refused with one error that says so, and
nothing is written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from published_models import CASES, change_config, save, write_gguf
from safetensors.torch import load_file, save_file

from chimerac.compiler.build.build import build
from chimerac.compiler.errors import UserError
from chimerac.frontends.published.reading import open_source, shape_of
from chimerac.frontends.sources.recognised import is_published
from chimerac.runtime.reference.tokenizer import byte_tokenizer, write_tokenizer


def refused(path: Path) -> UserError:
    """The one error of a build, which leaves nothing behind."""
    out, table = path.parent / "dist", path.parent / "bytes.tokenizer"
    write_tokenizer(table, byte_tokenizer(300))
    before = sorted(path.parent.rglob("*"))
    with pytest.raises(UserError) as caught:
        build(path, targets=["onnx"], out=out, tokenizer=table)
    assert sorted(path.parent.rglob("*")) == before
    return caught.value


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a model without fault."""
    torch.manual_seed(0)
    return save(CASES["llama"].make(), tmp_path_factory.mktemp("saved"))


def rope(**keys: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_theta": 1e4} | keys}


LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
BITNET = {"quant_method": "bitnet"}

#: What is wrong → the error's code, words of its message, what config.json says otherwise.
CONFIGS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "another model": ("CHM234", "'mixtral' are not supported", {"model_type": "mixtral"}),
    "no model": ("CHM231", "has no model_type", {"model_type": None}),
    "experts": ("CHM234", "says 'num_local_experts'", {"num_local_experts": 8}),
    "an unknown key": ("CHM234", "says 'logit_scale'", {"logit_scale": 0.5}),
    "a key of another kind": ("CHM234", "says 'no_rope_layers'", {"no_rope_layers": [1, 1]}),
    "windows of llama": ("CHM234", "says 'sliding_window'", {"sliding_window": 64}),
    "layers of another type": (
        "CHM234",
        "'linear_attention' is not supported",
        {"model_type": "qwen3", "layer_types": ["full_attention", "linear_attention"], "mlp_bias": None},
    ),
    "too few layer types": (
        "CHM235",
        "1 of 2 layers",
        {"model_type": "qwen3", "layer_types": ["full_attention"], "mlp_bias": None},
    ),
    "no size": ("CHM111", "'hidden_size'", {"hidden_size": None}),
    "a size that is a text": ("CHM112", "'hidden_size'", {"hidden_size": "64"}),
    "a size of 0": ("CHM113", "'num_hidden_layers'", {"num_hidden_layers": 0}),
    "a size of 2**40": ("CHM113", "'vocab_size'", {"vocab_size": 1 << 40}),
    "heads that do not share": ("CHM235", "4 heads do not share 3 keys", {"num_key_value_heads": 3}),
    "channels that make no heads": (
        "CHM235",
        "do not make 5 heads",
        {"num_attention_heads": 5, "num_key_value_heads": 5, "head_dim": None},
    ),
    "odd heads": ("CHM235", "have no pairs", {"head_dim": 15}),
    "another activation": ("CHM234", "'gelu' is not supported", {"hidden_act": "gelu"}),
    "an encoder": ("CHM113", "'is_encoder_decoder'", {"is_encoder_decoder": True}),
    "positions of another type": ("CHM234", "'longrope' is not supported", rope(rope_type="longrope")),
    "dynamic positions": ("CHM234", "'dynamic' is not supported", rope(rope_type="dynamic", factor=2.0)),
    "an unknown key of positions": ("CHM110", "'short_factor'", rope(short_factor=2.0)),
    "partial rotation": ("CHM234", "partial_rotary_factor of 0.5", rope(partial_rotary_factor=0.5)),
    "linear without a factor": ("CHM111", "'rope_parameters.factor' is missing", rope(rope_type="linear")),
    "llama3 without a bound": ("CHM111", "low_freq_factor", rope(rope_type="llama3", factor=2.0)),
    "llama3 upside down": ("CHM235", "is not below", rope(**LLAMA3 | {"low_freq_factor": 4.0})),
    "two types of positions": ("CHM235", "'linear' and 'yarn'", rope(rope_type="yarn", type="linear", factor=2.0)),
    "two bases": ("CHM235", "there twice", rope() | {"rope_theta": 5e5}),
    "an epsilon of 0": ("CHM113", "'rms_norm_eps'", {"rms_norm_eps": 0.0}),
    "quantised by others": ("CHM234", "'gptq' are not supported", {"quantization_config": {"quant_method": "gptq"}}),
    "quantised by nobody": ("CHM234", "no quant_method", {"quantization_config": {"bits": 4}}),
    "a quantisation that is a text": ("CHM112", "must be an object", {"quantization_config": "bitnet"}),
    "an unknown class of BitNet": ("CHM113", "linear_class", {"quantization_config": BITNET | {"linear_class": "x"}}),
    "an unknown key of BitNet": ("CHM110", "'rotated'", {"quantization_config": BITNET | {"rotated": True}}),
    "a projection apart": (
        "CHM234",
        "'model.layers.0'",
        {"quantization_config": BITNET | {"modules_to_not_convert": ["lm_head", "model.layers.0"]}},
    ),
    "weights that are not packed": ("CHM241", "expected U8", {"quantization_config": BITNET}),
    "another size than the weights": ("CHM241", "expected [300, 128]", {"hidden_size": 128}),
    "more layers than weights": ("CHM241", "missing model.layers.2.input_layernorm.weight", {"num_hidden_layers": 3}),
    "fewer layers than weights": ("CHM241", "unexpected model.layers.1.", {"num_hidden_layers": 1}),
    "biases that are not there": ("CHM241", "missing model.layers.0.self_attn.q_proj.bias", {"attention_bias": True}),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_configs_are_refused_with_one_error(name: str, saved: Path, tmp_path: Path) -> None:
    code, words, changes = CONFIGS[name]
    folder = tmp_path / "model"
    shutil.copytree(saved, folder)
    change_config(folder, **changes)
    error = refused(folder)
    assert error.code == code, error.message
    assert words in error.message
    assert (error.span is not None) == (code != "CHM241")
    assert "model" in error.render()


def _bad_type(tensors: dict[str, torch.Tensor]) -> None:
    tensors["model.norm.weight"] = tensors["model.norm.weight"].to(torch.int32)


def _renamed(tensors: dict[str, torch.Tensor]) -> None:
    tensors["model.norms.weight"] = tensors.pop("model.norm.weight")


def _another(tensors: dict[str, torch.Tensor]) -> None:
    tensors["model.layers.0.mlp.router.weight"] = torch.zeros(8, 64)


def _scale(tensors: dict[str, torch.Tensor]) -> None:
    tensors["model.layers.0.mlp.up_proj.weight_scale"] = torch.ones(1)


TENSORS: dict[str, tuple[str, Callable[[dict[str, torch.Tensor]], None]]] = {
    "integers": ("model.norm.weight has type I32, expected F32 or", _bad_type),
    "another name": ("unexpected model.norms.weight (did you mean 'model.norm.weight'?)", _renamed),
    "one more": ("unexpected model.layers.0.mlp.router.weight", _another),
    "a scale that no config tells of": ("unexpected model.layers.0.mlp.up_proj.weight_scale", _scale),
}


@pytest.mark.parametrize("name", TENSORS)
def test_tensors_that_do_not_fit(name: str, saved: Path, tmp_path: Path) -> None:
    words, change = TENSORS[name]
    folder = tmp_path / "model"
    shutil.copytree(saved, folder)
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    error = refused(folder)
    assert error.code == "CHM241"
    assert words in error.message


def test_windows_bound_the_context(saved: Path, tmp_path: Path) -> None:
    """Up to a window's positions attention with it is attention without."""
    for model_type, keys, context in (
        ("mistral", {"sliding_window": 64}, 64),
        ("mistral", {}, 256),  # less than the window of those that say nothing, 4096
        ("qwen2", {"sliding_window": 64, "use_sliding_window": True}, 64),
        ("qwen2", {"sliding_window": 64, "use_sliding_window": False}, 256),
    ):
        folder = tmp_path / model_type
        shutil.copytree(saved, folder, dirs_exist_ok=True)
        change_config(folder, model_type=model_type, attention_bias=None, mlp_bias=None, **keys)
        assert shape_of(open_source(folder)).context == context


Keys = Callable[[gguf.GGUFWriter], None]


def _long(writer: gguf.GGUFWriter) -> None:
    writer.add_rope_scaling_type(gguf.RopeScalingType.LONGROPE)
    writer.add_rope_scaling_factor(2.0)


def _twice(writer: gguf.GGUFWriter) -> None:
    writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
    writer.add_rope_scaling_factor(2.0)
    writer.add_tensor("rope_freqs.weight", np.ones(8, np.float32))


#: What is wrong → the error's code, words of its message, what the file has beside the rest.
FILES: dict[str, tuple[str, str, Keys]] = {
    "experts": ("CHM234", "llama.expert_count", lambda w: w.add_expert_count(8)),
    "another rotated basis": ("CHM234", "version is '2'", lambda w: w.add_uint32("prism.hadamard.version", 2)),
    "keys of another architecture": ("CHM234", "qwen2.block_count", lambda w: w.add_uint32("qwen2.block_count", 2)),
    "a soft cap": ("CHM234", "attn_logit_softcapping", lambda w: w.add_attn_logit_softcapping(30.0)),
    "positions of another type": (
        "CHM234",
        "'longrope'",
        _long,
    ),
    "scaling without a factor": (
        "CHM231",
        "scaling.factor",
        lambda w: w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR),
    ),
    "scaling twice": ("CHM235", "rope_freqs.weight and", _twice),
    "factors of another size": (
        "CHM241",
        "expected [8]",
        lambda w: w.add_tensor("rope_freqs.weight", np.ones(7, np.float32)),
    ),
    "factors of 0": ("CHM242", "do not stretch", lambda w: w.add_tensor("rope_freqs.weight", np.zeros(8, np.float32))),
    "partial rotation": ("CHM234", "rope.dimension_count is 8", lambda w: w.add_rope_dimension_count(8)),
    "values of another width": ("CHM234", "value_length is 8", lambda w: w.add_value_length(8)),
    "a scale where there are none": (
        "CHM241",
        "unexpected blk.0.attn_q.scale",
        lambda w: w.add_tensor("blk.0.attn_q.scale", np.ones(1, np.float32)),
    ),
    "one more tensor": ("CHM241", "unexpected x", lambda w: w.add_tensor("x", np.ones(8, np.float32))),
}


@pytest.mark.parametrize("name", FILES)
def test_gguf_files_are_refused_with_one_error(name: str, tmp_path: Path) -> None:
    code, words, keys = FILES[name]
    model = CASES["llama"].make()
    model.config.head_dim = None  # type: ignore[union-attr]
    path = write_gguf(model, tmp_path / "model.gguf", "llama", keys=keys)
    error = refused(path)
    assert error.code == code, error.message
    assert words in error.message
    assert str(path) in error.message


def test_an_architecture_of_gguf_that_is_not_known(tmp_path: Path) -> None:
    path = write_gguf(CASES["llama"].make(), tmp_path / "model.gguf", "gemma")
    error = refused(path)
    assert error.code == "CHM234"
    assert "'gemma' are not supported" in error.message


def test_what_is_taken_for_a_model(saved: Path, tmp_path: Path) -> None:
    path = write_gguf(CASES["llama"].make(), tmp_path / "any.name", "llama")
    assert is_published(saved)
    assert is_published(path)
    (tmp_path / "config.chimera").write_text("{}")
    assert not is_published(tmp_path / "config.chimera")
    assert not is_published(tmp_path)
    assert not is_published(tmp_path / "none")


@pytest.mark.parametrize("part", [0.001, 0.5, 0.999])
def test_files_that_are_cut_short_leave_nothing(part: float, saved: Path, tmp_path: Path) -> None:
    path = write_gguf(CASES["llama"].make(), tmp_path / "model.gguf", "llama")
    folder = tmp_path / "folder"
    shutil.copytree(saved, folder)
    for file in (path, folder / "model.safetensors"):
        with file.open("r+b") as opened:
            opened.truncate(int(file.stat().st_size * part))
    assert refused(path).code in ("CHM231", "CHM232")
    assert refused(folder).code in ("CHM232", "CHM240")
