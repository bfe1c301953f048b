"""A session of a native bundle: the decode loop is C, this hands bytes in and out."""

from __future__ import annotations

import contextlib
import ctypes as ct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from chimerac.runtime.bundle_format import Entry, Manifest, Port
from chimerac.runtime.bundle_format.constants import ROLE_HEARD
from chimerac.runtime.errors import BundleError
from chimerac.runtime.options import GenerateOptions
from chimerac.runtime.sessions.diagnostics import LEDGER_NUMBERS, LEVELS, Diagnostics
from chimerac.runtime.sessions.memory import Vectors, check_width
from chimerac.runtime.sessions.native_bundle import NativeBundle, NativeFiles, close_shared, open_shared
from chimerac.runtime.sessions.native_grammar import NativeGrammar, SessionGrammars
from chimerac.runtime.sessions.native_library import NativeLibrary, Tensor
from chimerac.runtime.sessions.profile import Profile
from chimerac.runtime.sessions.speculation import (
    COUNTERS,
    COUNTERS_WITHOUT_BANK,
    COUNTERS_WITHOUT_HEAD,
    OLD_COUNTERS,
    REJECTED,
    Speculation,
)
from chimerac.runtime.sessions.stepping import SteppingSession

_PART_BYTES: Final = 1 << 16  #: of a text, which take some milliseconds to encode


def _tensors(ports: Sequence[Port], arrays: Sequence[NDArray[Any]]) -> ct.Array[Tensor]:
    """What C calls ``chm_tensor``; the arrays must outlive them."""
    rows = [Tensor(p.name.encode(), a.ctypes.data, a.nbytes) for p, a in zip(ports, arrays, strict=True)]
    return (Tensor * len(rows))(*rows)


_MOST_HINT: Final = 1 << 15  #: tokens


