"""The Wyoming service, asked by the protocol's own client: intents, refusals, texts, many clients, and hostile ones."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from wyoming.asr import Transcript
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.event import Event
from wyoming.handle import Handled
from wyoming.info import Describe, Info
from wyoming.intent import Entity, Intent, IntentsStart, IntentsStop, NotRecognized, Recognize
from wyoming.ping import Ping, Pong

from chimerac.runtime import BundleError, load
from chimerac.runtime.serving import wyoming as service
from chimerac.runtime.serving.wyoming import WyomingServer

ANSWERS: dict[str, Any] = {
    "on": {"intent": "HassTurnOn", "slots": {"name": "Küche", "brightness": 40}},
    "both": [{"intent": "HassTurnOn", "slots": {"area": "bath"}}, {"intent": "HassTurnOff", "slots": {}}],
    "no": {"intent": "OutOfDomain", "slots": {}},
    "which": {"intent": "AmbiguousDevice", "slots": {"name": "lamp"}},
    "half": [{"intent": "HassTurnOn", "slots": {}}, {"intent": "NoSuchDevice", "slots": {}}],
    "odd": {"intent": "HassTurnOn", "slots": 3},
    "list": [],
}


class Scripted:
    """A session that says what is in ANSWERS, else the request; it notes how many calls run at a time."""

    def __init__(self, toy: Any) -> None:
        self.manifest = toy.manifest
        self.calls = self.most = 0
        self.closed = False

    def generate(self, text: str, **options: Any) -> list[str]:
        self.calls += 1
        self.most = max(self.most, self.calls)
        if text == "slow":
            time.sleep(0.05)
        if text == "wrong":
            self.calls -= 1
            raise BundleError("CHM424", "too long")
        self.calls -= 1
        return [json.dumps(ANSWERS[text]) if text in ANSWERS else text]

    def close(self) -> None:
        self.closed = True


@contextmanager
def running(session: Any, **options: Any) -> Iterator[WyomingServer]:
    with WyomingServer(session, port=0, **options) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture
def scripted(toy: Any) -> Scripted:
    return Scripted(toy)


@pytest.fixture
def server(scripted: Scripted) -> Iterator[WyomingServer]:
    with running(scripted, languages=["en", "de"]) as server:
        yield server


def ask(server: WyomingServer, *events: Event, answers: int = 1) -> list[Event]:
    """What comes back to some events on one connection."""

    async def converse() -> list[Event]:
        async with AsyncTcpClient("127.0.0.1", server.port, read_timeout=20) as client:
            for event in events:
                await client.write_event(event)
            found = [await client.read_event() for _ in range(answers)]
            assert all(event is not None for event in found)
            return [event for event in found if event is not None]

    return asyncio.run(converse())


def test_what_it_is(server: WyomingServer, scripted: Scripted) -> None:
    (event,) = ask(server, Describe().event())
    info = Info.from_event(event)
    (program,) = info.intent
    assert (program.name, program.installed, info.handle, info.asr) == ("toy", True, [], [])
    assert program.models[0].languages == ["en", "de"]
    assert server.url == f"tcp://127.0.0.1:{server.port}"
    (event,) = ask(server, Event("unheard-of", {"a": 1}), Ping(text="there?").event())
    assert Pong.from_event(event).text == "there?"


@pytest.mark.parametrize("kind", [Transcript, Recognize])
def test_an_intent(server: WyomingServer, kind: Any) -> None:
    (event,) = ask(server, kind("on", context={"conversation_id": "x"}).event())
    found = Intent.from_event(event)
    assert found.name == "HassTurnOn"
    assert found.entities == [Entity("name", "Küche"), Entity("brightness", 40)]
    assert found.context == {"conversation_id": "x"}


def test_several_intents(server: WyomingServer) -> None:
    start, first, second, stop = ask(server, Transcript("both").event(), answers=4)
    assert IntentsStart.is_type(start.type)
    assert [Intent.from_event(one).name for one in (first, second)] == ["HassTurnOn", "HassTurnOff"]
    assert IntentsStop.is_type(stop.type)


@pytest.mark.parametrize(
    ("text", "said"), [("no", "cannot do that"), ("which", "more than one"), ("half", "no such device")]
)
def test_a_refusal_does_nothing(server: WyomingServer, text: str, said: str) -> None:
    (event,) = ask(server, Transcript(text).event())
    assert NotRecognized.is_type(event.type)
    assert said in (NotRecognized.from_event(event).text or "")


@pytest.mark.parametrize("text", ["odd", "list", "hello {", '"text"', "3"])
def test_what_is_no_intent_is_a_text(server: WyomingServer, text: str) -> None:
    (event,) = ask(server, Transcript(text).event())
    assert Handled.is_type(event.type)
    assert Handled.from_event(event).text == (json.dumps(ANSWERS[text]) if text in ANSWERS else text)


def test_errors_of_the_model_and_of_an_event(server: WyomingServer) -> None:
    long = Transcript("x" * (service.MAX_TEXT + 1)).event()
    wrong, none, more, pong = ask(
        server, Transcript("wrong").event(), Event("transcript", {"text": 3}), long, Ping().event(), answers=4
    )
    assert (Error.from_event(wrong).code, Error.from_event(wrong).text) == ("CHM424", "too long")
    assert Error.from_event(none).code == Error.from_event(more).code == "CHM420"
    assert "over 8,192" in Error.from_event(more).text
    assert Pong.is_type(pong.type)  # the connection goes on


def test_clients_are_answered_one_after_the_other(server: WyomingServer, scripted: Scripted) -> None:
    async def one() -> str | None:
        async with AsyncTcpClient("127.0.0.1", server.port, read_timeout=20) as client:
            await client.write_event(Transcript("slow").event())
            event = await client.read_event()
            assert event is not None
            return Handled.from_event(event).text

    async def many() -> list[str | None]:
        return await asyncio.gather(*(one() for _ in range(12)))

    assert asyncio.run(many()) == ["slow"] * 12
    assert scripted.most == 1


def raw(server: WyomingServer, data: bytes) -> bytes:
    """All that comes back to some bytes before the connection is closed."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.sendall(data)
        found = b""
        while piece := client.recv(1 << 16):
            found += piece
        return found


