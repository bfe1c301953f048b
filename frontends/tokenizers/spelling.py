"""How tokenizer files spell the bytes of a token: in the byte-level alphabet, with U+2581 and <0x00>, with escapes."""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from chimerac.frontends.tokenizers.components import UNDERLINE

_BYTE: Final = re.compile("<0x([0-9A-F]{2})>")
_ESCAPE: Final = re.compile(r"\\(?:x([0-9a-f]{2})|([tnr\\'\"]))")
_ESCAPED: Final = {"t": b"\t", "n": b"\n", "r": b"\r", "\\": b"\\", "'": b"'", '"': b'"'}


@cache
def byte_alphabet() -> dict[str, int]:
    """Character → byte: printable Latin-1 stands for itself, the characters from U+0100 on for the others, in order."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + k): byte for k, byte in enumerate(others)}


def bytes_of_spelling(token: str) -> bytes | None:
    """The bytes of a byte-level token; None if a character is not of the alphabet."""
    alphabet = byte_alphabet()
    try:
        return bytes(alphabet[character] for character in token)
    except KeyError:
        return None


def spelling_of_bytes(token: bytes) -> str:
    """The byte-level spelling of bytes."""
    return "".join(map(_characters().__getitem__, token))


@cache
def _characters() -> dict[int, str]:
    return {byte: character for character, byte in byte_alphabet().items()}


def bytes_of_escapes(token: str) -> bytes | None:
    """The bytes of a token with the escapes of Python's ``bytes``, else UTF-8; None for an escape that is none."""
    parts: list[bytes] = []
    at = 0
    while at < len(token):
        if token[at] != "\\":
            end = token.find("\\", at) % (len(token) + 1)
            parts.append(token[at:end].encode("utf-8", "surrogatepass"))
            at = end
        elif found := _ESCAPE.match(token, at):
            parts.append(bytes([int(found[1], 16)]) if found[1] else _ESCAPED[found[2]])
            at = found.end()
        else:
            return None
    return b"".join(parts)


def text_of_piece(token: str) -> bytes:
    """The bytes of a token of SentencePiece, in which U+2581 is a space."""
    return token.replace(UNDERLINE, " ").encode("utf-8", "surrogatepass")


def byte_of_piece(token: str) -> int | None:
    """The byte of a token like <0x0A>, else None."""
    found = _BYTE.fullmatch(token)
    return int(found[1], 16) if found else None
