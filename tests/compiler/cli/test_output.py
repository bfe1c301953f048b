"""What the command line writes where streams are closed, full or not in UTF-8, and of texts that try to do things."""

from __future__ import annotations

import io
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from cli_tools import COMMAND_LINE, NOISE, environment

from chimerac.compiler.cli.output import say, say_generated, visible
from chimerac.compiler.errors import UserError


def shell(line: str, **changes: str) -> subprocess.CompletedProcess[bytes]:
    """A line of shell in which ``C`` is the command."""
    script = f'C() {{ {shlex.join(COMMAND_LINE)} "$@"; }}; {line}'
    return subprocess.run(["sh", "-c", script], capture_output=True, env=environment(**changes), timeout=300)


@pytest.mark.parametrize("redirection", [">/dev/full", ">&-"], ids=["full disk", "closed"])
@pytest.mark.parametrize("arguments", ["targets", "check home", "check --schema"])
def test_standard_output_that_takes_nothing(arguments: str, redirection: str) -> None:
    done = shell(f"C {arguments} {redirection}")
    text = done.stderr.decode()
    assert text.startswith("error CHM324: "), text
    assert "\n  help: " in text
    assert done.returncode == 1
    assert not any(noise in text for noise in NOISE)
    assert "Exception ignored" not in text


def test_a_reader_that_has_seen_enough_ends_the_command_without_a_word() -> None:
    done = shell("C check --schema | head -c 10")
    assert (len(done.stdout), done.stderr) == (10, b"")


def test_standard_error_that_takes_nothing_changes_no_exit_code() -> None:
    for redirection in ("2>&-", "2>/dev/full"):
        done = shell(f"C check nothing_of_this_name {redirection}")
        assert (done.returncode, done.stdout) == (1, b"")


@pytest.mark.parametrize("encoding", ["latin-1", "iso8859-5", "utf-8"])
def test_messages_fit_any_encoding_and_lose_nothing(encoding: str, tmp_path: Path) -> None:
    done = shell(f"C check {tmp_path}/'größe\u03c0'", PYTHONIOENCODING=encoding)
    shown = "größe\u03c0".encode(encoding, "backslashreplace")
    assert shown in done.stderr
    assert b"?" not in done.stderr


def test_a_path_that_is_no_text_is_shown_with_its_bytes(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/model\xff.json"
    done = subprocess.run([*COMMAND_LINE, b"check", name], capture_output=True, timeout=300)
    assert done.returncode == 1
    assert rb"model\udcff.json" in done.stderr
    assert not any(noise in done.stderr.decode() for noise in NOISE)


def test_control_characters_and_reversed_text_are_shown_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "a\x1b]0;owned\x07b\x9b31mc\rd\u202ee\x00\u2066"
    say(hostile)
    say(hostile, err=True)
    shown = "a\\u001b]0;owned\\u0007b\\u009b31mc\\u000dd\\u202ee\\u0000\\u2066\n"
    assert tuple(capsys.readouterr()) == (shown, shown)
    kept = "tabs\tand\nlines, ünïcode, \U0001f600, עברית"
    assert visible(kept) == kept


def test_generated_text_is_exact_in_a_file_and_harmless_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    say_generated("a\x1b[2Jb\r\n")
    assert capsys.readouterr().out == "a\x1b[2Jb\r\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    say_generated("a\x1b[2Jb\n")
    assert capsys.readouterr().out == "a\ufffd[2Jb\n"
    say_generated("a\x1bb", coloured=True)
    assert capsys.readouterr().out == "\x1b[32ma\ufffdb\x1b[0m"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False)
    say_generated("ab", coloured=True)
    assert capsys.readouterr().out == "ab"


def test_generated_text_that_the_encoding_has_not_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    held = io.BytesIO()
    stream = io.TextIOWrapper(held, "latin-1")
    monkeypatch.setattr(sys, "stdout", stream)
    say_generated("größe \ufffd")
    assert held.getvalue() == "größe ?".encode("latin-1")
    with pytest.raises(UserError, match="in latin-1, which has no '\\\\u03c0'") as caught:
        say_generated("\u03c0")
    assert (caught.value.code, bool(caught.value.hint)) == ("CHM324", True)


def test_a_closed_stream_of_a_host_program(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    stream.close()
    monkeypatch.setattr(sys, "stdout", stream)
    with pytest.raises(UserError, match="closed file") as caught:
        say("hello")
    assert caught.value.code == "CHM324"


@pytest.mark.parametrize("text", ["{{{0}: 1}}", '{{extends: "{0}"}}', '{{extends: "home", {0}}}', "{{extends: {0}}}"])
def test_a_mistake_of_any_length_is_shown_shortened(text: str, tmp_path: Path) -> None:
    (tmp_path / "long.json").write_text(text.format("k" * 300_000))
    done = shell(f"C check {tmp_path}/long.json")
    assert done.stderr.startswith((b"error CHM", os.fsencode(tmp_path))), done.stderr[:500]
    assert len(done.stderr) < 5_000
