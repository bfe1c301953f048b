"""The shipped default model: its ONNX forms answer as its native bundle does."""

from __future__ import annotations

from pathlib import Path

import pytest
from home_requests import REQUESTS

import chimerac
from chimerac.compiler.build.build import build


@pytest.mark.slow
def test_answers_are_those_of_the_native_bundle(tmp_path: Path) -> None:
    report = build("home", targets=["x86_64-avx2", "onnx", "onnx-fused"], out=tmp_path)
    native, exact, fused = (chimerac.load(bundle.path) for bundle in report.bundles)
    for request in REQUESTS:
        for session in (native, exact, fused):
            for _ in session.generate(request, max_tokens=48):
                pass
        assert exact.tokens() == native.tokens(), request
        assert exact.logits_hash() == native.logits_hash(), request
        assert exact.state_hash() == native.state_hash(), request
        assert fused.tokens() == native.tokens(), request
    for session in (native, exact, fused):
        session.close()
