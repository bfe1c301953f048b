"""A finished folder takes the place of an older bundle: at once, or so that nothing is lost."""

from __future__ import annotations

import ctypes
import errno
import json
import os
from pathlib import Path

import pytest

from chimerac.compiler.build import places
from chimerac.compiler.build.exchange import exchange
from chimerac.compiler.build.places import replace_folder
from chimerac.compiler.build.workspace import ASIDE_NAME, LOCK_NAME, workspace
from chimerac.compiler.errors import UserError


def bundle(path: Path, what: str) -> Path:
    path.mkdir(parents=True)
    (path / "manifest.json").write_text(json.dumps({"schema": 1, "abi": "x", "files": [], "what": what}))
    return path


def what(path: Path) -> str:
    return str(json.loads((path / "manifest.json").read_text())["what"])


@pytest.fixture(params=[True, False], ids=["exchange", "two renames"])
def exchanges(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """With and without a file system that can exchange two paths."""
    if not request.param:
        monkeypatch.setattr(places, "exchange", lambda *_: False)
    return bool(request.param)


@pytest.mark.usefixtures("exchanges")
def test_a_bundle_takes_the_place_of_another(tmp_path: Path) -> None:
    path = bundle(tmp_path / "dist" / "home", "old")
    replace_folder(bundle(tmp_path / "new", "new"), path, tmp_path / "aside")
    assert what(path) == "new"
    replace_folder(bundle(tmp_path / "first", "first"), tmp_path / "dist" / "other", tmp_path / "aside2")
    assert what(tmp_path / "dist" / "other") == "first"
    assert sorted(p.name for p in (tmp_path / "dist").iterdir()) == ["home", "other"]


@pytest.mark.usefixtures("exchanges")
def test_an_empty_folder_and_a_link_to_a_bundle_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    replace_folder(bundle(tmp_path / "new", "new"), tmp_path / "empty", tmp_path / "aside")
    assert what(tmp_path / "empty") == "new"
    kept = bundle(tmp_path / "kept", "kept")
    (tmp_path / "link").symlink_to(kept)
    replace_folder(bundle(tmp_path / "newer", "newer"), tmp_path / "link", tmp_path / "aside2")
    assert (what(tmp_path / "link"), what(kept)) == ("newer", "kept")
    assert not (tmp_path / "link").is_symlink()


def test_a_pipe_in_place_of_a_manifest_is_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    os.mkfifo(tmp_path / "home" / "manifest.json")
    with pytest.raises(UserError) as caught:
        replace_folder(bundle(tmp_path / "new", "new"), tmp_path / "home", tmp_path / "aside")
    assert caught.value.code == "CHM320"


def test_what_is_no_bundle_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("...")
    with pytest.raises(UserError) as caught:
        replace_folder(bundle(tmp_path / "new", "new"), tmp_path / "thesis", tmp_path / "aside")
    assert caught.value.code == "CHM320"
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "..."


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EACCES])
def test_file_systems_without_an_exchange(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Library:
        def renameat2(self, *_: object) -> int:
            return -1

    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: Library())
    monkeypatch.setattr(ctypes, "get_errno", lambda: number)
    if number == errno.EACCES:
        with pytest.raises(PermissionError, match="b"):
            exchange(tmp_path / "a", tmp_path / "b")
    else:
        assert not exchange(tmp_path / "a", tmp_path / "b")
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: object())
    assert not exchange(tmp_path / "a", tmp_path / "b"), "a C library without the function"


def test_exchange_of_paths_that_are_not_there(tmp_path: Path) -> None:
    bundle(tmp_path / "a", "a")
    with pytest.raises(FileNotFoundError):
        exchange(tmp_path / "a", tmp_path / "b")
    assert what(tmp_path / "a") == "a"


def test_a_rename_that_fails_brings_the_old_bundle_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, new = bundle(tmp_path / "home", "old"), bundle(tmp_path / "new", "new")
    monkeypatch.setattr(places, "exchange", lambda *_: False)
    rename = os.rename

    def fails_once(source: Path, target: Path) -> None:
        if source == new:
            raise OSError(errno.EIO, "no")
        rename(source, target)

    monkeypatch.setattr(os, "rename", fails_once)
    with pytest.raises(OSError, match="no"):
        replace_folder(new, path, tmp_path / "aside")
    assert (what(path), (tmp_path / "aside").exists()) == ("old", False)


def test_the_next_build_brings_back_what_a_killed_one_had_moved_aside(tmp_path: Path) -> None:
    killed = tmp_path / ".home.killed"
    bundle(killed / ASIDE_NAME, "old")
    (killed / LOCK_NAME).touch()
    with workspace(tmp_path / "home"):
        assert what(tmp_path / "home") == "old"
        assert not killed.exists()
    bundle(killed / ASIDE_NAME, "older")  # a bundle that is there is not touched
    (killed / LOCK_NAME).touch()
    with workspace(tmp_path / "home"):
        assert what(tmp_path / "home") == "old"
        assert not killed.exists()


def test_what_a_build_left_that_was_killed_before_its_lock_is_cleared_away(tmp_path: Path) -> None:
    (tmp_path / ".home.killed").mkdir()
    (tmp_path / ".home.kept").mkdir()
    (tmp_path / ".home.kept" / "thesis.txt").touch()  # no lock and not empty: nothing of ours
    (tmp_path / ".home.wasm.other").mkdir()  # of the bundle home.wasm
    with workspace(tmp_path / "home") as folder:
        expected = sorted([".home.kept", ".home.wasm.other", folder.name])
        assert sorted(p.name for p in tmp_path.iterdir()) == expected
    assert sorted(p.name for p in tmp_path.iterdir()) == [".home.kept", ".home.wasm.other"]


@pytest.mark.parametrize("when", ["before the lock", "as it is locked"])
def test_a_build_that_begins_as_another_clears_away_makes_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """The other one takes the new folder for one that was left: it has no lock yet, or one that nobody holds."""
    opened: list[Path] = []
    real = os.open

    def slow_open(path: str | Path, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if not opened and Path(path).name == LOCK_NAME and flags & os.O_CREAT:
            opened.append(Path(path).parent)
            handle = real(path, flags, mode, dir_fd=dir_fd) if when == "as it is locked" else -1
            with workspace(tmp_path / "home"):
                assert not opened[0].exists()
            return real(path, flags, mode, dir_fd=dir_fd) if handle < 0 else handle
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", slow_open)
    with workspace(tmp_path / "home") as folder:
        assert folder != opened[0]
        assert list(tmp_path.iterdir()) == [folder]
        with workspace(tmp_path / "home") as other:  # a third one leaves it alone
            assert sorted(tmp_path.iterdir()) == sorted([folder, other])
    assert list(tmp_path.iterdir()) == []
