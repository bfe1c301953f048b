"""Files that somebody names: read within bounds, or one error; and nothing but a regular file is replaced."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from chimerac.compiler.errors import UserError
from chimerac.compiler.texts import json_of, read_text
from chimerac.compiler.verbs.calibrate import calibrate
from chimerac.compiler.verbs.grammars import chosen_grammar
from chimerac.compiler.verbs.run import read_names
from chimerac.frontends.grammar.lark_files import read_lark
from chimerac.runtime.bundle_format.atomic import write_atomically
from chimerac.runtime.errors import BundleError


def sparse(path: Path) -> None:
    """5 GiB that take no room."""
    path.touch()
    os.truncate(path, 5 << 30)


def looping(path: Path) -> None:
    path.symlink_to(path.name)


MADE: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "No such file"),
    "folder": (Path.mkdir, "a directory"),
    "link to itself": (looping, "symbolic links"),
    "large": (sparse, "has over"),
    "no UTF-8": (lambda path: path.write_bytes(b"a\xff"), "not UTF-8"),
}
READERS: dict[str, Callable[[Path], object]] = {
    "names": read_names,
    "rows": lambda path: calibrate(path.parent, path),
    "grammar": read_lark,
    "schema": lambda path: chosen_grammar(path.parent, schema=path),
}


@pytest.mark.parametrize("what", MADE)
@pytest.mark.parametrize("reader", READERS)
def test_what_cannot_be_read_is_one_error(reader: str, what: str, tmp_path: Path) -> None:
    make, message = MADE[what]
    make(tmp_path / "given")
    with pytest.raises(UserError, match=rf"cannot read the \w+ .*given: .*{message}"):
        READERS[reader](tmp_path / "given")


def test_texts_are_read_up_to_the_limit_and_without_their_mark(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes("\ufeffé".encode())
    assert read_text(tmp_path / "text", "the text", "CHM420", 5) == "é"
    with pytest.raises(UserError, match="over 4 bytes"):
        read_text(tmp_path / "text", "the text", "CHM420", 4)
    with pytest.raises(UserError, match="no file has such a name"):
        read_text("a\0b", "the text", "CHM420", 4)


def test_deep_json_is_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="too deep"):
        json_of("[" * 100_000)
    (tmp_path / "names").write_text("[" * 100_000)
    with pytest.raises(UserError, match="no JSON: it is nested too deep"):
        read_names(tmp_path / "names")


def test_null_is_no_home(tmp_path: Path) -> None:
    (tmp_path / "names").write_text("null")
    with pytest.raises(UserError, match="it holds null"):
        read_names(tmp_path / "names")
    (tmp_path / "names").write_text("{}")
    assert read_names(tmp_path / "names") == {}


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/dev/null")])
def test_nothing_but_a_file_is_replaced(make: Callable[[Path], object], tmp_path: Path) -> None:
    """As root, `-o /dev/null` would end that device for everybody."""
    make(tmp_path / "out")
    before = os.lstat(tmp_path / "out")
    with pytest.raises(BundleError, match="no file"):
        write_atomically(tmp_path / "out", b"x")
    assert os.lstat(tmp_path / "out").st_ino == before.st_ino
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    with pytest.raises(BundleError, match="no file"):
        write_atomically("", b"x")
