"""Character classes of the o200k pattern, read from the C header ``native/chm_unicode.h``, so that C has the same."""

from __future__ import annotations

import re
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from chimerac.runtime.bundle_format import NATIVE_DIRECTORY

OTHER, UPPER, LOWER, LETTER, MARK, NUMBER, SPACE = range(7)

_BLOCK: Final = 128


def _header() -> str:
    return (NATIVE_DIRECTORY / "chm_unicode.h").read_text("utf-8")


def unicode_version() -> str:
    """The version of Unicode that the classes are of."""
    return str(re.findall(r'#define CHM_UNICODE_VERSION "(.*)"', _header())[0])


@cache
def class_table() -> NDArray[np.uint8]:
    """uint8[0x110000]: the class of each code point; surrogates are OTHER."""
    text = _header()

    def array(name: str) -> NDArray[np.uint8]:
        body = re.findall(rf"{name}\[\d+\] = \{{([\d,\s]*)\}}", text)[0]
        return np.array([int(number) for number in body.split(",") if number.strip()], np.uint8)

    def bound(name: str) -> int:
        return int(re.findall(rf"#define {name} (0x[0-9A-F]+)u", text)[0], 16)

    stage2 = array("chm_unicode_stage2")
    blocks = np.stack([stage2 & 15, stage2 >> 4], 1).reshape(-1, _BLOCK)
    table = np.zeros(0x110000, np.uint8)
    table[: bound("CHM_UNICODE_LIMIT")] = blocks[array("chm_unicode_stage1")].reshape(-1)
    table[bound("CHM_UNICODE_SELECTORS_BEGIN") : bound("CHM_UNICODE_SELECTORS_END")] = MARK
    return table
