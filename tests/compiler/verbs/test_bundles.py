"""What the verbs say of bundles from Python: typed results, nothing printed, and errors of the compiler's kind."""

from __future__ import annotations

import os
import shutil
import threading
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

import chimerac
from chimerac.compiler.verbs.bundles import find_bundle
from chimerac.compiler.verbs.inspect import inspect
from chimerac.compiler.verbs.run import Conversation, run
from chimerac.compiler.verbs.serve import serve
from chimerac.compiler.verbs.verify import verify
from chimerac.runtime.bundle_format import read_container, read_manifest

TARGETS = ("x86_64-avx2", "wasm")


@pytest.fixture(autouse=True)
def silence(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """No verb prints."""
    yield
    assert capfd.readouterr() == ("", "")


def refused(code: str, call: Callable[[], object]) -> None:
    with pytest.raises(chimerac.UserError) as caught:
        call()
    assert caught.value.code == code


# ---- verify ----


@pytest.mark.parametrize("target", TARGETS)
def test_verify_verifies_when_called(bundles: dict[str, Path], target: str) -> None:
    told: list[str] = []
    found = verify(bundles[target], tell=told.append)
    assert found.files == len(read_manifest(bundles[target]).files)
    assert found.self_test == "the interpreter's tokens, logits and state"
    assert found.kernels
    assert found.agreement is None
    assert told == list(found.lines())
    with pytest.raises(FrozenInstanceError):
        found.files = 0  # type: ignore[misc]


def test_verify_refuses_damage_without_being_asked_twice(bundles: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(bundles["x86_64-avx2"], tmp_path / "damaged")
    card = folder / "MODEL_CARD.md"
    card.write_text(card.read_text("utf-8").replace("random", "modnar"), "utf-8")
    told: list[str] = []
    refused("CHM412", lambda: verify(folder, tell=told.append))
    assert told == []


def test_verify_of_no_bundle(tmp_path: Path) -> None:
    refused("CHM410", lambda: verify(tmp_path))


# ---- inspect ----


def test_inspect_describes_every_file_and_section(bundles: dict[str, Path]) -> None:
    folder = bundles["x86_64-avx2"]
    found = inspect(folder)
    assert found.manifest == read_manifest(folder)
    weights = found.manifest.file("weights")
    assert weights is not None
    assert found.sections == tuple(read_container(folder / weights.name).sections.values())
    assert found.kernels == ("avx2", "avxvnni", "avx512vnni", "amxint8")
    shown = found.render().splitlines()
    for file in found.manifest.files:
        assert any(line.split() == [file.name, file.role, f"{file.bytes:,}"] for line in shown)
    for section in found.sections:
        assert any(line.startswith(f"{section.name} ") and line.endswith(f" {section.bytes:,}") for line in shown)


# ---- run ----


@pytest.mark.parametrize("target", TARGETS)
def test_run_gives_what_a_session_generates(bundles: dict[str, Path], target: str) -> None:
    with chimerac.load(bundles[target]) as session:
        pieces = [piece.text for piece in session.generate("hello", max_tokens=9, temperature=0.8, seed=3)]
        tokens, reason = tuple(session.tokens()), session.finish_reason
    heard: list[str] = []
    answer = run(bundles[target], "hello", max_tokens=9, temperature=0.8, seed=3, hear=heard.append)
    assert heard == pieces
    assert (answer.text, answer.tokens, answer.finish_reason) == ("".join(pieces), tokens, reason)
    assert str(answer) == answer.text


def test_run_follows_a_grammar(bundles: dict[str, Path], tmp_path: Path) -> None:
    bundle = bundles["x86_64-avx2"]
    assert run(bundle, "hello", choices=["on", "off"]).text in ("on", "off")
    assert run(bundle, "hello", regex="[ab]{3}").finish_reason == "stop"
    (tmp_path / "schema.json").write_text('{"const": 7}')
    assert run(bundle, "hello", schema=tmp_path / "schema.json").text.strip() == "7"
    made = chimerac.compile_grammar(choices=["x"])
    assert run(bundle, "hello", grammar=made).text == "x"
    refused("CHM420", lambda: run(bundle, "hello", grammar=made, regex="a"))
    refused("CHM280", lambda: run(bundle, "hello", choices=[]))
    refused("CHM431", lambda: run(bundle, "hello", grammar="latin"))


def test_a_conversation_goes_on(bundles: dict[str, Path]) -> None:
    bundle = bundles["x86_64-avx2"]
    with chimerac.load(bundle) as session:
        first = [piece.token for piece in session.generate("hello", max_tokens=5)]
        second = [piece.token for piece in session.generate("more", max_tokens=5, reset=False)]
    with Conversation(bundle, max_tokens=5) as conversation:
        assert [piece.token for piece in conversation.answer("hello")] == first
        assert [piece.token for piece in conversation.answer("more")] == second


def test_errors_of_run(bundles: dict[str, Path], tmp_path: Path) -> None:
    bundle = bundles["x86_64-avx2"]
    refused("CHM410", lambda: run(tmp_path, "hello"))
    refused("CHM420", lambda: run(bundle, "hello", top_p=2.0))
    refused("CHM420", lambda: run(bundle, "caf\udce9"))
    refused("CHM420", lambda: run(bundle, ""))


# ---- serve ----


def test_serve_answers_while_it_runs(bundles: dict[str, Path]) -> None:
    with serve(bundles["wasm"], port=0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with urllib.request.urlopen(server.url + "manifest.json") as answer:
                assert answer.read() == (bundles["wasm"] / "manifest.json").read_bytes()
        finally:
            server.shutdown()
            thread.join()
    refused("CHM413", lambda: serve(bundles["x86_64-avx2"], port=0))


# ---- the one built last ----


def test_find_bundle(bundles: dict[str, Path], tmp_path: Path) -> None:
    refused("CHM323", lambda: find_bundle(tmp_path))
    for number, (target, folder) in enumerate(bundles.items()):
        made = shutil.copytree(folder, tmp_path / target)
        os.utime(made / "manifest.json", (0, number))
    assert find_bundle(tmp_path) == tmp_path / list(bundles)[-1]
    assert find_bundle(tmp_path, web=True) == tmp_path / "wasm"
    shutil.rmtree(tmp_path / "wasm")
    refused("CHM323", lambda: find_bundle(tmp_path, web=True))
