"""Generates ``runtime/native/chm_normal_tables.h``: what Unicode's normalization form C needs to know of characters.

    python -m chimerac.frontends.tokenizers.normal_tables

Needs ``unicodedata2`` of the version of ``unicode_tables``. Hangul syllables are not in the tables: they are computed.

What counts is how the text was normalized that models have learnt from: by the library ``tokenizers``, whose tables are
those of Unicode 9. Characters that came later are left out, because it leaves them as they are; it is asked which.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tokenizers.normalizers import NFC

from chimerac.frontends.tokenizers.unicode_tables import c_array, unicode_database
from chimerac.runtime.bundle_format import NATIVE_DIRECTORY

HEADER: Final = NATIVE_DIRECTORY / "chm_normal_tables.h"
_HANGUL: Final = range(0xAC00, 0xD7A4)


class Known:
    """A module like ``unicodedata``, less what ``tokenizers`` does not know."""

    def __init__(self, database: Any) -> None:
        self._database, self._nfc = database, NFC()

    def _is_known(self, text: str) -> bool:
        return bool(self._nfc.normalize_str(text) == self._database.normalize("NFC", text))

    def combining(self, code: int) -> int:
        """The combining class of a character; while it is asked for, marks of other classes stand on both sides."""
        kind: int = self._database.combining(chr(code))
        return kind if kind and self._is_known(f"a\u0315{chr(code)}\u0334b") else 0

    def decomposition(self, code: int) -> tuple[int, int] | None:
        """The two of a character's canonical decomposition by one step, the second 0 where it is one."""
        text = self._database.decomposition(chr(code))
        if not text or text.startswith("<") or code in _HANGUL:
            return None
        first, *second = (int(part, 16) for part in text.split())
        parts = chr(first) + (chr(second[0]) if second else "")
        return (first, second[0] if second else 0) if self._is_known(chr(code)) and self._is_known(parts) else None

    def is_composed(self, code: int) -> bool:
        """Whether its two become it."""
        return bool(self._database.normalize("NFC", chr(code)) == chr(code))


def header_text(database: Any) -> str:
    """The text of the header, made of a module like ``unicodedata``."""
    known = Known(database)
    parts = {code: pair for code in range(0x110000) if (pair := known.decomposition(code))}
    numbers = {code: number for number, code in enumerate(parts)}
    starts = [code for code in parts if code - 1 not in parts]
    composed = [code for code in parts if known.is_composed(code)]
    composed.sort(key=parts.__getitem__)
    runs = _class_runs([known.combining(code) for code in range(0x110000)])
    lines = [
        "/* Normalization of the characters of Unicode 9.",
        " * Made by frontends/tokenizers/normal_tables.py; do not edit. */",
        "#ifndef CHM_NORMAL_TABLES_H",
        "#define CHM_NORMAL_TABLES_H",
        "",
        "#include <stdint.h>",
        "",
        "/* code << 8 | combining class, of the code and those after it, up to the next entry */",
        *c_array("uint32_t", "chm_classes", runs, 20),
        "/* first characters of runs that are made of others, how many are before each, and how many there are */",
        *c_array("uint32_t", "chm_starts", starts, 20),
        *c_array("uint16_t", "chm_numbers", [*(numbers[code] for code in starts), len(parts)], 20),
        "/* the two that each is made of, the second 0 where it is one: 16 bits of both, and what is above */",
        *c_array("uint16_t", "chm_firsts", [first & 0xFFFF for first, _ in parts.values()], 20),
        *c_array("uint16_t", "chm_seconds", [second & 0xFFFF for _, second in parts.values()], 20),
        *c_array("uint8_t", "chm_highs", [first >> 16 | second >> 16 << 4 for first, second in parts.values()], 20),
        "/* numbers of characters that two become, in the order of the two */",
        *c_array("uint16_t", "chm_composed", [numbers[code] for code in composed], 20),
        "",
        "#endif",
        "",
    ]
    return "\n".join(lines)


def _class_runs(classes: Sequence[int]) -> list[int]:
    runs, before = [], -1
    for code, kind in enumerate(classes):
        if kind != before:
            runs.append(code << 8 | kind)
        before = kind
    return runs


def main() -> Path:
    """Write the header; raises as ``unicode_database``."""
    HEADER.write_text(header_text(unicode_database()), "utf-8")
    return HEADER


if __name__ == "__main__":
    print(main())
