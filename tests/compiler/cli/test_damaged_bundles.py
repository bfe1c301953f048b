"""Every file of a bundle, damaged in every way, through every verb that reads bundles and through Node itself."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_tools import NOISE, TARGETS, Command

from chimerac.runtime.bundle_format import WEB_DIRECTORY, Section, read_container, write_container

VERBS = (["run", "hello", "-n", "2"], ["inspect"], ["verify"])
CODES = r"error CHM4(0[0-7]|1[0-4]|30)"


def read_by(verb: list[str], folder: Path) -> list[str | Path]:
    return [verb[0], folder, *verb[1:]]


def flip(file: Path, where: float) -> None:
    data = bytearray(file.read_bytes())
    data[min(len(data) - 1, int(where * len(data)))] ^= 0x10
    file.write_bytes(data)


def replace_by_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def replace_by_link(file: Path) -> None:
    other = file.parent.parent / f"elsewhere-{file.name}"
    file.rename(other)
    file.symlink_to(other)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "first byte": lambda f: flip(f, 0),
    "middle byte": lambda f: flip(f, 0.5),
    "last byte": lambda f: flip(f, 1),
    "cut by one": lambda f: os.truncate(f, f.stat().st_size - 1),
    "cut in half": lambda f: os.truncate(f, f.stat().st_size // 2),
    "empty": lambda f: os.truncate(f, 0),
    "longer": lambda f: f.write_bytes(f.read_bytes() + b"\n"),
    "missing": Path.unlink,
    "a folder": replace_by_folder,
    "a link": replace_by_link,
}


def names(bundle: Path, copies: bool = False) -> list[str]:
    """Of the files, or of the compressed copies beside them, which only servers and ``verify`` read."""
    return sorted(p.name for p in bundle.iterdir() if (p.suffix in (".gz", ".br")) is copies)


@pytest.mark.parametrize("target", TARGETS)
def test_every_damage_of_every_file_is_refused_by_every_verb(
    chimerac: Command, bundles: dict[str, Path], tmp_path: Path, target: str
) -> None:
    """Damage of the manifest is told apart below: some of it is only another manifest."""
    for name in names(bundles[target]):
        if name == "manifest.json":
            continue
        for kind, damage in DAMAGE.items():
            folder = tmp_path / f"{name}-{kind}" / "bundle"
            shutil.copytree(bundles[target], folder)
            damage(folder / name)
            for verb in VERBS:
                shown = chimerac(*read_by(verb, folder))
                shown.refused("CHM412", name)
                assert shown.out == "", (name, kind, verb)
            shutil.rmtree(folder.parent)


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_copy_that_is_not_the_file_is_refused(chimerac: Command, copied: Callable[[str], Path], kind: str) -> None:
    folder = copied("wasm")
    for name in ("chimera.mjs.gz", "manifest.json.gz"):
        data = (folder / name).read_bytes()
        DAMAGE[kind](folder / name)
        shown = chimerac("verify", folder)
        if kind == "missing":
            assert shown.code == 0
        else:
            shown.refused("CHM412", name, name.removesuffix(".gz"))
        shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink(missing_ok=True)
        (folder / name).write_bytes(data)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kind", ["cut by one", "cut in half", "empty", "missing", "a folder", "first byte"])
def test_a_damaged_manifest_is_refused(
    chimerac: Command, copied: Callable[[str], Path], target: str, kind: str
) -> None:
    folder = copied(target)
    if kind == "cut by one":  # the last byte is a line end
        os.truncate(folder / "manifest.json", (folder / "manifest.json").stat().st_size - 1)
    DAMAGE[kind](folder / "manifest.json")
    for verb in VERBS:
        chimerac(*read_by(verb, folder)).refused("CHM410", "manifest.json")


FUTURE: dict[str, tuple[str, dict[str, Any], str]] = {
    "schema": ("CHM411", {"schema": 2, "chimerac": "3.1.4", "layers": []}, "3.1.4"),
    "interface": ("CHM405", {"abi": "2.0", "chimerac": "3.1.4"}, "3.1.4"),
    "machine": ("CHM413", {"target": "riscv64-rvv"}, "riscv64"),
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("what", FUTURE)
def test_a_bundle_of_another_version_or_machine(
    chimerac: Command, copied: Callable[[str], Path], target: str, what: str
) -> None:
    code, change, part = FUTURE[what]
    folder = copied(target)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | change))
    for verb in VERBS:
        if what == "machine" and verb == ["inspect"]:
            assert chimerac("inspect", folder).code == 0  # bundles for other machines can be looked at
            continue
        chimerac(*read_by(verb, folder)).refused(code, part)


@pytest.mark.parametrize("role", ["weights", "tokenizer", "code"])
@pytest.mark.parametrize("target", TARGETS)
def test_damage_with_a_manifest_that_agrees(
    chimerac: Command, copied: Callable[[str], Path], target: str, role: str
) -> None:
    """Who forges the checksums of the manifest too meets the checksums inside of the files."""
    folder = copied(target)
    manifest = json.loads((folder / "manifest.json").read_text())
    other = next(e for e in manifest["files"] if e["role"] == "document")
    for entry in manifest["files"]:
        if entry["role"] == role or (role, entry["role"]) == ("code", "variant"):
            file = folder / entry["name"]
            file.write_bytes((folder / other["name"]).read_bytes())  # a file of another kind under this name
            entry.pop("chunks", None)
    entry |= {"bytes": file.stat().st_size, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    for verb in (VERBS[0], VERBS[2]):
        shown = chimerac(*read_by(verb, folder))
        assert shown.code == 1
        assert re.search(CODES, shown.err), shown.err
        assert not any(noise in shown.err for noise in NOISE)


@pytest.mark.parametrize("target", TARGETS)
def test_files_of_another_model_do_not_mix(chimerac: Command, copied: Callable[[str], Path], target: str) -> None:
    """Weights whose checksums are right but whose contents are not those that the code was built with."""
    folder = copied(target)
    manifest = json.loads((folder / "manifest.json").read_text())
    entry = next(e for e in manifest["files"] if e["role"] == "weights")
    file = folder / entry["name"]
    opened = read_container(file)
    sections = [Section(s.name, s.dtype, s.shape, bytes(opened.raw(s.name))) for s in opened.sections.values()]
    first = sections[0]
    sections[0] = Section(first.name, first.dtype, first.shape, bytes(len(first.raw())))
    config = opened.metadata["chimera.config_sha256"]
    file.unlink()
    write_container(file, "b158", sections, {"chimera.config_sha256": config})
    entry.pop("chunks", None)
    entry |= {"bytes": file.stat().st_size, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    for verb in (VERBS[0], VERBS[2]):
        chimerac(*read_by(verb, folder)).refused("CHM407")


def test_a_wrong_self_test_is_named(chimerac: Command, copied: Callable[[str], Path]) -> None:
    folder = copied("x86_64-avx2")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["self_test"]["logits_hash"] = "0" * 16
    (folder / "manifest.json").write_text(json.dumps(manifest))
    chimerac("verify", folder).refused("CHM450", "the logits_hash of the self-test differ")


@pytest.mark.parametrize("verb", [v[0] for v in VERBS])
def test_what_is_no_bundle(chimerac: Command, tmp_path: Path, verb: str) -> None:
    (tmp_path / "file").write_text("text")
    (tmp_path / "folder").mkdir()
    for name in ("gone", "file", "folder"):
        arguments = [verb, tmp_path / name, *(["hello"] if verb == "run" else [])]
        chimerac(*arguments).refused("CHM410", "help: give the folder that `chimerac build` wrote")


NODE_READS = {"code", "weights", "tokenizer"}


@pytest.mark.skipif(shutil.which("node") is None, reason="no Node.js")
def test_node_by_itself_refuses_damage(bundles: dict[str, Path], tmp_path: Path) -> None:
    """cli.mjs, without Python before it."""
    manifest = json.loads((bundles["wasm"] / "manifest.json").read_text())
    files = [e["name"] for e in manifest["files"] if e["role"] in NODE_READS]
    for name in (*files, "manifest.json"):
        for kind in ("middle byte", "cut in half", "missing", "a folder"):
            folder = tmp_path / f"{name}-{kind}"
            shutil.copytree(bundles["wasm"], folder)
            DAMAGE[kind](folder / name)
            command = [
                "node",
                str(WEB_DIRECTORY / "cli.mjs"),
                str(folder),
                "hello",
                "--max-tokens",
                "2",
                "--variant",
                "simd",
            ]
            finished = subprocess.run(command, capture_output=True, text=True, check=False)
            assert (finished.returncode, finished.stdout) == (1, ""), (name, kind)
            assert re.match(r"error CHM4\d\d: ", finished.stderr), finished.stderr
            assert not any(noise in finished.stderr for noise in NOISE), finished.stderr
