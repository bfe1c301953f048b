"""``chimerac serve``: a page at an address until Ctrl-C, and what it refuses."""

from __future__ import annotations

import asyncio
import signal
import urllib.request
from pathlib import Path

import openai
import pytest
from cli_tools import Command, start
from wyoming.asr import Transcript
from wyoming.client import AsyncTcpClient
from wyoming.event import Event
from wyoming.info import Describe, Info


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


def test_answers_a_voice_assistant_until_interrupted(bundles: dict[str, Path], tmp_path: Path) -> None:
    names = tmp_path / "home.json"
    names.write_text('{"entities": [{"name": "Kettle"}]}')
    words = ("--wyoming", "--port", "0", "--names", names, "--language", "en")
    process = start("serve", bundles["x86_64-avx2"], *words)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        port = int(next(word for word in line.split() if word.startswith("tcp://")).rpartition(":")[2])

        async def ask() -> list[Event | None]:
            async with AsyncTcpClient("127.0.0.1", port, read_timeout=60) as client:
                found = []
                for event in (Describe().event(), Transcript("turn on the kettle").event()):
                    await client.write_event(event)
                    found.append(await client.read_event())
                return found

        info, answer = asyncio.run(ask())
        assert info is not None
        assert Info.from_event(info).intent[0].models[0].languages == ["en"]
        assert answer is not None
        assert answer.type in ("handled", "intent", "not-recognized")
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()


def test_answers_clients_of_an_api_until_interrupted(bundles: dict[str, Path], tmp_path: Path) -> None:
    process = start("serve", bundles["x86_64-avx2"], "--api", "--port", "0")
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        address = next(word for word in line.split() if word.startswith("http://")).rstrip(",")
        with openai.OpenAI(base_url=address, api_key="none", timeout=60) as client:
            (model,) = client.models.list()
            answer = client.chat.completions.create(model=model.id, messages=[{"role": "user", "content": "hello"}])
        assert answer.choices[0].finish_reason in ("stop", "length")
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()


def test_what_cannot_answer_a_voice_assistant(chimerac: Command, bundles: dict[str, Path], tmp_path: Path) -> None:
    bundle, names = str(bundles["x86_64-avx2"]), tmp_path / "home.json"
    chimerac("serve", bundle, "--wyoming", "--port", "0", "--names", str(names)).refused(
        "CHM420", "cannot read the names"
    )
    names.write_text('{"entities": 3}')
    chimerac("serve", bundle, "--wyoming", "--port", "0", "--names", str(names)).refused("CHM420", "not a list")
    chimerac("serve", str(tmp_path), "--wyoming").refused("CHM410")
    chimerac("serve", bundle, "--wyoming", "--no-isolation").misused("--no-isolation")
    chimerac("serve", bundle, "--language", "en").misused("--wyoming")
    chimerac("serve", bundle, "--names", "x").misused("--wyoming or --api")
    chimerac("serve", bundle, "--wyoming", "--api").misused("do not go together")
    chimerac("serve", bundle, "--api", "--language", "en").misused("--wyoming")
    chimerac("serve", str(tmp_path), "--api").refused("CHM410")


def test_what_cannot_be_served(
    chimerac: Command, bundles: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chimerac("serve", str(bundles["x86_64-avx2"]), "--port", "0").refused("CHM413", "only bundles for wasm are served")
    chimerac("serve", str(tmp_path / "nowhere")).refused("CHM410")
    chimerac("serve", str(bundles["wasm"]), "--port", "70000").misused("--port")
    monkeypatch.chdir(tmp_path)
    chimerac("serve").refused("CHM323", "chimerac serve FOLDER")
