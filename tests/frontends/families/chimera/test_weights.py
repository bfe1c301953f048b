"""Names, seeded initialisation and safetensors files."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from chimera_weights import initialise
from project import ROOT
from safetensors.torch import save_file

from chimerac.compiler.errors import UserError
from chimerac.frontends.families.chimera.family import FAMILY
from chimerac.frontends.families.chimera.initialization import residual_scale
from chimerac.frontends.families.chimera.model import ChimeraModel
from chimerac.frontends.families.chimera.naming import tensor_specs
from chimerac.frontends.families.chimera.shape import ChimeraShape
from chimerac.frontends.families.protocol import TensorSpec
from chimerac.frontends.layers.shapes import DraftShape, RouterShape
from chimerac.frontends.weights.checkpoint import load_safetensors, save_safetensors

Make = Callable[[ChimeraShape], ChimeraModel]
DOCUMENT = ROOT / "docs" / "weights.md"


def test_specs_are_the_state_dict(shape: ChimeraShape) -> None:
    shape = replace(shape, router=None if shape.loop is None else RouterShape(24), draft=DraftShape(40, 90))
    model = ChimeraModel(shape)
    specs = tensor_specs(shape)
    assert {name: spec.shape for name, spec in specs.items()} == {
        name: tuple(value.shape) for name, value in model.state_dict().items()
    }
    parameters = {name for name, _ in model.named_parameters()}
    left_alone = {name for name in parameters if name.endswith("kappa") or name.startswith(("router.", "draft."))}
    assert {name for name, spec in specs.items() if spec.trained} == parameters - left_alone


def test_formats_and_weight_decay(nano: ChimeraShape) -> None:
    specs = tensor_specs(nano)
    assert specs["embedding.weight"] == TensorSpec((320, 128), "int8")
    assert specs["layers.0.mixer.q_proj.weight"] == TensorSpec((128, 128), "ternary", decayed=True)
    assert specs["layers.3.ffn.gate_proj"] == TensorSpec((4, 96, 128), "ternary", decayed=True)
    assert specs["layers.3.ffn.router_bias"] == TensorSpec((4,), "float32", trained=False)
    for name in ("layers.0.mixer.a_proj.weight", "layers.3.mixer.memory_init", "loop.A_log"):
        assert specs[name].format == "float32"
        assert not specs[name].decayed


def test_the_document_lists_every_name(nano: ChimeraShape) -> None:
    documented = set(re.findall(r"^\| `([^`]+)`", DOCUMENT.read_text(), re.MULTILINE))
    shape = replace(nano, router=RouterShape(24), draft=DraftShape(40, 90))
    found = {re.sub(r"layers\.\d+\.", "layers.{i}.", name) for name in tensor_specs(shape)}
    assert documented == found


def test_initialisation_is_seeded_and_independent_of_threads(nano: ChimeraShape) -> None:
    def weights(seed: int, threads: int) -> dict[str, torch.Tensor]:
        torch.set_num_threads(threads)
        torch.rand(threads)  # the global generator must not matter
        model = ChimeraModel(nano)
        initialise(model, seed)
        torch.set_num_threads(1)
        return model.state_dict()

    one, two, other = weights(7, 1), weights(7, 2), weights(8, 1)
    assert all(torch.equal(one[name], two[name]) for name in one)
    matrices = [name for name, value in one.items() if value.ndim > 1 and not name.endswith("norm")]
    assert all(not torch.equal(one[name], other[name]) for name in matrices)
    assert all(value.isfinite().all() for value in one.values())


def test_initial_values_follow_their_definitions(nano: ChimeraShape) -> None:
    model = ChimeraModel(nano)
    initialise(model, 0)
    weights = model.state_dict()
    assert residual_scale(nano) == pytest.approx((2 * 12) ** -0.5)  # 2 + 4 * 2 + 2 layer visits
    assert weights["layers.0.mixer.q_proj.weight"].std().item() == pytest.approx(0.05, rel=0.05)
    for name in ("layers.0.mixer.o_proj.weight", "layers.0.ffn.down_proj.weight", "layers.3.ffn.down_proj"):
        assert weights[name].std().item() == pytest.approx(0.05 * residual_scale(nano), rel=0.05)
    dt = torch.nn.functional.softplus(weights["layers.0.mixer.dt_bias"])
    assert dt.min() > 0.99e-3
    assert dt.max() < 0.101
    assert weights["layers.0.mixer.A_log"].exp().max() <= 16
    assert weights["layers.1.mixer.i_proj.bias"].tolist() == [-10.0] * 4
    assert weights["layers.1.mixer.f_proj.bias"].tolist() == [3.0, 4.0, 5.0, 6.0]
    alpha = torch.sigmoid(weights["layers.3.mixer.alpha_proj.bias"])
    torch.testing.assert_close(alpha, torch.full((4,), 0.01))
    decay = torch.exp(-torch.nn.functional.softplus(weights["loop.dt_bias"]) * weights["loop.A_log"].exp())
    torch.testing.assert_close(decay, torch.full((128,), 5**-0.5))
    assert weights["layers.7.mixer.kappa"].abs().sum() == 0
    assert weights["norm.weight"].unique().tolist() == [1.0]


def test_files_round_trip_and_have_equal_bytes(shape: ChimeraShape, make_model: Make, tmp_path: Path) -> None:
    model, other = make_model(shape), ChimeraModel(shape)
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    save_safetensors(model, first)
    load_safetensors(other, FAMILY.tensors(other.shape), first)
    save_safetensors(other, second)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items())
    assert first.read_bytes() == second.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.safetensors", "b.safetensors"]


def test_half_precision_is_widened(odd: ChimeraShape, make_model: Make, tmp_path: Path) -> None:
    model, other = make_model(odd), ChimeraModel(odd)
    save_file({name: value.bfloat16() for name, value in model.state_dict().items()}, tmp_path / "w.safetensors")
    load_safetensors(other, FAMILY.tensors(other.shape), tmp_path / "w.safetensors")
    assert other.norm.weight.dtype == torch.float32
    assert torch.equal(other.norm.weight, model.norm.weight.bfloat16().float())


def refusal(model: ChimeraModel, path: Path) -> UserError:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(UserError) as error:
        load_safetensors(model, FAMILY.tensors(model.shape), path)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert "Traceback" not in error.value.render()
    return error.value


def test_every_mismatch_is_named_at_once(odd: ChimeraShape, make_model: Make, tmp_path: Path) -> None:
    model, path = make_model(odd), tmp_path / "w.safetensors"
    tensors = dict(model.state_dict())
    tensors["norm.wieght"] = tensors.pop("norm.weight")
    tensors["loop.B"] = torch.zeros(3)
    tensors["loop.C"] = torch.zeros(48, dtype=torch.int64)
    save_file(tensors, path)
    error = refusal(model, path)
    assert error.code == "CHM241"
    for part in (
        "missing norm.weight [48]",
        "unexpected norm.wieght (did you mean 'norm.weight'?)",
        "loop.B has shape [3], expected [48]",
        "loop.C has type I64",
    ):
        assert part in error.message


def test_long_lists_are_cut_with_a_count(odd: ChimeraShape, make_model: Make, tmp_path: Path) -> None:
    model, path = make_model(odd), tmp_path / "w.safetensors"
    save_file({"x": torch.zeros(1)}, path)
    error = refusal(model, path)
    count = len(model.state_dict())
    assert error.message.count("missing ") == 20
    assert f"and {count + 1 - 20} more" in error.message


def test_infinite_weights_are_refused(odd: ChimeraShape, make_model: Make, tmp_path: Path) -> None:
    model, path = make_model(odd), tmp_path / "w.safetensors"
    tensors = {name: value.clone() for name, value in model.state_dict().items()}
    tensors["loop.B"][1] = float("nan")
    save_file(tensors, path)
    error = refusal(model, path)
    assert error.code == "CHM242"
    assert "loop.B holds NaN" in error.message


def header(entries: object) -> bytes:
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text


BROKEN = {
    "empty": (b"", "no header"),
    "seven bytes": (b"\0" * 7, "no header"),
    "oversized header": (struct.pack("<Q", 1 << 60) + b"{}", "header claims"),
    "truncated header": (struct.pack("<Q", 1000) + b"{}", "truncated"),
    "no JSON": (struct.pack("<Q", 4) + b"oops", "no valid safetensors"),
    "not UTF-8": (struct.pack("<Q", 4) + b"\xff\xfe\xfd\xfc", "no valid safetensors"),
    "a JSON list": (header([1, 2]), "no valid safetensors"),
    "truncated data": (header({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}) + b"\0" * 8, "no valid"),
    "offsets beyond": (header({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 1 << 62]}}), "no valid"),
    "backward offsets": (header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}) + b"\0" * 4, "no valid"),
    "overflowing shape": (
        header({"a": {"dtype": "F32", "shape": [1 << 40, 1 << 40], "data_offsets": [0, 4]}}) + b"\0" * 4,
        "no valid",
    ),
    "unknown type": (header({"a": {"dtype": "F7", "shape": [1], "data_offsets": [0, 4]}}) + b"\0" * 4, "no valid"),
    "pickle": (b"\x80\x02}q\x00." * 3, "pickle"),
    "zip": (b"PK\x03\x04" + b"\0" * 20, "pickle or zip"),
}


@pytest.mark.parametrize("case", sorted(BROKEN))
def test_broken_files_are_refused_with_a_reason(case: str, odd: ChimeraShape, make_model: Make, tmp_path: Path) -> None:
    data, reason = BROKEN[case]
    path = tmp_path / "w.safetensors"
    path.write_bytes(data)
    error = refusal(make_model(odd), path)
    assert error.code == "CHM240"
    assert reason in error.message


@pytest.mark.parametrize("length", [0x80, 0x4B50])
def test_a_header_whose_length_looks_like_a_pickle_or_zip_is_read(
    length: int, odd: ChimeraShape, make_model: Make, tmp_path: Path
) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", length) + b"{}".ljust(length))
    assert refusal(make_model(odd), path).code == "CHM241"  # read, and found to hold nothing


def test_every_truncation_of_a_real_file_is_refused(odd: ChimeraShape, make_model: Make, tmp_path: Path) -> None:
    model, path = make_model(odd), tmp_path / "w.safetensors"
    save_safetensors(model, path)
    data = path.read_bytes()
    for length in (1, 8, 9, 100, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        assert refusal(model, path).code == "CHM240"


def test_missing_files_and_folders(odd: ChimeraShape, make_model: Make, tmp_path: Path) -> None:
    model = make_model(odd)
    assert "No such file" in refusal(model, tmp_path / "none").message
    assert refusal(model, tmp_path).code == "CHM240"
    with pytest.raises(UserError) as error:
        save_safetensors(model, tmp_path / "no folder" / "w.safetensors")
    assert error.value.code == "CHM243"


def test_a_failed_save_leaves_the_old_file(
    odd: ChimeraShape, make_model: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, path = make_model(odd), tmp_path / "w.safetensors"
    path.write_bytes(b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match="No space left"):
        save_safetensors(model, path)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]
