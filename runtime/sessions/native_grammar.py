"""Grammars of a native session through chimera.h: packs, and one grammar with its place in a text."""

from __future__ import annotations

import ctypes as ct
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from chimerac.runtime.arguments import check_grammar_name
from chimerac.runtime.bundle_format.container import parse_container
from chimerac.runtime.bundle_format.fstpack import SLOT_KINDS, pack_of_container
from chimerac.runtime.errors import BundleError
from chimerac.runtime.options import NO_GRAMMAR
from chimerac.runtime.sessions.native_library import NativeLibrary

_SKIP_CHECKSUMS: Final = 1
_FORCED_BYTES: Final = 256
_MOST_OPEN: Final = 8


class NativeGrammar:
    """One grammar over the tokens of a bundle, at a place in a text. Not for use by two threads at a time."""

    def __init__(self, library: NativeLibrary, pack: NativePack, name: str | None) -> None:
        """Open a grammar of a pack; raises BundleError CHM431, CHM422."""
        self._library, self.handle = library, ct.c_void_p()
        self._pack = pack  # its bytes are used as long as this
        encoded = None if name is None else name.encode()
        library.call("chm_grammar_open", pack.handle, encoded, None, ct.byref(self.handle))
        self._words = np.zeros(library.get("chm_grammar_mask_words", self.handle), np.uint32)

    def set_whitespace(self, most: int | None) -> None:
        """Most optional whitespace in a row, 0..255; None: the grammar's own. Raises BundleError CHM420."""
        self._library.call("chm_grammar_set_whitespace", self.handle, -1 if most is None else most)

    def set_words(self, kind: str, text: bytes | None) -> None:
        """Say what may stand in slots of a kind: the request, or a list of names, one a line; None: no list.

        The grammar starts anew. Raises BundleError CHM420 for what is too long, or no list.
        """
        self._library.call(
            "chm_grammar_set_words", self.handle, SLOT_KINDS.index(kind), text, 0 if text is None else len(text)
        )

    @property
    def slots(self) -> bool:
        """Whether something may be copied; libraries of an older chimerac cannot."""
        return self._library.has_slots and bool(self._library.get("chm_grammar_slots", self.handle))

    def start(self) -> None:
        """Back to the start of a text."""
        self._library.call("chm_grammar_start", self.handle)

    def accept(self, token: int) -> bool:
        """Go on by a token; True after an end token. Raises BundleError CHM432, nothing done, if it's not allowed."""
        return self._library.call("chm_grammar_accept", self.handle, token)

    def mask_words(self, left: int | None = None) -> NDArray[np.uint32]:
        """The allowed tokens as uint32[⌈V/32⌉], token t bit t % 32 of word t // 32; valid until the next call."""
        limit = -1 if left is None else left
        self._library.call("chm_grammar_mask", self.handle, limit, self._words.ctypes.data, len(self._words))
        return self._words

    def mask(self, left: int | None = None) -> NDArray[np.bool_]:
        """bool[32·⌈V/32⌉]: which tokens may come, with at most ``left`` more tokens if that is given."""
        return np.unpackbits(self.mask_words(left).view(np.uint8), bitorder="little").astype(bool)

    @property
    def complete(self) -> bool:
        """Whether the text may end here."""
        return bool(self._library.get("chm_grammar_complete", self.handle))

    @property
    def closing(self) -> int:
        """No more tokens than this are needed to the end."""
        return int(self._library.get("chm_grammar_closing", self.handle))

    def forced(self) -> bytes:
        """The bytes that must come next, at most 256."""
        text, size = ct.create_string_buffer(_FORCED_BYTES), ct.c_size_t()
        self._library.call("chm_grammar_forced", self.handle, text, _FORCED_BYTES, ct.byref(size))
        return text.raw[: size.value]

    def save(self) -> bytes:
        """A copy of the place, for ``restore``."""
        size = self._library.get("chm_grammar_state_bytes")
        state = ct.create_string_buffer(size)
        self._library.call("chm_grammar_save", self.handle, state, size)
        return state.raw

    def restore(self, state: bytes) -> None:
        """Go to a place that was saved; raises BundleError CHM420."""
        self._library.call("chm_grammar_restore", self.handle, state, len(state))

    def close(self) -> None:
        """Give the memory back; may be called again."""
        self._library.get("chm_grammar_close", self.handle)
        self.handle = ct.c_void_p()


