"""A server of a web bundle for tests, and programs that use it in Node and in Chromium."""

from __future__ import annotations

import http.server
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chimerac.runtime import bundle_format as bf

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@dataclass
class Server:
    """Serves a folder; ``replace`` maps a path to the (status, body) to send instead; keeps what is posted to it.

    ``cached``: what replaces a file stands for a cache on the way, which is passed by requests that ask for that.
    """

    folder: Path
    replace: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    cached: bool = False
    posted: list[str] = field(default_factory=list)
    arrived: threading.Event = field(default_factory=threading.Event)
    url: str = ""


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """A server of a folder at a free port, until the context ends."""
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


def run_node(server: Server, program: str) -> Any:
    """Run a module with `url`, `Chimera`, and `load`, which takes no worker; what it gives to `result` comes back."""
    text = (
        f'import {{ Chimera, Model }} from "{(bf.WEB_DIRECTORY / "chimera.mjs").as_uri()}";\n'
        "const load = (source, options) => Chimera.load(source, { worker: false, ...options });\n"
        f'const url = "{server.url}";\n'
        "const result = (value) => console.log(JSON.stringify(value));\n"
        "const failure = async (promise) => { try { await promise; return null; }"
        " catch (error) { return [error.code ?? error.name, error.message]; } };\n" + program
    )
    command = ["node", "--input-type=module", "-e", text]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def in_chromium(server: Server, tmp_path: Path, page: str) -> Any:
    """Open a page that posts JSON to /result; returns it."""
    assert CHROMIUM is not None
    (server.folder / "test.html").write_text(page, encoding="utf-8")
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage"]
    command = [CHROMIUM, *flags, f"--user-data-dir={tmp_path / 'profile'}", f"{server.url}test.html"]
    browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert server.arrived.wait(60), "the page did not answer"
    finally:
        browser.terminate()
        browser.wait()
    return json.loads(server.posted[-1])
