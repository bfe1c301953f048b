"""Models too large to be in memory whole: their weights are made, quantised and written one after the other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from chimera_weights import initialise

from chimerac.compiler.build.build import build
from chimerac.compiler.build.importing import import_model
from chimerac.compiler.errors import UserError
from chimerac.frontends import config as config_language
from chimerac.frontends.families.chimera.family import FAMILY
from chimerac.frontends.families.chimera.from_config import shape as shape_of
from chimerac.frontends.families.chimera.model import ChimeraModel
from chimerac.frontends.weights import sources as weight_sources
from chimerac.frontends.weights.checkpoint import save_safetensors
from chimerac.frontends.weights.packed import packed_bytes
from chimerac.frontends.weights.sources import CheckpointWeights, RandomWeights, filled_module, large_names
from chimerac.runtime.bundle_format import read_manifest


def digest(folder: Path) -> tuple[str, object]:
    manifest = read_manifest(folder)
    return manifest.weights_sha256, manifest.self_test


@pytest.mark.parametrize("kind", ["random", "plain", "packed"])
def test_parts_are_the_tensors(kind: str, tmp_path: Path, streamed: None) -> None:
    shape = shape_of(config_language.load("chimera51", scale="nano"))
    model = ChimeraModel(shape)
    initialise(model, 3)
    file = tmp_path / "weights.safetensors"
    if kind == "plain":
        save_safetensors(model, file)
    elif kind == "packed":
        file.write_bytes(packed_bytes(model, FAMILY.tensors(shape)))
    source = RandomWeights(FAMILY, shape, 3) if kind == "random" else CheckpointWeights(FAMILY.tensors(shape), file)
    source.fill(model)
    for name, tensor in model.state_dict().items():
        parts = list(source.parts(name))
        assert len(parts) > 1 or tensor.numel() <= 1000 or tensor.shape[0] == 1 or not tensor.any(), name
        assert np.array_equal(np.concatenate(parts), tensor.numpy()), name
    table = FAMILY.tensors(shape)
    assert {n for n, spec in table.specs.items() if spec.format != "float32"} == set(large_names(table))


@pytest.fixture
def streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weight_sources, "MOST_IN_MEMORY", 0)
    monkeypatch.setattr(weight_sources, "PART_ELEMENTS", 1000)


@pytest.mark.parametrize("kind", ["random", *(pytest.param(k, marks=pytest.mark.slow) for k in ("plain", "packed"))])
def test_the_same_bundle(kind: str, tmp_path: Path, document: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = filled_module(FAMILY, shape_of(config_language.load(document, scale="nano"))).module
    assert isinstance(model, ChimeraModel)
    weights = None
    if kind != "random":
        weights = tmp_path / "weights.safetensors"
        if kind == "plain":
            save_safetensors(model, weights)
        else:
            weights.write_bytes(packed_bytes(model, FAMILY.tensors(model.shape)))
    whole = build(document, scale="nano", weights=weights, out=tmp_path / "whole")
    monkeypatch.setattr(weight_sources, "MOST_IN_MEMORY", 0)
    monkeypatch.setattr(weight_sources, "PART_ELEMENTS", 1000)
    parts = build(document, scale="nano", weights=weights, out=tmp_path / "parts")
    assert digest(parts.bundles[0].path) == digest(whole.bundles[0].path)


def test_bad_numbers_are_found_when_they_are_read(tmp_path: Path, document: Path, streamed: None) -> None:
    source = import_model(document, scale="nano")
    assert source.reference is None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weight_sources, "MOST_IN_MEMORY", 1 << 40)
        model = filled_module(FAMILY, shape_of(config_language.load(document, scale="nano"))).module
    model.get_parameter("layers.1.mixer.q_proj.weight").data[5, 7] = float("nan")
    save_safetensors(model, tmp_path / "bad.safetensors")
    with pytest.raises(UserError, match=r"layers\.1\.mixer\.q_proj\.weight holds NaN") as caught:
        build(document, scale="nano", weights=tmp_path / "bad.safetensors", out=tmp_path / "dist")
    assert caught.value.code == "CHM242"
    assert list((tmp_path / "dist").iterdir()) == []