class NativePack:
    """A container of grammars, opened for a bundle."""

    def __init__(
        self,
        library: NativeLibrary,
        bundle: ct.c_void_p,
        data: bytes | Path | None,
        base: NativePack | None = None,
        *,
        skip_checksums: bool = False,
    ) -> None:
        """Check a container, the bytes of one or a file; None makes a pack without grammars, to be a ``base``.

        Raises BundleError CHM400 to CHM406, CHM414 for a bundle that is too old, CHM421, CHM422, CHM431.
        """
        if not library.has_grammars:
            hint = "build the bundle again"
            raise BundleError("CHM414", "the bundle is of a chimerac that had no grammars", hint=hint)
        self._library, self.handle = library, ct.c_void_p()
        self._data = _array(data)  # stays where it is as long as the pack
        address = None if self._data is None else self._data.ctypes.data
        size = 0 if self._data is None else self._data.size
        flags = _SKIP_CHECKSUMS if skip_checksums else 0
        other = None if base is None else base.handle
        library.call("chm_pack_open", bundle, other, address, size, flags, None, ct.byref(self.handle))

    @property
    def names(self) -> list[str]:
        """Names of the grammars."""
        count = self._library.get("chm_pack_count", self.handle)
        return [self._library.get("chm_pack_name", self.handle, i).decode() for i in range(count)]

    @property
    def default(self) -> str | None:
        """Name of the grammar that holds where none is asked for."""
        index = self._library.get("chm_pack_default", self.handle)
        return None if index < 0 else self.names[index]

    def grammar(self, name: str | None = None) -> NativeGrammar:
        """Open a grammar; without a name the only or default one. Raises BundleError CHM431."""
        return NativeGrammar(self._library, self, name)

    def close(self) -> None:
        """Give the memory back, after that of the grammars; may be called again."""
        if self.handle:
            self._library.call("chm_pack_close", self.handle)
            self.handle = ct.c_void_p()


class SessionGrammars:
    """The grammars that a session is asked for, kept open while it is."""

    def __init__(
        self, library: NativeLibrary, bundle: ct.c_void_p, pack: Callable[[], NativePack], *, named: bool
    ) -> None:
        """``pack`` gives the bundle's own, with the tokenizer's tables; ``named``: there are grammars in it."""
        self._library, self._bundle, self._pack, self._named = library, bundle, pack, named
        self._open: dict[str | bytes, tuple[NativePack | None, NativeGrammar]] = {}

    def choose(self, wanted: str | bytes | None) -> NativeGrammar | None:
        """The grammar that is meant by GenerateOptions.grammar; None for none.

        Raises BundleError CHM431 for a name that the bundle has not, and what opening a pack raises.
        """
        if wanted == NO_GRAMMAR or (wanted is None and not self._named):
            return None
        if wanted is None and (wanted := self._pack().default) is None:
            return None
        if isinstance(wanted, str):
            check_grammar_name(wanted, self._pack().names if self._named else [])
        if wanted not in self._open:
            while len(self._open) >= _MOST_OPEN:
                self._close(next(iter(self._open)))
            self._open[wanted] = self._opened(wanted)
        self._open[wanted] = self._open.pop(wanted)  # the last one used is the last to go
        return self._open[wanted][1]

    def _opened(self, wanted: str | bytes) -> tuple[NativePack | None, NativeGrammar]:
        if isinstance(wanted, str):
            return None, self._pack().grammar(wanted)
        if not self._library.has_slots and any(g.slots for g in pack_of_container(parse_container(wanted)).grammars):
            message = "the bundle is of a chimerac whose grammars copied nothing"
            raise BundleError("CHM414", message, hint="build the bundle again")
        pack = NativePack(self._library, self._bundle, wanted, self._pack())
        try:
            return pack, pack.grammar()
        except BundleError:
            pack.close()
            raise

    def _close(self, key: str | bytes) -> None:
        pack, grammar = self._open.pop(key)
        grammar.close()
        if pack is not None:
            pack.close()

    def close(self) -> None:
        """Close all; the session must not use one any more."""
        for key in list(self._open):
            self._close(key)


def _array(data: bytes | Path | None) -> NDArray[np.uint8] | None:
    """The bytes of a container, 16-byte aligned."""
    if data is None:
        return None
    if isinstance(data, bytes):
        return np.frombuffer(data, np.uint8).copy()
    try:
        return np.memmap(data, np.uint8, "r") if data.stat().st_size else np.zeros(0, np.uint8)
    except OSError as error:
        raise BundleError("CHM400", f"cannot read the grammars: {error.strerror}", path=data) from None
