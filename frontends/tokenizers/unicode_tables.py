"""Generates ``runtime/native/chm_unicode.h``: the character classes of the o200k pattern as a two-stage table.

    python -m chimerac.frontends.tokenizers.unicode_tables

Needs ``unicodedata2`` of exactly UNICODE_VERSION, because Python's own ``unicodedata`` changes with Python. Runtime
and tests read the header, so Python and C have the same table.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from chimerac.runtime.bundle_format import NATIVE_DIRECTORY

UNICODE_VERSION: Final = "16.0.0"  #: as in tiktoken 0.14
HEADER: Final = NATIVE_DIRECTORY / "chm_unicode.h"

#: Class names in the order of their numbers.
CLASSES: Final = ("OTHER", "UPPER", "LOWER", "LETTER", "MARK", "NUMBER", "SPACE")
_CATEGORIES: Final = {
    "UPPER": ("Lu", "Lt"),
    "LOWER": ("Ll",),
    "LETTER": ("Lm", "Lo"),
    "MARK": ("Mn", "Mc", "Me"),
    "NUMBER": ("Nd", "Nl", "No"),
}
#: The property White_Space; Python's ``str.isspace`` is true for four control characters more.
_SPACES: Final = frozenset(
    (*range(9, 14), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000)
)

_BLOCK: Final = 128  #: characters of a block; the size that makes the tables smallest
_SELECTORS: Final = range(0xE0100, 0xE01F0)  #: marks far behind everything else, kept out of the table


def class_numbers(category: Callable[[str], str]) -> bytes:
    """uint8[0x110000]: the class of each code point, from the function that gives its general category."""
    of_category = {name: CLASSES.index(kind) for kind, names in _CATEGORIES.items() for name in names}
    space = CLASSES.index("SPACE")
    return bytes(space if c in _SPACES else of_category.get(category(chr(c)), 0) for c in range(0x110000))


def header_text(numbers: bytes, version: str) -> str:
    """The text of the header for these classes.

    Raises:
        ValueError: a character behind the table is not OTHER, or there are more than 256 different blocks.
    """
    mark = CLASSES.index("MARK")
    used = max(c for c, number in enumerate(numbers) if number and c not in _SELECTORS) + 1
    limit = -(-used // _BLOCK) * _BLOCK
    if any(numbers[c] != mark for c in _SELECTORS) or limit > _SELECTORS[0]:
        raise ValueError("characters lie behind the table")
    blocks: dict[bytes, int] = {}
    stage1 = [blocks.setdefault(numbers[c : c + _BLOCK], len(blocks)) for c in range(0, limit, _BLOCK)]
    if len(blocks) > 256:
        raise ValueError(f"{len(blocks)} blocks do not fit 8 bits")
    stage2 = [low | high << 4 for block in blocks for low, high in zip(block[::2], block[1::2], strict=True)]
    lines = [
        f"/* Character classes of Unicode {version}. Made by frontends/tokenizers/unicode_tables.py; do not edit. */",
        "#ifndef CHM_UNICODE_H",
        "#define CHM_UNICODE_H",
        "",
        "#include <stdint.h>",
        "",
        f'#define CHM_UNICODE_VERSION "{version}"',
        f"enum {{ {', '.join(f'CHM_{name}' for name in CLASSES)} }};",
        "",
        "/* The class of code point c < CHM_UNICODE_LIMIT is half a byte, the low one for even c:",
        f" * chm_unicode_stage2[chm_unicode_stage1[c / {_BLOCK}] * {_BLOCK // 2} + c % {_BLOCK} / 2]. Above, variation",
        " * selectors are marks and everything else is CHM_OTHER. */",
        f"#define CHM_UNICODE_LIMIT 0x{limit:X}u",
        f"#define CHM_UNICODE_SELECTORS_BEGIN 0x{_SELECTORS.start:X}u",
        f"#define CHM_UNICODE_SELECTORS_END 0x{_SELECTORS.stop:X}u",
        *c_array("uint8_t", "chm_unicode_stage1", stage1, 32),
        *c_array("uint8_t", "chm_unicode_stage2", stage2, 32),
        "",
        "#endif",
        "",
    ]
    return "\n".join(lines)


def c_array(kind: str, name: str, values: Sequence[int], row: int) -> list[str]:
    """Lines of C: an array of constants, so many in a line."""
    rows = [",".join(map(str, values[at : at + row])) for at in range(0, len(values), row)]
    return [f"static const {kind} {name}[{len(values)}] = {{", *(f"  {line}," for line in rows), "};"]


def unicode_database() -> Any:
    """A module like ``unicodedata``, of UNICODE_VERSION.

    Raises:
        ModuleNotFoundError: unicodedata2 is not installed.
        ValueError: it is of another version.
    """
    database = importlib.import_module("unicodedata2")
    if database.unidata_version != UNICODE_VERSION:
        raise ValueError(f"unicodedata2 has Unicode {database.unidata_version}, not {UNICODE_VERSION}")
    return database


def main() -> Path:
    """Write the header; raises as ``unicode_database``."""
    HEADER.write_text(header_text(class_numbers(unicode_database().category), UNICODE_VERSION), "utf-8")
    return HEADER


if __name__ == "__main__":
    print(main())
