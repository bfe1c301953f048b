"""The ``grammar`` of configs of families without a section of their own for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chimerac.compiler.build.importing import read_description
from chimerac.compiler.errors import UserError
from chimerac.frontends.families.protocol import Description

SCHEMA = json.dumps({"type": "object", "properties": {"name": {"type": "string", "x-copy": "names"}}})
SIZES = {
    "n4": "vocab_size: 256, hidden_size: 48, inter_size: 40, heads: 3, layers: 2",
    "nonu": "vocab_size: 256, hidden_size: 48, num_heads: 3, num_layers: 2, intermediate_size: 40",
}


def described(folder: Path, family: str, grammar: str) -> Description[Any]:
    path = folder / "small.chimera"
    path.write_text(f'model_type: "{family}",\n{SIZES[family]},\n{grammar}\n')
    return read_description(str(path)).description


@pytest.mark.parametrize("family", SIZES)
def test_a_schema_is_a_file_beside_the_config(family: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(SCHEMA)
    refusal = 'refusal: {threshold: 0.4, temperature: 2, answer: "no"}'
    text = f'grammar: {{modes: ["json"], schema: "a.json", schema_whitespace: 0, default: "schema", {refusal}}}'
    found = described(tmp_path, family, text)
    request = found.grammars()
    assert request is not None
    assert (request.modes, request.schema, request.schema_whitespace, request.default) == (
        ("json",),
        SCHEMA,
        0,
        "schema",
    )
    assert found.refusal is not None
    assert (found.refusal.threshold, found.refusal.temperature, found.refusal.answer) == (0.4, 2.0, "no")
    assert found.digest != described(tmp_path, family, "").digest


@pytest.mark.parametrize("family", SIZES)
def test_without_a_grammar_there_is_none(family: str, tmp_path: Path) -> None:
    found = described(tmp_path, family, "")
    assert (found.grammars(), found.refusal) == (None, None)


@pytest.mark.parametrize(
    ("grammar", "code", "said"),
    [
        ('grammar: {schema: "none.json"}', "CHM285", "none.json"),
        ('grammar: {modes: ["jsn"]}', "CHM286", "'jsn'"),
        ('grammar: {modes: ["json"], default: "sql"}', "CHM286", "'sql'"),
        ('grammar: {modes: ["json"], default: "schema"}', "CHM286", "there is none"),
    ],
)
def test_mistakes_are_refused(grammar: str, code: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        described(tmp_path, "nonu", grammar).grammars()
    assert error.value.code == code
    assert said in error.value.message
    if code == "CHM285":
        assert error.value.span is not None
        assert error.value.span.line == 3
