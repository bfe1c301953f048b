"""A session of a bundle for another processor: an emulator runs its ``chimera-run``, this speaks the line protocol."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chimerac.runtime.bundle_format import Manifest
from chimerac.runtime.errors import BundleError
from chimerac.runtime.options import NO_GRAMMAR, GenerateOptions
from chimerac.runtime.sessions.child_process import ChildSession
from chimerac.runtime.sessions.interface import FinishReason, Piece, Prompt, check_long_enough

RUNNER_NAME = "chimera-run"


def find_emulator(machine: str) -> str | None:
    """qemu's user emulation of a machine: CHIMERAC_QEMU, or what is on the PATH; None if there is none.

    It emulates the processor that the environment variable QEMU_CPU names, by default one with every feature.
    """
    chosen = os.environ.get("CHIMERAC_QEMU")
    if chosen is not None:
        return shutil.which(chosen)
    return shutil.which(f"qemu-{machine}-static") or shutil.which(f"qemu-{machine}")


class RunnerSession(ChildSession[bytes]):
    """Opened by ``load`` where the bundle's code cannot run by itself."""

    def __init__(self, manifest: Manifest, folder: Path, emulator: str, *, threads: int = 1) -> None:
        """Start the runner; raises BundleError CHM414 if it does not start, and what opening a bundle raises."""
        self.manifest = manifest
        self._tokens: list[int] = []
        self._finish_reason: FinishReason | None = None
        command = [emulator, str(folder / RUNNER_NAME), "--bundle", str(folder), "--threads", str(threads), "--serve"]
        try:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        except OSError as error:
            raise BundleError("CHM414", f"the emulator does not start: {error.strerror}", path=emulator) from None
        try:
            self._receive()
            vocabulary, loops, used, kernels = self._request("info")
        except BundleError:
            self.close()
            raise
        self.vocab_size, self.max_loops = int(vocabulary), int(loops)
        self._threads, self._kernels = int(used), kernels

    def _receive(self) -> list[str]:
        """The words of an answer; raises BundleError with the runner's status, or CHM414 if it has ended."""
        process = self._running()
        assert process.stdout is not None
        line = process.stdout.readline().decode("utf-8", "replace")
        kind, _, rest = line.rstrip("\n").partition(" ")
        if kind == "ok":
            return rest.split(" ")
        if kind == "error":
            status, _, message = rest.partition(" ")
            raise BundleError(f"CHM{status}", message)
        raise BundleError("CHM414", f"the emulated program ended with status {process.wait()}")

    def _request(self, *words: object) -> list[str]:
        process = self._running()
        assert process.stdin is not None
        try:
            process.stdin.write((" ".join(map(str, words)) + "\n").encode())
            process.stdin.flush()
        except OSError:
            raise BundleError("CHM414", f"the emulated program ended with status {process.wait()}") from None
        return self._receive()

    def _generate(self, prompt: Prompt, options: GenerateOptions) -> Iterator[Piece]:
        self._request(
            "settings",
            options.loops,
            _bits(options.exit_threshold),
            _bits(options.temperature),
            _bits(options.top_p),
            options.top_k,
            _bits(options.repetition_penalty),
            options.seed,
            options.stream,
        )
        check_long_enough(self._use_grammar(options.grammar), options.max_tokens)
        self._tokens, self._finish_reason = [], None
        if options.reset:
            self.reset()
        if isinstance(prompt, (str, bytes)):
            self._request("prompt", (prompt.encode() if isinstance(prompt, str) else prompt).hex())
        else:
            self.prefill(prompt)
        self._request("begin", options.max_tokens)
        while True:
            finished, number, digits = self._request("next")
            token, text = int(number), bytes.fromhex(digits).decode()
            if token >= 0:
                self._tokens.append(token)
            if finished == "1":
                ended = token >= 0 or len(self._tokens) < options.max_tokens  # the latter: nothing may follow
                self._finish_reason = "stop" if ended else "length"
                if text or token >= 0:
                    yield Piece(text, token)
                return
            yield Piece(text, token)

    def _use_grammar(self, wanted: str | bytes | None) -> int:
        """Tokens that a text of the grammar needs at least; raises BundleError CHM431."""
        if isinstance(wanted, bytes):
            return int(self._request("grammar", "pack", wanted.hex())[0])
        if wanted is None:
            return int(self._request("grammar", "default")[0])
        if wanted != NO_GRAMMAR and self.manifest.file("grammar") is None:
            raise BundleError("CHM431", f"there is no grammar {wanted!r}: the bundle has none")
        if not wanted or not wanted.isascii() or not wanted.isprintable() or " " in wanted:
            raise BundleError("CHM431", f"there is no grammar {wanted!r}")
        return int(self._request("grammar", "name", wanted)[0])

    def encode(self, text: str | bytes, *, specials: bool = False) -> list[int]:
        data = text.encode() if isinstance(text, str) else text
        request = "encode_with_specials" if specials else "encode"
        return [int(token) for token in self._request(request, data.hex()) if token]

    def prefill(self, tokens: Sequence[int]) -> None:
        values = [int(token) for token in tokens]
        if any(not 0 <= token < 1 << 31 for token in values):
            raise BundleError("CHM420", "a token is out of range")
        self._request("prefill", *values)

    def reset(self) -> None:
        self._request("reset")

    def logits(self) -> NDArray[np.float32] | None:
        (digits,) = self._request("logits")
        return np.frombuffer(bytes.fromhex(digits), "<f4").copy() if digits else None

    @property
    def threads(self) -> int:
        self._running()
        return self._threads

    @property
    def kernels(self) -> str:
        return self._kernels

    @property
    def position(self) -> int:
        return int(self._request("position")[0])

    @property
    def iterations(self) -> int:
        """Loop iterations of the last call."""
        return int(self._request("position")[1])

    def state_hash(self) -> str:
        return self._request("state_hash")[0]

    def logits_hash(self) -> str:
        return self._request("logits_hash")[0]

    def snapshot(self) -> bytes:
        return bytes.fromhex(self._request("snapshot")[0])

    def restore(self, snapshot: bytes) -> None:
        self._request("restore", snapshot.hex())


def _bits(value: float) -> int:
    """The bits of a number as float32; too large a number becomes infinity, which the runtime refuses."""
    try:
        packed = struct.pack("<f", value)
    except OverflowError:
        packed = struct.pack("<f", float("inf") if value > 0 else float("-inf"))
    return int.from_bytes(packed, "little")
