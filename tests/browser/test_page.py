"""The page of a web bundle in headless Chromium shows the text that the native bundle generates."""

from __future__ import annotations

import functools
import http.server
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import chimerac
from chimerac.compiler.model import GrammarRequest
from chimerac.compiler.packaging.options import PackagingOptions
from chimerac.runtime.bundle_format import Chat, ChatPieces
from chimerac.runtime.reference.tokenizer import Special, byte_tokenizer
from chimerac.runtime.web.server import BundleServer

HERE = Path(__file__).parent
AXE = HERE.parent / "bundlers" / "node_modules" / "axe-core" / "axe.min.js"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium"),
    pytest.mark.skipif(not (HERE / "node_modules").exists(), reason="run scripts/setup-browser.sh"),
]


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def served(folder: Path, *, isolated: bool = True) -> Iterator[str]:
    """The folder on a loopback port: by our own server, or by a plain one that does not send its headers."""
    plain = functools.partial(Quiet, directory=str(folder))
    with BundleServer(folder, port=0) if isolated else ThreadingHTTPServer(("127.0.0.1", 0), plain) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()


def open_page(
    folder: Path, request: dict[str, Any], *, isolated: bool = True, program: str = "page.mjs", query: str = ""
) -> dict[str, Any]:
    """What the page shows after generating."""
    with served(folder, isolated=isolated) as url:
        command = ["node", program, url + query, str(CHROMIUM), json.dumps(request)]
        finished = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=180, check=False)
    assert finished.returncode == 0, finished.stderr
    shown: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return shown


