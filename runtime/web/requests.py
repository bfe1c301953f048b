"""Answers to the requests for the files of a web bundle: GET and HEAD, ranges, compression, unchanged files."""

from __future__ import annotations

import re
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, Final, Protocol
from urllib.parse import unquote

from chimerac.runtime.web.served_files import Opened, ServedFiles

#: What a server must send for a page's workers to share memory, and what makes a rebuilt bundle show up at once.
HEADERS: Final = (
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Embedder-Policy", "require-corp"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-cache"),
    ("X-Content-Type-Options", "nosniff"),
)
#: Seconds that a client may take to accept a piece of an answer.
SEND_SECONDS: Final = 30.0
_PIECE: Final = 1 << 18
_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})", re.ASCII)
_NO_GZIP = re.compile(r"gzip\s*;\s*q=0(\.0{0,3})?\s*", re.ASCII)


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

    def __init__(self, *arguments: Any, files: ServedFiles, connections: Connections) -> None:
        self._files, self._connections = files, connections
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
        for name, value in HEADERS:
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing of requests."""

    def _refuse(self, status: HTTPStatus) -> bool:
        self.close_connection = True
        self.send_error(status)
        return False

    def _answer(self, *, with_body: bool) -> None:
        name = unquote(self.path.partition("?")[0]).removeprefix("/") or "index.html"
        file = self._files.open(name)
        if file is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        with file.stream:
            self._send(file, with_body=with_body)

    def _send(self, file: Opened, *, with_body: bool) -> None:
        wanted = self._range(file)
        packed = self._files.compressed(file) if wanted is None and self._takes_gzip() else None
        tag = f'"{file.tag}{"-gzip" if packed is not None else ""}"'
        if self.headers.get("If-None-Match") == tag:
            self._head(HTTPStatus.NOT_MODIFIED, tag)
            return
        if packed is not None:
            self._head(HTTPStatus.OK, tag, file.type, len(packed), ("Content-Encoding", "gzip"))
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
        fields = {"ETag": tag, "Vary": "Accept-Encoding", "Accept-Ranges": "bytes"}
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

    def _takes_gzip(self) -> bool:
        codings = self.headers.get("Accept-Encoding", "").lower().split(",")
        return any(c.partition(";")[0].strip() == "gzip" and not _NO_GZIP.fullmatch(c.strip()) for c in codings)

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
