"""Manifests that are wrong get the same code from both readers; unusual ones are taken by both."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from bad_manifests import GOOD, bad_manifests, good_manifests

from chimerac.runtime import BundleError
from chimerac.runtime.bundle_format import WEB_DIRECTORY, manifest_json, parse_manifest, read_manifest

BAD = bad_manifests()

#: Reads (name, file) rows and writes what became of each.
SCRIPT = """
import { readFileSync } from "node:fs";
const { checkManifest, parseManifest } = await import(process.argv[2]);
const results = {};
for (const [name, file] of JSON.parse(readFileSync(process.argv[3], "utf8"))) {
  try {
    checkManifest(parseManifest(new Uint8Array(readFileSync(file)), "the manifest"));
    results[name] = "taken";
  } catch (error) {
    results[name] = error.code ? error.code : `${error}`;
  }
}
console.log(JSON.stringify(results));
"""


def in_python(data: bytes) -> str:
    try:
        manifest = parse_manifest(data)
    except BundleError as error:
        return error.code if len(error.render()) < 5000 else "a message without end"
    return "taken" if manifest.target.startswith("wasm32") else "CHM413"


@pytest.fixture(scope="module")
def in_javascript(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the reader in JavaScript does with each, in Node.js."""
    folder = tmp_path_factory.mktemp("manifests")
    rows = []
    for number, (name, data) in enumerate([*((name, data) for name, data, _ in BAD), *good_manifests()]):
        (folder / f"{number}").write_bytes(data)
        rows.append((name, str(folder / f"{number}")))
    (folder / "rows.json").write_text(json.dumps(rows))
    (folder / "read.mjs").write_text(SCRIPT)
    reader = Path(WEB_DIRECTORY, "manifest.mjs").resolve().as_uri()
    command = ["node", str(folder / "read.mjs"), reader, str(folder / "rows.json")]
    found: dict[str, str] = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=300).stdout)
    return found


def test_the_corpus_is_large_and_its_names_differ() -> None:
    assert len(BAD) >= 300
    assert len({name for name, *_ in [*BAD, *good_manifests()]}) == len(BAD) + len(good_manifests())


def test_wrong_manifests_have_their_code_in_python() -> None:
    assert {name: in_python(data) for name, data, _ in BAD} == {name: code for name, _, code in BAD}


def test_wrong_manifests_have_their_code_in_javascript(in_javascript: dict[str, str]) -> None:
    assert {name: in_javascript[name] for name, *_ in BAD} == {name: code for name, _, code in BAD}


def test_unusual_manifests_are_taken(in_javascript: dict[str, str]) -> None:
    for name, data in good_manifests():
        assert (in_python(data), in_javascript[name]) == ("taken", "taken"), name


@pytest.mark.parametrize("kind", ["pipe", "link", "folder", "device"])
def test_what_is_no_regular_file_is_not_read(kind: str, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.json").write_text(json.dumps(GOOD))
    place = tmp_path / "bundle" / "manifest.json"
    place.parent.mkdir()
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    else:
        place.symlink_to("../elsewhere.json" if kind == "link" else "/dev/zero")
    with pytest.raises(BundleError) as caught:
        read_manifest(place.parent)
    assert caught.value.code == "CHM410"


def test_a_bundle_may_be_reached_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "manifest.json").write_text(json.dumps(GOOD))
    (tmp_path / "link").symlink_to("bundle")
    assert read_manifest(tmp_path / "link").name == "toy"


def test_what_a_path_may_hold_is_written_as_escapes() -> None:
    manifest = parse_manifest(json.dumps(GOOD).encode())
    odd = replace(manifest, name="a\x1b]0;b", provenance={"weights": "w\udcff\n.safetensors"})
    found = parse_manifest(manifest_json(odd))
    assert (found.name, found.provenance["weights"]) == ("a\\u001b]0;b", "w\\udcff\\u000a.safetensors")
