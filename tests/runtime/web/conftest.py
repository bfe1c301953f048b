"""A server of the toy's web bundle."""

from __future__ import annotations

import http.server
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from web_tools import Server

from chimerac.runtime import bundle_format as bf


@pytest.fixture
def server(wasm_toy: Any, tmp_path: Path) -> Iterator[Server]:
    folder = tmp_path / "site"
    shutil.copytree(wasm_toy.folder, folder)
    for name in bf.WEB_FILES:
        shutil.copy(bf.WEB_DIRECTORY / name, folder / name)
    state = Server(folder)

    class Handler(http.server.SimpleHTTPRequestHandler):
        extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | {
            ".mjs": "text/javascript",
            ".wasm": "application/wasm",
        }

        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(folder))

        def do_GET(self) -> None:
            name = self.path.split("?")[0].lstrip("/")
            fresh = state.cached and self.headers["Cache-Control"] == "no-cache"
            if name not in state.replace or fresh:
                super().do_GET()
                return
            status, body = state.replace[name]
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            state.posted.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(204)
            self.end_headers()
            state.arrived.set()

        def log_message(self, *arguments: Any) -> None:
            """Quiet."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        state.url = f"http://127.0.0.1:{httpd.server_address[1]}/"
        threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True).start()
        yield state
        httpd.shutdown()
