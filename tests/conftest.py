"""Fixtures for the whole suite: one build of the nano model for all targets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

DOCUMENT = Path(__file__).parent / "data" / "chimera51_document.txt"

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def document() -> Path:
    """The Chimera 5.1 config document as its owner wrote it."""
    return DOCUMENT


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Target name → bundle of the document at nano scale."""
    from chimerac.compiler.build.build import build

    out = tmp_path_factory.mktemp("dist")
    report = build(DOCUMENT, scale="nano", targets=["x86_64-avx2", "wasm"], out=out)
    return {bundle.target: bundle.path for bundle in report.bundles}
