"""A toy bundle that holds conversations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from toy_bundles import VOCAB, Toy, make_bundle

from chimerac.runtime import bundle_format as bf
from chimerac.runtime.bundle_format import Chat, ChatPieces
from chimerac.runtime.reference.tokenizer import Special, byte_tokenizer

ROLES = {"<begin>": "control", "<end>": "end", "<user>": "control", "<bot>": "control"}
BEGIN, END, USER, BOT = range(256, 260)
PIECES = ChatPieces(
    opening=(BEGIN, USER), answer=(END, BOT, "\n"), next=(END, "\n", USER), prompt=(END, BOT, "\n"),
    system=((BEGIN, "sys:"), (END, USER)), trim="both",
)  # fmt: skip
TOKENIZER = byte_tokenizer(VOCAB, [Special(name, 256 + k, role) for k, (name, role) in enumerate(ROLES.items())])


@pytest.fixture(scope="session")
def with_chat() -> Callable[[Toy, Path], Path]:
    """with_chat(toy, folder): the toy's bundle with a chat."""

    def make(toy: Toy, folder: Path) -> Path:
        made = make_bundle(folder, toy.file("code"), toy.manifest.target, tokenizer=TOKENIZER)
        bf.write_manifest(folder, replace(made.manifest, chat=Chat(PIECES)))
        return folder

    return make
