"""A session of an ONNX bundle that holds no language model: ONNX Runtime computes the calls, this keeps the state."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chimerac.runtime.bundle_format import SECTION_ALIGNMENT, CallRecord, Entry, Manifest
from chimerac.runtime.bundle_format.entries import samples_of
from chimerac.runtime.bundle_format.hashing import hash_words
from chimerac.runtime.bundle_format.state import MAX_REMAINING, SequenceState, StateForm, parse_state, state_bytes
from chimerac.runtime.errors import BundleError
from chimerac.runtime.options import GenerateOptions
from chimerac.runtime.sessions.checks import Progress, no_tokens
from chimerac.runtime.sessions.interface import CheckedPrompt, Piece, Session
from chimerac.runtime.sessions.onnx_model import (
    ONNX_FUSED,
    first_line,
    held_states,
    import_onnxruntime,
    open_model,
    read_call,
)

#: How far a sample of the self-test may be off in a bundle that is not exact, as a part of the largest of its result.
SELF_TEST_TOLERANCE = 0.02


class OnnxCallSession(Session):
    """Opened by ``load``."""

    vocab_size, max_loops = 0, 1

    def __init__(self, manifest: Manifest, model: Path, *, threads: int = 1) -> None:
        """Load the model; 0 threads are one per core, at most 8.

        Raises BundleError CHM414 if ONNX Runtime is missing or cannot load the model.
        """
        super().__init__(manifest)
        self._runtime = import_onnxruntime()
        self._threads = threads or min(8, os.cpu_count() or 1)
        self._is_exact = manifest.target != ONNX_FUSED
        if not self._is_exact:
            self.self_test_compares = f"the interpreter's results, within {SELF_TEST_TOLERANCE:.0%} of the largest"
        self._session: Any = open_model(self._runtime, model, self._threads, exact=self._is_exact)
        self._form_of_call = read_call(self._session, model, manifest.entries)
        self._held = held_states(self._session)
        shapes = {name: held.shape for name, held in self._held.items()}
        dtypes = {name: held.stored for name, held in self._held.items()}
        self._form = StateForm(manifest.config_sha256, manifest.model_sha256, 0, self.max_loops, shapes, dtypes)
        self._outputs = [output.name for output in self._session.get_outputs()]
        self._count = 0
        self._states = self._zeros()

    def _zeros(self) -> dict[str, NDArray[Any]]:
        """States before the first call; the model itself puts initial values in place."""
        return {name: np.zeros(held.shape, held.type) for name, held in self._held.items()}

    def _call_entry(self, entry: Entry, inputs: Sequence[NDArray[Any]], n: int) -> Sequence[NDArray[Any]]:
        form = self._form_of_call
        feeds: dict[str, NDArray[Any]] = {
            name: array.reshape(port.extents(n))
            for name, port, array in zip(form.inputs, entry.inputs, inputs, strict=True)
        }
        feeds |= {f"state.{name}": array for name, array in self._states.items()}
        if form.position is not None:
            feeds[form.position] = np.array(self._count, np.int32)
        try:
            made = dict(zip(self._outputs, self._session.run(self._outputs, feeds), strict=True))
        except Exception as error:  # onnxruntime raises its own classes, which have no common base of their own
            raise BundleError("CHM414", f"ONNX Runtime failed: {first_line(error)}") from None
        self._states = {name: made[f"present.{name}"] for name in self._states}
        self._count = min(self._count + 1, MAX_REMAINING)
        return [made[name] for name in form.results]

    def _compare_call(self, entry: Entry, number: int, record: CallRecord, results: Sequence[NDArray[Any]]) -> None:
        if self._is_exact:
            super()._compare_call(entry, number, record, results)
            return
        for port, there, result in zip(entry.results, record.samples, results, strict=True):
            here = samples_of(result)
            known = np.array([value is not None for value in there], bool)
            expected = np.array([value or 0.0 for value in there])
            scale = max(1e-6, float(np.abs(expected).max(initial=0.0)))
            worst = float(np.abs(here - expected)[known].max(initial=0.0)) / scale
            if not worst <= SELF_TEST_TOLERANCE:
                message = f"{port.name} of call {number} of the self-test is off by {worst:.1%} of its largest sample"
                raise BundleError("CHM450", message, hint="report this with the name of the processor")

    # ---- looking ----

    @property
    def threads(self) -> int:
        self._guard.check()
        return self._threads

    @property
    def kernels(self) -> str:
        """ONNX Runtime chooses its kernels itself."""
        return f"onnxruntime {self._runtime.__version__}"

    def _position(self) -> int:
        return self._count

    def _state_hash(self) -> str:
        padded = []
        for array in self._states.values():
            data = array.tobytes()
            padded.append(data.ljust(-(-len(data) // SECTION_ALIGNMENT) * SECTION_ALIGNMENT, b"\0"))
        return f"{hash_words(b''.join(padded)):016x}"

    def _reset(self) -> None:
        self._count, self._states = 0, self._zeros()

    def _snapshot(self) -> bytes:
        state = SequenceState(
            states=self._states,
            logits=np.zeros(0, np.float32),
            position=self._count,
            deepest=int(self._count > 0),
            iterations=int(self._count > 0),
            text=b"",
        )
        return state_bytes(self._form, state)

    def _restore(self, snapshot: bytes) -> None:
        state = parse_state(self._form, snapshot)
        self._count, self._states = state.position, {name: array.copy() for name, array in state.states.items()}

    def _close(self) -> None:
        self._session = None

    # ---- of tokens, which nobody comes to: the session's own functions refuse them first ----

    def _generate(
        self, prompt: CheckedPrompt, options: GenerateOptions, tell: Progress
    ) -> Generator[Piece, None, None]:
        raise no_tokens(self.manifest)

    def _encode(self, text: bytes, specials: bool, begins: bool) -> list[int]:
        raise no_tokens(self.manifest)

    def _prefill(self, tokens: NDArray[np.int32], tell: Progress) -> None:
        raise no_tokens(self.manifest)

    def _logits(self) -> NDArray[np.float32] | None:
        raise no_tokens(self.manifest)

    def _logits_hash(self) -> str:
        raise no_tokens(self.manifest)
