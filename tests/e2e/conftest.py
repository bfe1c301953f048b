"""What several files of tests of whole bundles share."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from made_once import Once


@pytest.fixture(scope="session")
def speculating(document: Path, once: Once) -> dict[str, Path]:
    """Target → a bundle of the document at nano scale that may guess tokens."""

    def make(folder: Path) -> None:
        from chimerac.compiler.build.build import build

        report = build(document, scale="nano", targets=["x86_64-avx2", "wasm"], out=folder, speculate=True)
        (folder / "paths.json").write_text(json.dumps({bundle.target: str(bundle.path) for bundle in report.bundles}))

    paths = json.loads((once("speculating", make) / "paths.json").read_text())
    return {target: Path(path) for target, path in paths.items()}
