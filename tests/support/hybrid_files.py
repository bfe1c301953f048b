"""GGUF files of hybrids as llama.cpp's converter makes them: other names, orders of heads, and numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from published_models import Types, plain_types, write_gguf
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
    "post_attention_layernorm.weight": "post_attention_norm.weight",
}


def write_hybrid(
    model: nn.Module,
    path: Path,
    architecture: str,
    types: Types = plain_types,
    keys: Callable[[gguf.GGUFWriter], None] = lambda writer: None,
) -> Path:
    """A GGUF file of a hybrid of transformers; parameters as of ``write_gguf``."""
    config: Any = model.config

    def more(writer: gguf.GGUFWriter) -> None:
        writer.add_ssm_conv_kernel(config.linear_conv_kernel_dim)
        writer.add_ssm_state_size(config.linear_key_head_dim)
        writer.add_ssm_group_count(config.linear_num_key_heads)
        writer.add_ssm_time_step_rank(config.linear_num_value_heads)
        writer.add_ssm_inner_size(config.linear_num_value_heads * config.linear_value_head_dim)
        writer.add_full_attention_interval(2)
        writer.add_rope_dimension_count(int(config.head_dim * config.rope_parameters["partial_rotary_factor"]))
        writer.add_rope_dimension_sections([2, 1, 1, 0])
        keys(writer)

    return write_gguf(model, path, architecture, types, more, lambda name, array: _converted(config, name, array))


def _converted(config: Any, name: str, array: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    layer, _, rest = name.removeprefix("model.layers.").partition(".")
    if name.endswith("norm.weight") and rest != "linear_attn.norm.weight":
        array = array + 1
    if rest.endswith("A_log"):
        array = -np.exp(array)
    if rest.endswith("conv1d.weight"):
        array = array.squeeze(1)
    if rest.startswith("linear_attn."):
        array = _tiled(config, rest.split(".")[1], array)
    yield (f"blk.{layer}.{_NAMES[rest]}" if rest in _NAMES else "", array)


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
