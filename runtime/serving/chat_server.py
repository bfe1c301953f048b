"""A server with the part of OpenAI's API that asks a model: /v1/models and /v1/chat/completions.

It has the bounds of the server of web bundles: few connections that must not dawdle, and only requests that name it as
their host. Requests have to say that they are JSON. Pages of other sites may do so only where a server lets them, and
this one does not: such a page can neither read an answer nor make the model work.
"""

from __future__ import annotations

import json
import select
import socket
import time
from collections.abc import Iterator, Mapping
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, Final
from urllib.parse import unquote

from chimerac.runtime.errors import BundleError
from chimerac.runtime.serving.chat_answers import Answering, Compile, Delta, Made
from chimerac.runtime.serving.chat_requests import ApiError, read_request
from chimerac.runtime.sessions.interface import Session
from chimerac.runtime.web.bounded import BoundedServer

#: Bytes of a request.
MAX_BODY: Final = 1 << 22
#: Seconds that a client may take to accept a piece of an answer.
SEND_SECONDS: Final = 30.0


class ChatServer(BoundedServer):
    """Answers requests for chat completions with a session, which is the server's. Use it in ``with``."""

    def __init__(self, session: Session, compile_schema: Compile, host: str = "127.0.0.1", port: int = 8000) -> None:
        """Bind the port, a free one for 0; raises BundleError CHM441 if the address cannot be used."""
        self._session = session
        self.answering = Answering(session, compile_schema)
        super().__init__(host, port, partial(ChatRequests, server_of=self))
        self.url = f"{self.url}v1"

    def server_close(self) -> None:
        """Give port and session back; ends an answer that is being made."""
        super().server_close()
        self._session.close()


