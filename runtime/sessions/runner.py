"""A session of a bundle for another processor: an emulator runs its ``chimera-run``, this speaks the line protocol."""

from __future__ import annotations

import itertools
import os
import shutil
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chimerac.runtime.arguments import shown
from chimerac.runtime.bundle_format import NO_LEDGER, NO_VALVE, Entry, Manifest
from chimerac.runtime.bundle_format.constants import ROLE_HEARD
from chimerac.runtime.errors import BundleError
from chimerac.runtime.options import NO_GRAMMAR, GenerateOptions
from chimerac.runtime.sessions.child_process import Child
from chimerac.runtime.sessions.diagnostics import LEVELS, Diagnostics
from chimerac.runtime.sessions.memory import Vectors, check_width
from chimerac.runtime.sessions.speculation import Speculation
from chimerac.runtime.sessions.stepping import SteppingSession

RUNNER_NAME = "chimera-run"


def find_emulator(machine: str) -> str | None:
    """qemu's user emulation of a machine: CHIMERAC_QEMU, or what is on the PATH; None if there is none.

    It emulates the processor that the environment variable QEMU_CPU names, by default one with every feature.
    """
    chosen = os.environ.get("CHIMERAC_QEMU")
    if chosen is not None:
        return shutil.which(chosen)
    return shutil.which(f"qemu-{machine}-static") or shutil.which(f"qemu-{machine}")


