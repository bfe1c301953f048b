"""A packed checkpoint holds what the compiled model needs, exactly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from chimera_weights import initialise
from safetensors.numpy import load_file, save_file

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.module import Constant
from chimerac.compiler.ir.ops.linear import quantise_rows, ternarise
from chimerac.compiler.ir.types import TensorType
from chimerac.frontends import config
from chimerac.frontends.families.chimera.family import FAMILY
from chimerac.frontends.families.chimera.from_config import shape as shape_of
from chimerac.frontends.families.chimera.model import ChimeraModel
from chimerac.frontends.families.chimera.naming import tensor_specs
from chimerac.frontends.families.chimera.shape import ChimeraShape
from chimerac.frontends.layers.shapes import EmbeddingFormat
from chimerac.frontends.weights import sources as weight_sources
from chimerac.frontends.weights.packed import is_packed, load_packed, pack_trits, packed_bytes, unpack_trits
from chimerac.frontends.weights.sources import CheckpointWeights


@pytest.fixture(scope="module")
def shape() -> ChimeraShape:
    return shape_of(config.load("chimera51", scale="nano"))


@pytest.fixture(scope="module")
def model(shape: ChimeraShape) -> ChimeraModel:
    model = ChimeraModel(shape)
    initialise(model, 3)
    with torch.no_grad():
        weight = model.get_parameter("layers.0.mixer.q_proj.weight")
        weight[5] = 0  # groups without a nonzero trit
        weight[6, 1:] = 0
    return model


def test_codes_and_scales_survive(shape: ChimeraShape, model: ChimeraModel, tmp_path: Path) -> None:
    file = tmp_path / "packed.safetensors"
    file.write_bytes(packed_bytes(model, FAMILY.tensors(model.shape)))
    assert is_packed(file)
    loaded = load_packed(file, FAMILY.tensors(shape))
    state = model.state_dict()
    assert loaded.keys() == state.keys()
    for name, spec in tensor_specs(shape).items():
        original, group = state[name].numpy(), shape.quantization.group_size
        if spec.format == "float32":
            np.testing.assert_array_equal(loaded[name], original)
            continue
        split = ternarise if spec.format == "ternary" else quantise_rows
        for mine, theirs in zip(split(loaded[name], group), split(original, group), strict=True):
            np.testing.assert_array_equal(mine, theirs, err_msg=name)


@pytest.mark.parametrize("kind", ["ternary", "bfloat16"])
def test_other_embeddings(kind: EmbeddingFormat, shape: ChimeraShape, tmp_path: Path) -> None:
    changed = replace(shape, embedding_format=kind)
    model = ChimeraModel(changed)
    initialise(model, 3)
    file = tmp_path / "packed.safetensors"
    file.write_bytes(packed_bytes(model, FAMILY.tensors(model.shape)))
    loaded = load_packed(file, FAMILY.tensors(changed))["embedding.weight"]
    original = model.embedding.weight.detach().numpy()
    if kind == "bfloat16":
        np.testing.assert_array_equal(loaded, original)
    else:
        group = shape.quantization.group_size
        for mine, theirs in zip(ternarise(loaded, group), ternarise(original, group), strict=True):
            np.testing.assert_array_equal(mine, theirs)
    with pytest.raises(UserError, match="embedding"):
        load_packed(file, FAMILY.tensors(replace(shape, embedding_format="int8")))


@pytest.mark.parametrize("columns", [1, 3, 4, 5, 127, 128, 129])
def test_trits_round_trip(columns: int) -> None:
    trits = np.random.default_rng(columns).integers(-1, 2, (3, columns)).astype(np.int8)
    packed = pack_trits(trits)
    assert packed.shape == (3, -(-columns // 4))
    np.testing.assert_array_equal(unpack_trits(packed, columns), trits)


def test_file_is_small(model: ChimeraModel) -> None:
    parameters = sum(p.numel() for p in model.parameters())
    assert len(packed_bytes(model, FAMILY.tensors(model.shape))) < parameters * 0.45


def test_other_shapes_and_damage_are_refused(model: ChimeraModel, tmp_path: Path) -> None:
    file = tmp_path / "packed.safetensors"
    data = packed_bytes(model, FAMILY.tensors(model.shape))
    file.write_bytes(data)
    other = shape_of(config.load("chimera51", scale="tiny"))
    with pytest.raises(UserError, match="does not fit") as caught:
        load_packed(file, FAMILY.tensors(other))
    assert caught.value.code == "CHM241"
    file.write_bytes(data[: len(data) // 2])
    assert not is_packed(file)
    with pytest.raises(UserError) as caught:
        load_packed(file, FAMILY.tensors(model.shape))
    assert caught.value.code == "CHM240"


@pytest.mark.parametrize("whole", [True, False])
def test_codes_and_scales_are_handed_on(
    whole: bool, shape: ChimeraShape, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those that floats would not give back: scales of zeros, tiny scales, int8 rows without a 127."""
    monkeypatch.setattr(weight_sources, "PART_ELEMENTS", 1000)
    table = FAMILY.tensors(shape)
    model = ChimeraModel(shape)
    file = tmp_path / "packed.safetensors"
    file.write_bytes(packed_bytes(model, table))
    tensors = load_file(file)
    rng = np.random.default_rng(1)
    for name, array in tensors.items():
        if name.endswith(".t2"):
            trits = rng.integers(-1, 2, (*array.shape[:-1], 4 * array.shape[-1])).astype(np.int8)
            trits[..., 0, :] = 0
            tensors[name] = pack_trits(trits)
        elif name.endswith(".i8"):
            tensors[name] = rng.integers(-90, 91, array.shape).astype(np.int8)
        elif name.endswith(".scales"):
            tensors[name] = rng.uniform(1e-7, 3, array.shape).astype(np.float16)
    save_file(tensors, file, {"format": "chimera-packed-1"})
    integers = CheckpointWeights(table, file).integers(whole=whole)
    quantised = {n: spec for n, spec in table.specs.items() if spec.format in ("ternary", "int8")}
    assert integers.keys() == quantised.keys()
    for name, spec in quantised.items():
        given = integers[name]
        assert (given.kind, given.group) == ("trits" if spec.format == "ternary" else "int8", table.group)
        assert (given.codes.computed, given.scales.computed) == (not whole, not whole)
        np.testing.assert_array_equal(given.scales.data, tensors[f"{name}.scales"])
        stored = tensors.get(f"{name}.i8")
        if stored is None:
            stored = unpack_trits(tensors[f"{name}.t2"], spec.shape[-1])
        np.testing.assert_array_equal(given.codes.data, stored)
        assert whole or spec.shape[0] == 1 or len(list(given.codes.parts())) > 1
    filled = weight_sources.filled_module(FAMILY, shape, file)
    for name, value in filled.module.state_dict().items():
        expected = Constant(TensorType("f32", value.shape), filled.integers[name]).data if name in quantised else None
        assert expected is None or np.array_equal(value.numpy(), expected)


def test_codes_that_are_none_are_refused(shape: ChimeraShape, model: ChimeraModel, tmp_path: Path) -> None:
    table = FAMILY.tensors(shape)
    file = tmp_path / "packed.safetensors"
    name = "layers.0.mixer.q_proj.weight"
    for suffix, value in ((".t2", 255), (".scales", np.float16(np.inf)), (".scales", np.float16(np.nan))):
        file.write_bytes(packed_bytes(model, table))
        tensors = load_file(file)
        tensors[name + suffix][1, 0] = value
        save_file(tensors, file, {"format": "chimera-packed-1"})
        with pytest.raises(UserError, match=name) as caught:
            load_packed(file, table)
        assert caught.value.code == "CHM242"
    file.write_bytes(packed_bytes(model, table))
    tensors = load_file(file)
    tensors["embedding.weight.i8"][2, 2] = -128
    save_file(tensors, file, {"format": "chimera-packed-1"})
    with pytest.raises(UserError, match=r"embedding\.weight has codes from -128") as caught:
        CheckpointWeights(table, file).integers(whole=True)
    assert caught.value.code == "CHM242"
