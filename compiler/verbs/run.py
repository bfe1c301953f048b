"""Running a bundle from the command line or Python."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from chimerac.compiler.errors import UserError, as_user_error
from chimerac.runtime.bundle_format import MANIFEST_NAME, read_manifest
from chimerac.runtime.errors import BundleError
from chimerac.runtime.reference.tokenizer import read_tokenizer
from chimerac.runtime.sessions.interface import Session
from chimerac.runtime.sessions.loading import check_runs_here, load

MAX_TOKENS = 64  #: of an answer, where nobody says more


def open_bundle(bundle: str, threads: int = 1) -> Session:
    """A session of a bundle; runtime errors become user errors of the same code."""
    try:
        return load(bundle, threads=threads)
    except BundleError as error:
        raise as_user_error(error) from None


def _limited(session: Session, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with this command's own limit of tokens where neither the caller nor the bundle has one."""
    given = {name: value for name, value in options.items() if value is not None}
    own = session.manifest.generation
    return given if own is not None and own.max_tokens is not None else {"max_tokens": MAX_TOKENS, **given}


def check_text(text: str, what: str) -> None:
    """Raise UserError CHM420 for text of a terminal or file that was not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UserError("CHM420", f"{what} is not UTF-8", hint="set the terminal or the file to UTF-8") from None


def generate(bundle: str, prompt: str, options: Mapping[str, Any], *, text: bool, threads: int = 0) -> Iterator[Any]:
    """Pieces of text as they come; with ``text`` false one list with all tokens. 0 threads: one per core, at most 8.

    Raises:
        UserError: CHM4xx, a bundle that does not open or an option out of range.
    """
    check_text(prompt, "the prompt")
    try:
        with open_bundle(bundle, threads) as session:
            for piece in session.generate(prompt, **_limited(session, options)):
                if text:
                    yield piece.text
            if not text:
                yield session.tokens()
    except BundleError as error:
        raise as_user_error(error) from None


def find_bundle(folder: Path = Path("dist"), *, web: bool = False) -> str:
    """The bundle in ``folder`` that was built last and runs here; with ``web`` the last one for browsers.

    Raises:
        UserError: CHM323, there is none.
    """
    found = []
    for path in folder.glob("[!.]*/" + MANIFEST_NAME):
        try:
            check_runs_here(path.parent)
            if web and not read_manifest(path.parent).target.startswith("wasm32"):
                continue
        except BundleError:
            continue
        found.append((path.stat().st_mtime_ns, str(path.parent)))
    if not found:
        if web:
            hint = "`chimerac build --target wasm` makes one there; or name a bundle: chimerac serve FOLDER"
            raise UserError("CHM323", f"no bundle in {folder}/ is for browsers", hint=hint)
        hint = "`chimerac build` makes one there; or name a bundle: chimerac run FOLDER"
        raise UserError("CHM323", f"no bundle in {folder}/ runs on this machine", hint=hint)
    return max(found)[1]


def interact(bundle: str, options: Mapping[str, Any], threads: int = 0) -> None:
    """Answer standard input line by line; blank lines are skipped; ends at end of input.

    Each line continues the conversation, except with a model that was trained to answer one request at a time (its
    tokenizer has a token that asks for the answer).

    Raises:
        UserError: as ``generate``.
    """
    with open_bundle(bundle, threads) as session:
        if sys.stdin.isatty():
            click.echo(f"{session.manifest.name} ({bundle}). Type a line and press Enter; Ctrl-D ends.", err=True)
        first, single = True, _answers_requests(Path(bundle), session)
        for number, line in enumerate(_lines(), 1):
            if not line:
                continue
            check_text(line, f"line {number} of the input")
            try:
                for piece in session.generate(line, reset=first or single, **_limited(session, options)):
                    click.echo(printable(piece.text), nl=False)
            except BundleError as error:
                raise as_user_error(error) from None
            click.echo()
            first = False


def _answers_requests(folder: Path, session: Session) -> bool:
    """Whether the tokenizer has a token that asks for the answer."""
    entry = session.manifest.file("tokenizer")
    return entry is not None and read_tokenizer(folder / entry.name).special_id("answer") is not None


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
