"""The JSON Schema for editors and the generated reference pages."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from project import ROOT

from chimerac.frontends.config import canonical_json, json_schema, load
from chimerac.frontends.config.reference import keys_page, presets_table
from chimerac.frontends.families.chimera.rules_page import rules_page


@pytest.fixture(scope="module")
def validator() -> Any:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(json.loads(json.dumps(schema)))


def test_accepts_what_chimerac_accepts(validator: Any, document_values: Any) -> None:
    validator.validate(document_values)
    for name in ("chimera51", "home"):
        validator.validate(json.loads(canonical_json(load(name))))
    validator.validate({"extends": "home", "scale": "tiny", "overrides": {"a.b": [1, {}]}})
    validator.validate({"extends": "home", "scale": {"preset": "nano", "hidden_size": 192}, "params": None})


@pytest.mark.parametrize(
    "change",
    [
        {"hiden_size": 1},
        {"hidden_size": "x"},
        {"hidden_size": 0},
        {"backbone": {"layer_pattern": "GD", "moe": {"routing": "x"}}},
        {"looping": {"loop": [1, 2, 3]}},
        {"params": {"base": "2X"}},
        {"scale": "huge"},
        {"modes": {"fast": {"loops": 0}}},
    ],
)
def test_refuses_what_chimerac_refuses(validator: Any, document_values: Any, change: dict[str, Any]) -> None:
    assert not validator.is_valid({**document_values, **change})


def test_required_keys(validator: Any) -> None:
    assert not validator.is_valid({"hidden_size": 64})
    assert validator.is_valid({"extends": "home"})


def test_every_key_is_described() -> None:
    def walk(schema: Any) -> Any:
        if isinstance(schema, dict):
            for name, below in schema.get("properties", {}).items():
                yield name, below
            for below in schema.values():
                yield from walk(below)
        elif isinstance(schema, list):
            for below in schema:
                yield from walk(below)

    described = list(walk(json_schema()))
    assert len(described) > 400
    for name, schema in described:
        assert len(schema["description"]) > 4, name
        assert schema["description"].endswith("."), name


@pytest.mark.parametrize(("page", "name"), [(keys_page, "config-keys.md"), (rules_page, "config-rules.md")])
def test_pages_are_up_to_date(page: Any, name: str) -> None:
    path = ROOT / "docs" / name
    assert path.read_text(encoding="utf-8") == page(), (
        f"docs/{name} is out of date; write it again with: python -m chimerac.frontends.config.reference docs"
    )


def test_presets_in_the_guide() -> None:
    assert presets_table() in (ROOT / "docs/config.md").read_text(encoding="utf-8")
