"""A bundle as a service of the Wyoming protocol: a text comes in, an intent or an answer goes out.

https://github.com/OHF-Voice/wyoming describes the protocol: lines of JSON, each perhaps followed by more of it and by
bytes. The package ``wyoming`` has its events; here they are read with limits, which its own server has not, for any
number of clients that may be slow, silent or hostile. There is no authentication: the protocol has none.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, Self

from chimerac.runtime.errors import BundleError
from chimerac.runtime.serving.intents import actions_of, refusal_of
from chimerac.runtime.sessions.interface import Session

if TYPE_CHECKING:
    from wyoming.event import Event, Eventable

#: Connections that are served at a time; more are closed at once.
MAX_CONNECTIONS: Final = 64
#: Bytes of an event's line, of the JSON after it, and of the bytes after that, which nothing here uses.
MAX_LINE, MAX_DATA, MAX_PAYLOAD = 1 << 16, 1 << 18, 1 << 20
#: Characters of a request, which all others wait for.
MAX_TEXT: Final = 1 << 13
#: Seconds until a connection's next event, until the rest of one that has begun, and for a client to take an answer.
IDLE_SECONDS, EVENT_SECONDS, WRITE_SECONDS = 300.0, 10.0, 30.0


class WyomingServer:
    """Answers ``describe``, ``ping``, ``transcript`` and ``recognize``; other events are dropped. Use it in ``with``.

    It has its port and its ``url`` at once, and answers while ``serve_forever()`` runs. The session is the server's: it
    is asked by one client at a time, and closed at the end.
    """

    def __init__(
        self,
        session: Session,
        host: str = "127.0.0.1",
        port: int = 10500,
        *,
        languages: Sequence[str] = (),
        max_tokens: int = 256,
    ) -> None:
        """Bind the port, a free one for 0.

        Args:
            languages: that the model is said to understand, as ``en``; none: any.
            max_tokens: of an answer at most.

        Raises:
            BundleError: CHM304, the package ``wyoming`` is not installed; CHM441, the address cannot be used.
        """
        try:
            import wyoming.event  # noqa: F401
        except ImportError:
            hint = "python -m pip install 'chimerac[wyoming]'"
            raise BundleError("CHM304", "serving by Wyoming needs the package wyoming", hint=hint) from None
        self._session, self._languages, self._max_tokens = session, tuple(languages), max_tokens
        try:
            self._socket = socket.create_server((host, port))
        except (OSError, OverflowError) as error:
            hint = "choose another --port; 0 takes a free one"
            raise BundleError("CHM441", f"cannot serve at {host}, port {port}: {error}", hint=hint) from None
        self.port: int = self._socket.getsockname()[1]
        self.url = f"tcp://{host}:{self.port}"
        self._model = ThreadPoolExecutor(1, "model")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._started, self._stopped = threading.Event(), threading.Event()
        self._open = 0

    def serve_forever(self) -> None:
        """Answer until ``shutdown`` or an exception, such as that of Ctrl-C."""
        try:
            asyncio.run(self._serve())
        finally:
            self._stopped.set()

    def shutdown(self) -> None:
        """End ``serve_forever`` of another thread, and wait for it."""
        self._started.wait()
        loop, stop = self._loop, self._stop
        if loop is not None and stop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended meanwhile
                loop.call_soon_threadsafe(stop.set)
        self._stopped.wait()

    def close(self) -> None:
        """Give port and session back; ends an answer that is being made."""
        self._socket.close()
        self._session.close()
        self._model.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # connections ------------------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._connected, sock=self._socket, limit=MAX_LINE, backlog=MAX_CONNECTIONS)
        self._started.set()
        try:
            await self._stop.wait()
        finally:
            server.close()  # connections end with the loop

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._open >= MAX_CONNECTIONS:
            writer.close()
            return
        self._open += 1
        try:
            while (event := await _read_event(reader)) is not None:
                for answer in await self._answers(event):
                    await _write(answer.event(), writer)
        except (OSError, TimeoutError, ValueError, asyncio.CancelledError):
            pass  # a client that goes away, is too slow or sent halves of characters, or the end of the server
        finally:
            self._open -= 1
            writer.close()

    async def _answers(self, event: Event) -> list[Eventable]:
        """The events that answer one; none for one that is not known."""
        from wyoming.asr import Transcript
        from wyoming.error import Error
        from wyoming.info import Describe
        from wyoming.intent import Recognize
        from wyoming.ping import Ping, Pong

        if Describe.is_type(event.type):
            return [self._info()]
        if Ping.is_type(event.type):
            return [Pong(text=_text_of(event.data.get("text")))]
        if not Transcript.is_type(event.type) and not Recognize.is_type(event.type):
            return []
        text = event.data.get("text")
        if not isinstance(text, str):
            return [Error(text="the event has no text", code="CHM420")]
        if len(text) > MAX_TEXT:
            return [Error(text=f"the text has {len(text):,} characters, over {MAX_TEXT:,}", code="CHM420")]
        assert self._loop is not None
        try:
            answer = await self._loop.run_in_executor(self._model, self._ask, text)
        except BundleError as error:
            return [Error(text=error.message, code=error.code)]
        return _events_of(answer, event.data.get("context"))

    def _ask(self, text: str) -> str:
        """The model's answer to a text; each is a conversation of its own."""
        if self._session.manifest.chat is None:
            return "".join(map(str, self._session.generate(text, max_tokens=self._max_tokens)))
        pieces = self._session.chat([{"role": "user", "content": text}], max_tokens=self._max_tokens)
        return "".join(piece.text for piece in pieces if piece.part == "answer").strip()

    def _info(self) -> Eventable:
        """A model of conversations handles texts; any other one finds intents."""
        from wyoming.info import Attribution, HandleModel, HandleProgram, Info, IntentModel, IntentProgram

        manifest = self._session.manifest
        common: dict[str, Any] = {
            "name": manifest.name,
            "attribution": Attribution("chimerac", ""),
            "installed": True,
            "description": f"{manifest.name}, a bundle for {manifest.target}",
            "version": manifest.chimerac,
        }
        languages = list(self._languages)
        if manifest.chat is not None:
            return Info(handle=[HandleProgram(**common, models=[HandleModel(**common, languages=languages)])])
        return Info(intent=[IntentProgram(**common, models=[IntentModel(**common, languages=languages)])])


