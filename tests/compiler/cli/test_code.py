"""Bundles are programs: those of others are announced once, and never run without being named."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cli_tools import Command

from chimerac.compiler.build.known import is_noted, note

NOTE = "holds machine code that was not built here"


@pytest.fixture
def foreign(bundles: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Bundles in dist/ of a project that somebody gave to a user who has built none."""
    monkeypatch.setenv("CHIMERAC_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return {target: Path(shutil.copytree(folder, tmp_path / "dist" / target)) for target, folder in bundles.items()}


@pytest.mark.usefixtures("foreign")
def test_bundles_of_others_do_not_run_unless_named(chimerac: Command) -> None:
    for command in ("run", "bench", "serve"):
        chimerac(command, input="hello\n").refused("CHM323", "was not built here by you", "name it if you trust")


def test_native_code_of_others_is_announced_once(chimerac: Command, foreign: dict[str, Path]) -> None:
    native, web = foreign["x86_64-avx2"], foreign["wasm"]
    assert NOTE not in chimerac("run", web, "hello", "-n", "1").err
    first = chimerac("run", native, "hello", "-n", "1")
    assert f"note: {native} {NOTE}, for x86_64-" in first.err
    again, elsewhere = chimerac("verify", native), chimerac("run", shutil.copytree(native, "copy"), "hello", "-n", "1")
    assert NOTE not in again.err + elsewhere.err
    assert first.code == again.code == elsewhere.code == 0
    manifest = native / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"name"', ' "name"', 1))
    assert NOTE in chimerac("run", native, "hello", "-n", "1").err, "another manifest is another bundle"


def test_what_was_built_here_runs_without_a_word(chimerac: Command, foreign: dict[str, Path]) -> None:
    note(foreign["x86_64-avx2"], "built")
    shown = chimerac("run", input="hello\n")
    assert (shown.code, NOTE in shown.err) == (0, False)


def test_a_user_without_a_place_for_notes(foreign: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHIMERAC_CACHE", "/dev/null/nowhere")
    note(foreign["wasm"], "built")
    assert not is_noted(foreign["wasm"], "built")
    assert not is_noted(Path("nowhere"), "built")
