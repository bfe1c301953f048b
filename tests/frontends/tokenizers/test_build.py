"""A config with the full vocabulary becomes a bundle that speaks o200k_base with agent tokens."""

from __future__ import annotations

from pathlib import Path

import pytest

from chimerac.compiler.build.build import build
from chimerac.compiler.build.importing import read_description
from chimerac.compiler.errors import UserError
from chimerac.compiler.verbs import train
from chimerac.frontends.tokenizers import o200k
from chimerac.runtime import load
from chimerac.runtime.reference.tokenizer import byte_tokenizer, read_tokenizer, write_tokenizer

FULL = f"scale.vocab_size={o200k.AGENT_VOCABULARY}"


@pytest.mark.slow
def test_the_full_vocabulary_end_to_end(document: Path, tmp_path: Path) -> None:
    """The build's self-test compares the bundle with the interpreter: prompt and masks are the tokenizer's."""
    report = build(document, scale="nano", overrides=[FULL], out=tmp_path)
    folder = report.bundles[0].path
    tokenizer = o200k.o200k_tokenizer(o200k.installed_ranks())
    assert read_tokenizer(folder / "chimera51_tokenizer.model") == tokenizer
    with load(folder) as session:
        expected = session.manifest.self_test
        assert expected is not None
        assert list(expected.prompt) == tokenizer.encode("The quick brown fox jumps over")
        text = "Grüße, <|im_end|> 世界! it's 12345"
        assert session.encode(text) == tokenizer.encode(text)
        made = "".join(piece.text for piece in session.generate("Once", max_tokens=24))
        assert made == tokenizer.decode(session.tokens())
        ends = {special.id for special in tokenizer.specials if special.role == "end"}
        assert (session.finish_reason == "stop") == (session.tokens()[-1] in ends)


def test_a_wrong_tokenizer_is_refused_before_the_work(document: Path, tmp_path: Path) -> None:
    ranks = tmp_path / "o200k_base.tiktoken"
    ranks.write_bytes(o200k.rank_file(o200k.installed_ranks()))
    steps: list[str] = []
    with pytest.raises(UserError) as caught:
        build(
            document,
            scale="nano",
            tokenizer=ranks,
            out=tmp_path / "dist",
            progress=lambda step, what, seconds: steps.append(step),
        )
    assert caught.value.code == "CHM244"
    assert steps == ["config"]
    assert not (tmp_path / "dist").exists()


def test_training_without_a_tokenizer_in_the_data_takes_that_of_the_bundle(document: Path, tmp_path: Path) -> None:
    config = read_description(document, scale="nano", overrides=[FULL])
    assert train._tokenizer(tmp_path, config) == o200k.o200k_tokenizer(o200k.installed_ranks())
    assert len(train._tokenizer(tmp_path, read_description(document, scale="nano")).tokens) == 320
    write_tokenizer(tmp_path / train.TOKENIZER_FILE, byte_tokenizer(300))
    assert train._tokenizer(tmp_path, config) == byte_tokenizer(300)
