"""``chimerac serve``: a page at an address until Ctrl-C, and what it refuses."""

from __future__ import annotations

import signal
import urllib.request
from pathlib import Path

import pytest
from cli_tools import Command, start


def test_serves_until_interrupted(bundles: dict[str, Path]) -> None:
    process = start("serve", bundles["wasm"], "--port", "0")
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        address = next(word for word in line.split() if word.startswith("http://"))
        with urllib.request.urlopen(address) as answer:
            assert b"<html" in answer.read()
            assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()


def test_what_cannot_be_served(
    chimerac: Command, bundles: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chimerac("serve", str(bundles["x86_64-avx2"]), "--port", "0").refused("CHM413", "only bundles for wasm are served")
    chimerac("serve", str(tmp_path / "nowhere")).refused("CHM410")
    chimerac("serve", str(bundles["wasm"]), "--port", "70000").misused("--port")
    monkeypatch.chdir(tmp_path)
    chimerac("serve").refused("CHM323", "chimerac serve FOLDER")
