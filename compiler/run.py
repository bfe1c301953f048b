"""Running a bundle from the command line or Python."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import click

from chimerac.compiler.errors import UserError
from chimerac.runtime.errors import BundleError
from chimerac.runtime.interface import Session
from chimerac.runtime.session import load


def open_bundle(bundle: str) -> Session:
    """A session of a bundle; runtime errors become user errors of the same code."""
    try:
        return load(bundle)
    except BundleError as error:
        raise as_user_error(error) from None


def as_user_error(error: BundleError) -> UserError:
    """The same error for the command line, which knows one family only."""
    place = f"{error.path}: " if getattr(error, "path", None) else ""
    return UserError(error.code, f"{place}{error.message}", hint=getattr(error, "hint", None))


def check_text(text: str, what: str) -> None:
    """Raise UserError CHM420 for text of a terminal or file that was not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UserError("CHM420", f"{what} is not UTF-8", hint="set the terminal or the file to UTF-8") from None


def generate(bundle: str, prompt: str, options: Mapping[str, Any], *, text: bool) -> Iterator[Any]:
    """Pieces of text as they come; with ``text`` false one list with all tokens.

    Raises:
        UserError: CHM4xx, a bundle that does not open or an option out of range.
    """
    check_text(prompt, "the prompt")
    try:
        with open_bundle(bundle) as session:
            for piece in session.generate(prompt, **options):
                if text:
                    yield piece.text
            if not text:
                yield session.tokens()
    except BundleError as error:
        raise as_user_error(error) from None


def interact(bundle: str, options: Mapping[str, Any]) -> None:
    """Answer standard input line by line, in one conversation; blank lines are skipped; ends at end of input.

    Raises:
        UserError: as ``generate``.
    """
    with open_bundle(bundle) as session:
        first = True
        for number, line in enumerate(_lines(), 1):
            if not line:
                continue
            check_text(line, f"line {number} of the input")
            try:
                for piece in session.generate(line, reset=first, **options):
                    click.echo(printable(piece.text), nl=False)
            except BundleError as error:
                raise as_user_error(error) from None
            click.echo()
            first = False


def printable(text: str) -> str:
    """Text of a model for standard output: on a terminal its control characters, which could do anything, are marks."""
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "\ufffd", text) if sys.stdout.isatty() else text


def _lines() -> Iterator[str]:
    """Lines of standard input, asked for when it is a terminal; bytes that are not UTF-8 stay as surrogates."""
    terminal = sys.stdin.isatty()
    while True:
        if terminal:
            click.echo("> ", nl=False)
        line = sys.stdin.buffer.readline()
        if not line:
            if terminal:
                click.echo()
            return
        yield line.decode("utf-8", "surrogateescape").strip("\r\n")
