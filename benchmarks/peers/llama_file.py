"""Write a model of llama or qwen3 architecture with random ternary weights: good for timing only.

    python llama_file.py mid|full|bonsai tq2_0|tq1_0 OUT.gguf

needs ``gguf==0.19.0`` and numpy. All matrices and the embedding, which is the output matrix too, are of the given type.
The vocabulary is of whole ASCII words, because wllama stops at bytes that are not UTF-8; that of bonsai has bytes,
without which ``chimerac build`` does not take it.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import gguf
import numpy as np
from gguf.quants import quantize

TILE_ROWS = 256  #: different rows of a matrix; it repeats them
CONTEXT = 2048
SPECIALS = ("<unk>", "<s>", "</s>")


@dataclass(frozen=True)
class Shape:
    """Sizes of a model; qwen3 has norms of queries and keys, and heads of any width."""

    layers: int
    hidden: int
    feed_forward: int
    heads: int
    kv_heads: int
    vocabulary: int
    architecture: str = "llama"
    width: int = 0  #: of a head, where it is not that of the channels shared out

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


#: As many weights per token as our models of the same name, to one or two percent less.
SHAPES = {
    "mid": Shape(26, 1024, 2816, 16, 4, 32768),
    "full": Shape(34, 2560, 6912, 20, 5, 200073),
    "bonsai": Shape(28, 2048, 6144, 16, 8, 151936, "qwen3", 128),
    "tiny": Shape(2, 256, 512, 4, 2, 1024),
}
FORMATS = {"tq2_0": gguf.GGMLQuantizationType.TQ2_0, "tq1_0": gguf.GGMLQuantizationType.TQ1_0}


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


def matrix(rows: int, columns: int, kind: gguf.GGMLQuantizationType) -> np.ndarray:
    """Random trits times one scale, quantised: u8[rows, bytes]."""
    source = np.random.default_rng(rows * 65536 + columns)
    values = source.integers(-1, 2, (TILE_ROWS, columns)).astype(np.float32) / np.float32(columns) ** 0.5
    tile = quantize(values, kind)
    return np.resize(tile, (rows, tile.shape[1]))


def write(shape: Shape, format_name: str, path: Path) -> None:
    kind = FORMATS[format_name]
    writer = gguf.GGUFWriter(str(path), shape.architecture)
    writer.add_name("random ternary weights")
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
    bytes_ = 256 if shape.architecture == "qwen3" else 0
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
    ones = np.ones(shape.hidden, np.float32)
    writer.add_tensor("token_embd.weight", matrix(shape.vocabulary, shape.hidden, kind), raw_dtype=kind)
    writer.add_tensor("output_norm.weight", ones)
    for layer in range(shape.layers):
        for name, (rows, columns) in shape.matrices().items():
            writer.add_tensor(f"blk.{layer}.{name}.weight", matrix(rows, columns, kind), raw_dtype=kind)
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", ones)
        if shape.architecture == "qwen3":
            for name in ("attn_q_norm", "attn_k_norm"):
                writer.add_tensor(f"blk.{layer}.{name}.weight", ones[: shape.head_width])
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
