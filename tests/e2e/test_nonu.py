"""Nonu models, from a config or from PyTorch, on the targets: the interpreter's bits and PyTorch's numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import chimerac
from chimerac.compiler.build.build import build
from chimerac.compiler.verbs.check import check
from chimerac.compiler.verbs.explain import explain
from chimerac.compiler.verbs.verify import verify
from chimerac.frontends.families.nonu.shape import logit
from chimerac.frontends.families.stepwise import StepSession
from chimerac.models.nonu import NonuConfig, NonuModel

TARGETS = ["x86_64-avx2", "wasm", "onnx"]
SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "num_layers": 2,
    "num_heads": 2,
    "vocab_size": 256,
    "embedding_dim": 20,
    "intermediate_size": 320,
    "max_position": 96,
}
CONFIG = {"model_type": "nonu", "name": "small", **SIZES}


def logits_of(folder: Path, text: bytes) -> np.ndarray:
    with chimerac.load(folder) as session:
        session.prefill(list(text))
        return np.array(session.logits())


@pytest.mark.parametrize(
    "options",
    [
        {"weights": "ternary"},
        pytest.param({"weights": "int8"}, marks=pytest.mark.slow),
        {"gate_on": "attention", "active_threshold": 0.5},
    ],
    ids=["ternary", "int8", "attention"],
)
def test_a_config_on_every_target(options: dict[str, Any], tmp_path: Path) -> None:
    """A build ends with the self-test; logits are those of the native bundle, bit for bit."""
    path = tmp_path / "small.chimera"
    path.write_text(json.dumps({**CONFIG, **options}))
    build(path, targets=TARGETS, out=tmp_path / "dist")
    found = [logits_of(folder, b"turn off the lights") for folder in sorted((tmp_path / "dist").iterdir())]
    assert len(found) == len(TARGETS)
    assert all(other.tobytes() == found[0].tobytes() for other in found)


@pytest.mark.parametrize(
    "options",
    [
        {"thresholds": (1e-7, 5e-7), "adaptive_precision": (1e-9, 1e-3)},
        pytest.param({"attention": "linear", "tie": False}, marks=pytest.mark.slow),
    ],
    ids=["learned", "linear"],
)
def test_a_model_of_pytorch(options: dict[str, Any], tmp_path: Path) -> None:
    torch.manual_seed(6)
    model = NonuModel(NonuConfig(**SIZES, **options)).eval()
    with torch.no_grad():  # a third of the neurons open
        for layer in model.blocks():
            layer.mlp.up.bias.fill_(logit(1e-7) - 0.08)
    if model.config.attention == "softmax":
        assert "open neurons only: 2 products" in explain(model).render()
    chimerac.compile(model, name="small", targets=["x86_64-avx2"], out=tmp_path)
    text = b"a smart speaker"
    found = logits_of(next(tmp_path.iterdir()), text)
    session = StepSession(model.export_form())
    expected = [session.step(token) for token in text][-1]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "options", [{"weights": "ternary"}, {"gate_on": "attention", "active_threshold": 0.6}], ids=str
)
def test_bundles_agree_with_pytorch(options: dict[str, Any], tmp_path: Path) -> None:
    """A third of the neurons open; tables are codes of 3 bytes, which product and look-up share."""
    path, weights = tmp_path / "small.chimera", tmp_path / "weights.safetensors"
    path.write_text(json.dumps({**CONFIG, **options}))
    torch.manual_seed(6)
    model = NonuModel(NonuConfig(**SIZES, **options))
    with torch.no_grad():
        for layer in model.blocks():
            layer.mlp.up.bias.fill_(logit(1e-7) - 0.08)
    save_file(model.state_dict(), weights)
    build(path, weights=weights, targets=TARGETS[:1], out=tmp_path / "dist")
    (bundle,) = (tmp_path / "dist").iterdir()
    found = verify(bundle, config=path, weights=weights)
    assert found.agreement is not None
    assert found.agreement.holds
    with torch.no_grad():
        expected = model(torch.tensor([list(b"a smart speaker")])).logits[0, -1].numpy()
    if "weights" not in options:
        np.testing.assert_allclose(logits_of(bundle, b"a smart speaker"), expected, rtol=1e-3, atol=1e-4)
        numbers = sum(parameter.numel() for parameter in model.parameters())
        assert (
            bundle / "small.b158"
        ).stat().st_size < 4 * numbers - 256 * 20 + 4096  # a byte less for each of the table


def test_check_prints_what_the_documents_contradict(tmp_path: Path) -> None:
    path = tmp_path / "document.chimera"
    path.write_text('{"model_type": "nonu"}')
    said = check(path).render()
    assert "69,107 neurons a layer" in said
    assert "codes of 3 bytes take 15 MB" in said
    assert len(said.splitlines()) == 17
