"""The server for web bundles: headers, types, and what it refuses."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from chimerac.runtime import BundleError
from chimerac.runtime.web.server import BundleServer


@pytest.fixture
def server(wasm_toy: Any) -> Iterator[BundleServer]:
    (wasm_toy.folder / "page.mjs").write_text("export {};\n")
    with BundleServer(wasm_toy.folder, port=0) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


def test_files_come_with_types_and_the_headers_for_threads(server: BundleServer) -> None:
    types = {"manifest.json": "application/json", "chimera.wasm": "application/wasm", "page.mjs": "text/javascript"}
    for name, kind in types.items():
        with urllib.request.urlopen(server.url + name) as answer:
            assert answer.headers["Content-Type"].split(";")[0] == kind
            assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
            assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
            assert answer.headers["Cache-Control"] == "no-cache"
            assert answer.read()


@pytest.mark.parametrize("path", ["", "nothing.txt", "../native/manifest.json", "%2e%2e/native/manifest.json"])
def test_nothing_else_is_served(server: BundleServer, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(server.url + path)
    assert caught.value.code == 404


def test_what_cannot_be_served(server: BundleServer, toy: Any, wasm_toy: Any, tmp_path: Any) -> None:
    port = int(server.server_address[1])
    for code, folder, number in (
        ("CHM410", tmp_path, 0),
        ("CHM413", toy.folder, 0),
        ("CHM441", wasm_toy.folder, port),
        ("CHM441", wasm_toy.folder, 70000),
    ):
        with pytest.raises(BundleError) as caught:
            BundleServer(folder, port=number)
        assert caught.value.code == code
        assert caught.value.hint
