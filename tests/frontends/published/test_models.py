"""Small random models of transformers: our modules of their files give the same logits, in calls cut anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from hybrid_files import write_hybrid
from published_models import CASES, Case, Types, logits_of, plain_types, save, write_gguf
from torch import Tensor
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from chimerac.frontends.matrices.rules import FORMATS, Rules, rules_of
from chimerac.frontends.published.filled import FilledModel, filled
from chimerac.frontends.published.reading import open_source, read_published

TOKENS = torch.randint(0, 300, (40,), generator=torch.Generator().manual_seed(1))
CALLS = (7, 9, 1, 15, 8)


def module_of(path: Path, wanted: str = "f32") -> FilledModel:
    return filled(read_published(open_source(path), Rules(wanted)), context=64)


def logits_in_calls(model: FilledModel, tokens: Tensor = TOKENS) -> Tensor:
    """Logits [T, V] of a text that is cut into calls."""
    found, position = [], 0
    with torch.no_grad():
        for count in CALLS:
            call = tokens[position : position + count].to(torch.int32)
            found.append(model.module(call, torch.tensor(position, dtype=torch.int32)))
            position += count
    assert position == len(tokens)
    return torch.cat(found)


def difference(mine: Tensor, theirs: Tensor) -> float:
    """The largest one, by the range of theirs."""
    return float((mine - theirs).abs().max() / (theirs.max() - theirs.min()))


@pytest.mark.parametrize("name", CASES)
def test_folders_give_the_logits_of_transformers(name: str, tmp_path: Path) -> None:
    model = CASES[name].make()
    mine = module_of(save(model, tmp_path))
    assert mine.whole
    found, theirs = logits_in_calls(mine), logits_of(model, TOKENS)
    assert difference(found, theirs) < (5e-5 if "linear_num_key_heads" in CASES[name].settings else 1e-5)
    assert torch.equal(found.argmax(-1), theirs.argmax(-1))


def test_the_form_of_older_configs(tmp_path: Path) -> None:
    """``rope_theta`` and ``rope_scaling`` beside each other, where newer ones have ``rope_parameters``."""
    model = CASES["llama 3"].make()
    scaling = {"type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    scaling |= {"original_max_position_embeddings": 64}
    save(model, tmp_path, rope_parameters=None, rope_theta=5e5, rope_scaling=scaling)
    assert difference(logits_in_calls(module_of(tmp_path)), logits_of(model, TOKENS)) < 1e-5


#: Architecture of GGUF → what transformers calls it.
ARCHITECTURES = {
    "llama": CASES["llama"],
    "qwen2": CASES["qwen 2"],
    "qwen3": CASES["qwen 3"],
    "smollm3": CASES["smollm 3"],
    "bitnet": Case("BitNet", {"tie_word_embeddings": True, "hidden_act": "silu"}),
    "bitnet-b1.58": CASES["bitnet"],
}


HYBRIDS = {
    "qwen35": CASES["qwen 3.5"],
    "qwen35moe": CASES["qwen 3.5 with experts"],
    "qwen3next": CASES["qwen 3 next"],
    "qwen3moe": CASES["qwen 3 with experts"],
}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gguf_files_give_the_logits_of_transformers(architecture: str, tmp_path: Path) -> None:
    model = ARCHITECTURES[architecture].make()
    mine = module_of(write_gguf(model, tmp_path / "model.gguf", architecture))
    assert difference(logits_in_calls(mine), logits_of(model, TOKENS)) < 1e-5


@pytest.mark.parametrize("architecture", HYBRIDS)
def test_gguf_files_of_hybrids_and_experts(architecture: str, tmp_path: Path) -> None:
    """Heads of values are in another order there, experts in one tensor, and numbers those that the rule needs."""
    model = HYBRIDS[architecture].make()
    mine = module_of(write_hybrid(model, tmp_path / "model.gguf", architecture))
    # transformers takes a text in chunks, which rounds otherwise
    assert difference(logits_in_calls(mine), logits_of(model, TOKENS)) < 5e-5


def test_scales_of_matrices_in_gguf_files(tmp_path: Path) -> None:
    """What llama.cpp multiplies the products of BitNet's first models with."""
    model: Any = ARCHITECTURES["bitnet"].make()
    scaled = {"attn_q": "self_attn.q_proj", "ffn_down": "mlp.down_proj"}

    def keys(writer: gguf.GGUFWriter) -> None:
        for name in scaled:
            writer.add_tensor(f"blk.1.{name}.scale", np.array([1.5], np.float32))

    mine = module_of(write_gguf(model, tmp_path / "model.gguf", "bitnet", keys=keys))
    with torch.no_grad():
        for name in scaled.values():
            model.get_submodule(f"model.layers.1.{name}").weight.mul_(1.5)
    assert difference(logits_in_calls(mine), logits_of(model, TOKENS)) < 1e-5


def _linear(writer: gguf.GGUFWriter) -> None:
    writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
    writer.add_rope_scaling_factor(4.0)


def _yarn(writer: gguf.GGUFWriter) -> None:
    writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    writer.add_rope_scaling_factor(4.0)
    writer.add_rope_scaling_orig_ctx_len(64)


