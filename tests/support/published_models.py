"""Small random models as others publish them: folders of transformers, GGUF files that the gguf package writes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import gguf
import numpy as np
import pytest
import torch
import transformers
from torch import Tensor, nn

with patch.object(torch, "compile", lambda function: function):  # which would compile each of these layers
    from transformers.integrations import bitnet as bitnet

from chimerac.compiler.errors import UserError
from chimerac.frontends.published.reading import open_source, read_published

SIZES: Mapping[str, int] = {
    "vocab_size": 300,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 5e5,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
LINEAR = {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 64}
YARN_TUNED = YARN | {"beta_fast": 24.0, "beta_slow": 2.0, "mscale": 0.8, "mscale_all_dim": 1.2, "truncate": False}
#: Convolutions and attention in turns; the network is two thirds of 96 channels, rounded up.
LFM2 = {
    "num_hidden_layers": 3,
    "layer_types": ["conv", "full_attention", "conv"],
    "block_multiple_of": 16,
    "rope_parameters": {"rope_theta": 1e6, "rope_type": "default"},
}
ABSENT = "absent"  #: in place of a size that a kind of models has not
#: State spaces.
MAMBA2: dict[str, Any] = {
    "intermediate_size": ABSENT,
    "num_attention_heads": ABSENT,
    "num_key_value_heads": ABSENT,
    "max_position_embeddings": ABSENT,
    "num_heads": 8,
    "head_dim": 16,
    "state_size": 24,
    "n_groups": 2,
}
XLSTM = {name: size for name, size in MAMBA2.items() if size == ABSENT} | {"num_heads": 4, "hidden_size": 128}
EXPERTS = {"num_experts": 5, "num_experts_per_tok": 2, "moe_intermediate_size": 40}
SHARED = EXPERTS | {"shared_expert_intermediate_size": 48}
YARN_IN_PART = YARN | {"partial_rotary_factor": 0.5}
#: Three heads of values for each of keys; attention in every other layer.
HYBRID = {
    "num_hidden_layers": 3,
    "head_dim": 32,
    "full_attention_interval": 2,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 6,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 24,
    "tie_word_embeddings": True,
}


@dataclass(frozen=True)
class Case:
    """A kind of model with what its config says beside the sizes."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    config: str = ""  #: of the class, where it is not called like the model

    def make(self) -> nn.Module:
        """A model of transformers with seeded weights, in float32, with eager attention."""
        config_type = getattr(transformers, f"{self.config or self.name}Config")
        tokens = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
        said = {name: value for name, value in {**SIZES, **tokens, **self.settings}.items() if value != ABSENT}
        model: Any = getattr(transformers, f"{self.name}ForCausalLM")(config_type(**said))
        model = model.float().eval()
        if "num_attention_heads" in said:
            model.set_attn_implementation("eager")
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(torch.randn_like(parameter) * 0.1 + (1.0 if parameter.ndim == 1 else 0.0))
        made: nn.Module = model
        return made


CASES: Mapping[str, Case] = {
    "llama": Case("Llama"),
    "llama with biases": Case("Llama", {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}),
    "llama 3": Case("Llama", {"rope_parameters": LLAMA3}),
    "llama, linear": Case("Llama", {"rope_parameters": LINEAR}),
    "mistral": Case("Mistral", {"sliding_window": None, "head_dim": 24}),
    "qwen 2": Case("Qwen2"),
    "qwen 3": Case("Qwen3", {"head_dim": 32, "tie_word_embeddings": True}),
    "qwen 3, yarn": Case("Qwen3", {"head_dim": 32, "rope_parameters": YARN}),
    "qwen 3, yarn of another kind": Case("Qwen3", {"head_dim": 32, "rope_parameters": YARN_TUNED}),
    "smollm 3": Case("SmolLM3", {"num_hidden_layers": 4}),
    "bitnet": Case("BitNet", {"tie_word_embeddings": True}),
    "qwen 3.5": Case("Qwen3_5", HYBRID, "Qwen3_5Text"),
    "lfm 2": Case("Lfm2", LFM2),
    "qwen 3 with experts": Case("Qwen3Moe", EXPERTS | {"head_dim": 32, "norm_topk_prob": True}),
    "qwen 3 with some experts": Case("Qwen3Moe", EXPERTS | {"num_hidden_layers": 3, "decoder_sparse_step": 2}),
    "qwen 3 next": Case("Qwen3Next", HYBRID | SHARED),
    "qwen 3.5 with experts": Case("Qwen3_5Moe", HYBRID | SHARED, "Qwen3_5MoeText"),
    "mamba 2": Case("Mamba2", MAMBA2),
    "mamba 2 with biases": Case(
        "Mamba2", MAMBA2 | {"use_bias": True, "tie_word_embeddings": True, "time_step_limit": (0.4, 1.5)}
    ),
    "xlstm": Case("xLSTM", XLSTM),
    "qwen 3.5, yarn": Case("Qwen3_5", HYBRID | {"rope_parameters": YARN_IN_PART}, "Qwen3_5Text"),
}


