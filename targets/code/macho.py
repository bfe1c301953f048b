"""Mach-O object files: which of their symbols a library that is linked from them exports."""

from __future__ import annotations

import struct
from collections.abc import Collection

from chimerac.compiler.errors import InternalError

_MAGIC, _OBJECT, _SYMBOL_TABLE = 0xFEEDFACF, 1, 2
_EXTERNAL, _PRIVATE, _TYPE, _UNDEFINED = 0x01, 0x10, 0x0E, 0x00


def hide_symbols(data: bytes, exports: Collection[str]) -> bytes:
    """An object file whose global symbols are private to the library, but for ``exports`` (C names).

    zig's linker takes no list of exports for Mach-O, and exports what is not private. See ``nlist_64`` in Apple's
    mach-o/nlist.h: a private symbol has the bit N_PEXT.
    """
    magic, _, _, kind, commands, *_ = struct.unpack_from("<8I", data)
    if (magic, kind) != (_MAGIC, _OBJECT):
        raise InternalError("not a Mach-O object file", stage="link")
    changed = bytearray(data)
    place = 32
    for _ in range(commands):
        command, length = struct.unpack_from("<II", data, place)
        if command == _SYMBOL_TABLE:
            symbols, count, names, _ = struct.unpack_from("<4I", data, place + 8)
            for entry in range(symbols, symbols + 16 * count, 16):
                name, flags = struct.unpack_from("<IB", data, entry)
                defined = flags & _EXTERNAL and flags & _TYPE != _UNDEFINED
                if defined and _text(data, names + name).removeprefix("_") not in exports:
                    changed[entry + 4] = flags | _PRIVATE
        place += length
    return bytes(changed)


def _text(data: bytes, start: int) -> str:
    return data[start : data.index(0, start)].decode()