class RunnerSession(SteppingSession):
    """Opened by ``load`` where the bundle's code cannot run by itself."""

    def __init__(self, manifest: Manifest, folder: Path, emulator: str, *, threads: int = 1) -> None:
        """Start the runner; raises BundleError CHM414 if it does not start, and what opening a bundle raises."""
        super().__init__(manifest)
        self._numbers = itertools.count(1)  # of the marks in the conversation
        self._valve_now, self._ledger_now = NO_VALVE, NO_LEDGER
        self._waiting = False  # for an answer: if that was interrupted, it has to be skipped
        command = [emulator, str(folder / RUNNER_NAME), "--bundle", str(folder), "--threads", str(threads), "--serve"]
        try:
            self._child = Child(command, _ended)
        except OSError as error:
            raise BundleError("CHM414", f"the emulator does not start: {error.strerror}", path=emulator) from None
        try:
            self._receive()
            vocabulary, loops, used, kernels = self._request("info")
            self._check_version()
        except BundleError:
            self.close()
            raise
        self.vocab_size, self.max_loops = int(vocabulary), int(loops)
        self._threads, self._kernels = int(used), kernels

    def _check_version(self) -> None:
        try:
            self._request("echo", "hello")
        except BundleError:
            message = "the bundle's program is of an older chimerac, which could not be interrupted"
            raise BundleError("CHM405", message, hint="build the bundle again") from None

    def _receive(self) -> list[str]:
        """The words of an answer; raises BundleError with the runner's status, or CHM414 if it has ended."""
        line = self._child.read()
        self._waiting = False
        kind, _, rest = line.partition(" ")
        if kind == "ok":
            return rest.split(" ")
        status, _, message = rest.partition(" ")
        raise BundleError(f"CHM{status}", message)

    def _request(self, *words: object) -> list[str]:
        if self._waiting:
            self._skip()
        self._waiting = True
        self._child.write(" ".join(map(str, words)))
        return self._receive()

    def _skip(self) -> None:
        """Skip what is left of a request that a signal interrupted, perhaps in the middle of its line."""
        mark = f"mark-{next(self._numbers)}"
        self._child.write(f"\necho {mark}")
        while self._child.read() != f"ok {mark}":
            pass

    def _configure(self, options: GenerateOptions) -> int:
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
        if options.speculate is not None:
            speculates = self._request("speculates")[0] == "1"
            options.check_speculation(speculates)
            if speculates:
                self._request("speculation", int(options.speculate))
        if (valve := self._valve(options)) != self._valve_now:
            bounds, others = map(_bits, valve[:2]), valve[2:]
            self._request("valve", *bounds, *others)
            self._valve_now = valve
        if (ledger := self._ledger()) != self._ledger_now:
            self._request("ledger", *ledger)
            self._ledger_now = ledger
        if options.score != self._scored:
            self._request("scoring", int(options.score))
        closing, slots = self._use_grammar(options.grammar)
        for number, (_, text) in enumerate(options.slot_texts) if slots else ():
            self._request("words", number, "-" if text is None else text.hex())
        return closing

    def _begin(self, options: GenerateOptions) -> None:
        self._request("begin", options.max_tokens)

    def _next(self) -> tuple[bool, int, str]:
        finished, number, digits = self._request("next")
        return finished == "1", int(number), bytes.fromhex(digits).decode()

    def _score_now(self) -> float:
        return _float(int(self._request("score")[0]))

    def _use_grammar(self, wanted: str | bytes | None) -> tuple[int, bool]:
        """Tokens that a text of the grammar needs at least, and whether it has slots; raises BundleError CHM431."""
        closing, *slots = self._request("grammar", *self._grammar_words(wanted))
        return int(closing), any(map(int, slots))  # programs of an older chimerac know no slots

    def _grammar_words(self, wanted: str | bytes | None) -> tuple[str, ...]:
        if isinstance(wanted, bytes):
            return "pack", wanted.hex()
        if wanted is None:
            return ("default",)
        if wanted != NO_GRAMMAR and self.manifest.file("grammar") is None:
            raise BundleError("CHM431", f"there is no grammar {shown(wanted)}: the bundle has none")
        if not wanted or not wanted.isascii() or not wanted.isprintable() or " " in wanted:
            raise BundleError("CHM431", f"there is no grammar {shown(wanted)}")
        return "name", wanted

    def _call_entry(self, entry: Entry, inputs: Sequence[NDArray[Any]], n: int) -> Sequence[NDArray[Any]]:
        given = (x.astype(x.dtype.newbyteorder("<"), copy=False).tobytes().hex() or "-" for x in inputs)
        made = self._request("call", entry.name, n, *given)
        return [
            np.frombuffer(bytes.fromhex(digits.removeprefix("-")), port.computed.newbyteorder("<")).copy()
            for port, digits in zip(entry.results, made, strict=False)
        ]

    def _special(self, role: str) -> int:
        return int(self._request("special", role)[0])

    def _hint(self) -> list[int]:
        return [] if self._special(ROLE_HEARD) < 0 else [int(token) for token in self._request("hint") if token]

    def _encode(self, text: bytes, specials: bool, begins: bool) -> list[int]:
        request = "encode_with_specials" if specials else "encode" if begins else "encode_more"
        return [int(token) for token in self._request(request, text.hex()) if token]

    def _run_slice(self, tokens: NDArray[np.int32], *, more: bool) -> None:
        self._request("prefill", *tokens.tolist())

    def _reset(self) -> None:
        self._request("reset")

    def _logits(self) -> NDArray[np.float32] | None:
        (digits,) = self._request("logits")
        return np.frombuffer(bytes.fromhex(digits), "<f4").copy() if digits else None

    @property
    def threads(self) -> int:
        self._guard.check()
        return self._threads

    @property
    def kernels(self) -> str:
        return self._kernels

    @property
    def process_id(self) -> int:
        self._guard.check()
        return self._child.pid

    def _position(self) -> int:
        return int(self._request("position")[0])

    @property
    def iterations(self) -> int:
        """Loop iterations of the last call."""
        with self._guard.call():
            return int(self._request("position")[1])

    def _diagnostics(self, speculation: Speculation) -> Diagnostics:
        try:
            level, entropy, *numbers = map(int, self._request("diagnostics"))
        except BundleError as error:
            if error.code != "CHM420":
                raise
            return Diagnostics(
                speculation=speculation
            )  # the program is of an older chimerac, which knows no such request
        levels, ledger = numbers[: len(LEVELS)], numbers[len(LEVELS) :]
        return Diagnostics.of(level, _float(entropy), levels, ledger, speculation)

    def _state_hash(self) -> str:
        return self._request("state_hash")[0]

    def _logits_hash(self) -> str:
        return self._request("logits_hash")[0]

    def _snapshot(self) -> bytes:
        return bytes.fromhex(self._request("snapshot")[0])

    def _set_memory(self, vectors: Vectors) -> None:
        check_width(vectors, int(self._request("width")[0]))
        self._request("memory", vectors.tobytes().hex())

    def _restore(self, snapshot: bytes) -> None:
        self._request("restore", snapshot.hex())

    def _hasten(self) -> None:
        self._child.kill()

    def _close(self) -> None:
        self._child.end()


def _ended(status: int) -> BundleError:
    return BundleError("CHM414", f"the emulated program ended with status {status}")


def _float(bits: int) -> float:
    """The number of the bits of a float32."""
    return float(struct.unpack("<f", struct.pack("<I", bits))[0])


def _bits(value: float) -> int:
    """The bits of a number as float32; too large a number becomes infinity, which the runtime refuses."""
    try:
        packed = struct.pack("<f", value)
    except OverflowError:
        packed = struct.pack("<f", float("inf") if value > 0 else float("-inf"))
    return int.from_bytes(packed, "little")