def _events_of(answer: str, context: Any) -> list[Eventable]:
    """Intents in the order of the actions; where one is a refusal nothing is to be done; a text is handled."""
    from wyoming.handle import Handled
    from wyoming.intent import Entity, Intent, IntentsStart, IntentsStop, NotRecognized

    given = context if isinstance(context, dict) else None
    actions = actions_of(answer)
    if not actions:
        return [Handled(text=answer, context=given)]
    refusal = refusal_of(actions)
    if refusal is not None:
        return [NotRecognized(text=refusal, context=given)]
    intents: list[Eventable] = [
        Intent(one.intent, [Entity(name, value) for name, value in one.slots.items()], context=given) for one in actions
    ]
    return intents if len(intents) == 1 else [IntentsStart(context=given), *intents, IntentsStop(context=given)]


def _text_of(value: object) -> str | None:
    return value if isinstance(value, str) else None


# reading and writing ------------------------------------------------------------------------------------------------


async def _read_event(reader: asyncio.StreamReader) -> Event | None:
    """The next event, without its bytes; None at the end, and for what is none."""
    from wyoming.event import Event

    try:
        async with asyncio.timeout(IDLE_SECONDS):
            line = await reader.readline()
        async with asyncio.timeout(EVENT_SECONDS):
            row = json.loads(line) if line else None
            if not isinstance(row, dict) or not isinstance(row.get("type"), str):
                return None
            data = {} if row.get("data") is None else row["data"]
            size, payload = (row.get(name) or 0 for name in ("data_length", "payload_length"))
            if not (_within(size, MAX_DATA) and _within(payload, MAX_PAYLOAD) and isinstance(data, dict)):
                return None
            more = json.loads(await reader.readexactly(size)) if size else {}
            await reader.readexactly(payload)
        json.dumps([row, more], allow_nan=False)  # what comes back of it is JSON, too
        return Event(row["type"], data | more) if isinstance(more, dict) else None
    except (ValueError, RecursionError, asyncio.IncompleteReadError):  # ValueError: a line that is too long, too
        return None


def _within(size: object, most: int) -> bool:
    return type(size) is int and 0 <= size <= most


async def _write(event: Event, writer: asyncio.StreamWriter) -> None:
    from wyoming.event import async_write_event

    async with asyncio.timeout(WRITE_SECONDS):
        await async_write_event(event, writer)
