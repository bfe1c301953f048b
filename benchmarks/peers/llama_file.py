"""Write a model with random weights, of an architecture that llama.cpp knows: good for timing and for comparing.

    python llama_file.py mid|full|bonsai|bitnet|tiny-llama|tiny-qwen2|tiny-qwen3|tiny-bitnet FORMAT OUT.gguf

needs ``gguf==0.19.0`` and numpy. FORMAT is one of tq2_0, tq1_0, q2_0 and i2_s, whose weights are ternary, and f32, f16
and q8_0. All matrices and the embedding, which is the output matrix too, are of it; beside i2_s, which is of BitNet's
fork of llama.cpp alone, the embedding is f16 as there. Large matrices repeat some rows.
The vocabulary is of whole ASCII words, because wllama stops at bytes that are not UTF-8; those of bonsai, bitnet and
the small models have bytes, without which ``chimerac build`` does not take them.
"""

from __future__ import annotations

import json
import sys
import zlib
from dataclasses import asdict, dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf.quants import quantize

TILE_ROWS = 256  #: different rows of a matrix of more than MOST_ROWS; it repeats them
MOST_ROWS = 1024
CONTEXT = 2048
SPECIALS = ("<unk>", "<s>", "</s>")


@dataclass(frozen=True)
class Shape:
    """Sizes of a model.

    Attributes:
        architecture: qwen2 has biases of queries, keys and values; qwen3 norms of queries and keys, and heads of any
            width; bitnet norms before the projections back, and a scale for each matrix.
        bytes: whether the vocabulary has a token for each byte.
    """

    layers: int
    hidden: int
    feed_forward: int
    heads: int
    kv_heads: int
    vocabulary: int
    architecture: str = "llama"
    width: int = 0  #: of a head, where it is not that of the channels shared out
    bytes: bool = False

    @property
    def head_width(self) -> int:
        return self.width or self.hidden // self.heads

    def matrices(self) -> dict[str, tuple[int, int]]:
        """Name within a layer → rows and columns."""
        kv = self.kv_heads * self.head_width
        return {
            "attn_q": (self.heads * self.head_width, self.hidden),
            "attn_k": (kv, self.hidden),
            "attn_v": (kv, self.hidden),
            "attn_output": (self.hidden, self.heads * self.head_width),
            "ffn_gate": (self.feed_forward, self.hidden),
            "ffn_up": (self.feed_forward, self.hidden),
            "ffn_down": (self.hidden, self.feed_forward),
        }

    @property
    def weights(self) -> int:
        """Weights that one token is multiplied with."""
        body = sum(rows * columns for rows, columns in self.matrices().values())
        return self.layers * body + self.vocabulary * self.hidden


#: Of mid and full as many weights per token as our models of the same name, to one or two percent less; bonsai is
#: Ternary-Bonsai-1.7B, bitnet BitNet-b1.58-2B-4T.
SHAPES = {
    "mid": Shape(26, 1024, 2816, 16, 4, 32768),
    "full": Shape(34, 2560, 6912, 20, 5, 200073),
    "bonsai": Shape(28, 2048, 6144, 16, 8, 151936, "qwen3", 128, bytes=True),
    "bitnet": Shape(30, 2560, 6912, 20, 5, 128256, "bitnet", bytes=True),
    **{
        f"tiny-{name}": Shape(2, 256, 512, 8, 4, 1024, name, bytes=True)
        for name in ("llama", "qwen2", "qwen3", "bitnet")
    },
}


class Newer(IntEnum):
    """Types that the package gguf does not know yet."""

    I2_S = 36
    Q2_0 = 42


_KINDS = gguf.GGMLQuantizationType
FORMATS: dict[str, gguf.GGMLQuantizationType | Newer] = {
    "tq2_0": _KINDS.TQ2_0,
    "tq1_0": _KINDS.TQ1_0,
    "q2_0": Newer.Q2_0,
    "i2_s": Newer.I2_S,
    "f32": _KINDS.F32,
    "f16": _KINDS.F16,
    "q8_0": _KINDS.Q8_0,
}
TERNARY = ("tq2_0", "tq1_0", "q2_0", "i2_s")
Q2_0_GROUP = 64  #: weights that share a scale


def words(count: int, bytes_: int = 0) -> list[str]:
    """A vocabulary of ``count`` tokens: specials, bytes, printable characters, then numbered words."""
    characters = [chr(code) for code in range(0x21, 0x7F)]
    found = [
        *SPECIALS,
        *(f"<0x{byte:02X}>" for byte in range(bytes_)),
        "▁",
        *characters,
        *(f"▁{c}" for c in characters),
    ]
    return found + [f"▁w{number}" for number in range(count - len(found))]


def trit_codes(values: np.ndarray) -> np.ndarray:
    """0, 1 and 2 for numbers below, at and above zero."""
    return (values > 0).astype(np.uint8) + (values >= 0)


def quantized_q2_0(values: np.ndarray) -> np.ndarray:
    """Ternary rows f32[rows, columns] in Q2_0: a float16 scale, then four weights a byte, lowest bits first."""
    runs = values.reshape(len(values), -1, Q2_0_GROUP)
    scales = np.abs(runs).max(axis=2).astype("<f2")
    codes = trit_codes(runs).reshape(*runs.shape[:2], -1, 4)
    packed = codes[..., 0] | codes[..., 1] << 2 | codes[..., 2] << 4 | codes[..., 3] << 6
    return np.concatenate([scales[..., None].view(np.uint8), packed], axis=2).reshape(len(values), -1)


