"""Folders of models: those that transformers saves are read; contradictions are refused with one error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors_files import SMALL_DATA, file_of, small_header, write_folder
from transformers import LlamaConfig, LlamaForCausalLM

from chimerac.compiler.errors import UserError
from chimerac.frontends.sources.folder import INDEX, SINGLE, open_folder
from chimerac.frontends.sources.recognised import is_model_folder

FILE = file_of(small_header(), SMALL_DATA)
OTHER = file_of({"d": {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]}}, b"xy")
CONFIG = {"model_type": "llama"}
ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
PLACES = {"a": ONE, "b": ONE, "c": ONE, "d": TWO}
SHARDED: dict[str, Any] = {"config.json": CONFIG, ONE: FILE, TWO: OTHER, INDEX: {"weight_map": PLACES}}


@pytest.mark.parametrize("shard", ["1GB", "20KB"], ids=["one file", "shards"])
def test_folders_that_transformers_saves(shard: str, tmp_path: Path) -> None:
    config = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2
    )
    model = LlamaForCausalLM(config).bfloat16()
    model.save_pretrained(tmp_path, max_shard_size=shard)
    assert (tmp_path / INDEX).exists() == (shard == "20KB")
    found = open_folder(tmp_path)
    assert found.model_type == "llama"
    assert found.generation is not None
    expected = model.state_dict()
    assert found.tensors.keys() == expected.keys()
    for name, tensor in found.tensors.items():
        assert np.array_equal(tensor.floats(), expected[name].float().numpy())


def test_what_a_model_folder_is(tmp_path: Path) -> None:
    assert is_model_folder(write_folder(tmp_path / "model", {"config.json": CONFIG}))
    assert not is_model_folder(write_folder(tmp_path / "bundle", {"manifest.json": {}}))
    assert not is_model_folder(tmp_path / "none")


def _without(name: str) -> dict[str, Any]:
    return {key: value for key, value in SHARDED.items() if key != name}


def _places(**changed: Any) -> dict[str, Any]:
    return SHARDED | {INDEX: {"weight_map": {k: v for k, v in (PLACES | changed).items() if v is not None}}}


def _single(config: bytes) -> dict[str, Any]:
    return {"config.json": config, SINGLE: FILE}


#: What is wrong → the error's code, words of its message, the files.
BROKEN: dict[str, tuple[str, str, dict[str, Any]]] = {
    "no config": ("CHM230", "has no config.json", {SINGLE: FILE}),
    "no weights": ("CHM230", "has no weights", {"config.json": CONFIG}),
    "only pickles": ("CHM230", "has no weights", {"config.json": CONFIG, "pytorch_model.bin": b"PK"}),
    "both forms": ("CHM230", "has both", SHARDED | {SINGLE: FILE}),
    "a config that is cut short": ("CHM102", "never closed", _single(b'{"model_type": "llama"')),
    "a config that is a list": ("CHM102", "", _single(b"[]")),
    "a config that is not UTF-8": ("CHM101", "UTF-8", _single(b'{"model_type": "\xff"}')),
    "a config that is deep": ("CHM101", "nested", _single(b'{"a": ' + b"[" * 1000)),
    "a config that is large": ("CHM101", "the limit is", _single(b" " * (1 << 21))),
    "a key twice": ("CHM103", "is here twice", _single(b'{"model_type": "llama", "model_type": "qwen2"}')),
    "a generation config that is none": ("CHM102", "", SHARDED | {"generation_config.json": b"{"}),
    "an index that is no JSON": ("CHM231", "no index", SHARDED | {INDEX: b"{"}),
    "an index that is deep": ("CHM231", "no index", SHARDED | {INDEX: b"[" * 100_000}),
    "an index that is a list": ("CHM231", "no weight_map", SHARDED | {INDEX: []}),
    "an index of nothing": ("CHM231", "no weight_map", SHARDED | {INDEX: {"weight_map": {}}}),
    "an index of numbers": ("CHM231", "name files beside it", _places(a=1)),
    "an index that leaves the folder": ("CHM231", "name files beside it", _places(a="../x.safetensors")),
    "an index of absolute paths": ("CHM231", "name files beside it", _places(a="/etc/x.safetensors")),
    "an index of pickles": ("CHM231", "name files beside it", _places(a="model.bin")),
    "a tensor twice in the index": (
        "CHM231",
        "'a' is there twice",
        SHARDED | {INDEX: b'{"weight_map": {"a": "m.safetensors", "a": "n.safetensors"}}'},
    ),
    "too many shards": (
        "CHM231",
        "names 2000 files",
        SHARDED | {INDEX: {"weight_map": {f"t{i}": f"{i}.safetensors" for i in range(2000)}}},
    ),
    "a shard that is missing": ("CHM230", f"not there: {TWO}", _without(TWO)),
    "a shard that is cut short": ("CHM232", "is cut short", SHARDED | {ONE: FILE[:-1]}),
    "a shard that is no file": ("CHM240", "a web page", SHARDED | {ONE: b"<!DOCTYPE html><p>" + bytes(40)}),
    "a tensor in another shard": ("CHM232", f"has a; {INDEX} says {TWO}", _places(a=TWO)),
    "a tensor that the index lacks": ("CHM232", "has a; model.safetensors.index.json does not", _places(a=None)),
    "a tensor that no shard has": ("CHM232", "that are not there: e in", _places(e=TWO)),
    "a tensor in two shards": ("CHM232", f"has a; {INDEX} says {ONE}", SHARDED | {TWO: FILE}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_folders_are_refused_with_one_error(name: str, tmp_path: Path) -> None:
    code, words, files = BROKEN[name]
    folder = write_folder(tmp_path / "model", files)
    with pytest.raises(UserError) as caught:
        open_folder(folder)
    assert caught.value.code == code, caught.value.message
    assert words in caught.value.message
    assert "model" in caught.value.render()


@pytest.mark.parametrize(("config", "words"), [({}, "has no model_type"), ({"model_type": 3}, "that is the number 3")])
def test_a_config_that_names_no_model(config: dict[str, Any], words: str, tmp_path: Path) -> None:
    folder = open_folder(write_folder(tmp_path, {"config.json": config, SINGLE: FILE}))
    with pytest.raises(UserError, match=words) as caught:
        _ = folder.model_type
    assert caught.value.code == "CHM231"
    assert caught.value.span is not None


def test_hints_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        open_folder(write_folder(tmp_path, {"config.json": json.dumps(CONFIG).encode(), "m.gguf": b"GGUF"}))
    assert "give the .gguf file itself" in str(caught.value.hint)
