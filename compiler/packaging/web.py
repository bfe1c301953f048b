"""Static folders for web servers: WebAssembly modules, an ES module and a page."""

from __future__ import annotations

from typing import Final

from chimerac.compiler.packaging.code import CodePackage
from chimerac.compiler.packaging.package import Package
from chimerac.runtime.bundle_format import WEB_DIRECTORY, WEB_FILES

PACKAGE: Final[Package] = CodePackage({name: WEB_DIRECTORY / name for name in WEB_FILES})