def quantized_i2_s(values: np.ndarray) -> np.ndarray:
    """Ternary rows f32[rows, columns] in I2_S without its scale: 32 bytes hold weights i, i + 32, i + 64 and i + 96."""
    codes = trit_codes(values).reshape(len(values), -1, 4, 32)
    packed: np.ndarray = codes[..., 0, :] << 6 | codes[..., 1, :] << 4 | codes[..., 2, :] << 2 | codes[..., 3, :]
    return packed.reshape(len(values), -1)


def matrix(name: str, rows: int, columns: int, format_name: str) -> np.ndarray:
    """Random weights of a matrix, seeded by its name: trits times one scale, or normal numbers, in the format."""
    source = np.random.default_rng(zlib.crc32(name.encode()))
    size = (rows if rows <= MOST_ROWS else TILE_ROWS, columns)
    numbers = source.integers(-1, 2, size) if format_name in TERNARY else source.standard_normal(size)
    values = numbers.astype(np.float32) / np.float32(columns) ** 0.5
    kind = FORMATS[format_name]
    if kind == Newer.I2_S:
        tile = quantized_i2_s(values)
        tail = np.zeros(8, "<f4")  # of which the first is the scale
        tail[0] = np.abs(values).max()
        return np.concatenate([np.resize(tile, (rows, tile.shape[1])).ravel(), tail.view(np.uint8)])
    tile = quantized_q2_0(values) if kind == Newer.Q2_0 else quantize(values, _KINDS(kind))
    return np.resize(tile, (rows, tile.shape[1]))


class Writer(gguf.GGUFWriter):
    """One that takes matrices of types that the package does not know."""

    def add_matrix(self, name: str, rows: int, columns: int, format_name: str) -> None:
        data, kind = matrix(name, rows, columns, format_name), FORMATS[format_name]
        if isinstance(kind, Newer):
            # the package would count the weights of the bytes by a table of the types that it knows
            info: Any = gguf.gguf_writer.TensorInfo((rows, columns), kind, data.nbytes, data)  # type: ignore[arg-type]
            self.tensors[-1][name] = info
        else:
            self.add_tensor(name, data, raw_dtype=kind)


def add_vocabulary(writer: gguf.GGUFWriter, shape: Shape) -> None:
    """Pieces with scores, as Llama's first tokenizers have them."""
    bytes_ = 256 if shape.bytes else 0
    tokens = words(shape.vocabulary, bytes_)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([float(-number) for number in range(len(tokens))])
    control, normal, unknown = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL, gguf.TokenType.UNKNOWN
    types = [unknown, control, control, *[gguf.TokenType.BYTE] * bytes_]
    writer.add_token_types(types + [normal] * (len(tokens) - len(types)))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(False)


def vectors(shape: Shape) -> dict[str, np.ndarray]:
    """Name within a layer → its numbers, which are not quantised."""
    ones = np.ones(max(shape.hidden, shape.feed_forward), np.float32)
    found = {f"{name}.weight": ones[: shape.hidden] for name in ("attn_norm", "ffn_norm")}
    if shape.architecture == "qwen2":
        for name in ("attn_q", "attn_k", "attn_v"):
            found[f"{name}.bias"] = np.linspace(-0.5, 0.5, shape.matrices()[name][0], dtype=np.float32)
    if shape.architecture == "qwen3":
        found |= {f"{name}.weight": ones[: shape.head_width] for name in ("attn_q_norm", "attn_k_norm")}
    if shape.architecture == "bitnet":
        found |= {"attn_sub_norm.weight": ones[: shape.hidden], "ffn_sub_norm.weight": ones[: shape.feed_forward]}
        found |= {f"{name}.scale": np.array([1.5], np.float32) for name in shape.matrices()}
    return found


def write(shape: Shape, format_name: str, path: Path) -> None:
    of_fork = format_name == "i2_s"
    writer = Writer(str(path), "bitnet-b1.58" if of_fork else shape.architecture)
    writer.add_name("random weights")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(shape.hidden)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_dimension_count(shape.head_width)
    writer.add_key_length(shape.head_width)
    writer.add_value_length(shape.head_width)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(shape.vocabulary)
    add_vocabulary(writer, shape)
    writer.add_matrix("token_embd.weight", shape.vocabulary, shape.hidden, "f16" if of_fork else format_name)
    writer.add_tensor("output_norm.weight", np.ones(shape.hidden, np.float32))
    for layer in range(shape.layers):
        for name, (rows, columns) in shape.matrices().items():
            writer.add_matrix(f"blk.{layer}.{name}.weight", rows, columns, format_name)
        for name, numbers in vectors(shape).items():
            if not (of_fork and name.endswith(".scale")):  # which I2_S has within
                writer.add_tensor(f"blk.{layer}.{name}", numbers)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main(size: str, format_name: str, out: str) -> None:
    write(SHAPES[size], format_name, Path(out))
    facts = {"weights": SHAPES[size].weights, "bytes": Path(out).stat().st_size, "shape": asdict(SHAPES[size])}
    print(json.dumps(facts))


if __name__ == "__main__":
    main(*sys.argv[1:])
