"""Opening a bundle from Python: check the manifest and every file, then start the kind of session it needs."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

from chimerac.runtime.bundle_format import MANIFEST_NAME, FileEntry, Manifest, read_manifest, verify_files
from chimerac.runtime.errors import BundleError
from chimerac.runtime.interface import Session
from chimerac.runtime.native_session import NativeSession
from chimerac.runtime.wasm_session import WasmSession

_MACHINES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}


def load(folder: str | Path, *, verify: bool = True) -> Session:
    """Open a bundle.

    Sizes are always compared with the manifest; ``verify`` also compares the SHA-256 of every file, code included,
    before any of it runs. Without it the checksums of weights and tokenizer are still compared.

    Raises BundleError: CHM410 to CHM412 for manifest and files, CHM413 if the bundle is for another machine, CHM414 if
    the library does not load, CHM440 if a wasm bundle finds no Node.js, CHM400 to CHM407 and CHM430 for the data.
    """
    path = Path(folder)
    manifest = read_manifest(path)
    if verify:
        verify_files(path, manifest)
    else:
        _check_sizes(path, manifest)
    if manifest.target.startswith("wasm32"):
        return WasmSession(manifest, path)
    check_machine(manifest, path)
    code, weights, tokenizer = (manifest.file(role) for role in ("code", "weights", "tokenizer"))
    assert code is not None  # parse_manifest demands code and weights
    assert weights is not None
    return NativeSession(
        manifest,
        path / code.name,
        path / weights.name,
        None if tokenizer is None else path / tokenizer.name,
        skip_checksums=verify,
    )


def check_runs_here(folder: str | Path) -> None:
    """Raise BundleError CHM410, CHM411, CHM405 or CHM413 if a bundle's manifest says that it cannot run here."""
    manifest = read_manifest(folder)
    if not manifest.target.startswith("wasm32"):
        check_machine(manifest, Path(folder))


def _check_sizes(folder: Path, manifest: Manifest) -> None:
    def size(entry: FileEntry) -> int:
        try:
            return (folder / entry.name).stat().st_size
        except OSError as error:
            raise BundleError("CHM412", f"the file is missing: {error.strerror}", path=folder / entry.name) from None

    for entry in manifest.files:
        if (found := size(entry)) != entry.bytes:
            raise BundleError("CHM412", f"{found} bytes, the manifest says {entry.bytes}", path=folder / entry.name)


def check_machine(manifest: Manifest, folder: Path) -> None:
    """Raise BundleError CHM413 if this machine cannot run the bundle's code."""
    machine = _MACHINES.get(platform.machine().lower(), platform.machine())
    architecture = manifest.target.split("-")[0]
    if architecture != machine:
        message = f"the bundle is for {manifest.target}, this machine is {machine}"
        hint = f"build it with --target for {machine}, or for wasm, which runs everywhere"
        raise BundleError("CHM413", message, path=folder / MANIFEST_NAME, hint=hint)
    present = _cpu_features()
    missing = [feature for feature in manifest.cpu if feature not in present] if present else []
    if missing:
        message = f"the bundle needs a processor with {', '.join(missing)}"
        raise BundleError("CHM413", message, path=folder / MANIFEST_NAME, hint="build it for a more general target")


def _cpu_features() -> set[str]:
    """Features as Linux names them; empty where they cannot be told."""
    if not sys.platform.startswith("linux"):
        return set()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return set()
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return set(value.split())
    return set()
