"""The page of a web bundle in headless Chromium shows the text that the native bundle generates."""

from __future__ import annotations

import functools
import http.server
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import chimerac

HERE = Path(__file__).parent
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium"),
    pytest.mark.skipif(not (HERE / "node_modules").exists(), reason="run scripts/setup-browser.sh"),
]


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The folder on a loopback port."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()


def open_page(folder: Path, request: dict[str, Any]) -> dict[str, Any]:
    """What the page shows after generating."""
    with served(folder) as url:
        command = ["node", "page.mjs", url, str(CHROMIUM), json.dumps(request)]
        finished = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=180, check=False)
    assert finished.returncode == 0, finished.stderr
    shown: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return shown


REQUEST = {"prompt": "Once upon a time", "temperature": 0.7, "seed": 5, "tokens": 40, "loops": 3}


def test_page_shows_the_text_of_the_native_bundle(bundles: dict[str, Path]) -> None:
    shown = open_page(bundles["wasm"], REQUEST)
    assert not shown["error"]
    assert shown["messages"] == []
    with chimerac.load(bundles["x86_64-avx2"]) as session:
        pieces = session.generate(REQUEST["prompt"], max_tokens=40, temperature=0.7, top_p=0.95, seed=5, loops=3)
        expected = "".join(map(str, pieces))
    assert shown["text"] == expected
    assert shown["speed"].startswith("40 tokens")


def test_damaged_weights_are_named_on_the_page(bundles: dict[str, Path], tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(bundles["wasm"], damaged)
    weights = next(damaged.glob("*.b158"))
    data = bytearray(weights.read_bytes())
    data[-100] ^= 1
    weights.write_bytes(data)
    shown = open_page(damaged, REQUEST)
    assert "CHM4" in shown["error"]
    assert weights.name in shown["error"]
