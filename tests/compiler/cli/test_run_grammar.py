"""``run --grammar``, ``--schema``, ``--choices``, ``--regex``: on native and web bundles."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from cli_tools import TARGETS, Command

WARM = ("--temperature", "2", "--seed", "5")


@pytest.mark.parametrize("target", TARGETS)
def test_texts_follow_what_is_asked_for(
    chimerac: Command, bundles: dict[str, Path], target: str, tmp_path: Path
) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}')
    lark = tmp_path / "pair.lark"
    lark.write_text('start: "<" /[ab]{2,5}/ ">"')

    def text(*options: str | Path) -> str:
        shown = chimerac("run", bundles[target], "hello", *options, *WARM)
        assert shown.code == 0, shown.err
        assert shown.err == ""
        return shown.out.removesuffix("\n")

    json.loads(text("--grammar", "json", "-n", "40"))
    assert isinstance(json.loads(text("--schema", schema, "-n", "40"))["n"], int)
    assert text("--choices", "on,off,only") in ("on", "off", "only")
    assert re.fullmatch(r"[0-9]{3}-[a-z]+", text("--regex", "[0-9]{3}-[a-z]+"))
    assert re.fullmatch(r"<[ab]{2,5}>", text("--grammar", lark))
    free = text("--grammar", "none")
    assert free == text("--grammar", "none")


def test_each_line_of_the_input_follows_it(chimerac: Command, bundles: dict[str, Path]) -> None:
    shown = chimerac("run", bundles["x86_64-avx2"], "--choices", "yes,no", *WARM, input="one\ntwo\n\nthree\n")
    assert len(shown.out.splitlines()) == 3
    assert set(shown.out.split()) <= {"yes", "no"}


def test_only_one_may_be_given(chimerac: Command, bundles: dict[str, Path]) -> None:
    shown = chimerac("run", bundles["x86_64-avx2"], "hello", "--choices", "a,b", "--regex", "x")
    shown.refused("CHM420", "choices and regex exclude each other")


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--grammar", "latin"], "CHM431", "json"),
        (["--grammar", "missing.lark"], "CHM285", "missing.lark"),
        (["--schema", "missing.json"], "CHM285", "missing.json"),
        (["--regex", "(?<=a)b"], "CHM280", "look-behind"),
        (["--choices", ","], "CHM280", "number 1 is empty"),
        (["--choices", "a,,b"], "CHM280", "number 2 is empty"),
    ],
)
def test_what_cannot_be_used(
    chimerac: Command, bundles: dict[str, Path], options: list[str], code: str, says: str
) -> None:
    chimerac("run", bundles["x86_64-avx2"], "hello", *options).refused(code, says)


def test_too_few_tokens_are_refused(chimerac: Command, bundles: dict[str, Path]) -> None:
    shown = chimerac("run", bundles["x86_64-avx2"], "hello", "--regex", "a{30}", "-n", "29")
    shown.refused("CHM420", "max_tokens is 29; the grammar's shortest text may need 30")
    shown = chimerac("run", bundles["x86_64-avx2"], "hello", "--regex", "a{30}", "-n", "30")
    assert shown.out.strip() == "a" * 30
