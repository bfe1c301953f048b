"""A server that answers as networks, servers and caches do on bad days: the first folder of a path names the fault."""

from __future__ import annotations

import http.server
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

HTML = b"<!DOCTYPE html><html><body>Not here</body></html>"
TYPES = {".mjs": "text/javascript", ".wasm": "application/wasm", ".json": "application/json", ".html": "text/html"}
STRICT = "default-src 'none'; script-src 'self' {eval}; worker-src {worker}; connect-src {connect}"
TRUSTED = STRICT + "; require-trusted-types-for 'script'; trusted-types {policy}"
GOOD = {"eval": "'wasm-unsafe-eval'", "worker": "'self'", "connect": "'self'", "policy": "chimera"}
#: Faults of the first two answers, whatever part of the file they are.
CUT = ("cut", "stall", "no-ranges-cut")
#: Content security policies by the first folder of the path.
POLICIES = {
    "strict": TRUSTED.format(**GOOD),
    "no-eval": STRICT.format(**GOOD | {"eval": ""}),
    "no-worker": STRICT.format(**GOOD | {"worker": "'none'"}),
    "no-connect": STRICT.format(**GOOD | {"connect": "'none'"}),
    "no-policy": TRUSTED.format(**GOOD | {"policy": "'none'"}),
}


@dataclass
class FaultyServer:
    """``counts``: how often each fault, name and Range (or "") was asked for; of CUT, any Range."""

    folder: Path
    weights: str
    url: str = ""
    port: int = 0
    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, fault: str, name: str, part: str) -> int:
        """How often the same was asked for before."""
        with self.lock:
            if fault in CUT:
                part = ""
            self.counts[fault, name, part] += 1
            return self.counts[fault, name, part] - 1


class Handler(http.server.BaseHTTPRequestHandler):
    """Faults are of the weights; all else is served as it is."""

    protocol_version = "HTTP/1.1"
    state: FaultyServer

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""

    def do_OPTIONS(self) -> None:
        self._send(204, b"", ".html")

    def do_GET(self) -> None:
        fault, _, name = self.path.split("?")[0].strip("/").partition("/")
        file = self.state.folder / name
        if not name or not file.is_file():
            self._send(404, HTML, ".html")
            return
        part = self.headers.get("Range", "")
        before = self.state.note(fault, name, part)
        data = file.read_bytes()
        if name == self.state.weights:
            self._weights(fault, data, part, before)
        else:
            self._send(200, data, file.suffix)

    def _weights(self, fault: str, data: bytes, part: str, before: int) -> None:
        if fault == "html404":
            self._send(404, HTML, ".html")
        elif fault == "html":
            self._send(200, HTML, ".html")
        elif fault == "busy" and before < 2:
            self._send(503, b"", ".html")
        elif fault == "gone":
            self.close_connection = True
        else:
            self._part(fault, data, part, before)

    def _part(self, fault: str, data: bytes, part: str, before: int) -> None:
        if fault == "wrong" or (fault == "wrong-once" and before == 0):
            data = bytes(byte ^ 1 for byte in data)
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", part)
        if found is None or fault in ("no-ranges", "no-ranges-cut"):
            status, body, extra = 200, data, {}
        else:
            begin, end = int(found[1]), int(found[2] or len(data) - 1) + 1
            status, body = 206, data[begin:end]
            extra = {"Content-Range": f"bytes {begin}-{end - 1}/{len(data)}"}
        sent = len(body)
        if fault in CUT and before < 2:
            sent = len(body) * (before + 1) // 3
        self._send(status, body, ".bin", extra, sent=sent, stall=fault == "stall")
        if fault == "slow":
            time.sleep(0.05)

    def _send(
        self,
        status: int,
        body: bytes,
        suffix: str,
        extra: dict[str, str] | None = None,
        sent: int | None = None,
        *,
        stall: bool = False,
    ) -> None:
        headers = {
            "Content-Type": TYPES.get(suffix, "application/octet-stream"),
            "Content-Length": str(len(body)),
            "Access-Control-Allow-Origin": "*",
            "Access-Control-Allow-Headers": "*",
            "Cache-Control": "no-cache",
        } | (extra or {})
        policy = POLICIES.get(self.path.split("/")[1])
        if policy is not None:
            headers["Content-Security-Policy"] = policy
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        whole = sent is None or sent == len(body)
        self.wfile.write(body if whole else body[:sent])
        if not whole:
            self.wfile.flush()
            if stall:
                time.sleep(3)
            self.close_connection = True


class Quiet(http.server.ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Browsers go away in the middle of answers; that is what is tested."""


@contextmanager
def faulty(folder: Path, weights: str) -> Iterator[FaultyServer]:
    """A server of a folder with a bundle and its runtime, at a free port."""
    state = FaultyServer(folder, weights)
    handler = type("Handler", (Handler,), {"state": state})
    with Quiet(("127.0.0.1", 0), handler) as httpd:
        state.port = httpd.server_address[1]
        state.url = f"http://127.0.0.1:{state.port}/"
        threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True).start()
        yield state
        httpd.shutdown()
