"""Mistakes in a config or on the command line of ``build``: one error with its place, before any work, nothing left."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cli_tools import Command

MINIMAL = 'extends: "home",\nname: "mine",\n'


def nothing_made(folder: Path) -> bool:
    return not folder.exists()


@pytest.mark.parametrize("verb", ["build", "check"])
def test_syntax_error_has_line_column_and_caret(chimerac: Command, tmp_path: Path, verb: str) -> None:
    config = tmp_path / "bad.chimera"
    config.write_text(MINIMAL + "titans: {local_window_size: 64,, chunk: 3}\n")
    out = ["--out", tmp_path / "dist"] if verb == "build" else []
    shown = chimerac(verb, config, *out)
    shown.refused("CHM102", f"{config}:3:32: error", "\n  3 | titans: {local_window_size: 64,, chunk: 3}\n")
    line, caret = shown.err.splitlines()[1:3]
    assert caret.index("^") == line.index(",,") + 1
    assert nothing_made(tmp_path / "dist")


def test_unknown_key_names_the_nearest(chimerac: Command, tmp_path: Path) -> None:
    config = tmp_path / "bad.chimera"
    config.write_text(MINIMAL + "titans: {local_windw_size: 64}\n")
    chimerac("build", config, "-o", tmp_path / "dist").refused(
        "CHM110", ":3:", "^^^", "did you mean 'local_window_size'?"
    )
    assert nothing_made(tmp_path / "dist")


def test_several_mistakes_are_told_at_once(chimerac: Command, tmp_path: Path) -> None:
    config = tmp_path / "bad.chimera"
    config.write_text(MINIMAL + 'hidden_size: "many",\nnum_heads: -1\n')
    shown = chimerac("build", config, "-o", tmp_path / "dist")
    assert shown.code == 1
    assert [line.split(": error ")[0] for line in shown.err.splitlines() if ": error " in line] == [
        f"{config}:3:14",
        f"{config}:4:12",
    ]


@pytest.mark.parametrize(
    ("change", "code", "part"),
    [
        (("| {", "{"), "CHM104", "doesn't start with '|'"),
        (('"vocab_size": 200073, |', '"vocab_size": 200073,'), "CHM104", "doesn't end with '|'"),
        (('"vocab_size": 200073, |', '"vocab_size": "lots", |'), "CHM112", '"lots"'),
        (('"vocab_size": 200073, |', '"vocab_size" 200073, |'), "CHM102", "200073"),
    ],
)
def test_mistake_in_a_fenced_document(
    chimerac: Command, document: Path, tmp_path: Path, change: tuple[str, str], code: str, part: str
) -> None:
    text = document.read_text()
    row = next(row for row in text.splitlines() if change[0] in row)
    number = text.splitlines().index(row) + 1
    spoilt = tmp_path / "document.txt"
    lines = text.splitlines()
    if code == "CHM104" and change[0] == "| {":  # the first row decides whether a document is fenced
        row, number = lines[1], 2
        lines[1] = row.replace("|", " ", 1)
    else:
        lines[number - 1] = row.replace(*change)
    spoilt.write_text("\n".join(lines))
    shown = chimerac("build", spoilt, "-o", tmp_path / "dist")
    shown.refused(code, f"{spoilt}:{number}:", part, "^")
    assert nothing_made(tmp_path / "dist")


@pytest.mark.parametrize(
    ("arguments", "code", "parts"),
    [
        (["home", "-t", "wasn"], "CHM300", ["did you mean 'wasm'?"]),
        (["home", "-t", "onxn"], "CHM300", ["did you mean 'onnx'?"]),
        (["home", "-t", "wasm", "-t", "z80"], "CHM300", ["'z80'", "targets: x86_64-avx2,"]),
        (["home", "--without", "dead_cod"], "CHM311", ["did you mean 'dead_code'?"]),
        (["home", "--without", "quantized_linear"], "CHM311", ["optional passes: "]),
        (["chimera51", "--loops", "0"], "CHM310", ["the model allows 1 to 6"]),
        (["chimera51", "--loops", "7"], "CHM310", ["the model allows 1 to 6"]),
        (["chimera51", "--loops", "-3"], "CHM310", ["the model allows 1 to 6"]),
        (["home", "--scale", "huge"], "CHM113", ["one of nano, tiny, small, full", "^^^^"]),
        (["home", "--seed", "-1"], "CHM312", ["0 to 2**64 - 1"]),
        (["home", "--seed", str(1 << 64)], "CHM312", ["0 to 2**64 - 1"]),
        (["hom"], "CHM100", ["did you mean 'home'?"]),
        (["gone/model.chimera"], "CHM100", ["gone/model.chimera"]),
        (["home", "--set", "vocab_sise=300"], "CHM110", ["did you mean 'vocab_size'?"]),
        (["home", "--set", "vocab_size"], "CHM115", ["not an override"]),
        (["home", "--set", "vocab_size=0"], "CHM113", ["^"]),
    ],
)
def test_bad_option_of_build(
    chimerac: Command, tmp_path: Path, arguments: list[str], code: str, parts: list[str]
) -> None:
    shown = chimerac("build", *arguments, "-o", tmp_path / "dist")
    shown.refused(code, *parts)
    assert "parameters" not in shown.out, "refused only after the model was made"
    assert nothing_made(tmp_path / "dist")


@pytest.mark.parametrize(
    "name", ["../evil.b158", "/tmp/evil.b158", "sub/model.b158", ".hidden", "C:evil", "ü.b158", ""]
)
@pytest.mark.parametrize("key", ["weights", "tokenizer"])
def test_a_config_cannot_name_files_outside_of_the_bundle(
    chimerac: Command, tmp_path: Path, key: str, name: str
) -> None:
    shown = chimerac("build", "home", "-o", tmp_path / "dist", "--set", f'files.{key}="{name}"')
    shown.refused("CHM113", f"'files.{key}'")
    assert nothing_made(tmp_path / "dist")


@pytest.mark.parametrize(
    "name", ["report.html", "Manifest.JSON", "MODEL_CARD.md", "libchimera.so", "chimera.h", "home.b158"]
)
def test_a_config_cannot_give_a_file_the_name_of_another(chimerac: Command, tmp_path: Path, name: str) -> None:
    shown = chimerac("build", "home", "-o", tmp_path / "dist", "--set", f'files.tokenizer="{name}"')
    shown.refused("CHM322", name, "--set:1:")
    assert nothing_made(tmp_path / "dist")


def test_inspect_of_a_config_points_to_ir(chimerac: Command, document: Path) -> None:
    chimerac("inspect", document).refused("CHM410", "--ir")


def test_inspect_ir_of_an_unknown_target(chimerac: Command) -> None:
    chimerac("inspect", "home", "--ir", "lowered", "-t", "wasn").refused("CHM300", "did you mean 'wasm'?")


def test_out_below_a_file_cannot_be_written(chimerac: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    shown = chimerac("build", "home", "-o", tmp_path / "file" / "dist")
    shown.refused("CHM321", f"{tmp_path / 'file'} is not a folder")
    assert "parameters" not in shown.out
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_out_without_permission(chimerac: Command, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    shown = chimerac("build", "home", "-o", tmp_path / "dist")
    tmp_path.chmod(0o700)
    shown.refused("CHM321", "may not be written to")
    assert nothing_made(tmp_path / "dist")


@pytest.mark.parametrize("there", ["folder with notes", "folder with another manifest", "file", "dangling link"])
def test_what_is_not_a_bundle_is_never_replaced(chimerac: Command, tmp_path: Path, there: str) -> None:
    place = tmp_path / "home.wasm"
    if there == "file":
        place.write_text("mine")
    elif there == "dangling link":
        place.symlink_to(tmp_path / "gone")
    else:
        place.mkdir()
        (place / ("notes.txt" if there == "folder with notes" else "manifest.json")).write_text('{"name": "my app"}')
    shown = chimerac("build", "home", "-t", "wasm", "-o", tmp_path)
    shown.refused("CHM320", f"{place} exists and is not a bundle", "choose another --out")
    assert "parameters" not in shown.out
    assert [p.name for p in tmp_path.iterdir()] == ["home.wasm"]
    if place.is_dir():
        assert [p.read_text() for p in place.iterdir()] == ['{"name": "my app"}']
