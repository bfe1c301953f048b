"""``chimerac runtime``: the loader of web bundles as a package of its own."""

from __future__ import annotations

from pathlib import Path

from chimerac.compiler.errors import UserError
from chimerac.compiler.packaging.npm import PACKAGE_FILE, runtime_package
from chimerac.compiler.packaging.options import npm_name
from chimerac.compiler.packaging.scripts import write_web_files
from chimerac.runtime.bundle_format import WEB_FILES
from chimerac.runtime.bundle_format.regular import check_name


def write_runtime(out: str | Path, *, package: str = "chimera-runtime") -> list[str]:
    """Write the npm package of the loader that web bundles of ``build(…, runtime=…)`` share.

    Args:
        out: folder, which may exist: its files of these names are replaced.
        package: ``NAME`` or ``NAME@VERSION``; without a version it is that of chimerac.

    Returns:
        the names of its files.

    Raises:
        UserError: CHM314 for a name that is none of npm's, CHM321 when a file cannot be written.
    """
    npm, folder = npm_name(package), Path(out)
    try:
        check_name(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_web_files(folder, WEB_FILES)
        (folder / PACKAGE_FILE).write_text(runtime_package(npm, WEB_FILES), "utf-8")
    except OSError as error:
        raise UserError("CHM321", f"cannot write {folder}: {error.strerror or error}") from None
    return [*WEB_FILES, PACKAGE_FILE]
