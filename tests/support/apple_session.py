"""A bundle for Apple's systems, run in the emulator with the calls that an app makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from apple_machine import AppleMachine, Chip, Int32

from chimerac.runtime.bundle_format import read_manifest

FINISHED = 1


class StatusError(Exception):
    """A function of chimera.h returned an error; the text is that of ``chm_last_error``."""


class AppleSession:
    """An open bundle and session."""

    def __init__(self, folder: Path, chip: Chip | None = None, environment: dict[str, str] | None = None) -> None:
        manifest = read_manifest(folder)
        files = {role: manifest.file(role) for role in ("code", "weights", "tokenizer")}
        paths = {role: folder / entry.name for role, entry in files.items() if entry is not None}
        self.machine = AppleMachine(paths["code"], chip, environment)
        self._out = self.machine.allocate(16, bytes(16))
        blobs = []
        for role in ("weights", "tokenizer"):  # some models have no texts, and so no tokenizer
            data = paths[role].read_bytes() if role in paths else b""
            blobs += [self.machine.allocate(len(data), data) if data else 0, len(data)]
        self._call("chm_bundle_open", *blobs, Int32(0), 0, self._out)
        self._bundle = self.machine.pointer(self._out)
        self._call("chm_session_open", self._bundle, 0, self._out)
        self._session = self.machine.pointer(self._out)

    def _call(self, name: str, *arguments: int | float | Int32) -> int:
        status: int = self.machine.call(name, *arguments)
        if status not in (0, FINISHED):
            raise StatusError(self.machine.text(self.machine.call("chm_last_error", result="u64")))
        return status

    @property
    def kernels(self) -> str:
        """Name of the kernels in use."""
        return self.machine.text(self.machine.call("chm_cpu_selected", result="u64"))

    def choose_kernels(self, name: str) -> None:
        """Use the kernels of that name; StatusError if this chip cannot."""
        data = name.encode() + b"\0"
        self._call("chm_cpu_select", self.machine.allocate(len(data), data))

    def set_loops(self, loops: int) -> None:
        """Iterations of the looped layers; 0 for the default."""
        self._call("chm_session_set_loops", self._session, loops)

    def set_sampling(self, temperature: float, top_p: float, top_k: int, penalty: float, seed: int) -> None:
        """As chm_session_set_sampling, with stream 0."""
        self._call("chm_session_set_sampling", self._session, temperature, top_p, top_k, penalty, seed, 0, 0)

    def prefill(self, tokens: Sequence[int]) -> None:
        """Run tokens."""
        data = np.array(tokens, np.int32).tobytes()
        place = self.machine.allocate(len(data), data)
        self._call("chm_session_prefill", self._session, place, len(tokens))
        self.machine.release(place)

    def generate(self, count: int) -> list[int]:
        """Choose up to so many tokens."""
        self._call("chm_session_begin_generation", self._session, count)
        tokens = []
        while True:
            finished = self._call("chm_session_generate", self._session, self._out)
            token = int(np.frombuffer(self.machine.read(self._out, 4), np.int32)[0])
            if token >= 0:
                tokens.append(token)
            if finished:
                return tokens

    def logits(self) -> np.ndarray:
        """float32[vocabulary] after the last token that was run."""
        place = self.machine.call("chm_session_logits", self._session, result="u64")
        count = self.machine.call("chm_vocab_size")
        return np.frombuffer(self.machine.read(place, 4 * count), np.float32)

    def call(self, inputs: Mapping[str, np.ndarray], results: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the entry of a module that is no language model; ``results`` have the shapes of what is given back."""

        def tensors(arrays: Mapping[str, np.ndarray]) -> tuple[int, list[int]]:
            places = [self._bytes(array.tobytes()) for array in arrays.values()]
            names = [self._bytes(name.encode() + b"\0") for name in arrays]
            rows = zip(names, places, (array.nbytes for array in arrays.values()), strict=True)
            return self._bytes(np.array(list(rows), np.uint64).tobytes()), places

        (given, _), (wanted, places) = tensors(inputs), tensors(results)
        name = self.machine.call("chm_entry_name", Int32(0), result="u64")
        counts = len(inputs), len(results)
        self._call("chm_session_call", self._session, name, given, counts[0], wanted, counts[1], Int32(1))
        return {
            key: np.frombuffer(self.machine.read(place, array.nbytes), array.dtype).reshape(array.shape)
            for (key, array), place in zip(results.items(), places, strict=True)
        }

    def _bytes(self, data: bytes) -> int:
        place: int = self.machine.allocate(len(data), data)
        return place

    def hashes(self) -> tuple[str, str]:
        """Of the logits and of the state, 16 hexadecimal digits each."""
        found = []
        for name in ("chm_session_logits_hash", "chm_session_state_hash"):
            self._call(name, self._session, self._out)
            found.append(f"{self.machine.pointer(self._out):016x}")
        return found[0], found[1]

    def reset(self) -> None:
        """Back to the start of a sequence."""
        self._call("chm_session_reset", self._session)

    def close(self) -> None:
        """Close session and bundle."""
        self.machine.call("chm_session_close", self._session, result="none")
        self._call("chm_bundle_close", self._bundle)
