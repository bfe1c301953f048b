"""How tokenizer files spell the bytes of a token: in the byte-level alphabet, or with U+2581 and <0x00>."""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from chimerac.frontends.tokenizers.components import UNDERLINE

_BYTE: Final = re.compile("<0x([0-9A-F]{2})>")


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


def text_of_piece(token: str) -> bytes:
    """The bytes of a token of SentencePiece, in which U+2581 is a space."""
    return token.replace(UNDERLINE, " ").encode("utf-8", "surrogatepass")


def byte_of_piece(token: str) -> int | None:
    """The byte of a token like <0x0A>, else None."""
    found = _BYTE.fullmatch(token)
    return int(found[1], 16) if found else None
