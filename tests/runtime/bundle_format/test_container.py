"""Containers: what is written is read, by this package, by C and by other people's tools; nothing else gets in."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from project import ROOT

from chimerac.runtime import BundleError
from chimerac.runtime import bundle_format as bf

SECTIONS = [
    bf.array_section("layers.0.weight", np.arange(35, dtype=np.int8).reshape(5, 7)),
    bf.array_section("scale", np.linspace(-1, 1, 9, dtype=np.float16)),
    bf.array_section("empty", np.zeros((0, 4), np.uint8)),
    bf.Section("half", "BF16", (3,), bytes(range(6))),
    bf.array_section("ids", np.array([1, 2**31 - 1], np.int32)),
    bf.array_section("scalar", np.array(2.5, np.float32)),
]


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "x.b158"
    bf.write_container(path, "b158", SECTIONS, {bf.KEY_CONFIG: "ab" * 32, "note": 'say "hello" \\'})
    container = bf.read_container(path)
    assert (container.kind, container.abi, container.metadata["note"]) == ("b158", "1.0", 'say "hello" \\')
    assert list(container.sections) == [section.name for section in SECTIONS]
    for section in SECTIONS:
        view, array = container.sections[section.name], container.array(section.name)
        assert view.offset % 64 == 0
        assert array.shape == section.shape
        assert array.tobytes() == section.raw() == bytes(container.raw(section.name))
        assert view.crc32 == zlib.crc32(section.raw())
        assert view.sha256 == hashlib.sha256(section.raw()).hexdigest()
        assert not array.flags.writeable
    assert container.contents_sha256 == bf.contents_sha256(SECTIONS)


def test_the_layout_rules(tmp_path: Path) -> None:
    data = bf.container_bytes("b158", SECTIONS)
    start = 8 + int.from_bytes(data[:8], "little")
    assert start % 4096 == 0
    assert data[8:9] == b"{"
    assert data[8:start].rstrip(b" ").endswith(b"}")
    container = bf.parse_container(data)
    last = container.sections["scalar"]
    assert last.offset + last.bytes == len(data), "no padding at the end"


def test_opens_with_the_safetensors_package(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    numeric = [section for section in SECTIONS if section.dtype != "BF16"]
    bf.write_container(path, "b158", numeric, {bf.KEY_CONFIG: ""})
    arrays = safetensors.numpy.load_file(path)
    for section in numeric:
        assert arrays[section.name].tobytes() == section.raw()
        assert arrays[section.name].shape == section.shape
    with safetensors.safe_open(path, "np") as file:
        assert file.metadata()["chimera.kind"] == "b158"


def test_no_sections() -> None:
    assert not bf.parse_container(bf.container_bytes("state", [])).sections


def test_the_same_input_gives_the_same_bytes_in_any_process() -> None:
    program = (
        "import hashlib, numpy as np; from chimerac.runtime import bundle_format as bf;"
        "s = [bf.array_section(n, np.arange(9, dtype=np.float32)) for n in 'abc'];"
        "print(hashlib.sha256(bf.container_bytes('b158', s, {'z': '1', 'a': '2'})).hexdigest())"
    )
    results = set()
    for seed in ("0", "1", "77"):
        environment = os.environ | {"PYTHONHASHSEED": seed, "TZ": "Asia/Tokyo" if seed == "1" else "UTC"}
        results.add(subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True).stdout)
    assert len(results) == 1
    assert results != {b""}


@pytest.mark.parametrize(
    "sections",
    [
        [bf.Section("a", "U8", (2,), b"x")],
        [bf.Section("a", "F64", (1,), bytes(8))],
        [bf.Section("a", "U8", (1,), b"x"), bf.Section("a", "U8", (1,), b"y")],
        [bf.Section("__pad.0", "U8", (1,), b"x")],
        [bf.Section("../a", "U8", (1,), b"x")],
        [bf.Section("a" * 129, "U8", (1,), b"x")],
        [bf.Section("", "U8", (1,), b"x")],
    ],
)
def test_the_writer_refuses_what_the_reader_would(sections: list[bf.Section]) -> None:
    with pytest.raises(ValueError, match=r"section|name"):
        bf.container_bytes("b158", sections)


def test_the_writer_refuses_other_kinds_and_reserved_or_unprintable_metadata() -> None:
    for kind, metadata in [("zip", {}), ("b158", {"chimera.abi": "9"}), ("b158", {"note": "é"}), ("b158", {"a": "\n"})]:
        with pytest.raises(ValueError):  # noqa: PT011
            bf.container_bytes(kind, [], metadata)
    with pytest.raises(ValueError, match="float64"):
        bf.array_section("a", np.zeros(1))


def test_nothing_is_left_behind_when_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.b158"
    path.write_bytes(b"before")
    for name in ("fsync", "replace", "open"):

        def fail(*arguments: object) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, name, fail)
            with pytest.raises(BundleError, match="No space left") as caught:
                bf.write_container(path, "b158", SECTIONS)
        assert caught.value.code == "CHM400"
        assert [entry.name for entry in tmp_path.iterdir()] == ["x.b158"]
        assert path.read_bytes() == b"before"


def test_the_c_header_is_current() -> None:
    assert (bf.NATIVE_DIRECTORY / "chm_format.h").read_text() == bf.c_header(), (
        "write it again: python -c 'from chimerac.runtime.bundle_format import *; "
        '(NATIVE_DIRECTORY / "chm_format.h").write_text(c_header())\''
    )


def test_status_numbers_are_distinct_and_in_range() -> None:
    numbers = [status.number for status in bf.STATUSES]
    assert len(set(numbers)) == len(numbers)
    assert all(400 <= number < 500 for number in numbers)


def test_errors_render_with_place_and_help() -> None:
    error = BundleError("CHM406", "section a is damaged", path="/x/y.b158", hint="copy it again")
    assert error.render() == "/x/y.b158: error CHM406: section a is damaged\n  help: copy it again"


def test_missing_and_empty_files(tmp_path: Path) -> None:
    with pytest.raises(BundleError) as caught:
        bf.read_container(tmp_path / "nothing")
    assert caught.value.code == "CHM400"
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(BundleError) as caught:
        bf.read_container(tmp_path / "empty")
    assert caught.value.code == "CHM401"
    with pytest.raises(BundleError) as caught:
        bf.read_container(tmp_path)
    assert caught.value.code == "CHM400"


def test_the_documentation_lists_every_error() -> None:
    text = (ROOT / "docs" / "bundle.md").read_text(encoding="utf-8")
    for status in bf.STATUSES:
        assert f"| {status.code} | {status.meaning} |" in text
