"""Web bundles as folders and npm packages: what is in them with each option, and what is refused."""

from __future__ import annotations

import gzip
import json
import random
import re
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import Mock

import pytest

from chimerac.compiler.errors import UserError
from chimerac.compiler.packaging.budget import check_budget, parts_of
from chimerac.compiler.packaging.compressed import compress_files
from chimerac.compiler.packaging.options import NpmName, PackagingOptions, npm_name, npm_name_of, packaging_options
from chimerac.compiler.packaging.package import Job
from chimerac.compiler.packaging.web import WebPackage
from chimerac.compiler.units import parse_size
from chimerac.compiler.verbs.runtime import write_runtime
from chimerac.runtime.bundle_format import (
    DEMO_FILES,
    PAGE_FILES,
    WEB_FILES,
    Manifest,
    Memory,
    file_entry,
    read_manifest,
)
from chimerac.runtime.bundle_format.manifest import write_manifest
from chimerac.version import __version__

CODE = {"chimera.wasm": "code", "chimera.relaxed.wasm": "variant", "m.b158": "weights", "m.tokenizer": "tokenizer"}
ALWAYS = {"index.mjs", "index.d.mts", "package.json"}


@contextmanager
def refused(code: str) -> Iterator[None]:
    with pytest.raises(UserError) as caught:
        yield
    assert caught.value.code == code


@dataclass(frozen=True)
class Named:
    """What the package asks of a model."""

    name: str = "My_Model"
    examples: tuple[str, ...] = ()


def written(folder: Path, options: PackagingOptions, model: Named | None = None) -> dict[str, str]:
    """The package's files in a folder that has the model's; their roles."""
    for name in CODE:
        (folder / name).write_bytes(name.encode() * 1000)
    job = Job(model or Named(), (), folder, folder, Mock(), Mock(), options)  # type: ignore[arg-type]
    return WebPackage({}).write_runtime(job, CODE)


def test_a_bundle_has_the_loader_and_the_demo(tmp_path: Path) -> None:
    made = written(tmp_path, PackagingOptions(), Named(examples=("turn it “off”", "b")))
    assert set(made) == {*WEB_FILES, *PAGE_FILES, *DEMO_FILES, *ALWAYS, "examples.json"}
    assert json.loads((tmp_path / "examples.json").read_text("utf-8")) == ["turn it “off”", "b"]
    assert made["examples.json"] == "data"
    assert json.loads((tmp_path / "app.webmanifest").read_text("utf-8"))["name"] == "My_Model"
    text = (tmp_path / "index.html").read_text("utf-8")
    named = set(re.findall(r'(?:src|href)="([^":,]+)"', text))
    assert {"app.webmanifest", "demo.mjs", "page.mjs"} <= named <= set(made)


def test_the_plain_page_names_no_file_that_it_has_not(tmp_path: Path) -> None:
    made = written(tmp_path, PackagingOptions(page="plain"))
    assert set(made) == {*WEB_FILES, *PAGE_FILES, *ALWAYS}
    text = (tmp_path / "index.html").read_text("utf-8")
    named = set(re.findall(r'(?:src|href)="([^":,]+)"', text))
    assert named
    assert named <= set(made)


