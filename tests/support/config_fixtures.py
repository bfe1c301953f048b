"""The Chimera 5.1 document and a small config, for tests of configs and of what a family makes of them."""

from __future__ import annotations

import json

import pytest
from project import ROOT

from chimerac.frontends.config import ModelConfig, loads

#: A complete config in nine lines; docs/config.md shows it.
SMALL = """\
name: "mine",                       // comments are fine
hidden_size: 256, num_heads: 8,
intermediate_size: 640,
vocab_size: 512,
backbone: {
  layer_pattern: "GD XM GD TM GD XM GD SK",
  moe: {enabled: true, layers: [3, 7], n_routed_experts: 4, moe_intermediate_size: 192},
},
looping: {enabled: true, loop_default: 2},
"""


@pytest.fixture(scope="session")
def document_text() -> str:
    """The Chimera 5.1 document as it stands, in fenced rows."""
    return (ROOT / "tests/data/chimera51_document.txt").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def document_json(document_text: str) -> str:
    """The same as plain JSON, by a way of its own."""
    rows = (line.strip() for line in document_text.split("\n"))
    return "\n".join(row[1:-1] if len(row) > 1 else "" for row in rows)


@pytest.fixture(scope="session")
def document_values(document_json: str) -> dict[str, object]:
    values: dict[str, object] = json.loads(document_json)
    return values


@pytest.fixture(scope="session")
def document(document_text: str) -> ModelConfig:
    return loads(document_text, "chimera51.txt")