def _factors(writer: gguf.GGUFWriter) -> None:
    """What llama.cpp's converter makes of Llama 3.1's rule: its frequencies as factors of the plain ones."""
    model: Any = CASES["llama 3"].make()
    rotary = LlamaRotaryEmbedding(model.config)
    plain = 5e5 ** -(np.arange(0, 16, 2) / 16)
    writer.add_tensor("rope_freqs.weight", (plain / rotary.inv_freq.numpy()).astype(np.float32))


@pytest.mark.parametrize(
    ("case", "architecture", "keys"),
    [("llama, linear", "llama", _linear), ("qwen 3, yarn", "qwen3", _yarn), ("llama 3", "llama", _factors)],
)
def test_scaled_positions_in_gguf_files(case: str, architecture: str, keys: object, tmp_path: Path) -> None:
    assert callable(keys)
    model = CASES[case].make()
    mine = module_of(write_gguf(model, tmp_path / "model.gguf", architecture, keys=keys))
    assert difference(logits_in_calls(mine), logits_of(model, TOKENS)) < 1e-5


def _in(kind: gguf.GGMLQuantizationType) -> Types:
    """All matrices in a type."""
    return lambda name, tensor: kind if tensor.ndim == 2 else plain_types(name, tensor)


WIDE = Case("Llama", {"hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 8})


@pytest.mark.parametrize("kind", ["TQ2_0", "TQ1_0", "Q8_0", "Q4_0", "BF16"])
def test_gguf_files_of_blocks_are_what_the_gguf_package_reads(kind: str, tmp_path: Path) -> None:
    """The logits are those of the model with the weights that the package dequantises; permuted rows among them."""
    model, quant = WIDE.make(), gguf.GGMLQuantizationType[kind]
    path = write_gguf(model, tmp_path / "model.gguf", "llama", _in(quant))
    published = read_published(open_source(path), Rules("f32"))
    ternary = kind.startswith("TQ")
    assert {str(form.kind) for form in published.forms.values()} == {"ternary" if ternary else "float32"}
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                data = gguf.quants.dequantize(gguf.quants.quantize(parameter.numpy(), quant), quant)
                parameter.copy_(torch.from_numpy(np.array(data)))
    mine, theirs = logits_in_calls(filled(published, 64)), logits_of(model, TOKENS)
    # products of trits take activations of eight bits
    assert difference(mine, theirs) < (0.05 if ternary else 1e-5)
    if ternary:
        kept = filled(published, 64).module.get_parameter("layers.1.mixer.q_proj.weight")
        assert torch.equal(kept, model.get_parameter("model.layers.1.self_attn.q_proj.weight"))


@pytest.mark.parametrize(("wanted", "near"), [("int8", 0.05), ("bf16", 0.05), ("f16", 0.005)])
def test_floats_become_what_is_wanted(wanted: str, near: float, tmp_path: Path) -> None:
    model = WIDE.make()
    mine = module_of(save(model, tmp_path), wanted)
    kinds = {form.kind for form in read_published(open_source(tmp_path), Rules(wanted)).forms.values()}
    assert kinds == {FORMATS[wanted]}
    assert difference(logits_in_calls(mine), logits_of(model, TOKENS)) < near


def test_patterns_fit_all_names_of_a_matrix(tmp_path: Path) -> None:
    """Those of the module, of folders and of GGUF files, whichever it is read from."""
    save(WIDE.make(), tmp_path)
    given = ["auto", "layers.0.*=int8", "model.layers.1.self_attn.*=bf16", "blk.1.ffn_*=ternary", "lm_head*=f16"]
    forms = read_published(open_source(tmp_path), rules_of(given)).forms
    kinds = {name: form.kind for name, form in forms.items()}
    assert {kind for name, kind in kinds.items() if name.startswith("layers.0.")} == {"int8"}
    assert {kind for name, kind in kinds.items() if name.startswith("layers.1.mixer.")} == {"bfloat16"}
    assert {kind for name, kind in kinds.items() if name.startswith("layers.1.ffn.")} == {"ternary"}
    tied = "head.weight" not in kinds
    assert kinds["embedding.weight" if tied else "head.weight"] == "float16"
    assert tied or kinds["embedding.weight"] == "float32"


def test_a_large_model_is_read_when_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chimerac.frontends.published.filled.MOST_IN_MEMORY", 1000)
    monkeypatch.setattr("chimerac.frontends.matrices.matrix.PART", 1000)
    model = WIDE.make()
    path = write_gguf(model, tmp_path / "model.gguf", "llama", _in(gguf.GGMLQuantizationType.F16))
    found = module_of(path)
    assert not found.whole
    for name, theirs in (
        ("layers.0.mixer.k_proj.weight", "self_attn.k_proj"),
        ("layers.0.ffn.up_proj.weight", "mlp.up_proj"),
    ):
        parts = list(found.computed[name]())
        assert len(parts) > 1
        expected = model.get_parameter(f"model.layers.0.{theirs}.weight").half().float()
        assert np.array_equal(np.concatenate(parts), expected.detach().numpy())
        assert not found.module.get_parameter(name).any()
