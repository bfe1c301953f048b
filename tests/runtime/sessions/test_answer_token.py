"""A tokenizer with an answer token: text prompts end with it, token prompts do not, and it is never generated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from answering import ANSWER, with_answer_token

from chimerac.runtime.sessions.loading import load

VOCABULARY = 270  #: of the toy


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
    check(with_answer_token(toy.folder, tmp_path / "bundle", VOCABULARY))


def test_answer_token_in_node(wasm_toy: Any, tmp_path: Path) -> None:
    check(with_answer_token(wasm_toy.folder, tmp_path / "bundle", VOCABULARY))
