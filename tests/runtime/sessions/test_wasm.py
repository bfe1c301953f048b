"""The wasm module: no imports, small, and the same bits as the native library in wasmtime and Node."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_bundles import GRAMMAR_STEPS, VOCAB, link_wasm, toy_tokenizer
from wasm_module import Module

from chimerac.runtime import BundleError, load
from chimerac.runtime import bundle_format as bf

OPTIONS: list[dict[str, Any]] = [
    {"max_tokens": 24},
    {"max_tokens": 60, "temperature": 1.3, "top_p": 0.9, "repetition_penalty": 1.2, "seed": 2**45 + 3, "loops": 4},
    {"max_tokens": 24, "temperature": 100.0, "top_k": 9, "stream": 2**32 - 1, "exit_threshold": 0.9, "loops": 4},
]
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")


def in_wasmtime(toy: Any, prompt: bytes, options: dict[str, Any]) -> tuple[list[int], str, str, bytes]:
    module = Module(toy.file("code"))
    module.open(toy.file("weights"), toy.file("tokenizer"))
    session = module.session
    seed = options.get("seed", 0)
    module.call("chm_session_set_loops", session, options.get("loops", 0))
    module.call("chm_session_set_exit_threshold", session, options.get("exit_threshold", 0.0))
    sampling = [options.get(key, default) for key, default in [("temperature", 0.0), ("top_p", 1.0), ("top_k", 0)]]
    words = np.array([seed % 2**32, seed >> 32, options.get("stream", 0)], np.uint32).view(np.int32).tolist()
    module.call("chm_session_set_sampling", session, *sampling, options.get("repetition_penalty", 1.0), *words)
    module.call("chm_session_prompt", session, module.place(prompt), len(prompt))
    tokens = module.generate(options["max_tokens"])
    hashes = module.hashes()
    logits = module.read(module.get("chm_session_logits", session), 4 * 288)
    return tokens, *hashes, logits


def in_session(session: Any, prompt: str, options: dict[str, Any]) -> tuple[list[int], str, str, bytes]:
    for _ in session.generate(prompt, **options):
        pass
    hashes = session.state_hash(), session.logits_hash()
    logits = session.logits()
    assert logits is not None
    return session.tokens(), *hashes, logits.tobytes()


def test_the_module_imports_nothing_and_exports_the_interface(toy_wasm: Path) -> None:
    module = Module(toy_wasm).module
    assert not module.imports
    assert {export.name for export in module.exports} == {
        "memory",
        *bf.exported_functions(wasm=True),
        *GRAMMAR_STEPS,
    }


def test_the_module_is_small(toy_wasm: Path) -> None:
    """16 kB are the character classes of o200k, 16 kB tables of normalization; most code is compiled for size.
    1 kB are the best tokens of a mass, without a heap of all, 1 kB what banks of spans need of every session, 6 kB the
    entropy valve and the account of what guesses cost and gain, 5 kB the ledger and the names that requests say."""
    assert toy_wasm.stat().st_size < 155_000


@needs_node
def test_code_of_rules_that_a_tokenizer_has_not_is_left_out(
    toy_wasm: Path, toy: Any, make_toy_bundle: Callable[..., Any], tmp_path: Path
) -> None:
    small = link_wasm(tmp_path / "small.wasm", VOCAB, "-DCHM_BUILT_RULES=0u")
    assert small.stat().st_size < toy_wasm.stat().st_size - 18_000, "the tables of normalization are not there"
    with load(toy.folder) as session:
        expected = session.encode("turn off the é light")
    with load(make_toy_bundle(tmp_path / "a", small, "wasm32-test").folder) as session:
        assert session.encode("turn off the é light") == expected
    tokenizer = replace(toy_tokenizer(), rules=("nfc",))
    with (
        pytest.raises(BundleError, match="a rule that this module was built without") as caught,
        load(make_toy_bundle(tmp_path / "b", small, "wasm32-test", tokenizer=tokenizer).folder),
    ):
        pass
    assert caught.value.code == "CHM430"


@pytest.mark.parametrize("options", OPTIONS)
def test_wasmtime_computes_the_native_bits(options: dict[str, Any], toy: Any, wasm_toy: Any) -> None:
    with load(toy.folder) as session:
        native = in_session(session, "turn off the light", options)
    assert in_wasmtime(wasm_toy, b"turn off the light", options) == native


@pytest.fixture(scope="module")
def node_session(wasm_toy: Any) -> Iterator[Any]:
    with load(wasm_toy.folder) as session:
        yield session


@needs_node
@pytest.mark.parametrize("options", OPTIONS)
def test_node_computes_the_native_bits(options: dict[str, Any], toy: Any, node_session: Any) -> None:
    with load(toy.folder) as session:
        native = in_session(session, "turn off the light", options)
        pieces = list(session.generate("é", max_tokens=9, temperature=2.0))
    assert in_session(node_session, "turn off the light", options) == native
    assert list(node_session.generate("é", max_tokens=9, temperature=2.0)) == pieces


@needs_node
def test_a_wasm_session_behaves_as_a_native_one(node_session: Any, toy: Any) -> None:
    node_session.reset()
    assert node_session.logits() is None
    assert (node_session.vocab_size, node_session.max_loops) == (288, 4)
    assert node_session.encode("hé") == list("hé".encode())
    node_session.prefill([1, 2, 3])
    assert node_session.position == 3
    for bad in (lambda: node_session.prefill([288]), lambda: list(node_session.generate("a", top_p=2.0))):
        with pytest.raises(BundleError) as caught:
            bad()
        assert caught.value.code == "CHM420"
    assert node_session.encode(b"\xff\xc3") == [255, 195], "bytes are taken as they are"
    generator = node_session.generate("hello", max_tokens=1_000_000)
    next(generator)
    generator.close()
    assert node_session.finish_reason is None
    list(node_session.generate("hello", max_tokens=5))
    assert node_session.finish_reason == "length"


@needs_node
def test_self_test_across_targets(
    toy: Any, toy_wasm: Path, make_toy_bundle: Callable[..., Any], tmp_path: Path
) -> None:
    with load(toy.folder) as session:
        expected = session.record_self_test([1, 2, 3], 6)
    with load(make_toy_bundle(tmp_path / "b", toy_wasm, "wasm32-test", expected).folder) as session:
        assert session.self_test() is True


@needs_node
def test_cli_prints_text(wasm_toy: Any, toy: Any) -> None:
    with load(toy.folder) as session:
        expected = "".join(map(str, session.generate("hello", max_tokens=12, temperature=1.5, seed=7)))
    options = ["--max-tokens", "12", "--temperature", "1.5", "--seed", "7"]
    command = ["node", str(bf.WEB_DIRECTORY / "cli.mjs"), str(wasm_toy.folder), "hello", *options]
    assert subprocess.run(command, capture_output=True, check=True).stdout.decode() == expected + "\n"


@needs_node
def test_damaged_wasm_bundles(wasm_toy: Any, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(wasm_toy.folder, folder)
    data = bytearray((folder / "toy.b158").read_bytes())
    data[-1] ^= 1
    (folder / "toy.b158").write_bytes(data)
    for verify in (True, False):
        with pytest.raises(BundleError) as caught:
            load(folder, verify=verify)
        assert caught.value.code == "CHM412"


def test_node_missing_or_too_old(wasm_toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHIMERAC_NODE", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(BundleError, match="not installed") as caught:
        load(wasm_toy.folder)
    assert caught.value.code == "CHM440"
    old = tmp_path / "node"
    old.write_text("#!/bin/sh\necho v18.1.0\n")
    old.chmod(0o755)
    monkeypatch.setenv("CHIMERAC_NODE", str(old))
    with pytest.raises(BundleError, match="too old"):
        load(wasm_toy.folder)
    monkeypatch.setenv("CHIMERAC_NODE", str(tmp_path / "gone"))
    with pytest.raises(BundleError, match="does not start"):
        load(wasm_toy.folder)


def test_memory_that_cannot_grow_is_an_error(wasm_toy: Any) -> None:
    """With every amount of memory left, opening succeeds or says that there is none, and never traps."""
    outcomes = []
    for left in range(18):
        module = Module(wasm_toy.file("code"), memory_limit=18 * 65536)
        blocks = []
        while block := module.get("chm_memory_allocate", 4096):
            blocks.append(block)
        for block in blocks[len(blocks) - left :]:
            module.get("chm_memory_release", block, 4096)
        try:
            module.open(wasm_toy.file("weights"), wasm_toy.file("tokenizer"))
            outcomes.append("opened")
        except BundleError as error:
            outcomes.append(error.code)
    assert outcomes[0] == "CHM422"
    assert outcomes[-1] == "opened"
    assert set(outcomes) == {"CHM422", "opened"}


def test_the_allocator_reuses_zeroes_and_never_overlaps(toy_wasm: Path) -> None:
    module = Module(toy_wasm)
    random = np.random.default_rng(1)
    live: dict[int, int] = {}
    high = 0
    for step in range(3000):
        if live and (len(live) > 12 or random.random() < 0.45):
            pointer = int(random.choice(list(live)))
            module.get("chm_memory_release", pointer, live.pop(pointer))
            continue
        size = int(random.integers(1, 5000))
        pointer = module.get("chm_memory_allocate", size) & 0xFFFFFFFF
        assert pointer % 64 == 0
        assert all(pointer + size <= other or other + length <= pointer for other, length in live.items()), step
        assert not any(module.read(pointer, size)), step
        module.memory.write(module.store, bytes([255]) * size, pointer)
        live[pointer] = size
        high = max(high, pointer + size)
    assert high - min(live) < 40 * 5000
    for pointer, size in live.items():
        module.get("chm_memory_release", pointer, size)
    first = module.get("chm_memory_allocate", 64)
    assert first <= min(live), "everything was given back"
    assert module.get("chm_memory_allocate", 0) == 0
    assert module.get("chm_memory_allocate", -1) == 0
    assert module.get("chm_memory_reserve", 1 << 20) == 0


@needs_node
def test_json_lines_protocol(wasm_toy: Any) -> None:
    command = ["node", str(bf.WEB_DIRECTORY / "cli.mjs"), str(wasm_toy.folder), "--json-lines"]
    lines = [{"id": 1, "op": "info"}, {"id": 2, "op": "dance"}, {"id": 3, "op": "encode", "text": "ab"}]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    output = subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout
    answers = [json.loads(line) for line in output.splitlines()]
    assert answers[0] == {"ready": True}
    info = {"vocab_size": 288, "max_loops": 4, "threads": 1, "variant": "chimera.wasm"}
    assert answers[1] == {"id": 1, "done": info}
    assert answers[2]["error"]["code"] == "CHM420"
    assert answers[3] == {"id": 3, "done": {"tokens": [97, 98]}}
