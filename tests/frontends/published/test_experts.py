"""Experts: how files have them, what becomes of their matrices, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from hybrid_files import write_hybrid
from published_models import CASES, Case, assert_config_refused, logits_of, plain_types, save
from safetensors.torch import load_file, save_file
from torch import Tensor

from chimerac.compiler.errors import UserError
from chimerac.compiler.verbs.inspect_published import inspect_published
from chimerac.frontends.matrices.rules import Rules
from chimerac.frontends.published.filled import FilledModel, filled
from chimerac.frontends.published.reading import open_source, read_published

TOKENS = torch.randint(0, 300, (9,), generator=torch.Generator().manual_seed(4))
GATE = "layers.0.ffn.gate_proj.weight"
#: As wide as blocks of ternary types are.
WIDE = Case(
    "Qwen3Moe",
    {
        "head_dim": 32,
        "hidden_size": 256,
        "norm_topk_prob": True,
        "num_experts": 3,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 256,
    },
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of experts without fault, one of all tokens among them."""
    torch.manual_seed(0)
    return save(CASES["qwen 3.5 with experts"].make(), tmp_path_factory.mktemp("saved"))


def logits(model: FilledModel) -> Tensor:
    with torch.no_grad():
        found: Tensor = model.module(TOKENS.to(torch.int32), torch.tensor(0, dtype=torch.int32))
    return found


def read(path: Path) -> FilledModel:
    return filled(read_published(open_source(path), Rules("f32")), 64)


def change(folder: Path, tensors: dict[str, Tensor]) -> None:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")


def test_all_experts_of_a_layer_in_one_tensor(saved: Path, tmp_path: Path) -> None:
    """As folders of Qwen 3.5 on the hub have them; the same model."""
    folder = tmp_path / "model"
    shutil.copytree(saved, folder)
    tensors = load_file(folder / "model.safetensors")
    for layer in range(3):
        start = f"model.layers.{layer}.mlp.experts."
        sides: dict[str, list[Tensor]] = {
            side: [tensors.pop(f"{start}{expert}.{side}_proj.weight") for expert in range(5)]
            for side in ("gate", "up", "down")
        }
        tensors[f"{start}gate_up_proj"] = torch.cat([torch.stack(sides["gate"]), torch.stack(sides["up"])], dim=1)
        tensors[f"{start}down_proj"] = torch.stack(sides["down"])
    change(folder, tensors)
    assert torch.equal(logits(read(folder)), logits(read(saved)))


@pytest.mark.parametrize("kind", ["TQ2_0", "Q8_0"])
def test_experts_in_blocks_are_what_the_gguf_package_reads(kind: str, tmp_path: Path) -> None:
    model, quant = WIDE.make(), gguf.GGMLQuantizationType[kind]

    def types(name: str, tensor: np.ndarray) -> gguf.GGMLQuantizationType:
        return quant if tensor.ndim == 3 else plain_types(name, tensor)

    path = write_hybrid(model, tmp_path / "model.gguf", "qwen3moe", types)
    published = read_published(open_source(path), Rules("f32"))
    assert published.forms[GATE].kind == ("ternary" if kind == "TQ2_0" else "float32")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 3:
                halves = parameter.chunk(2, dim=1) if parameter.shape[1] == 512 else (parameter,)
                for half in halves:
                    flat = np.ascontiguousarray(half.numpy())
                    half.copy_(
                        torch.from_numpy(np.array(gguf.quants.dequantize(gguf.quants.quantize(flat, quant), quant)))
                    )
    found = filled(published, 64)
    theirs = logits_of(model, TOKENS)
    # products of trits take activations of eight bits
    assert float((logits(found) - theirs).abs().max() / (theirs.max() - theirs.min())) < (
        0.05 if kind == "TQ2_0" else 1e-5
    )
    fused = model.get_parameter("model.layers.0.mlp.experts.gate_up_proj")[:, :256]
    assert torch.equal(found.module.get_parameter(GATE), fused)


