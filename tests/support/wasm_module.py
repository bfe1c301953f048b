"""A wasm module of a bundle in wasmtime, spoken to through its memory."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import wasmtime

from chimerac.runtime import BundleError


class Module:
    """An instance of a module that imports nothing.

    Args:
        deterministic: let relaxed SIMD compute what the specification's deterministic profile does.
    """

    def __init__(self, path: Path, memory_limit: int | None = None, *, deterministic: bool = False) -> None:
        config = wasmtime.Config()
        config.wasm_relaxed_simd = True
        config.wasm_relaxed_simd_deterministic = deterministic
        engine = wasmtime.Engine(config)
        self.store = wasmtime.Store(engine)
        if memory_limit is not None:
            self.store.set_limits(memory_size=memory_limit)
        self.module = wasmtime.Module.from_file(engine, str(path))
        self.exports = wasmtime.Instance(self.store, self.module, []).exports(self.store)
        self.memory = self.exports["memory"]

    def get(self, name: str, *values: int | float) -> Any:
        return self.exports[name](self.store, *values)

    def call(self, name: str, *values: int | float) -> int:
        status = int(self.get(name, *values))
        if status > 1:
            raise BundleError(f"CHM{status}", self.text(self.get("chm_last_error")))
        return status

    def read(self, pointer: int, size: int) -> bytes:
        return bytes(self.memory.read(self.store, pointer & 0xFFFFFFFF, (pointer & 0xFFFFFFFF) + size))

    def text(self, pointer: int) -> str:
        return self.read(pointer, 256).split(b"\0")[0].decode()

    def place(self, data: bytes) -> int:
        pointer = self.get("chm_memory_allocate", max(1, len(data))) & 0xFFFFFFFF
        if not pointer:
            raise BundleError("CHM422", "no memory")
        self.memory.write(self.store, data, pointer)
        return int(pointer)

    def word(self, pointer: int, kind: str = "<I") -> int:
        return int(struct.unpack(kind, self.read(pointer, struct.calcsize(kind)))[0])

    def open(self, weights: Path, tokenizer: Path) -> None:
        out = self.place(bytes(16))
        parts: list[int] = []
        for path in (weights, tokenizer):
            data = path.read_bytes()
            parts += [self.place(data), len(data)]
        self.call("chm_bundle_open", *parts, 0, 0, out)
        self.bundle = self.word(out)
        self.call("chm_session_open", self.bundle, 0, out)
        self.session, self.out = self.word(out), out

    def hashes(self) -> tuple[str, str]:
        """Of state and logits."""
        found = []
        for name in ("state", "logits"):
            self.call(f"chm_session_{name}_hash", self.session, self.out)
            found.append(f"{self.word(self.out, '<Q'):016x}")
        return found[0], found[1]

    def prefill(self, tokens: Sequence[int]) -> None:
        self.call(
            "chm_session_prefill", self.session, self.place(struct.pack(f"<{len(tokens)}i", *tokens)), len(tokens)
        )

    def generate(self, count: int) -> list[int]:
        """Tokens until the generation ends."""
        self.call("chm_session_begin_generation", self.session, count)
        tokens = []
        while True:
            finished = self.call("chm_session_generate", self.session, self.out)
            if (token := self.word(self.out, "<i")) >= 0:
                tokens.append(token)
            if finished:
                return tokens
