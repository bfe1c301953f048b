"""Where bundles go: what may be in the way, and how a finished folder takes its place."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from chimerac.compiler.build.exchange import exchange, sync, sync_tree
from chimerac.compiler.errors import UserError
from chimerac.runtime.bundle_format import MANIFEST_NAME
from chimerac.runtime.bundle_format.constants import MAX_MANIFEST_BYTES
from chimerac.runtime.bundle_format.regular import check_name, open_regular


def check_place(path: Path) -> None:
    """Raise UserError CHM320 when something that is no bundle is in the way, CHM321 where nothing can be written."""
    try:
        check_name(path)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.lstat(path)  # a name may be too long
    except OSError as error:
        raise UserError("CHM321", f"cannot write {path}: {error.strerror or error}") from None
    parent = next(p for p in path.parents if p.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        what = "may not be written to" if parent.is_dir() else "is not a folder"
        raise UserError("CHM321", f"cannot write {path}: {parent} {what}", hint="choose another --out")
    try:
        taken = path.exists() or path.is_symlink()
        if taken and not _is_bundle(path) and (not path.is_dir() or any(path.iterdir())):
            raise UserError("CHM320", f"{path} exists and is not a bundle", hint="choose another --out, or remove it")
    except OSError as error:
        raise UserError("CHM321", f"cannot write {path}: {error.strerror or error}") from None


def _is_bundle(path: Path) -> bool:
    """Whether a folder has a manifest of ours, of any version; web pages have files of that name too."""
    try:
        with open_regular(path / MANIFEST_NAME) as file:
            manifest = json.loads(file.read(MAX_MANIFEST_BYTES + 1))
    except PermissionError:
        raise
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(manifest, dict) and {"schema", "abi", "files"} <= manifest.keys()


def replace_folder(new: Path, path: Path, aside: Path) -> None:
    """Put ``new`` at ``path``, on disk and in one step: whoever looks finds the old bundle or the new one.

    Where the file system cannot exchange two folders, the old bundle lies at ``aside`` for the moment between two
    renames. ``restore`` brings it back for a build that was killed just then.

    Raises:
        UserError: CHM320, something that is no bundle is in the way; CHM321.
        OSError: a file operation failed; ``path`` is as it was.
    """
    check_place(path)
    sync_tree(new)
    if not (path.exists() or path.is_symlink()):
        new.rename(path)
    elif not exchange(new, path):
        path.rename(aside)
        try:
            new.rename(path)
        except BaseException:
            aside.rename(path)
            raise
    sync(path.parent)


def restore(path: Path, aside: Path) -> None:
    """Bring back the bundle that a build moved aside before it was killed."""
    if not path.exists() and not path.is_symlink() and (aside.exists() or aside.is_symlink()):
        aside.rename(path)