def save(model: nn.Module, folder: Path, **settings: Any) -> Path:
    """A folder of a model; ``settings`` change its config.json, None removes a key."""
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    saving: Any = model
    saving.save_pretrained(folder)
    if settings:
        change_config(folder, **settings)
    return folder


def change_config(folder: Path, **settings: Any) -> None:
    """Keys of its config.json changed; None removes one."""
    file = folder / "config.json"
    config = json.loads(file.read_text()) | settings
    file.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


#: The code of an error, words of its message, and what the config says otherwise.
Refusal = tuple[str, str, dict[str, Any]]


def assert_config_refused(saved: Path, folder: Path, refusal: Refusal) -> None:
    """A copy of a saved model with another config is refused with one error."""
    code, words, changes = refusal
    shutil.copytree(saved, folder)
    change_config(folder, **changes)
    with pytest.raises(UserError) as caught:
        read_published(open_source(folder))
    assert caught.value.code == code, caught.value.message
    assert words in caught.value.message


def logits_of(model: nn.Module, tokens: Tensor) -> Tensor:
    """Of a whole text by a model of transformers: [T, V]."""
    with torch.no_grad():
        found: Tensor = model(tokens[None]).logits[0]
    return found


#: Of a layer: name of transformers → of llama.cpp.
_LAYER = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "self_attn.attn_sub_norm": "attn_sub_norm",
    "mlp.ffn_sub_norm": "ffn_sub_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_WHOLE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}

#: Given a name of transformers and the tensor: names of llama.cpp, "" for the usual one, and tensors.
Converted = Callable[[str, np.ndarray], Iterable[tuple[str, np.ndarray]]]
#: Given the name in the file and the tensor: the tensor.
Turned = Callable[[str, np.ndarray], np.ndarray]
#: Given the name in the file and the tensor: the type that it is written in.
Types = Callable[[str, np.ndarray], gguf.GGMLQuantizationType]


def plain_types(name: str, tensor: np.ndarray) -> gguf.GGMLQuantizationType:
    """Everything in float32."""
    return gguf.GGMLQuantizationType.F32


def write_gguf(
    model: nn.Module,
    path: Path,
    architecture: str,
    types: Types = plain_types,
    keys: Callable[[gguf.GGUFWriter], None] = lambda writer: None,
    converted: Converted = lambda name, array: [("", array)],
    turned: Turned = lambda name, array: array,
    late: Callable[[gguf.GGUFWriter], None] = lambda writer: None,
) -> Path:
    """A GGUF file of a model of transformers, as llama.cpp's converter makes it.

    Args:
        keys: writes more metadata.
        converted: what becomes of a tensor before all else, with a name of llama.cpp where it has one of its own.
        turned: what becomes of a tensor at last.
        late: writes metadata once all tensors are known.
    """
    config: Any = model.config
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    if hasattr(config, "intermediate_size"):
        writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    if getattr(config, "head_dim", None):
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
    keys(writer)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        for own, array in converted(name, tensor.float().numpy()):
            _add(writer, own or _gguf_name(name), array, architecture, config, types, turned)
    late(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add(
    writer: gguf.GGUFWriter,
    theirs: str,
    array: np.ndarray,
    architecture: str,
    config: Any,
    types: Types,
    turned: Turned,
) -> None:
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}.get(theirs.split(".")[-2])
    if heads and architecture in ("llama", "smollm3"):  # whose converter interleaves the halves of each head
        halves = array.reshape(heads, 2, -1, *array.shape[1:])
        array = np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(array.shape)
    array = turned(theirs, array)
    kind = types(theirs, array)
    writer.add_tensor(theirs, gguf.quants.quantize(array, kind), raw_dtype=kind)


def _gguf_name(name: str) -> str:
    module, _, what = name.rpartition(".")
    if module in _WHOLE:
        return f"{_WHOLE[module]}.{what}"
    _, _, layer, rest = module.split(".", 3)
    return f"blk.{layer}.{_LAYER[rest]}.{what}"
