"""Large files are read whole once; whatever changes them, they are read again."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from chimerac.runtime.bundle_format import Manifest, Memory, compared, file_entry, manifest, verify_files
from chimerac.runtime.errors import BundleError


@pytest.fixture
def reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were read whole; every file is large, and settled at once."""
    read: list[str] = []
    digest = manifest._digest

    def noted(path: Path) -> tuple[str, int]:
        read.append(path.name)
        return digest(path)

    monkeypatch.setattr(manifest, "_digest", noted)
    monkeypatch.setattr(compared, "LARGE", 0)
    monkeypatch.setattr(compared, "SETTLED", -1.0)
    monkeypatch.setenv("CHIMERAC_CACHE", str(tmp_path / "cache"))
    return read


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "code.so").write_bytes(b"code")
    (bundle / "w.b158").write_bytes(b"weights")
    return bundle


def listed(folder: Path) -> Manifest:
    digest = hashlib.sha256().hexdigest()
    files = (file_entry(folder / "code.so", "code"), file_entry(folder / "w.b158", "weights"))
    return Manifest("m", "x86_64-avx2", digest, digest, "0", files, Memory(7, 0, 0))


def test_a_second_start_reads_nothing(folder: Path, reads: list[str]) -> None:
    found = listed(folder)
    reads.clear()
    verify_files(folder, found, again=False)
    assert reads == ["code.so", "w.b158"]
    verify_files(folder, found, again=False)
    assert reads == ["code.so", "w.b158"]
    verify_files(folder, found)
    assert reads == ["code.so", "w.b158"] * 2


def test_small_files_are_always_read(folder: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compared, "LARGE", 5)
    found = listed(folder)
    verify_files(folder, found, again=False)
    reads.clear()
    verify_files(folder, found, again=False)
    assert reads == ["code.so"]


@pytest.mark.parametrize("change", ["write", "replace", "times"])
def test_a_changed_file_is_read(change: str, folder: Path, reads: list[str]) -> None:
    found = listed(folder)
    verify_files(folder, found, again=False)
    path, before = folder / "w.b158", os.stat(folder / "w.b158")
    time.sleep(0.02)  # a tick of the file system's clock
    if change == "replace":
        (folder / "new").write_bytes(b"WEIGHTS")
        os.replace(folder / "new", path)
    else:
        path.write_bytes(b"WEIGHTS")
    if change == "times":  # as tools do that keep them; the inode's own time they cannot keep
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(BundleError) as caught:
        verify_files(folder, found, again=False)
    assert caught.value.code == "CHM412"


def test_a_file_that_was_just_written_is_not_remembered(
    folder: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compared, "SETTLED", 3600.0)
    found = listed(folder)
    verify_files(folder, found, again=False)
    reads.clear()
    verify_files(folder, found, again=False)
    assert reads == ["code.so", "w.b158"]


@pytest.mark.parametrize("cache", ["a file", "no home"])
def test_without_a_place_to_remember(
    cache: str, folder: Path, reads: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if cache == "a file":
        (tmp_path / "cache").write_text("in the way")
    else:
        monkeypatch.delenv("CHIMERAC_CACHE")
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

        def homeless() -> Path:
            raise RuntimeError("Could not determine home directory.")

        monkeypatch.setattr(Path, "home", homeless)
    found = listed(folder)
    for _ in range(2):
        reads.clear()
        verify_files(folder, found, again=False)
        assert reads == ["code.so", "w.b158"]