class Letters(nn.Module):
    """A model of bytes that thinks often: two of its four special tokens begin and end that."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.embedding = nn.Embedding(260, 32)
        self.lstm = nn.LSTM(32, 32)
        self.head = nn.Linear(32, 260)
        with torch.no_grad():
            self.head.bias.fill_(-6)
            self.head.bias[97:123] = 0
            self.head.bias[258:260] = 1

    def forward(self, tokens: Tensor) -> Tensor:
        x, _ = self.lstm(self.embedding(tokens))
        logits: Tensor = self.head(x)
        return logits


REQUEST: dict[str, Any] = {"prompt": "Once upon a time", "temperature": 0.7, "seed": 5, "tokens": 40, "loops": 3}


def test_page_shows_the_text_of_the_native_bundle(bundles: dict[str, Path]) -> None:
    shown = open_page(bundles["wasm"], REQUEST)
    assert not shown["error"]
    assert shown["messages"] == []
    with chimerac.load(bundles["x86_64-avx2"]) as session:
        pieces = session.generate(REQUEST["prompt"], max_tokens=40, temperature=0.7, seed=5, loops=3)
        expected = "".join(map(str, pieces))
    assert shown["text"] == expected
    assert shown["cut"] == ["… cut off: the most tokens are reached"]
    figures = shown["figures"]
    assert list(figures) == ["Speed", "First token", "Tokens", "Downloaded", "Memory", "Runs with", "Threads"]
    assert (figures["Tokens"], figures["Runs with"]) == ("40", "WebAssembly relaxed SIMD")
    assert re.fullmatch(r"\d+ tokens/s", figures["Speed"])
    assert re.fullmatch(r"\d+ ms", figures["First token"])
    assert re.fullmatch(r"\d+\.\d MB from the network", figures["Downloaded"])
    assert re.fullmatch(r"\d+\.\d MB", figures["Memory"])


@pytest.mark.slow
def test_the_page_holds_a_conversation(tmp_path: Path) -> None:
    """The second message is run after the first and its answer; thinking has a place of its own."""
    chat = Chat(ChatPieces((257,), (256, "\n"), (256, 257), (256, "\n")), marks={"thinking": (258, 259)})
    names = {"<end>": "end", "<user>": "control", "<think>": "control", "</think>": "control"}
    tokenizer = byte_tokenizer(260, [Special(name, 256 + k, role) for k, (name, role) in enumerate(names.items())])
    targets, asked = ("wasm", "x86_64-avx2"), ["Why is the sky blue?", "And at night?"]
    report = chimerac.compile(Letters(), name="letters", targets=targets, out=tmp_path, tokenizer=tokenizer, chat=chat)
    request = {"messages": asked, "seed": 4, "temperature": 1, "tokens": 60}
    shown = open_page(report.bundles[0].path, request, program="conversation.mjs")
    expected: list[list[str]] = []
    with chimerac.load(report.bundles[1].path) as session:
        messages: list[dict[str, str]] = []
        for content in asked:
            expected.append(["user", content])
            messages.append({"role": "user", "content": content})
            answer, part = "", ""
            for piece in session.chat(messages, max_tokens=60, temperature=1.0, top_p=0.95, seed=4):
                if piece.part != part and piece.text:
                    part = piece.part
                    expected.append([part, ""])
                if part:
                    expected[-1][1] += piece.text
                answer += piece.text if piece.part == "answer" else ""
            messages.append({"role": "assistant", "content": answer})
    assert shown["turns"] == expected
    assert {kind for kind, _ in expected} == {"user", "answer", "thinking"}
    silent = open_page(
        report.bundles[0].path, {**request, "temperature": 0, "messages": asked[:1]}, program="conversation.mjs"
    )
    assert silent["turns"] == [["user", asked[0]], ["answer", ""]], "the likeliest tokens of this model have no text"
    assert silent["cut"] == ["turn answer"]
    assert (shown["label"], shown["left"], shown["error"], shown["emptied"]) == ("Message", "", "", "")
    assert shown["messages"] == []


@pytest.mark.slow
def test_without_the_headers_the_page_has_one_thread_and_says_why(bundles: dict[str, Path]) -> None:
    apart, together = (open_page(bundles["wasm"], REQUEST, isolated=isolated) for isolated in (False, True))
    assert apart["messages"] == []
    assert apart["figures"]["Threads"] == "1 (no cross-origin isolation)"
    assert "isolation" not in together["figures"]["Threads"]
    assert apart["text"] == together["text"]


def test_address_of_the_page_chooses_module_and_threads(bundles: dict[str, Path]) -> None:
    shown = open_page(bundles["wasm"], REQUEST, query="?threads=3")
    assert (shown["figures"]["Runs with"], shown["figures"]["Threads"]) == ("WebAssembly relaxed SIMD", "3")
    shown = open_page(bundles["wasm"], REQUEST, query="?variant=chimera.scalar.wasm")
    assert (shown["figures"]["Runs with"], shown["figures"]["Threads"]) == ("WebAssembly without SIMD", "1")


def test_every_module_computes_the_native_bits(bundles: dict[str, Path]) -> None:
    """All modules, one and four threads, on the page's own thread; without the headers no module with threads."""
    prompt, count = list(b"It was a bright cold day in April, and the clocks were striking thirteen."), 24
    with chimerac.load(bundles["x86_64-avx2"]) as session:
        list(session.generate(prompt, max_tokens=count))
        expected = (session.tokens(), session.state_hash(), session.logits_hash())
    runs: list[dict[str, Any]] = [{}, {"threads": 4}]
    for name in ("chimera.wasm", "chimera.relaxed.wasm", "chimera.scalar.wasm"):
        runs.append({"variant": name, "threads": 4})
    for name in ("chimera.threads.wasm", "chimera.relaxed.threads.wasm"):
        runs += [{"variant": name, "threads": threads} for threads in (1, 4)]
    request = {"prompt": prompt, "count": count, "runs": runs}
    found = open_page(bundles["wasm"], request, program="variants.mjs")
    assert found["isolated"] is True
    chosen = [(result["variant"], result["threads"]) for result in found["results"]]
    best = chosen[0][0].split(".")[1]
    assert best in ("relaxed", "dot4")  # as the processor is
    assert chosen == [
        (f"chimera.{best}.wasm", 1),
        (f"chimera.{best}.threads.wasm", 4),
        ("chimera.wasm", 1),
        ("chimera.relaxed.wasm", 1),
        ("chimera.scalar.wasm", 1),
        ("chimera.threads.wasm", 1),
        ("chimera.threads.wasm", 4),
        ("chimera.relaxed.threads.wasm", 1),
        ("chimera.relaxed.threads.wasm", 4),
    ]
    for result in found["results"]:
        assert (result["tokens"], result["state"], result["logits"]) == expected, result["variant"]
        assert result["selfTest"] is True
    plain = open_page(bundles["wasm"], request | {"runs": runs[:2]}, program="variants.mjs", isolated=False)
    assert plain["isolated"] is False
    assert [(result["variant"], result["threads"]) for result in plain["results"]] == [(f"chimera.{best}.wasm", 1)] * 2


