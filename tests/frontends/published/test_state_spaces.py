"""State spaces: GGUF files give the logits of transformers, steps have bounds, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from published_models import CASES, assert_config_refused, logits_of, save
from torch import nn

from chimerac.compiler.build.published import open_published
from chimerac.compiler.errors import UserError
from chimerac.compiler.verbs.inspect_published import inspect_published
from chimerac.frontends.matrices.rules import Rules
from chimerac.frontends.published.filled import filled
from chimerac.frontends.published.reading import open_source, read_published, shape_of

TOKENS = torch.randint(0, 300, (11,), generator=torch.Generator().manual_seed(4))
#: Of a layer: name of transformers → of llama.cpp.
_NAMES = {
    "norm.weight": "attn_norm.weight",
    "mixer.in_proj.weight": "ssm_in.weight",
    "mixer.conv1d.weight": "ssm_conv1d.weight",
    "mixer.conv1d.bias": "ssm_conv1d.bias",
    "mixer.dt_bias": "ssm_dt.bias",
    "mixer.A_log": "ssm_a",
    "mixer.D": "ssm_d",
    "mixer.norm.weight": "ssm_norm.weight",
    "mixer.out_proj.weight": "ssm_out.weight",
}
_WHOLE = {
    "backbone.embeddings.weight": "token_embd.weight",
    "backbone.norm_f.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    return CASES["mamba 2"].make()


@pytest.fixture(scope="module")
def saved(model: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder without fault."""
    return save(model, tmp_path_factory.mktemp("saved"))


def write(model: nn.Module, path: Path, **other: int) -> Path:
    """A GGUF file as llama.cpp's converter makes it; ``other`` are numbers of its metadata that are otherwise."""
    config: Any = model.config
    inner = config.num_heads * config.head_dim
    numbers = {
        "context_length": 1 << 20,
        "embedding_length": config.hidden_size,
        "feed_forward_length": 0,
        "block_count": config.num_hidden_layers,
        "attention.head_count": 0,
        "ssm.conv_kernel": config.conv_kernel,
        "ssm.inner_size": inner,
        "ssm.state_size": config.state_size,
        "ssm.time_step_rank": config.num_heads,
        "ssm.group_count": config.n_groups,
    }
    writer = gguf.GGUFWriter(path, "mamba2")
    for key, number in (numbers | other).items():
        writer.add_uint32(f"mamba2.{key}", number)
    writer.add_layer_norm_rms_eps(config.layer_norm_epsilon)
    for name, tensor in model.state_dict().items():
        array = tensor.float().numpy()
        its = _WHOLE.get(name, "")
        if not its:
            _, _, layer, rest = name.split(".", 3)
            its = f"blk.{layer}.{_NAMES[rest]}"
            array = {
                "mixer.A_log": lambda a: -np.exp(a)[:, None],
                "mixer.D": lambda a: a[:, None],
                "mixer.conv1d.weight": lambda a: a.squeeze(1),
                "mixer.norm.weight": lambda a: a.reshape(config.n_groups, -1),
            }.get(rest, lambda a: a)(array)
        writer.add_tensor(its, np.ascontiguousarray(array))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_gguf_files_give_the_logits_of_transformers(model: nn.Module, tmp_path: Path) -> None:
    module = filled(read_published(open_source(write(model, tmp_path / "m.gguf")), Rules("f32")), 64).module
    with torch.no_grad():
        mine = module(TOKENS.to(torch.int32), torch.tensor(0, dtype=torch.int32))
    theirs = logits_of(model, TOKENS)
    assert float((mine - theirs).abs().max()) < 1e-5 * float(theirs.max() - theirs.min())


def test_what_inspect_says(saved: Path) -> None:
    said = inspect_published(saved).render()
    assert "2 layers of 64 channels: state spaces of 8 heads of 24 × 16 that share 2 writers and readers" in said
    assert "and a head of its own; texts have no end" in said


def test_a_text_has_no_end_that_could_be_said(saved: Path) -> None:
    with pytest.raises(UserError, match="texts have no end") as caught:
        open_published(saved, context=128)
    assert caught.value.code == "CHM236"


@pytest.mark.parametrize("infinity", ["Infinity", '{"__float__": "Infinity"}'])
def test_bounds_of_steps_as_they_are_written(infinity: str, saved: Path, tmp_path: Path) -> None:
    """By Python's json, and by newer versions of transformers."""
    folder = tmp_path / "model"
    config = json.loads((saved / "config.json").read_text())
    config["time_step_limit"] = [0.25, "HERE"]
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config).replace('"HERE"', infinity))
    (folder / "model.safetensors").write_bytes((saved / "model.safetensors").read_bytes())
    ssm = shape_of(open_source(folder)).ssm
    assert ssm is not None
    assert (ssm.least, ssm.most) == (0.25, None)


#: What is wrong → the error's code, words of its message, what config.json says otherwise.
CONFIGS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "no heads": ("CHM111", "'num_heads'", {"num_heads": None}),
    "heads and channels": ("CHM235", "8 heads of 16 channels are not 192", {"expand": 3}),
    "channels that are said again": ("CHM235", "8 heads of 16 channels are not 96", {"intermediate_size": 96}),
    "groups": ("CHM235", "8 heads do not make 3 groups", {"n_groups": 3}),
    "no norm": ("CHM113", "'rms_norm' can only be true", {"rms_norm": False}),
    "another activation": ("CHM113", "'hidden_act'", {"hidden_act": "gelu"}),
    "an infinite size": ("CHM113", "'expand' is too large", {"expand": float("inf")}),
    "bounds that cross": ("CHM235", "steps of at least 2 and at most 1", {"time_step_limit": [2.0, 1.0]}),
    "one bound": ("CHM112", "must be two numbers", {"time_step_limit": [0.0]}),
    "bounds that are none": ("CHM112", "must be two numbers", {"time_step_limit": [0.0, {"__float__": "NaN"}]}),
    "an unknown key": ("CHM234", "says 'num_experts'", {"num_experts": 2}),
    "BitNet's rules": ("CHM234", "mamba2 of BitNet", {"quantization_config": {"quant_method": "bitnet"}}),
    "other sizes": ("CHM241", "in_proj.weight has shape [360, 64], expected [392, 64]", {"state_size": 32}),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_configs_are_refused_with_one_error(name: str, saved: Path, tmp_path: Path) -> None:
    assert_config_refused(saved, tmp_path / "model", CONFIGS[name])


@pytest.mark.parametrize(
    ("other", "code", "words"),
    [
        ({"attention.head_count": 4}, "CHM234", "attention.head_count is not 0"),
        ({"ssm.group_count": 3}, "CHM235", "8 heads in 3 groups"),
        ({"ssm.time_step_rank": 7}, "CHM235", "128 channels do not make 7 heads"),
        ({"ssm.conv_kernel": 1}, "CHM234", "conv_kernel is 1"),
        ({"ssm.dt_b_c_rms": 1}, "CHM234", "says mamba2.ssm.dt_b_c_rms"),
    ],
    ids=str,
)
def test_metadata_are_refused(other: dict[str, int], code: str, words: str, model: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        read_published(open_source(write(model, tmp_path / "m.gguf", **other)))
    assert caught.value.code == code
    assert words in caught.value.message
