"""The server of chat completions: errors in the form of its API, turns, bounds, and clients that go away."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from typing import Any

import openai
import pytest
from scripted_chats import TOOLS, Scripted, client_of, compiled, complete

from chimerac.runtime import BundleError
from chimerac.runtime.serving import chat_answers, chat_server
from chimerac.runtime.serving.chat_server import ChatServer
from chimerac.runtime.web import bounded

WRONG: list[tuple[dict[str, Any], str | None, str]] = [
    ({"unheard": 1}, "unheard", "Unrecognized request argument"),
    ({"n": 2}, "n", "can only be 1"),
    ({"logprobs": True}, "logprobs", "can only be false"),
    ({"logit_bias": {"1": 2}}, "logit_bias", "can only be {}"),
    ({"frequency_penalty": 0.5}, "frequency_penalty", "can only be 0"),
    ({"temperature": 3}, "temperature", "0 to 2"),
    ({"temperature": "hot"}, "temperature", "0 to 2"),
    ({"top_p": True}, "top_p", "0 to 1"),
    ({"max_tokens": 0}, "max_tokens", "whole number"),
    ({"seed": 0.5}, "seed", "whole number"),
    ({"stop": ["a"] * 5}, "stop", "up to 4 texts"),
    ({"stop": ""}, "stop", "up to 4 texts"),
    ({"stream": 1}, "stream", "true or false"),
    ({"stream_options": []}, "stream_options", "an object"),
    ({"messages": []}, "messages", "1 to 1024"),
    ({"messages": "hi"}, "messages", "1 to 1024"),
    ({"messages": [{"role": "king", "content": "x"}]}, "messages[0].role", "none of system"),
    ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content", "no text"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content", "no text"),
    ({"messages": [{"role": "user"}]}, "messages[0].content", "no text"),
    ({"messages": [{"role": "assistant", "tool_calls": [3]}]}, "messages[0]", "name and arguments"),
    ({"messages": [{"role": "system", "content": "x"}]}, "messages", "no message of the user"),
    ({"tools": {}}, "tools", "no list"),
    ({"tools": [{"type": "function"}]}, "tools[0]", "no function"),
    ({"tools": [{"type": "function", "function": {"name": "a", "parameters": 3}}]}, "tools[0]", "no schema"),
    ({"tool_choice": "required"}, "tool_choice", "none of none"),
    ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "x"}}}, "tool_choice", "none of none"),
    ({"response_format": {"type": "xml"}}, "response_format", "json_schema"),
    ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format", "json_schema"),
    ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "nonsense"}}}}, None, "what type"),
    ({"messages": [{"role": "user", "content": "too long"}]}, None, "does not fit"),
]


@pytest.mark.parametrize(("fields", "param", "message"), WRONG, ids=[repr(row[0])[:60] for row in WRONG])
def test_what_is_wrong_is_said_in_the_form_of_the_api(
    client: openai.OpenAI, fields: dict[str, Any], param: str | None, message: str
) -> None:
    body = {"model": "toy", "messages": [{"role": "user", "content": "x"}], **fields}
    for more in ({}, {"stream": True}):
        with pytest.raises(openai.BadRequestError) as error:
            client.post("/chat/completions", cast_to=object, body={**more, **body})
        assert error.value.param == param
        assert error.value.type == "invalid_request_error"
        assert message in error.value.message


def test_what_fails_in_the_middle(client: openai.OpenAI) -> None:
    with pytest.raises(openai.InternalServerError, match="no token"):
        complete(client, "fails at once")
    with pytest.raises(openai.APIError, match="no token"):
        list(complete(client, "fails later", stream=True))
    assert complete(client, "hello").choices[0].message.content == "hello"


def post(server: ChatServer, body: bytes, **headers: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=20)
    given = {"Content-Type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    connection.request("POST", "/v1/chat/completions", body, given)
    answer = connection.getresponse()
    found = answer.status, json.loads(answer.read())
    connection.close()
    return found


def test_what_is_no_request(server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for body in (b"", b"no json", b"[]", b"[" * 100_000, b"\xff"):
        status, found = post(server, body)
        assert (status, found["error"]["type"]) == (400, "invalid_request_error")
    assert post(server, b"{}", Content_Type="text/plain")[0] == 415
    assert post(server, b"{}", Host="evil.example")[0] == 421
    assert post(server, b"{}", Content_Length="99999999")[0] == 413
    assert post(server, b"{}", Content_Length="-1")[0] == 411
    for length in ("0" * 12 + "9" * 14, "9" * 5000):  # no number of Python, one that no memory has
        assert post(server, b"{}", Content_Length=length)[0] == 413
    assert post(server, b"{}", Content_Length="0002")[0] == 404  # read: it names no model
    assert post(server, b"{}", Transfer_Encoding="chunked")[0] == 411
    for method, path, status in (
        *(("GET", "/", 404), ("GET", "/v1/chat/completions", 404), ("POST", "/v1/models", 404)),
        *(("OPTIONS", "/v1/chat/completions", 501), ("DELETE", "/v1/models/toy", 501)),
    ):
        connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=20)
        connection.request(method, path)
        answer = connection.getresponse()
        assert (answer.status, "error" in json.loads(answer.read())) == (status, True)
        assert "Access-Control-Allow-Origin" not in answer.headers
        connection.close()


def test_requests_wait_their_turn(server: ChatServer, commands: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[str] = []

    def ask() -> None:
        with client_of(server) as client:
            found.append(complete(client, "slow").choices[0].message.content)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (found, commands.most) == (["slow"] * 6, 1)
    monkeypatch.setattr(chat_answers, "TURN_SECONDS", 0.05)
    with client_of(server) as client:
        steps = complete(client, "slow" * 50, stream=True)
        next(iter(steps))
        with pytest.raises(openai.InternalServerError, match="too long") as error:
            complete(client, "x")
        assert error.value.status_code == 503
        steps.close()


def asking(server: ChatServer, text: str, *, stream: bool) -> socket.socket:
    """A connection that has sent a request."""
    body = json.dumps({"model": "toy", "messages": [{"role": "user", "content": text}], "stream": stream})
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{server.server_address[1]}\r\n"
    client = socket.create_connection(("127.0.0.1", server.server_address[1]), 20)
    client.sendall(f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
    return client


@pytest.mark.parametrize("text", ["slow" * 2000, "long"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_who_goes_away_is_not_answered(stream: bool, text: str, server: ChatServer, commands: Scripted) -> None:
    """In the middle of the answer, and of the prompt; nor is who went away before it was their turn."""
    with asking(server, text, stream=stream):
        while not commands.calls:
            time.sleep(0.01)
        asking(server, "waits", stream=stream).close()
    for _ in range(500):
        if not commands.calls:
            break
        time.sleep(0.01)
    assert commands.calls == 0  # 80 s sooner than it would have ended
    with client_of(server) as client:
        assert complete(client, "hello").choices[0].message.content == "hello"
    assert [asked for asked, _ in commands.asked] == [text, "hello"]


def test_a_request_must_not_dawdle(server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "REQUEST_SECONDS", 0.2)
    with socket.create_connection(("127.0.0.1", server.server_address[1]), 20) as client:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{server.server_address[1]}\r\n"
        client.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{".encode())
        found = b""
        while piece := client.recv(4096):
            found += piece
        assert b" 200 " not in found


def test_an_address_that_is_taken(commands: Scripted) -> None:
    with ChatServer(commands, compiled, port=0) as server:  # type: ignore[arg-type]
        with pytest.raises(BundleError) as error:
            ChatServer(commands, compiled, port=server.server_address[1])  # type: ignore[arg-type]
        assert error.value.code == "CHM441"
    assert commands.closed
    assert chat_server.MAX_BODY == 1 << 22