class ChatRequests(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = "chimerac"
    sys_version = ""
    timeout = SEND_SECONDS
    disable_nagle_algorithm = True  # a body would wait until the client has acknowledged the head

    def __init__(self, *arguments: Any, server_of: ChatServer) -> None:
        self._server = server_of
        super().__init__(*arguments)

    def handle_one_request(self) -> None:
        self._server.waits(self.request)
        super().handle_one_request()

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing of requests."""

    def do_GET(self) -> None:
        """List the model, or say what it is."""
        self._guarded(self._models)

    def do_POST(self) -> None:
        """Answer."""
        self._guarded(self._complete)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """As for other errors, JSON: of requests that are none, and of methods that are not there."""
        self.close_connection = True
        self._send(HTTPStatus(code), ApiError(message or HTTPStatus(code).phrase).body())

    # requests ---------------------------------------------------------------------------------------------------

    def _guarded(self, answer: Any) -> None:
        """Make an error that is one of the client's, or of the model, an answer."""
        try:
            if len(self.headers.get_all("Host", ())) != 1:
                raise ApiError("one Host is needed")
            if not self._server.is_for_this_server(self.headers["Host"]):
                raise ApiError("this server has another name", status=421)
            answer()
        except (ApiError, BundleError) as error:
            found = error if isinstance(error, ApiError) else of_bundle(error)
            self.close_connection = True  # what is left of the request would be read as another one
            self._send(HTTPStatus(found.status), found.body())

    def _path(self) -> str:
        return unquote(self.path.partition("?")[0]).rstrip("/")

    def _models(self) -> None:
        self._server.has_asked(self.request)
        name, path = self._server.answering.name, self._path()
        model = {"id": name, "object": "model", "created": 0, "owned_by": "chimerac"}
        if path == "/v1/models":
            self._send(HTTPStatus.OK, {"object": "list", "data": [model]})
        elif path == f"/v1/models/{name}":
            self._send(HTTPStatus.OK, model)
        elif path.startswith("/v1/models/"):
            raise ApiError(f"there is no such model; this server has {name!r}", "model", "model_not_found", status=404)
        else:
            raise ApiError("there is nothing at this address", status=404)

    def _body(self) -> bytes:
        """The bytes of the request, within the time that a request has."""
        kind = self.headers.get_content_type()
        if kind != "application/json":
            raise ApiError(f"the request is {kind}, not application/json", status=415)
        lengths = self.headers.get_all("Content-Length", ())
        length = lengths[0].lstrip("0") or "0" if len(lengths) == 1 and lengths[0] else ""
        if "Transfer-Encoding" in self.headers or not (length.isascii() and length.isdigit()):
            raise ApiError("the request does not say its length", status=411)
        if len(length) > len(str(MAX_BODY)) or int(length) > MAX_BODY:
            raise ApiError(f"the request has over {MAX_BODY} bytes", status=413)
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise ApiError("the request is cut")
        return body

    def _complete(self) -> None:
        if self._path() != "/v1/chat/completions":
            raise ApiError("there is nothing at this address", status=404)
        body = self._body()
        self._server.has_asked(self.request)
        answering = self._server.answering
        request = read_request(body, answering.name)
        made = Made()
        parts = answering.answer(request, made, lambda: not self._is_gone())
        head = {"id": f"chatcmpl-{time.time_ns():x}", "created": int(time.time()), "model": answering.name}
        first = next(parts, Delta())  # what is wrong with the request is known before an answer begins
        try:
            if request.stream:
                self._stream(head, first, parts, made, request.include_usage)
            else:
                self._whole(head, first, parts, made)
        finally:
            parts.close()

    # answers ----------------------------------------------------------------------------------------------------

    def _whole(self, head: Mapping[str, Any], first: Delta, parts: Iterator[Delta], made: Made) -> None:
        content, thinking = first.content, first.thinking
        for delta in parts:
            content, thinking = content + delta.content, thinking + delta.thinking
            if self._is_gone():
                self.close_connection = True
                return
        message: dict[str, Any] = {"role": "assistant", "content": content or (None if made.calls else "")}
        message |= {"refusal": None}
        if thinking:
            message["reasoning_content"] = thinking
        if made.calls:
            message["tool_calls"] = [_call(n, call) for n, call in enumerate(made.calls)]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": made.finish_reason}
        self._send(HTTPStatus.OK, {**head, "object": "chat.completion", "choices": [choice], "usage": usage(made)})

    def _stream(
        self, head: Mapping[str, Any], first: Delta, parts: Iterator[Delta], made: Made, include_usage: bool
    ) -> None:
        """Events, each a chunk; the connection ends with them."""
        self.close_connection = True
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Cache-Control", "no-cache")
        self.send_header("Connection", "close")
        self.end_headers()
        chunk = {**head, "object": "chat.completion.chunk"}

        def event(delta: Mapping[str, Any], reason: str | None = None) -> None:
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
            more = {"usage": None} if include_usage else {}
            self._event({**chunk, "choices": [choice], **more})

        event({"role": "assistant", "content": ""})
        try:
            for delta in _chain(first, parts):
                for fields in _fields(delta):
                    event(fields)
                if delta == Delta() and self._is_gone():
                    return
        except (ApiError, BundleError) as error:  # the answer has begun: its status is sent
            self._event((error if isinstance(error, ApiError) else of_bundle(error)).body())
            return
        event({}, made.finish_reason)
        if include_usage:
            self._event({**chunk, "choices": [], "usage": usage(made)})
        self.wfile.write(b"data: [DONE]\n\n")

    def _event(self, value: Mapping[str, Any]) -> None:
        self.wfile.write(b"data: " + json.dumps(value).encode() + b"\n\n")
        self.wfile.flush()

    def _send(self, status: HTTPStatus, value: Mapping[str, Any]) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Content-Type-Options", "nosniff")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def _is_gone(self) -> bool:
        """Whether the client has closed the connection, so that nobody waits for the answer."""
        try:
            ready, _, _ = select.select([self.connection], [], [], 0)
            return bool(ready) and not self.connection.recv(1, socket.MSG_PEEK)
        except (OSError, ValueError):
            return True


def of_bundle(error: BundleError) -> ApiError:
    """What a client is told of an error of the session."""
    status = 400 if error.code in ("CHM420", "CHM424", "CHM431") or error.code.startswith("CHM28") else 500
    code = "context_length_exceeded" if error.code == "CHM424" else error.code
    return ApiError(error.message, None, code, status=status)


def usage(made: Made) -> dict[str, int]:
    """Tokens of the prompt and of the answer."""
    total = made.prompt_tokens + made.completion_tokens
    return {"prompt_tokens": made.prompt_tokens, "completion_tokens": made.completion_tokens, "total_tokens": total}


def _call(number: int, call: tuple[str, str]) -> dict[str, Any]:
    return {"id": f"call_{number}", "type": "function", "function": {"name": call[0], "arguments": call[1]}}


def _fields(delta: Delta) -> Iterator[dict[str, Any]]:
    """What a delta adds to a message."""
    if delta.thinking:
        yield {"reasoning_content": delta.thinking}
    if delta.content:
        yield {"content": delta.content}
    if delta.calls:
        yield {"tool_calls": [{"index": n, **_call(n, call)} for n, call in enumerate(delta.calls)]}


def _chain(first: Delta, rest: Iterator[Delta]) -> Iterator[Delta]:
    yield first
    yield from rest
