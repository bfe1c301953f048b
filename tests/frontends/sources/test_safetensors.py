"""Safetensors files: read as the safetensors package reads them; broken ones are refused with one error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from safetensors_files import SMALL_DATA, entry, file_of, small_header

from chimerac.compiler.errors import UserError
from chimerac.frontends.sources.safetensors import MAX_HEADER, MAX_TENSORS, open_safetensors


def test_tensors_are_those_of_the_safetensors_package(tmp_path: Path) -> None:
    path, kinds = tmp_path / "theirs.safetensors", (torch.float32, torch.float16, torch.bfloat16, torch.float64)
    made = {f"t{i}": torch.randn(5, 6 + i).to(kind) for i, kind in enumerate(kinds)}
    save_file(made | {"vector": torch.randn(7), "codes": torch.randint(0, 255, (3, 8), dtype=torch.uint8)}, path)
    theirs, mine = load_file(path), open_safetensors(path)
    assert mine.keys() == theirs.keys()
    for name, tensor in mine.items():
        expected = theirs[name]
        assert tensor.shape == tuple(expected.shape)
        if name == "codes":
            assert np.array_equal(tensor.raw(1, 3), expected.numpy()[1:3])
            continue
        assert np.array_equal(tensor.floats(), expected.float().numpy())
        assert np.array_equal(tensor.floats(2, 4), expected.float().numpy()[2:4])


def test_numbers_that_are_no_floats_are_listed_and_refused_when_they_are_used(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(file_of(small_header(), SMALL_DATA))
    found = open_safetensors(path)
    assert list(found) == ["a", "c", "b"]  # as they lie in the file
    with pytest.raises(UserError, match="c is of type U8, which chimerac does not read") as caught:
        found["c"].floats()
    assert caught.value.code == "CHM233"


def _with(**changed: Any) -> bytes:
    return file_of(small_header() | changed, SMALL_DATA)


def _text(text: str) -> bytes:
    return file_of(text.encode(), SMALL_DATA)


GOOD = json.dumps(small_header())
DEEP = "[" * 100_000
MANY = {f"t{i}": entry("U8", [1], i, i + 1) for i in range(MAX_TENSORS + 1)}

#: What is wrong → the error's code, words of its message, the file.
BROKEN: dict[str, tuple[str, str, bytes]] = {
    "empty": ("CHM240", "0 bytes and no header", b""),
    "eight bytes": ("CHM240", "8 bytes and no header", bytes(8)),
    "a pickle": ("CHM240", "a pickle or zip file", b"PK\x03\x04" + bytes(60)),
    "a GGUF file": ("CHM240", "a GGUF file", b"GGUF" + bytes(60)),
    "a pointer of Git LFS": ("CHM240", "Git LFS", b"version https://git-lfs.github.com/spec/v1\noid sha256:0"),
    "a header of 2**63 bytes": ("CHM240", "the most is", file_of(small_header(), SMALL_DATA, length=1 << 63)),
    "a header over the limit": ("CHM240", "the most is", file_of(small_header(), SMALL_DATA, length=MAX_HEADER + 1)),
    "a header beyond the end": ("CHM240", "is cut short", file_of(small_header(), SMALL_DATA, length=5000)),
    "no JSON": ("CHM240", "is no JSON", _text("{nothing}")),
    "not UTF-8": ("CHM240", "is no JSON", file_of(b'{"\xff": 1}', SMALL_DATA)),
    "deep": ("CHM240", "is no JSON", _text(DEEP)),
    "a list": ("CHM240", "is no object", _text("[]")),
    "a long number": ("CHM240", "is no JSON", _text('{"a": ' + "9" * 5000 + "}")),
    "a name twice": (
        "CHM240",
        "'a' is there twice",
        _text(GOOD[:-1] + ', "a": ' + json.dumps(entry("U8", [1], 0, 1)) + "}"),
    ),
    "a key twice": ("CHM240", "'dtype' is there twice", _text(GOOD.replace('"dtype"', '"dtype": "F32", "dtype"', 1))),
    "too many tensors": ("CHM240", "tensors, the most is", file_of(MANY, bytes(len(MANY)))),
    "no name": ("CHM240", "a name of 0", _with(**{"": entry("U8", [1], 0, 1)})),
    "a name of 2000 characters": ("CHM240", "a name of 2000", _with(**{"x" * 2000: entry("U8", [1], 0, 1)})),
    "an entry that is a text": ("CHM240", "a must have", _with(a="F32")),
    "an entry without a type": ("CHM240", "a must have", _with(a={"shape": [4], "data_offsets": [0, 8]})),
    "an entry with more": ("CHM240", "a must have", _with(a=entry("BF16", [4], 0, 8) | {"more": 1})),
    "an unknown type": ("CHM233", "of type F7", _with(a=entry("F7", [4], 0, 8))),
    "a type that is a number": ("CHM233", "of type 7", _with(a=entry(7, [4], 0, 8))),
    "a shape that is a number": ("CHM240", "a has a shape", _with(a=entry("BF16", 4, 0, 8))),
    "a negative dimension": ("CHM240", "a has a shape", _with(a=entry("BF16", [-4], 0, 8))),
    "a dimension that is true": ("CHM240", "a has a shape", _with(a=entry("BF16", [4, True], 0, 8))),
    "a dimension of 0": ("CHM240", "a has a shape", _with(a=entry("BF16", [4, 0], 0, 0))),
    "nine dimensions": ("CHM240", "a has a shape", _with(a=entry("BF16", [4, *[1] * 8], 0, 8))),
    "dimensions that overflow": ("CHM240", "a has a shape", _with(a=entry("BF16", [1 << 40, 1 << 40], 0, 8))),
    "offsets that are texts": ("CHM240", "no place", _with(a=entry("BF16", [4], "0", "8"))),
    "offsets that are backwards": ("CHM240", "no place", _with(a=entry("BF16", [4], 8, 0))),
    "one offset": ("CHM240", "no place", _with(a={"dtype": "BF16", "shape": [4], "data_offsets": [8]})),
    "offsets of 2**63": ("CHM240", "no place", _with(a=entry("BF16", [4], 1 << 63, (1 << 63) + 8))),
    "another size": ("CHM232", "has 8 bytes, and its place 6", _with(a=entry("BF16", [4], 0, 6))),
    "two that overlap": ("CHM232", "overlaps", _with(c=entry("U8", [3, 4], 4, 16))),
    "a hole": ("CHM232", "after a hole", _with(a=entry("BF16", [3], 0, 6))),
    "cut in the data": ("CHM232", "is cut short", file_of(small_header(), SMALL_DATA[:-1])),
    "bytes after the last": ("CHM232", "1 bytes after", file_of(small_header(), SMALL_DATA + b"x")),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_refused_with_one_error(name: str, tmp_path: Path) -> None:
    code, words, content = BROKEN[name]
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        open_safetensors(path)
    assert caught.value.code == code, caught.value.message
    assert words in caught.value.message
    assert str(path) in caught.value.message


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file") as caught:
        open_safetensors(tmp_path / "none.safetensors")
    assert caught.value.code == "CHM230"
