"""How the command line writes: to any terminal, whatever its encoding, and never what a model could do to it."""

from __future__ import annotations

import contextlib
import io
import re
import sys
import warnings
from collections.abc import Callable, Iterator

import click


def tolerate_encoding() -> None:
    """Characters that the terminal's encoding has not are printed as '?': text of a model can hold any."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def printable(text: str) -> str:
    """Text of a model for standard output: on a terminal its control characters, which could do anything, are marks."""
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "\ufffd", text) if sys.stdout.isatty() else text


@contextlib.contextmanager
def plain_warnings() -> Iterator[None]:
    """Warnings of the runtime as one line each on standard error, without a place in the sources."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *_, **__: click.echo(f"warning: {message}", err=True)
        yield


@contextlib.contextmanager
def passing_line() -> Iterator[Callable[[str], None]]:
    """Shows on a line of the terminal what is being done, and takes it away at the end; without a terminal nothing."""
    if not sys.stderr.isatty():
        yield lambda what: None
        return
    try:
        yield lambda what: click.echo(f"\r\x1b[K{what} …", nl=False, err=True)
    finally:
        click.echo("\r\x1b[K", nl=False, err=True)


def print_step(step: str, what: str, seconds: float) -> None:
    """A step of a build that is done."""
    click.echo(f"{step:<18} {what:<62} {seconds:6.1f} s")
