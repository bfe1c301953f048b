"""Running a bundle from the command line or Python."""

from __future__ import annotations

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


def generate(bundle: str, prompt: str, options: Mapping[str, Any], *, text: bool) -> Iterator[Any]:
    """Pieces of text as they come; with ``text`` false one list with all tokens.

    Raises:
        UserError: CHM4xx, a bundle that does not open or an option out of range.
    """
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
    """Answer standard input line by line, in one conversation; ends at end of input."""
    terminal = sys.stdin.isatty()
    with open_bundle(bundle) as session:
        first = True
        while True:
            if terminal:
                click.echo("> ", nl=False)
            line = sys.stdin.readline()
            if not line:
                return
            try:
                for piece in session.generate(line.rstrip("\n"), reset=first, **options):
                    click.echo(piece.text, nl=False)
            except BundleError as error:
                raise as_user_error(error) from None
            click.echo()
            first = False
