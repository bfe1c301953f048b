"""GGUF files in a rotated basis, as PrismML makes them: a hybrid whose matrices were turned after everything else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
from hybrid_files import write_hybrid
from published_models import HYBRID, Case, Types, plain_types
from torch import nn

BLOCK = 64
#: All that is multiplied is as wide as some blocks.
SIZES = HYBRID | {"hidden_size": 128, "intermediate_size": 192, "linear_value_head_dim": 32, "head_dim": 32}
CASE = Case("Qwen3_5", SIZES, "Qwen3_5Text")
UNTIED = Case("Qwen3_5", SIZES | {"tie_word_embeddings": False}, "Qwen3_5Text")
SIGNS = {width: np.random.default_rng(width).choice([-1, 1], width) for width in (128, 192)}
#: Matrices that are not rotated, by llama.cpp's names: the small ones of decays and rates, and the convolution.
PLAIN = ("ssm_alpha", "ssm_beta", "ssm_conv1d")


def hadamard(x: np.ndarray) -> np.ndarray:
    """Blocks of the last axis times Sylvester's matrix, over the root of its size, in double precision."""
    matrix = np.ones((1, 1))
    while len(matrix) < BLOCK:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    turned: np.ndarray = x.reshape(*x.shape[:-1], -1, BLOCK) @ matrix / np.sqrt(BLOCK)
    return turned.reshape(x.shape)


def is_rotated(name: str, tensor: np.ndarray) -> bool:
    return tensor.ndim == 2 and not any(part in name for part in PLAIN)


def rotated(path: Path, model: nn.Module, types: Types = plain_types, **changes: Any) -> Path:
    """A GGUF file whose matrices were rotated after everything else; ``changes`` of its keys, None removes one."""
    names: list[str] = []

    def turned(name: str, tensor: np.ndarray) -> np.ndarray:
        if not is_rotated(name, tensor):
            return tensor
        if name != "token_embd.weight":
            names.append(name)
        found: np.ndarray = hadamard(tensor * SIGNS[tensor.shape[1]]).astype(np.float32)
        return found

    def keys(writer: gguf.GGUFWriter) -> None:
        said: dict[str, Any] = {
            "version": 1,
            "transform": "normalized-sylvester-walsh-hadamard",
            "axis": "input-last-dimension",
            "block_size": BLOCK,
            "sign_mode": "explicit",
            "sign_widths": list(SIGNS),
            "sign_values": [int(sign) for signs in SIGNS.values() for sign in signs],
            "gdn_v_grouped": True,
        }
        for key, value in (said | changes).items():
            add(writer, f"prism.hadamard.{key}", value)

    def late(writer: gguf.GGUFWriter) -> None:
        add(writer, "prism.hadamard.weight_names", changes.get("weight_names", names))
        add(writer, "prism.hadamard.inverse_weight_names", changes.get("inverse_weight_names", ["token_embd.weight"]))

    return write_hybrid(model, path, "qwen35", types, keys, turned=turned, late=late, grouped_out=True)


def add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    """A key of any type, once; None adds none."""
    if key in writer.kv_data[0] or value is None:
        return
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)
