"""Files that hold nothing, null, NUL bytes or a terabyte, that are missing, folders, links in circles, or of a name too
long: each is one error of whatever takes a file, and nothing is written."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from cli_tools import NOISE, Command

KINDS: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: None,
    "empty": lambda path: path.write_bytes(b""),
    "null": lambda path: path.write_text("null"),
    "zeros": lambda path: path.write_bytes(bytes(4096)),
    "folder": lambda path: path.mkdir(),
    "circle": lambda path: path.symlink_to(path.name),
    "n" * 300: lambda path: None,
}
BUNDLE = "bundle"  #: stands for one
#: Name of what takes a file → arguments; the file comes last.
COMMANDS: dict[str, Sequence[str]] = {
    "examples": ("build", "home", "-t", "wasm", "-o", "out", "--examples"),
    "spans": ("build", "home", "-t", "wasm", "-o", "out", "--spans"),
    "config": ("build", "-t", "wasm", "-o", "out"),
    "rows": ("calibrate", BUNDLE),
    "homes": ("calibrate", BUNDLE, "rows", "--homes"),
    "texts": ("spans", "mine", BUNDLE, "-o", "out"),
    "names": ("run", BUNDLE, "on", "--names"),
    "bank": ("run", BUNDLE, "on", "--spans"),
    "inspected": ("inspect",),
    "plan": ("train", "home", "--scale", "nano", "--data", "data", "-o", "out", "--plan"),
    "data": ("train", "home", "--scale", "nano", "-o", "out", "--data"),
}
#: What may as well be taken: no prompts, a prompt "null", a text of NUL bytes.
TAKEN = {("examples", "empty"), ("examples", "null"), ("texts", "zeros")}


@pytest.mark.parametrize("what", COMMANDS)
def test_a_bad_file_is_one_error(
    what: str, chimerac: Command, bundles: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    Path("data", "a.txt").write_text("the light is on. " * 100)
    Path("rows").write_text('{"request": "on", "json": "null"}\n' * 20)
    arguments = [str(bundles["x86_64-avx2"]) if word == BUNDLE else word for word in COMMANDS[what]]
    for name, make in KINDS.items():
        if (what, name) in TAKEN:
            continue
        make(tmp_path / name)
        found = chimerac(*arguments, name)
        if found.code == 2:
            found.misused(name)
        else:
            assert found.code == 1, (name, found.out, found.err)
            assert len(re.findall(r"^(?:\S.*: )?error CHM\d+: \S", found.err, re.MULTILINE)) == 1, (name, found.err)
        assert not any(noise in found.err for noise in NOISE), found.err
        assert "internal error" not in found.err, found.err
        assert not Path("out").exists(), name


def test_a_path_too_long_for_an_output(chimerac: Command, bundles: dict[str, Path], tmp_path: Path) -> None:
    long = tmp_path / ("n" * 300)
    chimerac("build", "home", "-t", "wasm", "-o", long).refused("CHM321", "File name too long")
    (tmp_path / "texts").write_text("a b c a b c a b c a b c a b c\n" * 9)
    chimerac("spans", "mine", bundles["x86_64-avx2"], tmp_path / "texts", "-o", long).refused("CHM400", "too long")
