"""A session of a native bundle: the decode loop is C, this hands bytes in and out."""

from __future__ import annotations

import contextlib
import ctypes as ct
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chimerac.runtime.bundle_format import Manifest
from chimerac.runtime.errors import BundleError
from chimerac.runtime.options import GenerateOptions
from chimerac.runtime.sessions.interface import FinishReason, Piece, Prompt, Session, check_long_enough
from chimerac.runtime.sessions.native_grammar import NativeGrammar, SessionGrammars
from chimerac.runtime.sessions.native_library import NativeLibrary
from chimerac.runtime.sessions.profile import Profile

_SKIP_CHECKSUMS = 1


class NativeSession(Session):
    """Opened by ``load``; may also be made of any library and files that belong together."""

    def __init__(
        self,
        manifest: Manifest,
        library: Path,
        weights: Path,
        tokenizer: Path | None,
        grammars: Path | None = None,
        *,
        skip_checksums: bool = False,
        threads: int = 1,
    ) -> None:
        """Load the library and map the files; ``skip_checksums`` is for files whose SHA-256 was just compared.

        Raises BundleError CHM400 to CHM407, CHM414, CHM420, CHM422, CHM430.
        """
        self.manifest = manifest
        self._library = NativeLibrary(library)
        self._bundle, self._session = ct.c_void_p(), ct.c_void_p()
        flags = _SKIP_CHECKSUMS if skip_checksums else 0
        tokenizer_path = None if tokenizer is None else str(tokenizer).encode()
        self._library.call(
            "chm_bundle_open_files", str(weights).encode(), tokenizer_path, flags, None, ct.byref(self._bundle)
        )
        self._grammars = SessionGrammars(self._library, self._bundle, grammars, skip_checksums=skip_checksums)
        try:
            self._library.call("chm_bundle_set_threads", self._bundle, threads)
            self._library.call("chm_session_open", self._bundle, None, ct.byref(self._session))
        except BundleError:
            self.close()
            raise
        self.vocab_size = self._library.get("chm_vocab_size")
        self.max_loops = self._library.get("chm_max_loops")
        self._tokens: list[int] = []
        self._finish_reason: FinishReason | None = None

    def _open(self) -> ct.c_void_p:
        if not self._session:
            raise BundleError("CHM421", "the session is closed")
        return self._session

    def _generate(self, prompt: Prompt, options: GenerateOptions) -> Iterator[Piece]:
        session, call = self._open(), self._library.call
        call("chm_session_set_loops", session, options.loops)
        call("chm_session_set_exit_threshold", session, options.exit_threshold)
        call(
            "chm_session_set_sampling",
            session,
            options.temperature,
            options.top_p,
            options.top_k,
            options.repetition_penalty,
            options.seed & 0xFFFFFFFF,
            options.seed >> 32,
            options.stream,
        )
        grammar = self._grammars.choose(options.grammar)
        if self._library.has_grammars:
            call("chm_session_set_grammar", session, None if grammar is None else grammar.handle)
        if grammar is not None:
            grammar.start()
            check_long_enough(grammar.closing, options.max_tokens)
        self._tokens, self._finish_reason = [], None
        if options.reset:
            self.reset()
        if isinstance(prompt, (str, bytes)):
            data = prompt.encode() if isinstance(prompt, str) else prompt
            call("chm_session_prompt", session, data, len(data))
        else:
            self.prefill(prompt)
        call("chm_session_begin_generation", session, options.max_tokens)
        token, size = ct.c_int32(), ct.c_size_t()
        while True:
            finished = call("chm_session_generate", self._open(), ct.byref(token))
            address = self._library.get("chm_session_text", session, ct.byref(size))
            text = ct.string_at(address, size.value).decode()
            if token.value >= 0:
                self._tokens.append(token.value)
            if finished:
                ended = token.value >= 0 or len(self._tokens) < options.max_tokens  # the latter: nothing may follow
                self._finish_reason = "stop" if ended else "length"
                if text or token.value >= 0:
                    yield Piece(text, token.value)
                return
            yield Piece(text, token.value)

    def grammar(self, name: str | bytes | None = None) -> NativeGrammar | None:
        """What ``grammar=name`` of ``generate`` means, for decoding by other means; another generation with it uses the
        same object. Raises BundleError CHM431.
        """
        self._open()
        return self._grammars.choose(name)

    def encode(self, text: str | bytes, *, specials: bool = False) -> list[int]:
        self._open()
        data = text.encode() if isinstance(text, str) else text
        tokens, count = (ct.c_int32 * max(1, len(data)))(), ct.c_size_t()
        name = "chm_tokenizer_encode_with_specials" if specials else "chm_tokenizer_encode"
        self._library.call(name, self._bundle, data, len(data), tokens, len(data), ct.byref(count))
        return tokens[: count.value]

    def prefill(self, tokens: Sequence[int]) -> None:
        session = self._open()
        values = [int(token) for token in tokens]
        if any(not 0 <= token < 1 << 31 for token in values):
            raise BundleError("CHM420", "a token is out of range")
        self._library.call("chm_session_prefill", session, (ct.c_int32 * max(1, len(values)))(*values), len(values))

    def reset(self) -> None:
        self._library.call("chm_session_reset", self._open())

    def logits(self) -> NDArray[np.float32] | None:
        address = self._library.get("chm_session_logits", self._open())
        if not address:
            return None
        return np.frombuffer(ct.string_at(address, 4 * self.vocab_size), np.float32).copy()

    @property
    def threads(self) -> int:
        self._open()
        return int(self._library.get("chm_bundle_threads", self._bundle))

    @property
    def kernels(self) -> str:
        self._open()
        return str(self._library.get("chm_cpu_selected").decode())

    @property
    def position(self) -> int:
        return int(self._library.get("chm_session_position", self._open()))

    @property
    def iterations(self) -> int:
        """Loop iterations of the last call."""
        return int(self._library.get("chm_session_iterations", self._open()))

    def _hash(self, name: str) -> str:
        value = ct.c_uint64()
        self._library.call(name, self._open(), ct.byref(value))
        return f"{value.value:016x}"

    def state_hash(self) -> str:
        return self._hash("chm_session_state_hash")

    def logits_hash(self) -> str:
        return self._hash("chm_session_logits_hash")

    def snapshot(self) -> bytes:
        size = self._library.get("chm_session_snapshot_bytes", self._open())
        buffer = ct.create_string_buffer(size)
        self._library.call("chm_session_snapshot", self._session, buffer, size)
        return buffer.raw

    def restore(self, snapshot: bytes) -> None:
        self._library.call("chm_session_restore", self._open(), snapshot, len(snapshot))

    def call(self, name: str, *values: object) -> bool:
        """Call a function of chimera.h with this session before other arguments, for what has no method here.

        True for CHM_FINISHED. Raises BundleError with the status' code.
        """
        return self._library.call(name, self._open(), *values)

    @property
    def measures(self) -> bool:
        """Whether the library can measure itself; those of an older chimerac cannot."""
        return self._library.measures

    @property
    def library(self) -> NativeLibrary:
        """The library of the bundle, for what needs no session."""
        return self._library

    @contextlib.contextmanager
    def profile(self) -> Iterator[Profile]:
        """Measure where the time of the model goes; what is computed does not change.

        ``with session.profile() as profile:`` then run tokens; ``profile.steps()`` has the sums up to now. Raises
        BundleError CHM421 if the bundle's library is too old to measure.
        """
        profile = Profile(self._library)
        self.call("chm_session_profile", profile.times, len(profile.times))
        try:
            yield profile
        finally:
            if self._session:
                self.call("chm_session_profile", None, 0)

    def close(self) -> None:
        if self._session:
            self._library.get("chm_session_close", self._session)
            self._session = ct.c_void_p()
        self._grammars.close()
        if self._bundle:
            self._library.call("chm_bundle_close", self._bundle)
            self._bundle = ct.c_void_p()
