"""A detector of speech from PyPI: the numbers of its own ONNX model, the same natively and in Node.js."""

from __future__ import annotations

import json
import subprocess
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from speech_detector import BEFORE, CHUNK, Speech, data

import chimerac

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning"),
    pytest.mark.skipif(find_spec("silero_vad") is None, reason="needs the package silero-vad"),
]


def sound() -> np.ndarray:
    """[120, 512] samples: a hum with harmonics that comes and goes, as voices do, with noise."""
    time = np.arange(120 * CHUNK) / 16000
    pitch = 2 * np.pi * np.cumsum(140 + 30 * np.sin(5 * time)) / 16000
    tones = np.stack([np.sin(k * pitch) / k for k in range(1, 20)])
    voice = tones.sum(0) * (np.sin(3 * time) > 0) * (1 + np.sin(25 * time))
    noise = np.random.default_rng(4).standard_normal(len(time))
    chunks: np.ndarray = (0.1 * voice + 0.01 * noise).astype(np.float32).reshape(-1, CHUNK)
    return chunks


def of_the_package(chunks: np.ndarray) -> np.ndarray:
    """What the package's ONNX model says of each chunk."""
    session = onnxruntime.InferenceSession(data() / "silero_vad.onnx", providers=["CPUExecutionProvider"])
    state, before, found = np.zeros((2, 1, 128), np.float32), np.zeros(BEFORE, np.float32), []
    for chunk in chunks:
        given = {"input": np.concatenate([before, chunk])[None], "state": state, "sr": np.array(16000, np.int64)}
        result, state = session.run(None, given)
        found.append(result[0, 0])
        before = chunk[-BEFORE:]
    return np.array(found)


def test_speech_is_detected_as_the_package_does(tmp_path: Path) -> None:
    chunks = sound()
    expected = of_the_package(chunks)
    assert np.ptp(expected) > 0.1  # what is heard matters
    report = chimerac.compile(
        Speech().eval(), name="speech", example=(torch.zeros(1, CHUNK),), targets=["x86_64-avx2", "wasm"], out=tmp_path
    )
    native, wasm = (bundle.path for bundle in report.bundles)
    with chimerac.load(native) as session:
        found = np.array([session.call({"samples": chunk[None]})["output"][0, 0] for chunk in chunks])
    np.testing.assert_allclose(found, expected, atol=1e-4)
    samples = tmp_path / "samples"
    samples.write_bytes(chunks.tobytes())
    command = ["node", str(Path(__file__).parent / "speech.mjs"), str(wasm), str(samples)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert np.array(json.loads(done.stdout), np.float32).tobytes() == found.astype(np.float32).tobytes()
