"""GGUF files of hybrids and of experts as llama.cpp's converter makes them: other names, orders, and numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from published_models import Turned, Types, plain_types, write_gguf
from torch import nn

#: Of a layer: name of transformers → of llama.cpp.
_NAMES = {
    "linear_attn.in_proj_qkv.weight": "attn_qkv.weight",
    "linear_attn.in_proj_z.weight": "attn_gate.weight",
    "linear_attn.in_proj_b.weight": "ssm_beta.weight",
    "linear_attn.in_proj_a.weight": "ssm_alpha.weight",
    "linear_attn.conv1d.weight": "ssm_conv1d.weight",
    "linear_attn.A_log": "ssm_a",
    "linear_attn.dt_bias": "ssm_dt.bias",
    "linear_attn.norm.weight": "ssm_norm.weight",
    "linear_attn.out_proj.weight": "ssm_out.weight",
    "linear_attn.in_proj_ba.weight": "ssm_ba.weight",
    "mlp.gate.weight": "ffn_gate_inp.weight",
    "mlp.experts.down_proj": "ffn_down_exps.weight",
    "mlp.shared_expert.gate_proj.weight": "ffn_gate_shexp.weight",
    "mlp.shared_expert.up_proj.weight": "ffn_up_shexp.weight",
    "mlp.shared_expert.down_proj.weight": "ffn_down_shexp.weight",
    "mlp.shared_expert_gate.weight": "ffn_gate_inp_shexp.weight",
}


def write_hybrid(
    model: nn.Module,
    path: Path,
    architecture: str,
    types: Types = plain_types,
    keys: Callable[[gguf.GGUFWriter], None] = lambda writer: None,
    *,
    turned: Turned = lambda name, tensor: tensor,
    late: Callable[[gguf.GGUFWriter], None] = lambda writer: None,
    grouped_out: bool = False,
) -> Path:
    """A GGUF file of a hybrid or of a mixture of transformers; parameters as of ``write_gguf``.

    Args:
        turned: what becomes of a tensor at last, by its name in the file.
        late: writes metadata once all tensors are known.
        grouped_out: out projections keep the order of transformers.
    """
    config: Any = model.config
    hybrid = hasattr(config, "linear_conv_kernel_dim")

    def more(writer: gguf.GGUFWriter) -> None:
        if hasattr(config, "num_experts"):
            writer.add_expert_count(config.num_experts)
            writer.add_expert_used_count(config.num_experts_per_tok)
            writer.add_expert_feed_forward_length(config.moe_intermediate_size)
        if hybrid:
            add_delta(writer)
        keys(writer)

    def add_delta(writer: gguf.GGUFWriter) -> None:
        if hasattr(config, "shared_expert_intermediate_size"):
            writer.add_expert_shared_feed_forward_length(config.shared_expert_intermediate_size)
        writer.add_ssm_conv_kernel(config.linear_conv_kernel_dim)
        writer.add_ssm_state_size(config.linear_key_head_dim)
        writer.add_ssm_group_count(config.linear_num_key_heads)
        writer.add_ssm_time_step_rank(config.linear_num_value_heads)
        writer.add_ssm_inner_size(config.linear_num_value_heads * config.linear_value_head_dim)
        writer.add_full_attention_interval(2)
        writer.add_rope_dimension_count(int(config.head_dim * config.rope_parameters["partial_rotary_factor"]))
        writer.add_rope_dimension_sections([2, 1, 1, 0])

    def converted(name: str, array: np.ndarray) -> Iterable[tuple[str, np.ndarray]]:
        return _converted(config, name, array, grouped_out)

    return write_gguf(model, path, architecture, types, more, converted, turned, late)


def _converted(config: Any, name: str, array: np.ndarray, grouped_out: bool) -> Iterator[tuple[str, np.ndarray]]:
    layer, _, rest = name.removeprefix("model.layers.").partition(".")
    hybrid = hasattr(config, "linear_conv_kernel_dim")
    if hybrid and name.endswith("norm.weight") and rest != "linear_attn.norm.weight":
        array = array + 1
    if rest.endswith("A_log"):
        array = -np.exp(array)
    if rest.endswith("conv1d.weight"):
        array = array.squeeze(1)
    if rest.endswith("shared_expert_gate.weight"):
        array = array.squeeze(0)
    if rest.endswith("gate_up_proj"):
        width = config.moe_intermediate_size
        yield f"blk.{layer}.ffn_gate_exps.weight", np.ascontiguousarray(array[:, :width])
        yield f"blk.{layer}.ffn_up_exps.weight", np.ascontiguousarray(array[:, width:])
        return
    if rest.endswith("in_proj_qkvz.weight"):
        qkv, z = _apart(config, array)
        yield f"blk.{layer}.attn_qkv.weight", qkv
        yield f"blk.{layer}.attn_gate.weight", z
        return
    kept = grouped_out and rest == "linear_attn.out_proj.weight"
    if rest.startswith("linear_attn.") and not config.model_type.startswith("qwen3_next") and not kept:
        array = _tiled(config, rest.split(".")[1], array)
    own = _NAMES.get(rest, "")
    if hybrid and rest == "post_attention_layernorm.weight":
        own = "post_attention_norm.weight"
    yield (f"blk.{layer}.{own}" if own else "", array)


def _apart(config: Any, array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Queries of all heads, keys of all, values of all; and z: of what is together for each head of keys."""
    groups, width = config.linear_num_key_heads, config.linear_key_head_dim
    inner = config.linear_num_value_heads // groups * config.linear_value_head_dim
    heads = array.reshape(groups, 2 * (width + inner), -1)
    cuts = np.split(heads, [width, 2 * width, 2 * width + inner], axis=1)
    q, k, v, z = (np.ascontiguousarray(cut).reshape(-1, array.shape[-1]) for cut in cuts)
    return np.concatenate([q, k, v]), z


def _tiled(config: Any, kind: str, array: np.ndarray) -> np.ndarray:
    """Heads of values that share keys apart from each other, in place of beside each other."""
    groups, share = config.linear_num_key_heads, config.linear_num_value_heads // config.linear_num_key_heads

    def turned(part: np.ndarray) -> np.ndarray:
        cut = part.reshape(groups, share, -1, *part.shape[1:])
        return np.ascontiguousarray(cut.swapaxes(0, 1)).reshape(part.shape)

    keys = 2 * groups * config.linear_key_head_dim
    if kind in ("in_proj_qkv", "conv1d"):
        return np.concatenate([array[:keys], turned(array[keys:])])
    if kind == "out_proj":
        return np.ascontiguousarray(turned(array.T).T)
    return array if kind == "norm" else turned(array)
