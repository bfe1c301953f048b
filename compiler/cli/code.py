"""Saying whose code is about to run."""

from __future__ import annotations

from pathlib import Path

from chimerac.compiler.build.known import is_noted, note
from chimerac.compiler.cli.output import say
from chimerac.runtime.bundle_format import read_manifest
from chimerac.runtime.errors import BundleError


def announce_code(bundle: str | Path) -> None:
    """Say, once for each bundle, that one which was not built here is a program that is about to run.

    WebAssembly runs in a sandbox and an ONNX bundle in ONNX Runtime: nothing is said of these. Nor is it of what is no
    bundle: opening it says more.
    """
    folder = Path(bundle)
    try:
        manifest = read_manifest(folder)
    except BundleError:
        return
    if manifest.target.startswith(("wasm", "onnx")) or is_noted(folder, "built") or is_noted(folder, "announced"):
        return
    note(folder, "announced")
    say(
        f"note: {folder} holds machine code that was not built here, for {manifest.target}, by chimerac "
        f"{manifest.chimerac}; it runs with your rights (said once for each bundle)",
        err=True,
    )