class NativeSession(SteppingSession):
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
        spans: Path | None = None,
        own_spans: bool = False,
    ) -> None:
        """Load the library and map the files, unless another session with as many threads has done so.

        ``skip_checksums`` is for files whose SHA-256 was just compared, ``spans`` among them if they are the bundle's
        own. Raises BundleError CHM400 to CHM407, CHM414, CHM420 to CHM422, CHM430, CHM434.
        """
        super().__init__(manifest)
        files = NativeFiles(library, weights, tokenizer, grammars, skip_checksums, threads, spans, own_spans)
        shared = open_shared(files)
        self._shared: NativeBundle | None = shared
        self._library, self._bundle, self._session = shared.library, shared.handle, ct.c_void_p()
        self._grammars = SessionGrammars(self._library, self._bundle, shared.pack, named=grammars is not None)
        try:
            self._library.call("chm_session_open", self._bundle, None, ct.byref(self._session))
            if shared.bank is not None:
                self._library.call("chm_session_set_bank", self._session, shared.bank.handle)
        except BundleError:
            self.close()
            raise
        self.vocab_size = self._library.get("chm_vocab_size")
        self.max_loops = self._library.get("chm_max_loops")

    def _configure(self, options: GenerateOptions) -> int:
        session, call = self._session, self._library.call
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
        if self._library.has_valve:
            call("chm_session_set_valve", session, *self._valve(options))
        if self._library.has_ledger:
            call("chm_session_set_ledger", session, *self._ledger())
        if self._library.has_shares and self._library.speculates:
            shares = self._shares(options)
            call("chm_session_set_shares", session, (ct.c_uint32 * len(shares))(*shares), len(shares))
        options.check_speculation(self._library.speculates)
        if self._library.speculates:
            call("chm_session_set_speculation", session, int(options.speculate is not False))
        if self._library.scores:
            call("chm_session_set_scoring", session, int(options.score))
        elif options.score:
            hint = "build the bundle again"
            raise BundleError("CHM414", "the bundle is of a chimerac that counted no scores", hint=hint)
        grammar = self._grammars.choose(options.grammar)
        if self._library.has_grammars:
            call("chm_session_set_grammar", session, None if grammar is None else grammar.handle)
        if grammar is None:
            return 0
        if grammar.slots:
            for kind, text in options.slot_texts:
                grammar.set_words(kind, text)
        grammar.start()
        return grammar.closing

    def _begin(self, options: GenerateOptions) -> None:
        self._library.call("chm_session_begin_generation", self._session, options.max_tokens)

    def _next(self) -> tuple[bool, int, str]:
        token, size = ct.c_int32(), ct.c_size_t()
        finished = self._library.call("chm_session_generate", self._session, ct.byref(token))
        address = self._library.get("chm_session_text", self._session, ct.byref(size))
        return finished, token.value, ct.string_at(address, size.value).decode()

    def _score_now(self) -> float:
        return float(self._library.get("chm_session_score", self._session))

    def grammar(self, name: str | bytes | None = None) -> NativeGrammar | None:
        """What ``grammar=name`` of ``generate`` means, for decoding by other means; another generation with it uses the
        same object. Raises BundleError CHM431.
        """
        with self._guard.call():
            return self._grammars.choose(name)

    def _special(self, role: str) -> int:
        return int(self._library.get("chm_tokenizer_special", self._bundle, role.encode()))

    def _hint(self) -> list[int]:
        if not self._library.has_hints or self._special(ROLE_HEARD) < 0:
            return []
        tokens, count = np.zeros(_MOST_HINT, np.int32), ct.c_size_t()
        self._library.call("chm_session_hint", self._session, tokens.ctypes.data, len(tokens), ct.byref(count))
        return [int(token) for token in tokens[: count.value]]

    def _encode(self, text: bytes, specials: bool, begins: bool) -> list[int]:
        library = self._library
        room = library.get("chm_tokenizer_room", self._bundle, len(text)) if library.has_rules else len(text)
        tokens, count = np.empty(max(1, room), np.int32), ct.c_size_t()
        if not specials and begins and library.encodes_parts:
            return list(tokens[: self._encode_parts(text, tokens)].tolist())
        name = "chm_tokenizer_encode_with_specials" if specials else "chm_tokenizer_encode"
        if not begins and library.has_rules:
            name = "chm_tokenizer_encode_more"
        library.call(name, self._bundle, text, len(text), tokens.ctypes.data, room, ct.byref(count))
        return list(tokens[: count.value].tolist())

    def _encode_parts(self, text: bytes, tokens: NDArray[np.int32]) -> int:
        """Tokens of the text, counted; signals are looked at between its parts."""
        at, count, done = ct.c_size_t(), ct.c_size_t(), 0
        while True:
            room = (tokens[done:].ctypes.data, len(tokens) - done)
            where = (self._bundle, text, len(text), ct.byref(at), _PART_BYTES)
            self._library.call("chm_tokenizer_encode_part", *where, *room, ct.byref(count))
            done += count.value
            if at.value == len(text):
                return done
            self._guard.check()

    def _run_slice(self, tokens: NDArray[np.int32], *, more: bool) -> None:
        name = "chm_session_prefill_part" if more and self._library.prefills_parts else "chm_session_prefill"
        self._library.call(name, self._session, tokens.ctypes.data, len(tokens))

    def _reset(self) -> None:
        self._library.call("chm_session_reset", self._session)

    def _logits(self) -> NDArray[np.float32] | None:
        address = self._library.get("chm_session_logits", self._session)
        if not address:
            return None
        return np.frombuffer(ct.string_at(address, 4 * self.vocab_size), np.float32).copy()

    @property
    def threads(self) -> int:
        with self._guard.call():
            return int(self._library.get("chm_bundle_threads", self._bundle))

    @property
    def kernels(self) -> str:
        self._guard.check()
        return str(self._library.get("chm_cpu_selected").decode())

    def _room(self) -> int:
        if not self._library.has_context:
            return super()._room()
        return int(self._library.get("chm_session_room", self._session))

    def _position(self) -> int:
        return int(self._library.get("chm_session_position", self._session))

    @property
    def iterations(self) -> int:
        """Loop iterations of the last call."""
        with self._guard.call():
            return int(self._library.get("chm_session_iterations", self._session))

    def speculation(self) -> Speculation:
        """As of ``Session``."""
        old = OLD_COUNTERS if self._library.has_banks else COUNTERS_WITHOUT_BANK
        known = COUNTERS if self._library.has_heads else COUNTERS_WITHOUT_HEAD
        count = known if self._library.has_costs else old
        counters = (ct.c_uint64 * count)()
        rollbacks, rejected = (ct.c_uint64 * (known // 2 - 2))(), (ct.c_uint64 * len(REJECTED))()
        if self._library.speculates:
            with self._guard.call():
                self._library.call("chm_session_counters", self._session, counters, count)
                if self._library.has_certificates:
                    self._library.call("chm_session_rollbacks", self._session, rollbacks, len(rollbacks))
                    self._library.call("chm_session_rejected", self._session, rejected, len(rejected))
        return Speculation.of(list(counters), list(rollbacks), list(rejected))

    def _diagnostics(self, speculation: Speculation) -> Diagnostics:
        library, session = self._library, self._session
        if not library.has_ledger:
            return Diagnostics(speculation=speculation)
        levels, ledger = (ct.c_uint64 * len(LEVELS))(), (ct.c_uint32 * LEDGER_NUMBERS)()
        library.call("chm_session_levels", session, levels, len(levels))
        library.call("chm_session_ledger", session, ledger, len(ledger))
        level, entropy = library.get("chm_session_level", session), library.get("chm_session_entropy", session)
        return Diagnostics.of(level, entropy, list(levels), list(ledger), speculation)

    def _hash(self, name: str) -> str:
        value = ct.c_uint64()
        self._library.call(name, self._session, ct.byref(value))
        return f"{value.value:016x}"

    def _state_hash(self) -> str:
        return self._hash("chm_session_state_hash")

    def _logits_hash(self) -> str:
        return self._hash("chm_session_logits_hash")

    def _snapshot(self) -> bytes:
        size = self._library.get("chm_session_snapshot_bytes", self._session)
        buffer = ct.create_string_buffer(size)
        self._library.call("chm_session_snapshot", self._session, buffer, size)
        return buffer.raw

    def _restore(self, snapshot: bytes) -> None:
        self._library.call("chm_session_restore", self._session, snapshot, len(snapshot))

    def _set_memory(self, vectors: Vectors) -> None:
        library = self._library
        width = library.get("chm_reads_memory") if library.has_memory else 0
        check_width(vectors, width)
        library.call("chm_session_set_memory", self._session, vectors.ctypes.data, width, len(vectors))
        self._memory = vectors  # which is read where it is

    def _call_entry(self, entry: Entry, inputs: Sequence[NDArray[Any]], n: int) -> Sequence[NDArray[Any]]:
        results = [np.empty(port.extents(n), port.computed) for port in entry.results]
        given, wanted = _tensors(entry.inputs, inputs), _tensors(entry.results, results)
        arguments = (entry.name.encode(), given, len(given), wanted, len(wanted), n)
        self._library.call("chm_session_call", self._session, *arguments)
        return results

    def invoke(self, name: str, *values: object) -> bool:
        """Call a function of chimera.h with this session before other arguments, for what has no method here.

        True for CHM_FINISHED. Raises BundleError with the status' code.
        """
        with self._guard.call():
            return self._library.call(name, self._session, *values)

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
        self.invoke("chm_session_profile", profile.times, len(profile.times))
        try:
            yield profile
        finally:
            if self._session:
                self.invoke("chm_session_profile", None, 0)

    def _close(self) -> None:
        if self._session:
            self._library.get("chm_session_close", self._session)
            self._session = ct.c_void_p()
        self._grammars.close()
        shared, self._shared = self._shared, None
        if shared is not None:
            close_shared(shared)
