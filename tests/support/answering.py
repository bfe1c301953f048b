"""A bundle whose tokenizer asks for answers, made of any bundle with bytes as tokens."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from chimerac.runtime.bundle_format import file_entry, read_manifest, write_manifest
from chimerac.runtime.reference.tokenizer import Special, byte_tokenizer, write_tokenizer

ANSWER = 258


def with_answer_token(folder: Path, to: Path, vocabulary: int) -> Path:
    """A copy of a bundle whose tokenizer has an answer token; it has no self-test and no grammars."""
    shutil.copytree(folder, to)
    manifest = read_manifest(to)
    entry = manifest.file("tokenizer")
    assert entry is not None
    specials = [Special("<end>", 257, "end"), Special("<answer>", ANSWER, "answer")]
    write_tokenizer(to / entry.name, byte_tokenizer(vocabulary, specials), config_sha256=manifest.config_sha256)
    # grammars were compiled for the tokens that there were
    files = tuple(file_entry(to / f.name, f.role) for f in manifest.files if f.role != "grammar")
    write_manifest(to, replace(manifest, files=files, self_test=None))
    return to
