"""Checkpoints as others write them: in parts, with a prefix, in other types; and files that are none."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from chimerac.compiler.errors import UserError
from chimerac.frontends.families.protocol import TensorSpec, TensorTable
from chimerac.frontends.weights import checkpoint
from chimerac.frontends.weights.checkpoint import load_safetensors, open_fitting
from chimerac.frontends.weights.files import INDEX, SINGLE
from chimerac.frontends.weights.sources import CheckpointWeights

TABLE = TensorTable(
    {
        "embedding.weight": TensorSpec((6, 8), "int8"),
        "layers.0.up.weight": TensorSpec((4, 8), "ternary"),
        "layers.0.norm.weight": TensorSpec((8,), "float32"),
    },
    group=4,
)


def tensors(seed: int = 0) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)
    return {name: torch.randn(spec.shape, generator=random) for name, spec in TABLE.specs.items()}


class Holder(nn.Module):
    """Parameters by dotted names."""

    def __init__(self) -> None:
        super().__init__()
        for name, spec in TABLE.specs.items():
            owner: nn.Module = self
            *path, last = name.split(".")
            for part in path:
                if part not in owner._modules:
                    owner.add_module(part, nn.Module())
                owner = owner.get_submodule(part)
            owner.register_parameter(last, nn.Parameter(torch.zeros(spec.shape)))


def assert_loads(path: Path, expected: dict[str, Tensor], note: str = "") -> None:
    """The file has these numbers, read whole and in parts."""
    model = Holder()
    load_safetensors(model, TABLE, path)
    source = CheckpointWeights(TABLE, path)
    assert source.origin == path.name + note
    for name, value in model.state_dict().items():
        assert torch.equal(value, expected[name]), name
        assert torch.equal(torch.cat([torch.from_numpy(p) for p in source.parts(name)]), value)


def refused(path: Path) -> UserError:
    model = Holder()
    with pytest.raises(UserError) as caught:
        load_safetensors(model, TABLE, path)
    assert not any(value.any() for value in model.state_dict().values())
    return caught.value


@pytest.mark.parametrize("prefix", ["model.", "module.", "_orig_mod.", "module._orig_mod.", "a.b.c."])
def test_a_prefix_of_all_names_is_taken_away(prefix: str, tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    save_file({prefix + name: value for name, value in tensors().items()}, file)
    assert_loads(file, tensors(), f" (names without '{prefix}')")


def test_a_prefix_of_some_names_is_none(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    save_file({f"model.{n}" if n.startswith("layers") else n: value for n, value in tensors().items()}, file)
    error = refused(file)
    assert error.code == "CHM241"
    assert "missing layers.0.up.weight" in error.message
    assert "unexpected model.layers.0.up.weight" in error.message


def test_names_under_a_prefix_are_compared_without_it(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    save_file({"module." + n.replace("norm", "nrom"): value for n, value in tensors().items()}, file)
    message = refused(file).message
    assert "unexpected layers.0.nrom.weight (did you mean 'layers.0.norm.weight'?)" in message
    assert "missing embedding" not in message


def write_parts(folder: Path, prefix: str = "") -> dict[str, str]:
    places = {}
    for i, name in enumerate(tensors()):
        places[prefix + name] = f"model-{i % 2 + 1:05}-of-00002.safetensors"
    for part in set(places.values()):
        held = {n: tensors()[n.removeprefix(prefix)] for n, p in places.items() if p == part}
        save_file(held, folder / part)
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return places


@pytest.mark.parametrize("prefix", ["", "model."])
def test_an_index_of_several_files(prefix: str, tmp_path: Path) -> None:
    write_parts(tmp_path, prefix)
    note = f" (names without '{prefix}')" if prefix else ""
    assert_loads(tmp_path / INDEX, tensors(), note)
    assert_loads(tmp_path, tensors(), note)


def test_a_folder_with_one_file(tmp_path: Path) -> None:
    save_file(tensors(), tmp_path / SINGLE)
    assert_loads(tmp_path, tensors())
    (tmp_path / SINGLE).unlink()
    assert "can't read" in refused(tmp_path).message


def test_an_index_that_is_not_right(tmp_path: Path) -> None:
    places = write_parts(tmp_path)
    index = tmp_path / INDEX
    name = next(iter(places))
    for text in (
        "{}",
        "[1]",
        "{",
        "[" * 100_000,
        json.dumps({"weight_map": [name]}),
        json.dumps({"weight_map": {**places, name: "../w.safetensors"}}),
        json.dumps({"weight_map": {**places, name: "/etc/passwd"}}),
        json.dumps({"weight_map": {**places, name: ""}}),
        json.dumps({"weight_map": {**places, name: 3}}),
        json.dumps({"weight_map": {**places, name: "absent.safetensors"}}),
        json.dumps({"weight_map": dict.fromkeys(places, places[name])}),
    ):
        index.write_text(text)
        error = refused(index)
        assert error.code == "CHM240", text
        assert len(error.message) < 1000
    index.write_text(json.dumps({"weight_map": {n: p for n, p in places.items() if n != name}}))
    assert refused(index).code == "CHM241"


def test_doubles_are_rounded_and_said_to_be(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    doubles = {name: value.double() + 1e-12 for name, value in tensors().items()}
    save_file(doubles, file)
    assert_loads(file, {n: v.float() for n, v in doubles.items()}, " (float64 rounded to float32)")
    doubles["layers.0.norm.weight"][3] = 1e300
    save_file(doubles, file)
    assert refused(file).code == "CHM242"


FILES = {
    "GGUF": (b"GGUF" + struct.pack("<IQQ", 3, 290, 24), "a GGUF file of llama.cpp"),
    "pickle": (b"\x80\x02}q\x00." * 6, "pickle"),
    "zip": (b"PK\x03\x04" + b"\0" * 40, "pickle or zip"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + b"\0" * 40, "HDF5"),
    "numpy": (b"\x93NUMPY\x01\x00v\x00{'descr'", "numpy"),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "Git LFS"),
    "web page": (b"<!DOCTYPE html><html><body>Log in", "a web page"),
    "gzip": (b"\x1f\x8b\x08\x00" + b"\0" * 40, "gzip"),
}


@pytest.mark.parametrize("kind", FILES)
def test_other_files_are_recognised(kind: str, tmp_path: Path) -> None:
    data, what = FILES[kind]
    file = tmp_path / "w.safetensors"
    file.write_bytes(data)
    error = refused(file)
    assert error.code == "CHM240"
    assert what in error.message
    assert "claims" not in error.message
    assert error.hint


@pytest.mark.parametrize(
    ("name", "place", "number", "limit"),
    [
        ("layers.0.up.weight", (2, slice(0, 4)), 7e4, "65504"),
        ("layers.0.up.weight", (0, 0), 1e38, "65504"),
        ("embedding.weight", (5, 7), 1e7, "127 times 65504"),
        ("layers.0.norm.weight", (1,), 3e38, "9.22337e+18"),
    ],
)
def test_numbers_that_are_too_large_are_named(
    name: str, place: tuple[int, int], number: float, limit: str, tmp_path: Path
) -> None:
    file = tmp_path / "w.safetensors"
    held = tensors()
    held[name][place] = number
    save_file(held, file)
    error = refused(file)
    assert error.code == "CHM242"
    assert name in error.message
    assert limit in error.message
    with pytest.raises(UserError, match=name) as caught:
        list(CheckpointWeights(TABLE, file).parts(name))
    assert caught.value.code == "CHM242"


def test_numbers_up_to_the_limit_are_taken(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    held = tensors()
    held["layers.0.up.weight"][0, 0] = 200_000.0  # the mean of its group is below the limit
    held["embedding.weight"][5, 7] = 127 * 65000.0
    save_file(held, file)
    assert_loads(file, held)


def test_work_is_bounded_however_many_names_are_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "w.safetensors"
    save_file({f"layers.{i}." + "long" * 25: torch.zeros(1) for i in range(2000)}, file)
    asked: list[str] = []

    def did_you_mean(name: str, known: list[str]) -> str:
        asked.append(name)
        return ""

    monkeypatch.setattr(checkpoint, "did_you_mean", did_you_mean)
    error = refused(file)
    assert error.message.count("unexpected ") == 17
    assert error.message.count("missing ") == 3
    assert "and 1983 more" in error.message
    assert len(asked) == 17
    save_file({"x" * 100_000: torch.zeros(1), **tensors()}, file)
    assert len(refused(file).message) < 1000


def test_what_fits_is_not_read(tmp_path: Path) -> None:
    """Names and sizes are known from the header alone."""
    file = tmp_path / "w.safetensors"
    save_file({**tensors(), "layers.0.norm.weight": torch.full((8,), torch.nan)}, file)
    found = open_fitting(TABLE, file)
    assert found is not None
    assert found.entries.keys() == TABLE.specs.keys()
