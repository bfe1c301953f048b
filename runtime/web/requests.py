"""Answers to the requests for the files of a web bundle: GET and HEAD, ranges, compression, unchanged files."""

from __future__ import annotations

import re
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, Final, Protocol
from urllib.parse import unquote

from chimerac.runtime.bundle_format import MANIFEST_NAME
from chimerac.runtime.web.served_files import Opened, ServedFiles

#: What a page and its workers may do: run what is in the bundle, compile WebAssembly, and reach this server.
CONTENT_SECURITY: Final = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; img-src 'self' data:; object-src 'none';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'self'; require-trusted-types-for 'script'"
)
HEADERS: Final = (
    ("Content-Security-Policy", CONTENT_SECURITY),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
)
#: What a server must send for a page's workers to share memory.
ISOLATION: Final = (("Cross-Origin-Opener-Policy", "same-origin"), ("Cross-Origin-Embedder-Policy", "require-corp"))
#: A rebuilt bundle shows up at once; an address with the content of its file (``?v=`` and the start of its SHA-256)
#: never has another.
FRESH, FOREVER = "no-cache", "public, max-age=31536000, immutable"
#: Seconds that a client may take to accept a piece of an answer.
SEND_SECONDS: Final = 30.0
_PIECE: Final = 1 << 18
#: What stands in the place of a page that a bundle was built without.
_NO_PAGE: Final = (
    b"This is a model for web pages, built without a page of its own (--page none).\n"
    b'Load it in one: import { Chimera } from "./chimera.mjs"; const model = await Chimera.load("./");\n'
)
_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})", re.ASCII)
_REFUSED = re.compile(r".*;\s*q=0(\.0{0,3})?\s*", re.ASCII)
_VERSION = re.compile(r"v=([0-9a-f]{16,64})", re.ASCII)


class Connections(Protocol):
    """What the answers need of their server."""

    def is_for_this_server(self, host: str | None) -> bool:
        """Whether a ``Host`` header names it."""

    def waits(self, connection: Any) -> None:
        """Note that a connection waits for its next request."""

    def has_asked(self, connection: Any) -> None:
        """Note that its request has come."""


class BundleRequests(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = "chimerac"
    sys_version = ""
    timeout = SEND_SECONDS

    def __init__(self, *arguments: Any, files: ServedFiles, connections: Connections, isolated: bool) -> None:
        self._files, self._connections, self._isolated = files, connections, isolated
        super().__init__(*arguments)

    def handle_one_request(self) -> None:
        self._connections.waits(self.request)
        super().handle_one_request()

    def parse_request(self) -> bool:
        """Refuse what a request for a file does not have."""
        if not super().parse_request():
            return False
        self._connections.has_asked(self.request)
        if self.command not in ("GET", "HEAD"):
            return self._refuse(HTTPStatus.METHOD_NOT_ALLOWED)
        if "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
            return self._refuse(HTTPStatus.BAD_REQUEST)  # a body would be read as the next request
        if len(self.headers.get_all("Host", ())) != 1:
            return self._refuse(HTTPStatus.BAD_REQUEST)
        if not self._connections.is_for_this_server(self.headers["Host"]):
            return self._refuse(HTTPStatus.MISDIRECTED_REQUEST)
        return True

    def do_GET(self) -> None:
        """Send a file."""
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        """Send what would be sent before it."""
        self._answer(with_body=False)

    def end_headers(self) -> None:
        for name, value in (*HEADERS, *(ISOLATION if self._isolated else ())):
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing of requests."""

    def _refuse(self, status: HTTPStatus) -> bool:
        self.close_connection = True
        self.send_error(status)
        return False

    def _answer(self, *, with_body: bool) -> None:
        path, _, query = self.path.partition("?")
        file = self._files.open(unquote(path).removeprefix("/") or "index.html")
        if file is None:
            manifest = self._files.open(MANIFEST_NAME) if path == "/" else None
            if manifest is None:
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            manifest.stream.close()
            self._without_page(with_body=with_body)
            return
        version = _VERSION.fullmatch(query)
        self._caching = FOREVER if version and file.sha256.startswith(version[1]) else FRESH
        with file.stream:
            self._send(file, with_body=with_body)

    def _without_page(self, *, with_body: bool) -> None:
        """What a bundle that was built without a page answers where it would be."""
        self._caching = FRESH
        self._head(HTTPStatus.OK, '"none"', "text/plain; charset=utf-8", len(_NO_PAGE))
        if with_body:
            self.wfile.write(_NO_PAGE)

    def _send(self, file: Opened, *, with_body: bool) -> None:
        wanted = self._range(file)
        coding, packed = ("", None) if wanted is not None else self._files.compressed(file, self._codings())
        tag = f'"{file.tag}{f"-{coding}" if coding else ""}"'
        if self.headers.get("If-None-Match") == tag:
            self._head(HTTPStatus.NOT_MODIFIED, tag)
            return
        if packed is not None:
            self._head(HTTPStatus.OK, tag, file.type, len(packed), ("Content-Encoding", coding))
            if with_body:
                self.wfile.write(packed)
            return
        if wanted is not None and not wanted:
            self._head(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, tag, None, 0, _content_range("*", file))
            return
        part = wanted or range(file.bytes)
        if wanted is None:
            self._head(HTTPStatus.OK, tag, file.type, len(part))
        else:
            place = _content_range(f"{part.start}-{part.stop - 1}", file)
            self._head(HTTPStatus.PARTIAL_CONTENT, tag, file.type, len(part), place)
        if with_body:
            self._copy(file, part)

    def _head(
        self,
        status: HTTPStatus,
        tag: str,
        kind: str | None = None,
        length: int | None = None,
        more: tuple[str, str] | None = None,
    ) -> None:
        self.send_response(status)
        fields = {"ETag": tag, "Vary": "Accept-Encoding", "Accept-Ranges": "bytes", "Cache-Control": self._caching}
        fields |= {} if kind is None else {"Content-Type": kind}
        fields |= {} if length is None else {"Content-Length": str(length)}
        for name, value in (fields | dict([more] if more else [])).items():
            self.send_header(name, value)
        self.end_headers()

    def _copy(self, file: Opened, part: range) -> None:
        file.stream.seek(part.start)
        left = len(part)
        while left:
            piece = file.stream.read(min(_PIECE, left))
            if not piece:  # the file has become shorter: the client must not take the answer for whole
                self.close_connection = True
                return
            self.wfile.write(piece)
            left -= len(piece)

    def _codings(self) -> frozenset[str]:
        """The codings that the client takes."""
        asked = [c.strip() for c in self.headers.get("Accept-Encoding", "").lower().split(",")]
        return frozenset(c.partition(";")[0].strip() for c in asked if not _REFUSED.fullmatch(c))

    def _range(self, file: Opened) -> range | None:
        """The one range of bytes that is asked for; an empty one if the file has none of it, None for all."""
        asked = _RANGE.fullmatch(self.headers.get("Range", ""))
        since = self.headers.get("If-Range")
        if asked is None or since not in (None, f'"{file.tag}"'):
            return None
        first, last = asked.groups()
        if not first:
            return range(max(0, file.bytes - int(last)), file.bytes) if last else None
        if last and int(last) < int(first):
            return None
        return range(int(first), min(file.bytes, int(last) + 1 if last else file.bytes))


def _content_range(part: str, file: Opened) -> tuple[str, str]:
    return "Content-Range", f"bytes {part}/{file.bytes}"
