"""One build of the nano document for ONNX Runtime, in both forms, and natively."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def onnx_bundles(document: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Target name → bundle of the document at nano scale."""
    from chimerac.compiler.build.build import build

    targets = ["onnx", "onnx-fused"]
    report = build(document, scale="nano", targets=targets, out=tmp_path_factory.mktemp("onnx"))
    return {bundle.target: bundle.path for bundle in report.bundles}
