"""Folders of the project, for tests that read its files."""

from __future__ import annotations

from pathlib import Path
from typing import Final

TESTS: Final = Path(__file__).resolve().parents[1]
ROOT: Final = TESTS.parent
#: C programs and drivers that tests of the C runtime compile.
NATIVE_TESTS: Final = TESTS / "runtime" / "native"
