"""ONNX bundles in onnxruntime-web, in Node: it loads both forms, and the exact one gives the interpreter's bits."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest

from chimerac.runtime.sessions.loading import load
from chimerac.runtime.sessions.onnx_model import INTERFACE

HERE = Path(__file__).parent
#: A whole block, then single tokens across the next boundary.
TOKENS = list(b"It was a bright cold")


@pytest.fixture(scope="module")
def node() -> str:
    """Node.js; CHIMERAC_NODE names another."""
    found = os.environ.get("CHIMERAC_NODE") or shutil.which("node")
    if not found:
        pytest.skip("no Node.js")
    if not (HERE / "node_modules" / "onnxruntime-web").is_dir():
        pytest.skip("onnxruntime-web is not installed: scripts/setup-browser.sh")
    return found


def run(node: str, bundle: Path, graph_changes: str) -> list[np.ndarray]:
    """Logits after the first block and after each token that follows."""
    metadata = onnx.load(str(bundle / "model.onnx"), load_external_data=False).metadata_props
    loops = json.loads(next(entry.value for entry in metadata if entry.key == INTERFACE))["loops"][0]
    command = [node, str(HERE / "run.mjs"), str(bundle), json.dumps(TOKENS), graph_changes, str(loops)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert result.returncode == 0, result.stderr
    return [np.frombuffer(base64.b64decode(text), np.float32) for text in json.loads(result.stdout)["logits"]]


def reference(bundle: Path) -> list[np.ndarray]:
    """The same logits from ONNX Runtime in this process, whose bits other tests compare with the interpreter's."""
    found = []
    with load(bundle) as session:
        for tokens in (TOKENS[:16], *([token] for token in TOKENS[16:])):
            session.prefill(tokens)
            logits = session.logits()
            assert logits is not None
            found.append(logits)
    return found


def test_both_forms(node: str, onnx_bundles: dict[str, Path]) -> None:
    exact, fused = (onnx_bundles[target] for target in ("onnx", "onnx-fused"))
    expected = reference(exact)
    assert all(
        np.array_equal(ours, theirs) for ours, theirs in zip(run(node, exact, "disabled"), expected, strict=True)
    )
    for ours, theirs in zip(run(node, fused, "all"), expected, strict=True):
        assert np.abs(ours - theirs).max() < 0.03 * np.ptp(theirs)
