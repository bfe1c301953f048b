"""Opening bundles: manifests, files, machines and the self-test."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from chimerac.runtime import BundleError, load
from chimerac.runtime import bundle_format as bf

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def copy(toy: Any, tmp_path: Path) -> Path:
    shutil.copytree(toy.folder, tmp_path / "bundle")
    return tmp_path / "bundle"


def change_manifest(folder: Path, change: Change) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def code_of_loading(folder: Path, **options: Any) -> str:
    with pytest.raises(BundleError) as caught:
        load(folder, **options).close()
    assert caught.value.render().startswith(str(caught.value.path or "error"))
    return caught.value.code


def test_manifest_round_trip(toy: Any) -> None:
    self_test = bf.SelfTest((1, 2), (3,), "0" * 16, "f" * 16)
    manifest = replace(toy.manifest, self_test=self_test, cpu=("avx2",), provenance={"z": "1", "a": "2"})
    text = bf.manifest_json(manifest)
    assert bf.parse_manifest(text) == manifest
    assert b"generation" not in text
    for generation in (
        bf.Generation(temperature=0.7, top_p=0.92, repetition_penalty=1.08, max_tokens=4096, exit_threshold=0.01),
        bf.Generation(modes={"fast": 1, "reasoning": 4}, valve=bf.Valve((0.5, 2.0), (1, 2, 4), ("grammar_branching",))),
    ):
        given = replace(manifest, generation=generation)
        assert bf.parse_manifest(bf.manifest_json(given)) == given
    assert b"refusal" not in text
    refusing = replace(manifest, refusal=bf.Refusal(0.5, 2.0, '{"intent":"OutOfDomain"}'))
    assert bf.parse_manifest(bf.manifest_json(refusing)) == refusing
    assert bf.manifest_json(bf.parse_manifest(text)) == text
    assert list(json.loads(text))[:4] == ["schema", "abi", "name", "target"]


REFUSAL = {"threshold": 0.5, "temperature": 1, "answer": "no"}
BAD: dict[str, tuple[str, Change]] = {
    "schema 2": ("CHM411", lambda m: m.update(schema=2)),
    "schema 0": ("CHM411", lambda m: m.update(schema=0)),
    "schema is a text": ("CHM410", lambda m: m.update(schema="1")),
    "no schema": ("CHM410", lambda m: m.pop("schema")),
    "abi 2.0": ("CHM405", lambda m: m.update(abi="2.0")),
    "no files": ("CHM410", lambda m: m.pop("files")),
    "files is an object": ("CHM410", lambda m: m.update(files={})),
    "no code": ("CHM410", lambda m: m["files"].pop(0)),
    "two weights": ("CHM410", lambda m: m["files"].append(m["files"][1] | {"name": "b"})),
    "a file twice": ("CHM410", lambda m: m["files"].append(m["files"][1] | {"role": "data"})),
    "a file twice but for case": (
        "CHM410",
        lambda m: m["files"].append(m["files"][1] | {"role": "data", "name": m["files"][1]["name"].upper()}),
    ),
    "name with a parent": ("CHM410", lambda m: m["files"][0].update(name="../libchimera.so")),
    "absolute name": ("CHM410", lambda m: m["files"][0].update(name="/lib/libc.so.6")),
    "name with a backslash": ("CHM410", lambda m: m["files"][0].update(name="a\\b")),
    "hidden name": ("CHM410", lambda m: m["files"][0].update(name=".so")),
    "empty name": ("CHM410", lambda m: m["files"][0].update(name="")),
    "long name": ("CHM410", lambda m: m["files"][0].update(name="a" * 65)),
    "unknown role": ("CHM410", lambda m: m["files"][0].update(role="root")),
    "negative size": ("CHM410", lambda m: m["files"][0].update(bytes=-1)),
    "size is a fraction": ("CHM410", lambda m: m["files"][0].update(bytes=1.5)),
    "size is true": ("CHM410", lambda m: m["files"][0].update(bytes=True)),
    "short sha256": ("CHM410", lambda m: m["files"][0].update(sha256="ab")),
    "other size": ("CHM412", lambda m: m["files"][1].update(bytes=7)),
    "other sha256": ("CHM412", lambda m: m["files"][1].update(sha256="0" * 64)),
    "missing file": ("CHM412", lambda m: m["files"][1].update(name="gone.b158")),
    "other machine": ("CHM413", lambda m: m.update(target="riscv64-linux")),
    "feature that no processor has": ("CHM413", lambda m: m.update(cpu=["avx9000"])),
    "memory missing": ("CHM410", lambda m: m.pop("memory")),
    "self-test without tokens": (
        "CHM410",
        lambda m: m.update(self_test={"prompt": [1], "tokens": [], "logits_hash": "0" * 16, "state_hash": "0" * 16}),
    ),
    "generation is a list": ("CHM410", lambda m: m.update(generation=[])),
    "temperature is true": ("CHM410", lambda m: m.update(generation={"temperature": True})),
    "top_p over 1": ("CHM410", lambda m: m.update(generation={"top_p": 1.5})),
    "penalty is a text": ("CHM410", lambda m: m.update(generation={"repetition_penalty": "1"})),
    "max_tokens is a fraction": ("CHM410", lambda m: m.update(generation={"max_tokens": 1.5})),
    "modes is a list": ("CHM410", lambda m: m.update(generation={"modes": []})),
    "a mode without loops": ("CHM410", lambda m: m.update(generation={"modes": {"fast": {}}})),
    "a mode of no loops": ("CHM410", lambda m: m.update(generation={"modes": {"fast": {"loops": 0}}})),
    "a mode's name": ("CHM410", lambda m: m.update(generation={"modes": {"a b": {"loops": 1}}})),
    "refusal is a list": ("CHM410", lambda m: m.update(refusal=[])),
    "a refusal without an answer": ("CHM410", lambda m: m.update(refusal={"threshold": 0.5, "temperature": 1})),
    "a refusal's threshold": ("CHM410", lambda m: m.update(refusal=REFUSAL | {"threshold": 1.5})),
    "a refusal's temperature": ("CHM410", lambda m: m.update(refusal=REFUSAL | {"temperature": 0})),
    "an empty refusal": ("CHM410", lambda m: m.update(refusal=REFUSAL | {"answer": ""})),
    "a refusal that rings": ("CHM410", lambda m: m.update(refusal=REFUSAL | {"answer": "\a"})),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_manifests(name: str, copy: Path) -> None:
    code, change = BAD[name]
    change_manifest(copy, change)
    assert code_of_loading(copy) == code


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"null", b"{", b"\xff", b"[" * 100_000, b" " * (1 << 21), b'{"schema": 1e999}']
)
def test_manifests_that_are_no_json_object(text: bytes, copy: Path) -> None:
    (copy / "manifest.json").write_bytes(text)
    assert code_of_loading(copy) == "CHM410"


def test_no_bundle(tmp_path: Path) -> None:
    assert code_of_loading(tmp_path) == "CHM410"


def test_damaged_files_do_not_run(copy: Path) -> None:
    library = copy / "libchimera.so"
    data = bytearray(library.read_bytes())
    data[len(data) // 2] ^= 1
    library.write_bytes(data)
    assert code_of_loading(copy) == "CHM412"


def test_checksums_are_compared_even_without_verification(copy: Path) -> None:
    for name in ("toy.b158", "toy_tokenizer.model"):
        data = bytearray((copy / name).read_bytes())
        data[-1] ^= 1
        (copy / name).write_bytes(data)
        assert code_of_loading(copy, verify=False) == "CHM406"
        data[-1] ^= 1
        (copy / name).write_bytes(data)
    load(copy, verify=False).close()


def test_links_are_not_followed(copy: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    (copy / "toy.b158").rename(moved)
    os.symlink(moved, copy / "toy.b158")
    assert code_of_loading(copy) == "CHM412"


def test_a_library_that_is_none(copy: Path) -> None:
    (copy / "libchimera.so").write_bytes(b"no library")
    entry = asdict(bf.file_entry(copy / "libchimera.so", "code"))
    change_manifest(copy, lambda m: m["files"].__setitem__(0, entry))
    assert code_of_loading(copy) == "CHM414"


def test_self_test(toy: Any, toy_library: Path, make_toy_bundle: Callable[..., Any], tmp_path: Path) -> None:
    with load(toy.folder) as session:
        assert session.self_test() is False
        good = session.record_self_test([1, 2, 3], 6)
        assert len(good.tokens) == 6
    with load(make_toy_bundle(tmp_path / "good", toy_library, toy.manifest.target, good).folder) as session:
        assert session.self_test() is True
        assert session.position == 0
    for number, wrong in enumerate(
        [replace(good, tokens=(0,) * 6), replace(good, logits_hash="0" * 16), replace(good, state_hash="0" * 16)]
    ):
        bundle = make_toy_bundle(tmp_path / f"wrong{number}", toy_library, toy.manifest.target, wrong)
        with load(bundle.folder) as session, pytest.raises(BundleError) as caught:
            session.self_test()
        assert caught.value.code == "CHM450"
