"""``build --dump-passes`` and ``inspect --after``: the text form after a pass."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_tools import Command

from chimerac.compiler.ir.text import print_module
from chimerac.compiler.model import Model


@pytest.mark.slow
def test_dumped_passes_are_what_inspect_shows(
    chimerac: Command, document: Path, imported: Model, tmp_path: Path
) -> None:
    options = ("--scale", "nano", "-t", "onnx")
    places = ("-o", tmp_path / "dist", "--dump-passes", tmp_path / "ir")
    shown = chimerac("build", document, *options, *places, "--no-verify")
    assert shown.code == 0, shown.err
    files = sorted((tmp_path / "ir" / "onnx").iterdir())
    assert [file.name for file in files[:2]] == ["00_imported.ir", "01_entry_points.ir"]
    assert files[0].read_text() == print_module(imported.module)
    for file in files[1:]:
        after = chimerac("inspect", document, *options, "--after", file.stem[3:])
        assert (after.code, after.out) == (0, file.read_text()), file.name
    assert chimerac("inspect", document, *options, "--ir", "lowered").out == files[-1].read_text()


def test_loops_are_unrolled_before_a_later_pass(chimerac: Command, document: Path, imported: Model) -> None:
    options = ("--scale", "nano", "--after", "loop_unrolling")
    assert " = loop(" not in chimerac("inspect", document, *options, "--loops", "2").out
    chimerac("inspect", document, *options).refused("CHM313", "this build has no pass 'loop_unrolling'")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--after", "fuse_elementwize"], "did you mean 'fuse_elementwise'?"),
        (["--after", "xyz"], "passes of this build: entry_points, moe_sort_dispatch, "),
        (["--after", "ternary_packing", "-t", "onnx"], "this build has no pass 'ternary_packing'"),
    ],
)
def test_inspect_after_an_unknown_pass(chimerac: Command, arguments: list[str], part: str) -> None:
    """Refused before the config is read, which does not exist."""
    chimerac("inspect", "gone.chimera", *arguments).refused("CHM313", part)


def test_passes_cannot_be_dumped_below_a_file(
    chimerac: Command, document: Path, imported: Model, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    places = ("-o", tmp_path / "dist", "--dump-passes", tmp_path / "file" / "ir")
    shown = chimerac("build", document, "--scale", "nano", "-t", "onnx", *places)
    shown.refused("CHM321", f"cannot write {tmp_path / 'file' / 'ir' / 'onnx'}")
    assert not (tmp_path / "dist").exists()
