"""How the command line writes: the one door to standard output and standard error.

What a config, a manifest or a model says may hold any character; on its way out whatever could speak to a terminal
becomes visible, and what the stream's encoding has not becomes an escape (messages) or an error (generated text). A
stream that is closed or full ends a command with one message.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import TextIO

import click

from chimerac.compiler.errors import UserError

#: Control characters but tab and line feed, and what changes the direction of the text after it.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def prepare_streams() -> None:
    """Let standard output and error take any text; raises UserError CHM324 if there is no standard output."""
    if sys.stdout is None:
        raise UserError("CHM324", "standard output is closed", hint="redirect it to a file, or to /dev/null")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def visible(text: str) -> str:
    """The text with escapes as in JSON in place of control characters, tabs and line ends kept."""
    return _CONTROL.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def say(text: str = "", *, end: str = "\n", err: bool = False) -> None:
    """Write a message; raises UserError CHM324 where standard output takes no more."""
    with contextlib.suppress(OSError, ValueError) if err else _failures():
        click.echo(visible(text) + end, nl=False, err=err)


def say_generated(text: str, coloured: bool = False) -> None:
    """Write generated text as it is; on a terminal its control characters, which could do anything, are marks, and it
    may be ``coloured``.

    A mark (U+FFFD, which also stands for bytes that are no text) is "?" where the encoding has none.

    Raises UserError CHM324 where standard output takes no more, or has no such character.
    """
    shown = _CONTROL.sub("\ufffd", text) if sys.stdout.isatty() else text
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        "\ufffd".encode(encoding)
    except UnicodeEncodeError:
        shown = shown.replace("\ufffd", "?")
    try:
        shown.encode(encoding)
    except UnicodeEncodeError as error:
        missing = shown[error.start]
        message = f"standard output is in {encoding}, which has no {missing!a}"
        raise UserError("CHM324", message, hint="set PYTHONIOENCODING=utf-8, or write to a UTF-8 terminal") from None
    if coloured and shown and sys.stdout.isatty():
        shown = click.style(shown, fg="green")
    with _failures():
        sys.stdout.write(shown)  # click would leave out what looks like a colour
        sys.stdout.flush()


def finish_output() -> None:
    """Write what is still held back, so that a full disk is noticed; raises UserError CHM324."""
    with _failures():
        sys.stdout.flush()


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise  # whoever reads has seen enough
    except OSError as error:
        _drop(sys.stdout)
        reason = error.strerror or str(error)
        raise UserError("CHM324", f"cannot write to standard output: {reason}", hint="free space, or mend it") from None
    except ValueError as error:  # the stream was closed by whoever runs the command line as a library
        raise UserError("CHM324", f"cannot write to standard output: {error}", hint="leave sys.stdout open") from None


def _drop(stream: TextIO) -> None:
    """Forget what a stream holds back, or Python would try once more at its end, and complain."""
    with contextlib.suppress(OSError, ValueError):
        stream.close()


@contextlib.contextmanager
def plain_warnings() -> Iterator[None]:
    """Warnings of the runtime as one line each on standard error, without a place in the sources."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *_, **__: say(f"warning: {message}", err=True)
        yield


@contextlib.contextmanager
def passing_line() -> Iterator[Callable[[str], None]]:
    """Shows on a line of the terminal what is being done, and takes it away at the end; without a terminal nothing."""
    if not sys.stderr.isatty():
        yield lambda what: None
        return
    try:
        yield lambda what: click.echo(f"\r\x1b[K{visible(what)} …", nl=False, err=True)
    finally:
        click.echo("\r\x1b[K", nl=False, err=True)


def print_step(step: str, what: str, seconds: float) -> None:
    """A step of a build that is done."""
    say(f"{step:<18} {what:<62} {seconds:6.1f} s")
