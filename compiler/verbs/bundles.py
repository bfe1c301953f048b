"""Bundles by their folder: opened with errors of the compiler's kind, and the one that was built last."""

from __future__ import annotations

import os
from pathlib import Path

from chimerac.compiler.build.known import is_noted
from chimerac.compiler.errors import UserError, as_user_error
from chimerac.runtime.bundle_format import MANIFEST_NAME, read_manifest
from chimerac.runtime.errors import BundleError
from chimerac.runtime.sessions.interface import Session
from chimerac.runtime.sessions.loading import check_runs_here, load


def open_bundle(bundle: str | Path, threads: int = 1, spans: str | Path | None = None) -> Session:
    """A session of a bundle; 0 threads: one per core, at most 8; ``spans``: a bank to guess from.

    Raises:
        UserError: CHM4xx, the bundle does not open; the codes are those of ``load``.
    """
    try:
        return load(bundle, threads=threads, spans=spans)
    except BundleError as error:
        raise as_user_error(error) from None


def has_tokens(bundle: str | Path) -> bool:
    """Whether a bundle holds a language model.

    Raises:
        UserError: CHM4xx, its manifest cannot be read.
    """
    try:
        return not read_manifest(bundle).entries
    except BundleError as error:
        raise as_user_error(error) from None


def find_bundle(folder: str | Path = "dist", *, web: bool = False) -> Path:
    """The bundle in ``folder`` that this user built last and that runs here; with ``web`` the last one for browsers.

    Raises:
        UserError: CHM323, there is none.
    """
    found, foreign = [], None
    for path in Path(folder).glob("[!.]*/" + MANIFEST_NAME) if os.path.isdir(folder) else ():
        try:
            check_runs_here(path.parent)
            if web and not read_manifest(path.parent).target.startswith("wasm32"):
                continue
            if not is_noted(path.parent, "built"):
                foreign = path.parent
                continue
        except BundleError:
            continue
        found.append((path.stat().st_mtime_ns, path.parent))
    if not found:
        if foreign is not None:
            hint = "bundles are programs: name it if you trust where it comes from"
            raise UserError("CHM323", f"{foreign} was not built here by you", hint=hint)
        if web:
            hint = "`chimerac build --target wasm` makes one there; or name a bundle: chimerac serve FOLDER"
            raise UserError("CHM323", f"no bundle in {folder}/ is for browsers", hint=hint)
        hint = "`chimerac build` makes one there; or name a bundle: chimerac run FOLDER"
        raise UserError("CHM323", f"no bundle in {folder}/ runs on this machine", hint=hint)
    return max(found)[1]
