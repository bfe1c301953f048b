"""Opening a bundle from Python: check the manifest and every file, then start the kind of session it needs."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

from chimerac.runtime.arguments import checked_path, kind
from chimerac.runtime.bundle_format import MANIFEST_NAME, FileEntry, Manifest, read_manifest, verify_files
from chimerac.runtime.bundle_format.constants import MAX_THREADS
from chimerac.runtime.errors import BundleError
from chimerac.runtime.sessions.interface import Session
from chimerac.runtime.sessions.native import NativeSession
from chimerac.runtime.sessions.onnx import OnnxSession
from chimerac.runtime.sessions.onnx_calls import OnnxCallSession
from chimerac.runtime.sessions.runner import RUNNER_NAME, RunnerSession, find_emulator
from chimerac.runtime.sessions.wasm import WasmSession

_APPLE_SYSTEMS = {"macos": "macOS", "ios": "iOS"}
_MACHINES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}


def load(folder: str | Path, *, verify: bool = True, threads: int = 1, spans: str | Path | None = None) -> Session:
    """Open a bundle.

    ``spans`` is a bank of spans that a bundle which speculates guesses from, in place of the bundle's own: a file of
    ``chimerac spans mine``. It changes no token (docs/spans.md). Its checksums are compared.

    ``threads`` share the work of each call, up to 64; 0 takes one per core, at most 8. Results do not depend on it.

    Sizes are always compared with the manifest; ``verify`` also compares the SHA-256 of every file, code included,
    before any of it runs; a file of 64 MiB or more only the first time on this machine, as long as nothing changes it.
    Without ``verify`` the checksums of weights and tokenizer are still compared.

    Raises BundleError: CHM410 to CHM412 for manifest and files, CHM413 if the bundle is for another machine, CHM414 if
    the library does not load, CHM420 for a number of threads or a folder that is none, CHM421 for spans with a bundle
    that takes none, CHM440 if a wasm bundle finds no Node.js, CHM400 to CHM407, CHM430 and CHM434 for the data.
    """
    path = checked_path(folder, "the folder")
    bank = None if spans is None else checked_path(spans, "the bank of spans")
    if type(threads) is not int or not 0 <= threads <= MAX_THREADS:
        raise BundleError("CHM420", f"{kind(threads)} threads; 1 to {MAX_THREADS} are possible, or 0 for the default")
    manifest = read_manifest(path)
    if verify:
        verify_files(path, manifest, again=False)
    else:
        _check_sizes(path, manifest)
    if bank is not None:
        _check_takes_spans(manifest)
    if manifest.target.startswith("wasm32"):
        return WasmSession(manifest, path, threads=threads)
    if manifest.target.startswith("onnx"):
        return _onnx_session(manifest, path, threads)
    if _foreign(manifest) and (emulator := _emulator(manifest)):
        return RunnerSession(manifest, path, emulator, threads=threads)
    check_machine(manifest, path)
    code, weights, tokenizer, grammars, own = (
        manifest.file(role) for role in ("code", "weights", "tokenizer", "grammar", "spans")
    )
    assert code is not None  # parse_manifest demands code and weights
    assert weights is not None
    return NativeSession(
        manifest,
        path / code.name,
        path / weights.name,
        None if tokenizer is None else path / tokenizer.name,
        None if grammars is None else path / grammars.name,
        skip_checksums=verify,
        threads=threads,
        spans=bank if bank is not None or own is None else path / own.name,
        own_spans=bank is None,
    )


def _check_takes_spans(manifest: Manifest) -> None:
    """Raise BundleError CHM421 for a bundle that takes no bank of its caller's."""
    if manifest.target.startswith(("wasm32", "onnx")) or _foreign(manifest):
        hint = "build it with --spans FILE, or take a native bundle of this machine"
        raise BundleError("CHM421", f"sessions of {manifest.target} take no bank of spans from their caller", hint=hint)


def _onnx_session(manifest: Manifest, folder: Path, threads: int) -> Session:
    code, tokenizer, grammars = (manifest.file(role) for role in ("code", "tokenizer", "grammar"))
    assert code is not None  # parse_manifest demands code
    if manifest.entries:
        return OnnxCallSession(manifest, folder / code.name, threads=threads)
    return OnnxSession(
        manifest,
        folder / code.name,
        None if tokenizer is None else folder / tokenizer.name,
        None if grammars is None else folder / grammars.name,
        threads=threads,
    )


def check_runs_here(folder: str | Path) -> None:
    """Raise BundleError CHM410, CHM411, CHM405 or CHM413 if a bundle's manifest says that it cannot run here."""
    manifest = read_manifest(folder)
    if not manifest.target.startswith(("wasm32", "onnx")) and not (_foreign(manifest) and _emulator(manifest)):
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


def _machine() -> str:
    return _MACHINES.get(platform.machine().lower(), platform.machine())


def _foreign(manifest: Manifest) -> bool:
    """Whether the code is for another architecture than this machine's."""
    return manifest.target.split("-")[0] != _machine()


def _emulator(manifest: Manifest) -> str | None:
    """What runs the bundle's own program here, if it has one."""
    has_runner = any(entry.name == RUNNER_NAME for entry in manifest.files)
    return find_emulator(manifest.target.split("-")[0]) if has_runner and sys.platform.startswith("linux") else None


def check_machine(manifest: Manifest, folder: Path) -> None:
    """Raise BundleError CHM413 if this machine cannot run the bundle's code by itself."""
    if (system := manifest.target.split("-")[0]) in _APPLE_SYSTEMS:
        _check_apple(system, folder)
        return
    if _foreign(manifest):
        message = f"the bundle is for {manifest.target}, this machine is {_machine()}"
        hint = f"build it with --target for {_machine()}, or for wasm, which runs everywhere"
        if any(entry.name == RUNNER_NAME for entry in manifest.files):
            hint += "; or install qemu-user (Debian: qemu-user-static),"
            hint += f" or copy the folder to such a machine and run its {RUNNER_NAME}"
        raise BundleError("CHM413", message, path=folder / MANIFEST_NAME, hint=hint)
    present = _cpu_features()
    missing = [feature for feature in manifest.cpu if feature not in present] if present else []
    if missing:
        message = f"the bundle needs a processor with {', '.join(missing)}"
        raise BundleError("CHM413", message, path=folder / MANIFEST_NAME, hint="build it for a more general target")


def _check_apple(system: str, folder: Path) -> None:
    """The same for a bundle of one of Apple's systems; Python is only expected on macOS."""
    if sys.platform == "darwin" and system == "macos" and _machine() == "aarch64":
        return
    wanted, here = _APPLE_SYSTEMS[system], "macOS" if sys.platform == "darwin" else sys.platform
    message = f"the bundle is for {wanted} on arm64, this machine runs {here} on {_machine()}"
    hint = "put it into an app (docs/apple.md), or build for this machine or for wasm, which runs everywhere"
    raise BundleError("CHM413", message, path=folder / MANIFEST_NAME, hint=hint)


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
