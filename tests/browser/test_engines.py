"""Bundles in the engines of Firefox and Safari. The page posts what came of it: nothing need drive the browser."""

from __future__ import annotations

import functools
import http.server
import json
import os
import queue
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pytest

from chimerac.compiler.packaging.scripts import write_web_files
from chimerac.runtime import bundle_format as bf
from chimerac.runtime import load

HERE = Path(__file__).parent
PROMPT: Final = "hello"
REQUEST: Final = {"prompt": PROMPT, "options": {"maxTokens": 20, "temperature": 1.5, "topP": 0.95, "seed": 3}}
MINI_BROWSER: Final = next(iter(sorted(Path("/usr/lib").glob("*/webkit2gtk-4.1/MiniBrowser"))), None)
SECONDS: Final = 240
ISOLATION: Final = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}


def firefox(profile: Path) -> list[str]:
    return ["firefox-esr", "--headless", "--no-remote", "--profile", str(profile)]


def webkit(profile: Path) -> list[str]:
    return ["xvfb-run", "-a", str(MINI_BROWSER)]


ENGINES: Final = [
    pytest.param(
        *(firefox, "Gecko/", "opfs", ("chimera.relaxed", "chimera.dot4"), 2),
        marks=pytest.mark.skipif(shutil.which("firefox-esr") is None, reason="scripts/setup-browser.sh --engines"),
        id="firefox",
    ),
    pytest.param(
        *(webkit, "AppleWebKit/", "cache", ("chimera",), 1),  # no SharedArrayBuffer, even where it is isolated
        marks=pytest.mark.skipif(
            MINI_BROWSER is None or shutil.which("xvfb-run") is None, reason="scripts/setup-browser.sh --engines"
        ),
        id="webkit",
    ),
]


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files, isolated or not, and what the page posts."""

    reports: queue.Queue[dict[str, Any]]
    isolated: bool
    extensions_map = {  # noqa: RUF012
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
        ".html": "text/html",
        "": "text/plain",
    }

    def end_headers(self) -> None:
        for name, value in ISOLATION.items() if self.isolated else ():
            self.send_header(name, value)
        super().end_headers()

    def do_POST(self) -> None:
        report = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204)
        self.end_headers()
        self.reports.put(report)

    def copyfile(self, source: Any, outputfile: Any) -> None:
        with suppress(ConnectionError):  # the loader leaves whole files that it wanted a part of
            super().copyfile(source, outputfile)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def served(folder: Path, isolated: bool) -> Iterator[tuple[str, queue.Queue[dict[str, Any]]]]:
    """The address of a folder, and what its pages post."""
    reports: queue.Queue[dict[str, Any]] = queue.Queue()
    handler = type("Reporting", (Handler,), {"reports": reports, "isolated": isolated})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/engines.html", reports
        finally:
            server.shutdown()


def report_of(command: list[str], home: Path, folder: Path, isolated: bool) -> dict[str, Any]:
    """What the page posts from a browser of its own home."""
    with served(folder, isolated) as (url, reports):
        environment = {**os.environ, "HOME": str(home), "LIBGL_ALWAYS_SOFTWARE": "1"}
        browser = subprocess.Popen(
            [*command, url],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
        try:
            return reports.get(timeout=SECONDS)
        finally:
            os.killpg(browser.pid, signal.SIGKILL)
            browser.wait()


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("command", "agent", "kind", "variants", "most"), ENGINES)
def test_an_engine(
    *,
    command: Any,
    agent: str,
    kind: str,
    variants: tuple[str, ...],
    most: int,
    threads: int,
    bundles: Any,
    tmp_path: Path,
) -> None:
    """Native tokens, an abort, and a second visit without a byte from the network; with two threads where isolated."""
    folder, home = tmp_path / "site", tmp_path / "home"
    shutil.copytree(bundles["wasm"], folder)
    home.mkdir()
    write_web_files(folder, bf.WEB_FILES)
    shutil.copy(HERE / "engines.mjs", folder)
    script = "<script type=module src=engines.mjs></script>"
    (folder / "engines.html").write_text(f"<!doctype html><meta charset=utf-8>{script}")
    (folder / "request.json").write_text(json.dumps({**REQUEST, "threads": threads}))
    with load(bundles["x86_64-avx2"]) as session:
        made = "".join(map(str, session.generate(PROMPT, max_tokens=20, temperature=1.5, top_p=0.95, seed=3)))
    report = report_of(command(home), home, folder, isolated=threads > 1)
    assert "error" not in report, report
    for visit in (report["first"], report["second"]):
        assert agent in visit["agent"]
        assert (visit["text"], visit["again"]) == (made, made)
        assert (visit["selfTest"], visit["abort"], visit["threads"]) == (True, "AbortError", min(threads, most))
        end = ".threads.wasm" if min(threads, most) > 1 else ".wasm"
        assert visit["variant"] in [f"{name}{end}" for name in variants]
        assert visit["storage"]["kind"] == kind
    sizes = {entry.role: entry.bytes for entry in bf.read_manifest(folder).files}
    assert report["first"]["storage"]["downloaded"] > sizes["weights"]
    assert report["second"]["storage"]["downloaded"] == 0
    assert [(one["kind"], one["complete"]) for one in report["kept"]] == [(kind, True)]
    assert report["forgotten"]
