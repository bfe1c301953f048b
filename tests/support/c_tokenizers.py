"""A tokenizer's file opened by the C runtime's own functions, without a model."""

from __future__ import annotations

import ctypes as ct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_TEXT: list[Any] = [ct.c_void_p, ct.c_char_p, ct.c_size_t]
_ROOM: list[Any] = [ct.c_void_p, ct.c_size_t, ct.c_void_p]


class OpenTokenizer:
    """Its functions."""

    def __init__(self, library: ct.CDLL, bundle: int) -> None:
        self._library, self._bundle = library, bundle

    def _room(self, data: bytes) -> int:
        room: int = self._library.chm_tokenizer_room(self._bundle, len(data))
        return room

    def encode(self, text: str | bytes, *, specials: bool = False, begins: bool = True) -> list[int]:
        data = text.encode() if isinstance(text, str) else text
        name = "encode_with_specials" if specials else "encode" if begins else "encode_more"
        room, count = self._room(data), ct.c_size_t()
        tokens = (ct.c_int32 * max(1, room))()
        function = getattr(self._library, f"chm_tokenizer_{name}")
        assert function(self._bundle, data, len(data), tokens, room, ct.byref(count)) == 0
        return list(tokens[: count.value])

    def encode_parts(self, data: bytes, most: int) -> list[int]:
        at, count, tokens = ct.c_size_t(), ct.c_size_t(), (ct.c_int32 * max(1, self._room(data)))()
        done = 0
        while True:
            place, left = ct.byref(tokens, 4 * done), len(tokens) - done
            arguments = (self._bundle, data, len(data), ct.byref(at), most, place, left, ct.byref(count))
            assert self._library.chm_tokenizer_encode_part(*arguments) == 0
            done += count.value
            if at.value == len(data):
                return list(tokens[:done])

    def decode(self, tokens: list[int]) -> bytes:
        size = ct.c_size_t()
        return b"".join(
            ct.string_at(self._library.chm_tokenizer_token(self._bundle, token, ct.byref(size)), size.value)
            for token in tokens
        )


@contextmanager
def opened(internals: ct.CDLL, path: Path) -> Iterator[OpenTokenizer]:
    """Open a container; it must be one that C takes."""
    internals.test_tokenizer_open.restype = internals.chm_tokenizer_token.restype = ct.c_void_p
    internals.test_tokenizer_open.argtypes = [ct.c_char_p, ct.c_size_t]
    internals.test_tokenizer_close.argtypes = [ct.c_void_p]
    internals.chm_tokenizer_room.restype = ct.c_size_t
    internals.chm_tokenizer_room.argtypes = [ct.c_void_p, ct.c_size_t]
    internals.chm_tokenizer_token.argtypes = [ct.c_void_p, ct.c_int32, ct.c_void_p]
    for name in ("encode", "encode_with_specials", "encode_more"):
        getattr(internals, f"chm_tokenizer_{name}").argtypes = [*_TEXT, *_ROOM]
    internals.chm_tokenizer_encode_part.argtypes = [*_TEXT, ct.c_void_p, ct.c_size_t, *_ROOM]
    data = path.read_bytes()
    bundle = internals.test_tokenizer_open(data, len(data))
    assert bundle is not None
    yield OpenTokenizer(internals, bundle)
    internals.test_tokenizer_close(bundle)