@pytest.mark.skipif(not AXE.exists(), reason="run scripts/setup-browser.sh")
def test_the_demo_page_is_for_keyboards_screen_readers_and_days_without_a_network(bundles: dict[str, Path]) -> None:
    """Under the server's content security policy, in light and dark and at 320 pixels."""
    found = open_page(bundles["wasm"], {"prompt": "Once upon a time"}, program="demo.mjs")
    assert found["axe"] == [[]] * 4
    assert found["overflow"] <= 0
    assert found["focus"] == ["prompt", "prompt", "run"]
    assert found["live"] == ["said"]
    assert len(found["said"]) == 1
    assert found["said"][0].endswith("… stopped")
    assert found["stopped"] == ["… stopped"]
    assert found["button"] == ["Stop", "Generate"]
    why = "Not understood: the microphone is not allowed."
    assert found["speech"] == ["The browser's own recognition listens, on this machine.", why, "Speak", why]
    assert found["offline"] == found["text"]
    assert re.fullmatch(r"\d+\.\d MB kept from before", found["downloaded"])
    assert found["switched"] is True
    assert found["left"] == [[], 0]
    assert (found["violated"], found["messages"]) == ([], [])


@pytest.mark.slow
def test_the_house_follows_the_answers(tmp_path: Path) -> None:
    """Of a model that can answer one thing only, by its schema."""

    def closed(**properties: Any) -> dict[str, Any]:
        names = [*properties]
        return {"type": "object", "properties": properties, "required": names, "additionalProperties": False}

    slots = closed(area={"const": "bedroom"}, domain={"const": "light"})
    schema = closed(intent={"const": "HassTurnOn"}, slots=slots)
    grammars = GrammarRequest((), json.dumps(schema), 0, "schema")
    packaging = PackagingOptions(examples=("turn on the bedroom light", "once more"))
    names = {"<end>": "end", "<user>": "control", "<think>": "control", "</think>": "control"}
    tokenizer = byte_tokenizer(260, [Special(name, 256 + k, role) for k, (name, role) in enumerate(names.items())])
    report = chimerac.compile(
        Letters(),
        name="home",
        targets=["wasm"],
        out=tmp_path,
        tokenizer=tokenizer,
        grammars=grammars,
        packaging=packaging,
    )
    found = open_page(report.bundles[0].path, {}, program="house.mjs")
    answer = '{"intent":"HassTurnOn","slots":{"area":"bedroom","domain":"light"}}'
    happened = "The lights in the bedroom are on."
    assert "light in" not in found["before"]
    assert [step[:2] for step in found["steps"]] == [[answer, happened]] * 2
    assert all("; light in: bedroom; " in words and said == happened for *_, words, said in found["steps"])
    assert found["messages"] == []


def test_damaged_weights_are_named_on_the_page(bundles: dict[str, Path], tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(bundles["wasm"], damaged)
    weights = next(damaged.glob("*.b158"))
    data = bytearray(weights.read_bytes())
    data[-100] ^= 1
    weights.write_bytes(data)
    shown = open_page(damaged, REQUEST)
    assert shown["retry"] is True
    assert shown["heading"] == "The model could not be loaded"
    assert "CHM4" in shown["error"]
    assert weights.name in shown["error"]