LONG = service.MAX_LINE + 1
PING = b'{"type": "ping", "data": {"text": "\\ud800"}}\n'


@pytest.mark.parametrize(
    "data",
    [
        *(
            b"\n",
            b"no json\n",
            b"[]\n",
            b"{}\n",
            b'{"type": 3}\n',
            b"\xff\n",
            b"[" * 60_000 + b"\n",
            b"x" * LONG + b"\n",
        ),
        *(b'{"type": "transcript", "data": []}\n', b'{"type": "ping", "data": 7}\n', PING),
        b'{"type": "transcript", "data_length": 100000000000}\n',
        b'{"type": "transcript", "data_length": -1}\n',
        b'{"type": "transcript", "data_length": "9"}\n',
        b'{"type": "transcript", "data_length": true}\n',
        b'{"type": "transcript", "data": {"text": "on", "context": {"a": 1e999}}}\n',
        b'{"type": "transcript", "data_length": 39}\n{"text": "on", "context": {"a": [NaN]}}\n',
        b'{"type": "transcript", "data_length": 2}\n[]',
        b'{"type": "audio-chunk", "payload_length": 9999999}\n',
    ],
)
def test_what_is_no_event_ends_the_connection(server: WyomingServer, data: bytes) -> None:
    assert raw(server, data) == b""
    (event,) = ask(server, Ping().event())
    assert Pong.is_type(event.type)


def test_bytes_after_an_event_are_read_over(server: WyomingServer) -> None:
    (event,) = ask(server, Event("audio-chunk", {"rate": 16000}, payload=bytes(3200)), Ping(text="x").event())
    assert Pong.from_event(event).text == "x"


def test_connections_are_bounded_and_must_not_dawdle(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MAX_CONNECTIONS", 2)
    monkeypatch.setattr(service, "IDLE_SECONDS", 0.5)
    monkeypatch.setattr(service, "EVENT_SECONDS", 0.2)
    with running(scripted) as server:
        address = ("127.0.0.1", server.port)
        with socket.create_connection(address, 20) as silent, socket.create_connection(address, 20) as half:
            half.sendall(b'{"type": "transcript", "data_length": 50}\n{"te')
            assert (silent.recv(1), half.recv(1)) == (b"", b"")  # both are closed, the second sooner
        with socket.create_connection(address, 20) as first, socket.create_connection(address, 20) as second:
            for client in (first, second):
                client.sendall(b'{"type": "ping"}\n')
                assert client.recv(4)
            with socket.create_connection(address, 20) as third:
                assert third.recv(1) == b""


def test_a_bundle_answers(toy: Any) -> None:
    with load(toy.folder) as session:
        expected = "".join(map(str, session.generate("hello", max_tokens=9)))
    with running(load(toy.folder), max_tokens=9) as server:
        (event,) = ask(server, Transcript("hello").event())
        assert Handled.from_event(event).text == expected
        with socket.create_connection(("127.0.0.1", server.port), 20) as client:  # the protocol's own sends none
            client.sendall(b'{"type": "transcript", "data": {"text": "\\ud800"}}\n')
            assert b'"error"' in client.recv(1 << 16)


def test_a_bundle_of_conversations_handles_texts(
    toy: Any, tmp_path: Path, with_chat: Callable[[Any, Path], Path]
) -> None:
    folder = with_chat(toy, tmp_path / "chat")
    with load(folder) as session:
        pieces = session.chat([{"role": "user", "content": "hello"}], max_tokens=30)
        expected = "".join(piece.text for piece in pieces if piece.part == "answer").strip()
    with running(load(folder), max_tokens=30) as server:
        (event,) = ask(server, Describe().event())
        assert [program.name for program in Info.from_event(event).handle] == ["toy"]
        for _ in range(2):  # each text is a conversation of its own
            (event,) = ask(server, Transcript("hello").event())
            assert Handled.from_event(event).text == expected


def test_an_address_that_is_taken(scripted: Scripted) -> None:
    with WyomingServer(scripted, port=0) as server:  # type: ignore[arg-type]
        with pytest.raises(BundleError, match="cannot serve at") as error:
            WyomingServer(scripted, port=server.port)  # type: ignore[arg-type]
        assert error.value.code == "CHM441"
    assert scripted.closed


def test_without_the_package(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "wyoming.event", None)
    with pytest.raises(BundleError, match="needs the package wyoming") as error:
        WyomingServer(scripted, port=0)  # type: ignore[arg-type]
    assert error.value.code == "CHM304"
