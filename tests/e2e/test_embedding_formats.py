"""Models with another format of the tied embedding and head: built, tested by their own self-tests, and streamed."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from chimerac.compiler.build.build import build
from chimerac.frontends.weights import sources as weight_sources
from chimerac.runtime.bundle_format import read_container, read_manifest


def weights(folder: Path) -> Path:
    manifest = read_manifest(folder)
    entry = manifest.file("weights")
    assert entry is not None
    return folder / entry.name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "section", "bits"),
    [
        ("ternary", "embedding.weight.trits.t2.r8", 2),
        pytest.param("bfloat16", "embedding.weight.bf16", 16, marks=pytest.mark.slow),
    ],
)
def test_natively_and_in_onnx(
    kind: str, section: str, bits: int, document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nano = partial(build, document, scale="nano", overrides=[f"quantization.embedding_format={kind}"])
    report = nano(targets=("x86_64-avx2", "onnx"), out=tmp_path / "whole")
    stored = read_container(weights(report.bundles[0].path)).sections
    assert [name for name in stored if name.startswith("embedding.weight") and "scales" not in name] == [section]
    rows, columns = 320, 128
    assert stored[section].bytes == rows * columns * bits // 8

    monkeypatch.setattr(weight_sources, "MOST_IN_MEMORY", 0)
    monkeypatch.setattr(weight_sources, "PART_ELEMENTS", 1000)
    streamed = nano(out=tmp_path / "parts")
    assert weights(streamed.bundles[0].path).read_bytes() == weights(report.bundles[0].path).read_bytes()
