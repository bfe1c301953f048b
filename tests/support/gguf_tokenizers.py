"""GGUF files that hold a tokenizer and nothing else."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

from gguf_files import Gguf, Tensor, integer_value, text_value, texts_value, u32, u64
from public_tokenizers import NAMES, document_of

from chimerac.frontends.sources.gguf import GgufFile, open_gguf

NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = range(1, 7)


def integers_value(values: Sequence[int]) -> bytes:
    return u32(9) + u32(5) + u64(len(values)) + struct.pack(f"<{len(values)}i", *values)


def floats_value(values: Sequence[float]) -> bytes:
    return u32(9) + u32(6) + u64(len(values)) + struct.pack(f"<{len(values)}f", *values)


def bool_value(value: bool) -> bytes:
    return u32(7) + bytes([value])


def opened(path: Path, gguf: Gguf) -> GgufFile:
    """The file, written and read."""
    path.write_bytes(gguf.bytes())
    return open_gguf(path)


def with_keys(**keys: bytes) -> Gguf:
    """A file with keys of the tokenizer, and one tensor."""
    own = tuple(
        (f"tokenizer.{name}" if name == "chat_template" else f"tokenizer.ggml.{name}", data)
        for name, data in keys.items()
    )
    general = ("general.architecture", text_value("llama"))
    return Gguf((general, *own), (Tensor("a", (1,), 0, bytes(4)),))


def byte_level(kind: str, pre: str, **more: bytes) -> Gguf:
    """A tokenizer of ``public_tokenizers`` as converters write it; a hole stands before the added tokens."""
    document = document_of(kind)
    ids: dict[str, int] = document["model"]["vocab"]
    added = {row["content"]: row["id"] for row in document["added_tokens"]}
    names = {id: token for token, id in (ids | added).items()}
    count = max(names) + 2
    kinds = [CONTROL if names.get(id) in added else NORMAL if id in names else UNUSED for id in range(count)]
    kinds[added[NAMES[2]]] = USER
    return with_keys(
        model=text_value("gpt2"),
        pre=text_value(pre),
        tokens=texts_value([names.get(id, f"[PAD{id}]") for id in range(count)]),
        token_type=integers_value(kinds),
        merges=texts_value([" ".join(pair) for pair in document["model"]["merges"]]),
        eos_token_id=integer_value(added[NAMES[1]]),
        bos_token_id=integer_value(added["<|endoftext|>"]),
        **more,
    )
