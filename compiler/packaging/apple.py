"""Shared libraries with a module for Swift, for Apple's systems."""

from __future__ import annotations

from typing import Final

from chimerac.compiler.packaging.code import CodePackage
from chimerac.compiler.packaging.native import HEADERS
from chimerac.compiler.packaging.package import Package
from chimerac.runtime.bundle_format import APPLE_DIRECTORY

PACKAGE: Final[Package] = CodePackage({**HEADERS, "module.modulemap": APPLE_DIRECTORY / "module.modulemap"})