def test_experts_that_are_ternary_keep_their_numbers(tmp_path: Path) -> None:
    """With float16 scales; others are taken for floats, for experts have no factors."""
    model = WIDE.make()
    generator = np.random.default_rng(5)
    numbers = {"model.layers.0": np.float32(0.25), "model.layers.1": np.float32(0.1)}
    save(model, tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    for start, scale in numbers.items():
        for expert in range(3):
            trits = generator.integers(-1, 2, (256, 256)).astype(np.float32)
            tensors[f"{start}.mlp.experts.{expert}.gate_proj.weight"] = torch.from_numpy(trits * scale)
    change(tmp_path, tensors)
    published = read_published(open_source(tmp_path), Rules("int8"))
    assert published.forms[GATE].kind == "ternary"
    assert published.forms["layers.1.ffn.gate_proj.weight"].kind == "int8"
    assert any("ternary with scales that float16 has not" in line for line in inspect_published(tmp_path).becomes)


def test_a_large_model_is_read_when_it_is_needed(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read(saved).module.get_parameter(GATE)
    monkeypatch.setattr("chimerac.frontends.published.filled.MOST_IN_MEMORY", 1000)
    monkeypatch.setattr("chimerac.frontends.matrices.matrix.PART", 2000)
    found = read(saved)
    parts = list(found.computed[GATE]())
    assert len(parts) == 5
    assert torch.equal(torch.from_numpy(np.concatenate(parts)), whole)


def test_what_inspect_says(saved: Path) -> None:
    assert "5 experts of 40 channels, 2 a token, and one of 48 for all" in inspect_published(saved).render()


#: What is wrong → the error's code, words of its message, what config.json says otherwise.
CONFIGS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "no number of experts": ("CHM111", "'num_experts'", {"num_experts": None}),
    "two numbers of experts": ("CHM235", "there twice", {"num_local_experts": 4}),
    "more experts than there are": ("CHM235", "visits 6 of 5 experts", {"num_experts_per_tok": 6}),
    "no size of experts": ("CHM111", "'moe_intermediate_size'", {"moe_intermediate_size": None}),
    "no size of the one for all": ("CHM111", "'shared_expert", {"shared_expert_intermediate_size": None}),
    "layers without experts, and no size": (
        "CHM111",
        "'intermediate_size'",
        {"mlp_only_layers": [1], "intermediate_size": None},
    ),
    "another activation": ("CHM234", "another activation", {"hidden_act": "relu2"}),
    "BitNet's rules": ("CHM234", "experts of BitNet", {"quantization_config": {"quant_method": "bitnet"}}),
    "far more experts": (
        "CHM241",
        "far fewer than the model",
        {"num_experts": 1 << 14, "layer_types": None, "num_hidden_layers": 1 << 10},
    ),
    "more experts": ("CHM241", "missing model.layers.0.mlp.experts.5.gate_proj.weight", {"num_experts": 6}),
    "fewer experts": ("CHM241", "unexpected model.layers.0.mlp.experts.4.", {"num_experts": 4}),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_configs_are_refused_with_one_error(name: str, saved: Path, tmp_path: Path) -> None:
    assert_config_refused(saved, tmp_path / "model", CONFIGS[name])


def test_experts_of_different_types(saved: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(saved, folder)
    tensors = load_file(folder / "model.safetensors")
    name = "model.layers.1.mlp.experts.3.up_proj.weight"
    change(folder, {**tensors, name: tensors[name].half()})
    with pytest.raises(UserError, match="have the types F16, F32") as caught:
        read_published(open_source(folder))
    assert caught.value.code == "CHM241"


def test_a_gguf_file_with_more_chosen_experts_than_there_are(tmp_path: Path) -> None:
    model = WIDE.make()
    model.config.num_experts_per_tok = 4  # type: ignore[union-attr]
    path = write_hybrid(model, tmp_path / "model.gguf", "qwen3moe")
    with pytest.raises(UserError, match="visits 4 of 3 experts") as caught:
        read_published(open_source(path))
    assert caught.value.code == "CHM235"


def test_activations_with_a_scale_for_a_row(saved: Path) -> None:
    with pytest.raises(UserError, match="activations of experts") as caught:
        read_published(open_source(saved), activations="row")
    assert caught.value.code == "CHM236"
