"""A tokenizer with an answer token: text prompts end with it, token prompts do not, and it is never generated."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from chimerac.runtime.bundle_format import file_entry, read_manifest, write_manifest
from chimerac.runtime.session import load
from chimerac.runtime.tokenizer import Special, byte_tokenizer, write_tokenizer

ANSWER = 258


def with_answer_token(folder: Path, to: Path) -> Path:
    """A copy of a toy bundle whose tokenizer has an answer token."""
    shutil.copytree(folder, to)
    manifest = read_manifest(to)
    entry = manifest.file("tokenizer")
    assert entry is not None
    specials = [Special("<end>", 257, "end"), Special("<answer>", ANSWER, "answer")]
    write_tokenizer(to / entry.name, byte_tokenizer(270, specials), config_sha256=manifest.config_sha256)
    files = tuple(file_entry(to / f.name, f.role) for f in manifest.files)
    write_manifest(to, replace(manifest, files=files, self_test=None))
    return to


def check(folder: Path) -> None:
    with load(folder) as session:
        list(session.generate("light", max_tokens=0))
        asked = session.position, session.logits_hash()
        list(session.generate([*b"light", ANSWER], max_tokens=0))
        assert (session.position, session.logits_hash()) == asked
        list(session.generate(list(b"light"), max_tokens=0))
        assert session.position == asked[0] - 1
        for seed in range(8):
            list(session.generate("light", max_tokens=40, temperature=5.0, seed=seed))
            assert ANSWER not in session.tokens()


def test_answer_token_native(toy: Any, tmp_path: Path) -> None:
    check(with_answer_token(toy.folder, tmp_path / "bundle"))


def test_answer_token_in_node(wasm_toy: Any, tmp_path: Path) -> None:
    check(with_answer_token(wasm_toy.folder, tmp_path / "bundle"))
