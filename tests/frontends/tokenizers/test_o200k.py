"""o200k_base from a file or a package: exactly the published ranks, the agent tokens' ids, clear refusals."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import splintr
import tiktoken
from project import ROOT

from chimerac.compiler.errors import UserError
from chimerac.frontends import config as config_language
from chimerac.frontends.config import ModelConfig
from chimerac.frontends.families.chimera.rules.layers import HOLES
from chimerac.frontends.tokenizers import load_tokenizer, o200k, tokenizer_of
from chimerac.runtime import BundleError
from chimerac.runtime.reference.tokenizer import Tokenizer, byte_tokenizer, write_tokenizer


@pytest.fixture(scope="module")
def ranks() -> tuple[bytes, ...]:
    return o200k.installed_ranks()


@pytest.fixture(scope="module")
def rank_file(ranks: tuple[bytes, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ranks") / "o200k_base.tiktoken"
    path.write_bytes(o200k.rank_file(ranks))
    return path


def known(config: ModelConfig) -> Tokenizer | None:
    return tokenizer_of(config.vocab_size, config.token_ids, config.place("token_ids"))


def read(document: Path, *overrides: str) -> ModelConfig:
    return config_language.load(document, scale="nano", overrides=overrides)


def test_the_file_has_the_published_digest_and_comes_back(rank_file: Path, ranks: tuple[bytes, ...]) -> None:
    assert rank_file.stat().st_size == o200k.RANK_FILE_BYTES
    assert o200k.read_ranks(rank_file) == ranks
    assert len(ranks) == len(set(ranks)) == o200k.RANKS
    assert {bytes([byte]) for byte in range(256)} <= set(ranks)


def test_tiktoken_pins_the_same_digest() -> None:
    source = (Path(tiktoken.__file__).parent.parent / "tiktoken_ext" / "openai_public.py").read_text()
    assert o200k.RANK_FILE_SHA256 in source


def test_special_tokens_are_where_the_package_has_them() -> None:
    table = splintr.Tokenizer.from_pretrained("o200k_base")
    assert table.vocab_size == o200k.AGENT_VOCABULARY
    found: Any = table.special_tokens
    expected = found() if callable(found) else found
    assert {special.name: special.id for special in o200k.specials()} == expected


def test_ids_and_roles(ranks: tuple[bytes, ...]) -> None:
    tokenizer = o200k.o200k_tokenizer(ranks)
    by_role: dict[str, list[int]] = {}
    for special in tokenizer.specials:
        by_role.setdefault(special.role, []).append(special.id)
    assert by_role["end"] == [199_999, 200_023, 200_059]
    assert by_role["pad"] == [200_058]
    assert by_role["reserved"] == list(range(200_061, 200_067))
    assert len(by_role["control"]) == 46
    used = {special.id for special in tokenizer.specials}
    holes = [id for id, token in enumerate(tokenizer.tokens) if not token and id not in used]
    assert holes == list(HOLES[o200k.AGENT_VOCABULARY])
    assert tokenizer.special_id("end") == o200k.END_OF_TEXT


def test_the_plain_vocabulary(rank_file: Path) -> None:
    tokenizer = load_tokenizer(rank_file, o200k.BASE_VOCABULARY)
    assert len(tokenizer.tokens) == o200k.BASE_VOCABULARY
    assert [(s.name, s.id) for s in tokenizer.specials] == [("<|endoftext|>", 199_999), ("<|endofprompt|>", 200_018)]


def test_files_are_told_apart_by_what_they_hold(rank_file: Path, ranks: tuple[bytes, ...], tmp_path: Path) -> None:
    misnamed = tmp_path / "ranks.model"
    misnamed.write_bytes(rank_file.read_bytes())
    assert load_tokenizer(misnamed, o200k.AGENT_VOCABULARY) == o200k.o200k_tokenizer(ranks)
    container = tmp_path / "bytes.tiktoken"
    write_tokenizer(container, byte_tokenizer(300))
    assert load_tokenizer(container, 300) == byte_tokenizer(300)


def refused(code: str, path: Path, vocabulary: int) -> str:
    with pytest.raises(UserError) as caught:
        load_tokenizer(path, vocabulary)
    assert caught.value.code == code
    return caught.value.render()


def test_other_ranks_are_refused(rank_file: Path, tmp_path: Path) -> None:
    data = rank_file.read_bytes()
    for name, changed in {
        "shorter": data[:-9],
        "longer": data + b"AAAA 199998\n",
        "other": data.replace(b" 100\n", b" 101\n", 1),
        "windows": data.replace(b"\n", b"\r\n"),
        "tiny": b"IQ== 0\nIg== 1\n",
    }.items():
        (tmp_path / name).write_bytes(changed)
        message = refused("CHM245", tmp_path / name, o200k.AGENT_VOCABULARY)
        assert str(tmp_path / name) in message
        assert o200k.RANK_FILE_SHA256 in message


def test_sizes_that_do_not_match_are_refused(rank_file: Path, tmp_path: Path) -> None:
    assert "200019 tokens, 200073 with agent tokens; the model 320" in refused("CHM244", rank_file, 320)
    write_tokenizer(tmp_path / "t", byte_tokenizer(300))
    assert "has 300 tokens, the model 320" in refused("CHM244", tmp_path / "t", 320)


def test_unreadable_files_are_refused_by_the_container_reader(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    for path, code in ((tmp_path / "gone", "CHM400"), (tmp_path, "CHM400"), (tmp_path / "empty", "CHM401")):
        with pytest.raises(BundleError) as caught:
            load_tokenizer(path, 300)
        assert caught.value.code == code


def test_the_vocabulary_of_the_document_selects_it(document: Path, ranks: tuple[bytes, ...]) -> None:
    assert known(read(document)) is None
    assert known(read(document, "scale.vocab_size=200073")) == o200k.o200k_tokenizer(ranks)
    assert known(config_language.load(document)) == o200k.o200k_tokenizer(ranks)


@pytest.mark.parametrize("ids", [[], [199_999]])
def test_ids_may_be_left_out(document: Path, ids: Sequence[int], ranks: tuple[bytes, ...]) -> None:
    config = read(document, "scale.vocab_size=200073", f"token_ids={list(ids)}")
    assert known(config) == o200k.o200k_tokenizer(ranks)


def test_other_ids_are_refused_with_their_place(document: Path) -> None:
    config = read(document, "scale.vocab_size=200073", "token_ids=[200058, 199999]")
    with pytest.raises(UserError, match=r"\[200058, 199999\].*\[199999, 200058\]") as caught:
        known(config)
    assert caught.value.code == "CHM247"
    assert caught.value.span is not None


def test_a_missing_package_is_named(document: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "splintr", None)
    with pytest.raises(UserError, match="ranks are not here") as caught:
        known(read(document, "scale.vocab_size=200073"))
    assert caught.value.code == "CHM246"
    assert o200k.PACKAGE in str(caught.value.hint)


def test_a_package_with_other_ranks_is_refused(ranks: tuple[bytes, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    class Tokenizer:
        @classmethod
        def from_pretrained(cls, name: str) -> Tokenizer:
            assert name == "o200k_base"
            return cls()

        def decode_bytes(self, ids: list[int]) -> bytes:
            return ranks[max(1, ids[0])]

    monkeypatch.setattr(splintr, "Tokenizer", Tokenizer)
    with pytest.raises(UserError, match="package splintr-rs does not hold the ranks") as caught:
        o200k.installed_ranks()
    assert caught.value.code == "CHM245"


def test_the_pinned_package_is_the_one_that_is_installed() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    assert f'"{o200k.PACKAGE}"' in project
