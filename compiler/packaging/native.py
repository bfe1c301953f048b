"""Shared libraries with a C API, for Linux."""

from __future__ import annotations

from typing import Final

from chimerac.compiler.packaging.code import CodePackage
from chimerac.compiler.packaging.package import Package
from chimerac.runtime.bundle_format import NATIVE_DIRECTORY

#: What a C program includes.
HEADERS: Final = {name: NATIVE_DIRECTORY / name for name in ("chimera.h", "chm_format.h")}

PACKAGE: Final[Package] = CodePackage(HEADERS)
