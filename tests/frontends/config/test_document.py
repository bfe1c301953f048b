"""The Chimera 5.1 document: every form of it is the same config, and no key of it is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from config_fixtures import SMALL
from project import ROOT

from chimerac.frontends.config import ModelConfig, canonical_json, load, loads
from chimerac.frontends.config.fields import fields_of, is_section
from chimerac.frontends.config.model import to_plain


def test_all_forms_are_one_config(document: ModelConfig, document_json: str, document_values: Any) -> None:
    forms = [
        loads(document_json),
        loads(json.dumps(document_values)),
        loads(json.dumps(document_values, ensure_ascii=False, indent=8)),
        loads(canonical_json(document)),
        load("chimera51"),
        load(ROOT / "examples/chimera51.txt"),
        loads("extends: 'chimera51'".replace("'", '"')),
    ]
    for form in forms:
        assert form == document
        assert form.digest == document.digest
    assert (ROOT / "examples/chimera51.txt").read_bytes() == (ROOT / "tests/data/chimera51_document.txt").read_bytes()


def test_every_key_has_a_field(document: ModelConfig, document_values: dict[str, Any]) -> None:
    assert len(document_values) == 50
    seen = list(_walk(document_values, document, ""))
    assert len(seen) > 500
    for path, raw, value in seen:
        assert _same(raw, value), path


def _walk(raw: Any, value: Any, path: str) -> Any:
    """Pairs up the raw JSON with the typed config; asserts that each key has a field."""
    if isinstance(raw, dict) and is_section(type(value)):
        known = {item.name: item for item in fields_of(type(value))}
        for name, below in raw.items():
            assert name in known, f"{path}.{name}"
            yield from _walk(below, getattr(value, known[name].attribute), f"{path}.{name}")
    elif isinstance(raw, dict):
        assert isinstance(value, Mapping), path
        assert raw.keys() == value.keys(), path
        for name, below in raw.items():
            yield from _walk(below, value[name], f"{path}.{name}")
    elif isinstance(raw, list) and isinstance(value, tuple):
        assert len(raw) == len(value), path
        for index, (below, item) in enumerate(zip(raw, value, strict=True)):
            yield from _walk(below, item, f"{path}.{index}")
    else:
        yield path, raw, value


def _same(raw: Any, value: Any) -> bool:
    if isinstance(raw, str) and isinstance(value, tuple):
        return value == (raw,)
    if isinstance(raw, str) and isinstance(value, int):
        factor = {"M": 10**6, "B": 10**9, "T": 10**12}[raw[-1]]
        return value == round(float(raw[:-1]) * factor) or (raw, value) == ("4M", 4 * 1024 * 1024)
    return bool(raw == value) and isinstance(value, bool) == isinstance(raw, bool)


def test_values_keep_their_places(document: ModelConfig, document_text: str) -> None:
    lines = document_text.split("\n")
    place = document.place("backbone.moe.layers.2")
    assert place is not None
    assert place.text == lines[place.line - 1] == '| "layers": [3, 7, 11, 15, 19, 23, 27], |'
    assert (place.column, place.width) == (20, 2)
    assert lines[place.line - 1][place.column - 1 : place.column + 1] == "11"
    assert document.place("backbone.moe.nothing.here") == document.place("backbone.moe")


def test_canonical_json_is_canonical(document: ModelConfig) -> None:
    text = canonical_json(document)
    assert text == json.dumps(json.loads(text), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    assert json.loads(text)["name"] == "chimera-5.1-final"
    assert len(document.digest) == 64
    assert loads(text.replace('"seed":0', '"seed":1')).digest != document.digest


def test_nine_lines_are_enough() -> None:
    assert f"```\n{SMALL}```" in (ROOT / "docs/config.md").read_text(encoding="utf-8")
    config = loads(SMALL)
    assert (config.name, config.num_hidden_layers, config.head_dim) == ("mine", 8, 32)
    assert (config.looping.prelude, config.looping.loop, config.looping.coda) == ((0, 1), (2, 5), (6, 7))
    assert to_plain(config)["backbone"]["moe"]["layers"] == [3, 7]
    assert loads(canonical_json(config)) == config


def test_import_loads_no_framework() -> None:
    code = "import sys, chimerac.frontends.config; print([m for m in ('torch', 'tvm', 'numpy') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
