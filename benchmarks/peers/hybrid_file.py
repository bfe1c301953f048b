"""Write a hybrid of gated delta rules and attention with random weights, with the widths of Qwen3.5-27B and few layers.

    python hybrid_file.py FORMAT OUT.gguf [--rotated] [--layers N]

needs what llama_file.py does, whose formats these are. ``--rotated`` says that the matrices are in a rotated basis, as
Ternary-Bonsai-2-27B's are, which llama.cpp does not know; the weights are the same. The vocabulary is a small one.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np
from llama_file import CONTEXT, Shape, Writer, add_vocabulary

WIDTH, INNER, VOCABULARY = 5120, 17408, 32768
HEADS, KEPT, HEAD = 24, 4, 256  #: of attention
KEYS, VALUES, STATE, TAPS = 16, 48, 128, 4  #: of gated delta rules
INTERVAL = 4  #: every so manieth layer is attention
BLOCK = 1024  #: channels that are rotated together


def matrices(layer: int) -> dict[str, tuple[int, int]]:
    """Name → rows and columns."""
    channels, inner = (2 * KEYS + VALUES) * STATE, VALUES * STATE
    found = {
        "attn_qkv": (channels, WIDTH),
        "attn_gate": (inner, WIDTH),
        "ssm_out": (WIDTH, inner),
    }
    if (layer + 1) % INTERVAL == 0:
        found = {
            "attn_q": (2 * HEADS * HEAD, WIDTH),
            "attn_k": (KEPT * HEAD, WIDTH),
            "attn_v": (KEPT * HEAD, WIDTH),
            "attn_output": (WIDTH, HEADS * HEAD),
        }
    return found | {"ffn_gate": (INNER, WIDTH), "ffn_up": (INNER, WIDTH), "ffn_down": (WIDTH, INNER)}


def floats(layer: int) -> Iterator[tuple[str, np.ndarray]]:
    """Name → numbers that stay float32."""
    source = np.random.default_rng(layer)
    for name in ("attn_norm", "post_attention_norm"):
        yield f"{name}.weight", np.ones(WIDTH, np.float32)
    if (layer + 1) % INTERVAL == 0:
        yield from ((f"{name}.weight", np.ones(HEAD, np.float32)) for name in ("attn_q_norm", "attn_k_norm"))
        return
    for name in ("ssm_alpha", "ssm_beta"):
        yield f"{name}.weight", source.standard_normal((VALUES, WIDTH), np.float32) / np.float32(WIDTH**0.5)
    yield "ssm_conv1d.weight", source.standard_normal(((2 * KEYS + VALUES) * STATE, TAPS), np.float32)
    yield "ssm_a", -np.linspace(0.5, 4, VALUES, dtype=np.float32)
    yield "ssm_dt.bias", np.ones(VALUES, np.float32)
    yield "ssm_norm.weight", np.ones(STATE, np.float32)


def add_keys(writer: gguf.GGUFWriter, layers: int) -> None:
    writer.add_name("random weights")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEPT)
    writer.add_key_length(HEAD)
    writer.add_value_length(HEAD)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(1e7)
    writer.add_rope_dimension_count(HEAD // 4)
    writer.add_rope_dimension_sections([11, 11, 10, 0])
    writer.add_vocab_size(VOCABULARY)
    writer.add_ssm_conv_kernel(TAPS)
    writer.add_ssm_state_size(STATE)
    writer.add_ssm_group_count(KEYS)
    writer.add_ssm_time_step_rank(VALUES)
    writer.add_ssm_inner_size(VALUES * STATE)
    writer.add_full_attention_interval(INTERVAL)


def add_rotation(writer: gguf.GGUFWriter, names: list[str]) -> None:
    """That these matrices, and rows of the embedding, are rotated with random signs."""
    widths = (WIDTH, HEADS * HEAD, INNER)
    signs = np.random.default_rng(0).choice([-1, 1], sum(widths))
    key = "prism.hadamard."
    writer.add_uint32(f"{key}version", 1)
    writer.add_string(f"{key}transform", "normalized-sylvester-walsh-hadamard")
    writer.add_string(f"{key}axis", "input-last-dimension")
    writer.add_uint32(f"{key}block_size", BLOCK)
    writer.add_string(f"{key}sign_mode", "explicit")
    writer.add_array(f"{key}sign_widths", list(widths))
    writer.add_array(f"{key}sign_values", signs.tolist())
    writer.add_bool(f"{key}gdn_v_grouped", True)
    writer.add_array(f"{key}weight_names", names)
    writer.add_array(f"{key}inverse_weight_names", ["token_embd.weight"])


def write(format_name: str, path: Path, layers: int, rotated: bool) -> int:
    """The file; returns how many weights a token is multiplied with."""
    writer = Writer(str(path), "qwen35")
    add_keys(writer, layers)
    add_vocabulary(writer, Shape(layers, WIDTH, INNER, HEADS, KEPT, VOCABULARY, bytes=True))
    own = {f"blk.{i}.{name}.weight": size for i in range(layers) for name, size in matrices(i).items()}
    own["output.weight"] = VOCABULARY, WIDTH
    if rotated:
        add_rotation(writer, list(own))
    for name, (rows, columns) in {"token_embd.weight": (VOCABULARY, WIDTH), **own}.items():
        writer.add_matrix(name, rows, columns, format_name)
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    for layer in range(layers):
        for name, numbers in floats(layer):
            writer.add_tensor(f"blk.{layer}.{name}", numbers)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return sum(rows * columns for rows, columns in own.values())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("format")
    parser.add_argument("out", type=Path)
    parser.add_argument("--rotated", action="store_true")
    parser.add_argument("--layers", type=int, default=8)
    given = parser.parse_args()
    weights = write(given.format, given.out, given.layers, given.rotated)
    print(json.dumps({"weights": weights, "bytes": given.out.stat().st_size, "layers": given.layers}))
