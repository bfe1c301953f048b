"""GGUF files made by hand, so that any field of them can be wrong."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np


def u32(value: int) -> bytes:
    return struct.pack("<I", value)


def u64(value: int) -> bytes:
    return struct.pack("<Q", value)


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return u64(len(raw)) + raw


def text_value(value: str | bytes) -> bytes:
    return u32(8) + text(value)


def integer_value(value: int) -> bytes:
    return u32(4) + u32(value)


def texts_value(values: Sequence[str]) -> bytes:
    return u32(9) + u32(8) + u64(len(values)) + b"".join(map(text, values))


@dataclass(frozen=True)
class Tensor:
    """A line of the list, with the bytes that it stands for. ``dims``: in GGUF's order, columns first."""

    name: str | bytes
    dims: tuple[int, ...]
    type: int
    data: bytes
    offset: int | None = None


@dataclass(frozen=True)
class Gguf:
    """A file; what is None is as it should be."""

    keys: tuple[tuple[str | bytes, bytes], ...] = ()
    tensors: tuple[Tensor, ...] = ()
    magic: bytes = b"GGUF"
    version: int = 3
    alignment: int = 32
    key_count: int | None = None
    tensor_count: int | None = None
    dimensions: int | None = None
    end: bytes = field(default=b"")

    def but(self, **changes: Any) -> Gguf:
        return replace(self, **changes)

    def tensor(self, index: int, **changes: Any) -> Gguf:
        """With one tensor changed."""
        changed = [*self.tensors]
        changed[index] = replace(changed[index], **changes)
        return replace(self, tensors=tuple(changed))

    def key(self, name: str, value: bytes) -> Gguf:
        """With one key changed, or one more."""
        return replace(self, keys=(*(k for k in self.keys if k[0] != name), (name, value)))

    def head(self) -> bytes:
        """Everything before the data."""
        out = self.magic + u32(self.version)
        out += u64(len(self.tensors) if self.tensor_count is None else self.tensor_count)
        out += u64(len(self.keys) if self.key_count is None else self.key_count)
        for name, value in self.keys:
            out += text(name) + value
        place = 0
        for tensor in self.tensors:
            out += text(tensor.name) + u32(len(tensor.dims) if self.dimensions is None else self.dimensions)
            out += b"".join(map(u64, tensor.dims)) + u32(tensor.type)
            out += u64(place if tensor.offset is None else tensor.offset)
            place += len(tensor.data) + -len(tensor.data) % self.alignment
        return out

    def data(self) -> bytes:
        return b"".join(t.data + bytes(-len(t.data) % self.alignment) for t in self.tensors)

    def bytes(self) -> bytes:
        head = self.head()
        return head + bytes(-len(head) % self.alignment) + self.data() + self.end


def random_blocks(seed: int, count: int, size: int) -> bytes:
    """Blocks of any bytes."""
    return np.random.default_rng(seed).integers(0, 256, count * size, np.uint8).tobytes()


def small_gguf() -> Gguf:
    """A good file: keys of all kinds, tensors of several types."""
    return Gguf(
        keys=(
            ("general.architecture", text_value("llama")),
            ("llama.block_count", integer_value(2)),
            ("llama.rope.freq_base", u32(6) + struct.pack("<f", 1e4)),
            ("tokenizer.ggml.tokens", texts_value(["a", "bé", ""])),
            ("tokenizer.ggml.scores", u32(9) + u32(6) + u64(3) + struct.pack("<3f", 0.5, -1, 2)),
            ("general.flag", u32(7) + b"\1"),
        ),
        tensors=(
            Tensor("token_embd.weight", (64, 4), 0, np.arange(256, dtype="<f4").tobytes()),
            Tensor("blk.0.attn_q.weight", (256, 32), 42, random_blocks(1, 32 * 4, 18)),
            Tensor("blk.0.ffn_up.weight", (256, 3), 35, random_blocks(2, 3, 66)),
            Tensor("output_norm.weight", (64,), 1, np.ones(64, "<f2").tobytes()),
        ),
    )
