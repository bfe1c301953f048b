"""Write a folder as the Hugging Face hub has them, with random weights in the shape of a model that people have.

    python model_folder.py bonsai floats|bitnet packed|offline|online FOLDER

needs what llama_file.py does, whose shapes these are. ``floats`` are trits times a scale for 128 columns, in float16;
``packed`` trits are four to a byte, ``offline`` ones bfloat16, both with a scale for each matrix; ``online`` there are
bfloat16 numbers that the model rounds. Large matrices repeat some rows, and nothing is held but those.
"""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np
from llama_file import CONTEXT, MOST_ROWS, SHAPES, TILE_ROWS, Shape

GROUP = 128  #: columns that share a scale
#: Names of llama_file.py within a layer → of transformers.
NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
SIZES = {"F16": 2, "BF16": 2, "U8": 1}  #: bytes of an element
SPECIALS = ("<|begin_of_text|>", "<|end_of_text|>")


@dataclass(frozen=True)
class Tensor:
    """A tensor to be written: rows of ``tile``, made when they are needed, again and again."""

    dtype: str
    shape: tuple[int, ...]
    tile: Callable[[], np.ndarray]

    @property
    def bytes(self) -> int:
        return int(np.prod(self.shape)) * SIZES[self.dtype]

    def parts(self) -> Iterator[memoryview]:
        whole = np.ascontiguousarray(self.tile()).view(np.uint8).reshape(-1)
        for begin in range(0, self.bytes, whole.size):
            yield whole[: self.bytes - begin].data


def bfloat16(values: np.ndarray) -> np.ndarray:
    """The upper halves of float32 numbers, which need no more of these or are random."""
    return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


def random_of(name: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(name.encode()))


def trits(name: str, rows: int, columns: int) -> np.ndarray:
    return random_of(name).integers(-1, 2, (rows, columns), np.int8)


def floats(name: str, rows: int, columns: int) -> Tensor:
    """Trits times scales of groups, in float16."""

    def tile() -> np.ndarray:
        found = trits(name, min(rows, TILE_ROWS), columns).reshape(-1, columns // GROUP, GROUP)
        scales = random_of(f"{name} scales").uniform(0.5, 1.5, found.shape[:2]) / columns**0.5
        result: np.ndarray = found * scales.astype(np.float16)[..., None]
        return result.reshape(-1, columns)

    return Tensor("F16", (rows, columns), tile)


def packed(name: str, rows: int, columns: int) -> Tensor:
    """Trits of rows that are a quarter of the matrix apart, in one byte."""

    def tile() -> np.ndarray:
        quarters = trits(name, 4 * min(rows // 4, TILE_ROWS), columns).reshape(4, -1, columns).view(np.uint8) + 1
        quarters = quarters.astype(np.uint8)
        result: np.ndarray = quarters[0] | quarters[1] << 2 | quarters[2] << 4 | quarters[3] << 6
        return result

    return Tensor("U8", (rows // 4, columns), tile)


def offline(name: str, rows: int, columns: int) -> Tensor:
    return Tensor("BF16", (rows, columns), lambda: bfloat16(trits(name, min(rows, MOST_ROWS), columns)))


def online(name: str, rows: int, columns: int) -> Tensor:
    def tile() -> np.ndarray:
        return bfloat16(random_of(name).standard_normal((min(rows, MOST_ROWS), columns), np.float32) / columns**0.5)

    return Tensor("BF16", (rows, columns), tile)


def number(value: float, count: int = 1) -> Tensor:
    return Tensor("BF16", (count,), lambda: bfloat16(np.full(count, value, np.float32)))


FORMS = {"floats": floats, "packed": packed, "offline": offline, "online": online}


def tensors(shape: Shape, form: str) -> dict[str, Tensor]:
    """Name → tensor; the embedding is the head, too."""
    embedding = floats if form == "floats" else online
    found = {
        "model.embed_tokens.weight": embedding("embed_tokens", shape.vocabulary, shape.hidden),
        "model.norm.weight": number(1.0, shape.hidden),
    }
    norms = {"input_layernorm": shape.hidden, "post_attention_layernorm": shape.hidden}
    if shape.architecture == "qwen3":
        norms |= {"self_attn.q_norm": shape.head_width, "self_attn.k_norm": shape.head_width}
    else:
        norms |= {"self_attn.attn_sub_norm": shape.hidden, "mlp.ffn_sub_norm": shape.feed_forward}
    for layer in range(shape.layers):
        for name, (rows, columns) in shape.matrices().items():
            full = f"model.layers.{layer}.{NAMES[name]}"
            found[f"{full}.weight"] = FORMS[form](full, rows, columns)
            if form in ("packed", "offline"):
                found[f"{full}.weight_scale"] = number(columns**-0.5)
        for name, width in norms.items():
            found[f"model.layers.{layer}.{name}.weight"] = number(1.0, width)
    return found


def write_tensors(content: dict[str, Tensor], path: Path) -> None:
    """A safetensors file."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in content.items():
        begin, end = end, end + tensor.bytes
        header[name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in content.values():
            for part in tensor.parts():
                file.write(part)


def config(shape: Shape, form: str) -> dict[str, Any]:
    found = {
        "model_type": shape.architecture,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.feed_forward,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "vocab_size": shape.vocabulary,
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True,
        "bos_token_id": shape.vocabulary - 2,
        "eos_token_id": shape.vocabulary - 1,
    }
    if shape.architecture == "qwen3":
        return found | {"head_dim": shape.head_width, "hidden_act": "silu", "rope_theta": 1e6}
    mode = "online" if form == "online" else "offline"
    rule = {"quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": mode}
    return found | {"hidden_act": "relu2", "rope_theta": 5e5, "quantization_config": rule}


def tokenizer(count: int) -> dict[str, Any]:
    """One of bytes, whose other tokens are two or three of these, as Qwen's library files say it."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = [chr(code) for code in shown] + [chr(0x100 + code) for code in range(256 - len(shown))]
    pairs = [f"{a} {b}" for a, b in product(letters, letters)]
    wanted = count - len(letters) - len(SPECIALS)
    triples = (f"{a}{b} {c}" for a, b, c in product(letters, letters, letters))
    merges = [*pairs[:wanted], *islice(triples, max(0, wanted - len(pairs)))]
    vocabulary = [*letters, *(merge.replace(" ", "") for merge in merges)]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True}
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": count - len(SPECIALS) + i, "content": name} | plain for i, name in enumerate(SPECIALS)],
        "normalizer": None,
        "pre_tokenizer": level,
        "post_processor": None,
        "decoder": level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: id_ for id_, token in enumerate(vocabulary)},
            "merges": merges,
        },
    }


def main(size: str, form: str, out: str) -> None:
    shape, folder = SHAPES[size], Path(out)
    if (form == "floats") != (shape.architecture == "qwen3"):
        sys.exit(f"{size} is not written in the form {form}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config(shape, form)))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer(shape.vocabulary)))
    write_tensors(tensors(shape, form), folder / "model.safetensors")
    print(json.dumps({"weights": shape.weights, "bytes": (folder / "model.safetensors").stat().st_size}))


if __name__ == "__main__":
    main(*sys.argv[1:])