def test_without_a_page_and_without_a_loader(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    assert set(written(tmp_path / "a", PackagingOptions(page="none"), Named(examples=("a",)))) == {*WEB_FILES, *ALWAYS}
    assert set(written(tmp_path, PackagingOptions(runtime="@me/runtime"))) == ALWAYS
    assert 'export * from "@me/runtime";' in (tmp_path / "index.mjs").read_text("utf-8")
    package = json.loads((tmp_path / "package.json").read_text("utf-8"))
    assert package["peerDependencies"] == {"@me/runtime": f"^{__version__}"}
    assert package["sideEffects"] == []


def test_the_npm_package(tmp_path: Path) -> None:
    made = written(tmp_path, PackagingOptions(npm="@me/home@1.2.0-rc.1"))
    package = json.loads((tmp_path / "package.json").read_text("utf-8"))
    assert (package["name"], package["version"], package["type"]) == ("@me/home", "1.2.0-rc.1", "module")
    assert package["exports"] == {
        ".": {"types": "./index.d.mts", "default": "./index.mjs"},
        "./worker.mjs": {"types": "./worker.d.mts", "default": "./worker.mjs"},
        "./compiler.mjs": {"types": "./compiler.d.mts", "default": "./compiler.mjs"},
        "./static.mjs": {"types": "./static.d.mts", "default": "./static.mjs"},
        "./manifest.json": "./manifest.json",
        "./package.json": "./package.json",
    }
    assert "dependencies" not in package
    assert set(package["files"]) == {*made, *CODE, "manifest.json"}
    text = (tmp_path / "index.mjs").read_text("utf-8")
    addresses = re.findall(r'"([^"]+)": new URL\("\./([^"]+)", import\.meta\.url\)', text)
    assert {name for name, _ in addresses} == {*CODE, "manifest.json"}
    assert all(name == address for name, address in addresses)


def test_the_loader_alone(tmp_path: Path) -> None:
    names = write_runtime(tmp_path / "new" / "runtime", package="@me/runtime")
    assert set(names) == {*WEB_FILES, "package.json"} == {p.name for p in (tmp_path / "new" / "runtime").iterdir()}
    package = json.loads((tmp_path / "new" / "runtime" / "package.json").read_text("utf-8"))
    assert (package["name"], package["version"]) == ("@me/runtime", __version__)
    assert set(package["files"]) == set(WEB_FILES)
    (tmp_path / "file").write_text("")
    with refused("CHM321"):
        write_runtime(tmp_path / "file")


@pytest.mark.parametrize(
    ("given", "name"),
    [
        *(("home", NpmName("home")), ("@me/home@0.1.0", NpmName("@me/home", "0.1.0")), ("a.b-c_1", NpmName("a.b-c_1"))),
        *(("Home", None), ("@me", None), ("home@1", None), ("home@01.0.0", None), ("../x", None), ("", None)),
        *(("a" * 215, None), ("home@1.0.0@2.0.0", None), ('a"b', None), ("a\n", None)),
    ],
)
def test_names_of_npm(given: str, name: NpmName | None) -> None:
    if name is not None:
        assert npm_name(given) == name
        return
    with refused("CHM314"):
        npm_name(given)


def test_a_model_has_a_name_of_npm() -> None:
    for model in ("home", "My Model", "Bonsai.Q4_1", "---", "@x/y"):
        assert npm_name(npm_name_of(model)).version == ""
    assert npm_name_of("My Model") == "chimera-my-model"


def test_options_as_texts(tmp_path: Path) -> None:
    file = tmp_path / "examples.txt"
    file.write_text("one\n\n  two \n", "utf-8")
    usual = {"page": None, "npm": None, "runtime": None, "examples": None, "max_size": None}
    found = packaging_options(**(usual | {"examples": file, "max_size": "1.5 kB"}))  # type: ignore[arg-type]
    assert (found.examples, found.max_bytes, found.chosen_page) == (("one", "two"), 1500, "demo")
    (tmp_path / "long.txt").write_text("a" * 501)
    for wrong in (
        *({"page": "dmo"}, {"page": "demo", "runtime": "a"}, {"runtime": "A"}, {"max_size": "big"}),
        *({"examples": tmp_path / "none"}, {"examples": tmp_path / "long.txt"}),
    ):
        with refused("CHM314"):
            packaging_options(**(usual | wrong))


@pytest.mark.parametrize(
    ("text", "size"),
    [
        *(("400kB", 400_000), ("1.5MiB", 3 << 19), ("17", 17), ("2 GB", 2 * 10**9), ("1B", 1), ("1KiB", 1024)),
        *(("", None), ("kB", None), ("1KB", None), ("-1", None), ("1e3", None), ("1.5.1", None), ("9" * 13, None)),
    ],
)
def test_sizes(text: str, size: int | None) -> None:
    assert parse_size(text) == size


def test_only_what_shrinks_is_compressed_and_always_to_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"again " * 1000)
    (tmp_path / "b").write_bytes(random.Random(0).randbytes(3000))
    (tmp_path / "c").write_bytes(b"a" * 1000)
    sent = compress_files(tmp_path, ["a", "b", "c"], jobs=2)
    packed = (tmp_path / "a.gz").read_bytes()
    assert gzip.decompress(packed) == b"again " * 1000
    assert sent == {"a": len(packed), "b": (tmp_path / "b").stat().st_size, "c": 1000}
    assert not {"b.gz", "c.gz"} & {p.name for p in tmp_path.iterdir()}
    compress_files(tmp_path, ["a"])
    assert (tmp_path / "a.gz").read_bytes() == packed


def test_with_brotli_installed_there_are_files_in_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"again " * 1000)
    module = types.ModuleType("brotli")
    module.compress = lambda data: b"br" + data[:4]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "brotli", module)
    compress_files(tmp_path, ["a"])
    assert (tmp_path / "a.br").read_bytes() == b"bragai"
    monkeypatch.setitem(sys.modules, "brotli", None)
    (tmp_path / "a.br").unlink()
    compress_files(tmp_path, ["a"])
    assert {path.name for path in tmp_path.iterdir()} == {"a", "a.gz"}


def test_a_budget_counts_what_one_device_needs(tmp_path: Path) -> None:
    sizes = {"chimera.wasm": 3000, "chimera.relaxed.wasm": 5000, "m.b158": 20_000, "m.tokenizer": 700, "x.mjs": 2000}
    roles = {**CODE, "x.mjs": "runtime", "report.html": "document"}
    for name in roles:
        (tmp_path / name).write_bytes(b"a" * sizes.get(name, 9000))
    compress_files(tmp_path, ["chimera.wasm", "chimera.relaxed.wasm", "x.mjs"])
    files = tuple(file_entry(tmp_path / name, role) for name, role in roles.items())
    memory = Memory(20_000, 0, 0)
    write_manifest(tmp_path, Manifest("m", "wasm32-simd128", "0" * 64, "0" * 64, "0", files, memory))
    check_budget("m.wasm", tmp_path, 27_700)
    with pytest.raises(UserError) as caught:
        check_budget("m.wasm", tmp_path, 27_699)
    assert caught.value.code == "CHM325"
    lines = caught.value.message.splitlines()
    assert lines[0] == "m.wasm needs 27,700 bytes, over the 27,699 allowed"
    assert [line.split()[0] for line in lines[1:]] == ["weights", "code", "loader,", "tokenizer", "all"]
    assert re.search(r"^  code +5,000 +\d+ B with gzip$", lines[2])
    assert "weights takes most" in str(caught.value.hint)
    assert sum(part.bytes for part in parts_of(tmp_path, read_manifest(tmp_path))) == 27_700
