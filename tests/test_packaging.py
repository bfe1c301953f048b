"""What is in the repository and in the wheel, and that an installed wheel works away from the checkout."""

from __future__ import annotations

import filecmp
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from cli_tools import run_script

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("compiler", "frontends", "passes", "runtime", "targets")
#: Endings of files that chimerac reads when it runs.
DATA = {
    ".c",
    ".h",
    ".md",
    ".chimera",
    ".css",
    ".html",
    ".lark",
    ".mjs",
    ".mts",
    ".svg",
    ".webmanifest",
    ".json",
    ".modulemap",
    ".safetensors",
    ".tbd",
    ".tokenizer",
    ".txt",
}
MOST_BYTES = 12_000_000  #: of a tracked file
MACHINE_PATH = re.compile(rb"(?<![\w.~-])/(?:work|root|home/\w+|Users/\w+)/")


@pytest.mark.parametrize("name", PACKAGES)
def test_the_import_package_is_links(name: str) -> None:
    """``chimerac.compiler`` is the folder ``compiler``: src/chimerac/ holds one relative link for each."""
    link = ROOT / "src" / "chimerac" / name
    advice = (
        f"{link} is no symbolic link: this checkout was made without them. Run `git config core.symlinks true` and"
        " `git checkout -- src` (on Windows with developer mode on), or clone again with"
        " `git clone -c core.symlinks=true`; archives must be unpacked with a tool that knows links."
    )
    assert link.is_symlink(), advice
    assert os.readlink(link) == f"../../{name}"
    assert (link / "__init__.py").is_file()


def tracked() -> list[str]:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("no git or no checkout")
    listed = subprocess.run([git, "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    return [name for name in listed.decode().split("\0") if name and (ROOT / name).is_file()]


def test_no_tracked_file_is_large() -> None:
    large = [name for name in tracked() if (ROOT / name).stat().st_size > MOST_BYTES]
    assert not large


def test_no_tracked_file_names_a_place_on_a_machine() -> None:
    here = Path(__file__).relative_to(ROOT).as_posix()
    found = [name for name in tracked() if name != here and MACHINE_PATH.search((ROOT / name).read_bytes())]
    assert not found


@pytest.mark.parametrize("parts", [("see ", "work", "x"), ('"', "root", ".cache"), ("", "home", "ann", "x")])
def test_machine_paths_are_recognised(parts: tuple[str, ...]) -> None:
    text = "/".join(parts).encode()
    assert MACHINE_PATH.search(text)
    assert not MACHINE_PATH.search(text.replace(b"/", b"./", 1))


def sources() -> list[Path]:
    return [
        path.relative_to(ROOT)
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    ]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel made of a copy of the checkout, so that setuptools leaves nothing in it; needs no network."""
    pytest.importorskip("setuptools")
    folder = tmp_path_factory.mktemp("wheel")
    for name in (*PACKAGES, "src"):
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / name, folder / "copy" / name, symlinks=True, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "copy")
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, folder / "copy")
    return next(folder.glob("*.whl"))


def compare(a: Path, b: Path) -> list[str]:
    """Names of files that are not the same in both folders."""
    names = {path.name for folder in (a, b) for path in folder.iterdir()}
    return sorted(n for n in names if not filecmp.cmp(a / n, b / n, shallow=False))


def pip(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "pip", *map(str, arguments), "--no-index", "--disable-pip-version-check", "-q"]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_the_wheel_has_every_file(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name.removeprefix("chimerac/") for name in archive.namelist() if name.startswith("chimerac/")}
    needed = {path.as_posix() for path in sources() if path.suffix in DATA | {".py"}}
    assert needed <= packed, sorted(needed - packed)
    assert {"__init__.py", "version.py", "py.typed"} <= packed
    suffixes = {path.suffix for path in sources()} - DATA - {".py"}
    assert not suffixes, f"add {suffixes} to DATA here, or to what the wheel leaves out"
    assert not [name for name in packed if "/test_" in name or name.startswith("tests")]


USE = """
import sys
from pathlib import Path
import chimerac
from chimerac.compiler.cli.main import main

assert Path(chimerac.__file__).is_relative_to(sys.argv.pop(1)), chimerac.__file__
main(prog_name="chimerac")
"""


@pytest.mark.slow
def test_an_installed_wheel_builds_and_runs(
    wheel: Path, document: Path, bundles: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "site"
    pip("install", "--no-deps", "--target", place, wheel)
    assert not any(path.is_symlink() for path in place.rglob("*"))
    monkeypatch.setenv("PYTHONPATH", str(place))

    def use(*arguments: str | Path) -> str:
        finished = run_script(USE, place, *arguments, cwd=tmp_path)
        assert finished.returncode == 0, finished.stderr
        return finished.stdout

    assert "home.chimera: consistent" in use("check", "home")
    use("build", document, "--scale", "nano", "-t", "wasm", "-t", "x86_64-avx2", "-q")
    for bundle in bundles.values():  # the wheel has the same C runtime and web files as the checkout
        assert compare(bundle, tmp_path / "dist" / bundle.name) == []
        assert use("run", Path("dist") / bundle.name, "hello", "-n", "4").strip()
    assert (place / "bin" / "chimerac").is_file()
