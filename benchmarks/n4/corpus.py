"""Plain text that is on every machine with Python: sources and documents of its library and of installed packages.

Tokens are the most frequent pieces of it (words with the blank before them, runs of signs, indents) and the 256 bytes;
other pieces are cut into the longest that are known.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import sysconfig
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

ENDINGS = (".py", ".pyi", ".md", ".rst", ".txt", ".h", ".hpp", ".cuh", ".cpp", ".cu", ".c")
LARGEST_FILE = 1_000_000
HELD_OUT = 0.02  #: of the files
PIECE = re.compile(r" ?[^\W\d]+| ?\d{1,3}| ?[^\s\w]+|\s+(?!\S)|\s+")
BYTES = 256
SEED = 5


def found_files(megabytes: float, roots: Sequence[Path] = ()) -> list[Path]:
    """Files to read, each content once, drawn in the same order each time, of about so many megabytes."""
    where = roots or [Path(sysconfig.get_paths()[name]) for name in ("stdlib", "purelib", "platlib")]
    files = sorted({file for root in where for file in root.rglob("*") if file.suffix in ENDINGS and file.is_file()})
    random.Random(SEED).shuffle(files)
    seen, chosen, left = set(), [], megabytes * 1e6
    for file in files:
        size = file.stat().st_size
        if not 100 <= size <= LARGEST_FILE:
            continue
        content = hashlib.blake2b(file.read_bytes(), digest_size=16).digest()
        if content in seen:
            continue
        seen.add(content)
        chosen.append(file)
        left -= size
        if left < 0:
            break
    return chosen


def read(file: Path) -> str:
    return file.read_text("utf-8", errors="replace")


def pieces_of(files: Iterable[Path]) -> Counter[str]:
    """How often each piece is in some files."""
    return Counter(piece for file in files for piece in PIECE.findall(read(file)))


def vocabulary_of(counts: Mapping[str, int], size: int) -> dict[bytes, int]:
    """The bytes, and the most frequent pieces up to ``size`` tokens; of equal ones the first in order."""
    table = {bytes([byte]): byte for byte in range(BYTES)}
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    for piece, _ in ordered:
        if len(table) == size:
            break
        table.setdefault(piece.encode(), len(table))
    return table


def cut(piece: str, table: Mapping[bytes, int], longest: int) -> list[int]:
    """The tokens of a piece: always the longest that is known."""
    text, start, tokens = piece.encode(), 0, []
    while start < len(text):
        length = next(n for n in range(min(longest, len(text) - start), 0, -1) if text[start : start + n] in table)
        tokens.append(table[text[start : start + length]])
        start += length
    return tokens


def encoded(files: Sequence[Path], table: Mapping[bytes, int]) -> np.ndarray:
    """The tokens of some files, one after the other, uint16."""
    longest, known = max(map(len, table)), {}
    tokens: list[int] = []
    for file in files:
        for piece in PIECE.findall(read(file)):
            if piece not in known:
                known[piece] = cut(piece, table, longest)
            tokens += known[piece]
    return np.array(tokens, np.uint16)


def make(out: Path, vocabulary: int, megabytes: float, processes: int, roots: Sequence[Path] = ()) -> dict[str, Any]:
    """Write train.bin, held_out.bin, vocabulary.json and corpus.json, which is returned; a whole one stays."""
    facts = out / "corpus.json"
    if facts.exists():
        found: dict[str, Any] = json.loads(facts.read_text())
        return found
    out.mkdir(parents=True, exist_ok=True)
    files = found_files(megabytes, roots)
    last = max(1, round(len(files) * HELD_OUT))
    train, held_out = files[:-last], files[-last:]
    shares = [train[i :: 4 * processes] for i in range(4 * processes)]
    with get_context("fork").Pool(processes) as pool:
        counts: Counter[str] = Counter()
        for found_here in pool.imap_unordered(pieces_of, shares):
            counts.update(found_here)
        table = vocabulary_of(counts, vocabulary)
        parts = pool.map(partial(encoded, table=table), shares)
    np.concatenate(parts).tofile(out / "train.bin")
    tokens = encoded(held_out, table)
    tokens.tofile(out / "held_out.bin")
    (out / "vocabulary.json").write_text(json.dumps([piece.hex() for piece in table]))
    found = {
        "files": len(files),
        "bytes": sum(file.stat().st_size for file in files),
        "train_tokens": sum(map(len, parts)),
        "held_out_tokens": len(tokens),
        "held_out_bytes": sum(len(read(file).encode()) for file in held_out),
        "vocabulary": len(table),
        "packages": dict(Counter(_package(file) for file in files).most_common(20)),
    }
    facts.write_text(json.dumps(found, indent=1) + "\n")
    return found


def _package(file: Path) -> str:
    """The package that a file is of; "the standard library" for others."""
    parts = file.parts
    return parts[parts.index("site-packages") + 1] if "site-packages" in parts else "the standard library"
