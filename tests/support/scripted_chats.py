"""A session that says what it is told to, behind the server of chat completions, and the client that asks it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import openai

from chimerac.runtime import BundleError
from chimerac.runtime.serving.chat_server import ChatServer
from chimerac.runtime.sessions.conversation import ChatPiece

Progress = Callable[[int, int], None]
TURN_ON = {"intent": "HassTurnOn", "slots": {"name": "Küche"}}
ANSWERS: dict[str, Any] = {
    "on": TURN_ON,
    "both": [TURN_ON, {"intent": "HassTurnOff", "slots": {}}],
    "no": {"intent": "OutOfDomain", "slots": {}},
    "call": {"name": "HassTurnOn", "arguments": {"name": "x"}},
    "other call": {"name": "rm", "arguments": {}},
}
TOOLS: list[Any] = [
    {"type": "function", "function": {"name": name, "description": "does it", "parameters": {"type": "object"}}}
    for name in ("HassTurnOn", "HassTurnOff")
]


class Scripted:
    """A session that says what is in ANSWERS, else the request, letter by letter; it notes what it was asked.

    A request that begins with "slow" takes 10 ms a letter, one with "long" 80 s before the first.
    """

    def __init__(self, manifest: Any, thinks: bool = False) -> None:
        self.manifest, self.thinks = manifest, thinks
        self.asked: list[tuple[Any, dict[str, Any]]] = []
        self.calls = self.most = 0
        self.position, self.finish_reason, self.closed = 7, "stop", False
        self._said = ""

    def tokens(self) -> list[int]:
        return list(range(len(self._said)))

    def generate(self, text: str, on_progress: Progress | None = None, **options: Any) -> Iterator[ChatPiece]:
        self.asked.append((text, options))
        yield from self._say(text, on_progress)

    def chat(
        self, messages: list[dict[str, str]], on_progress: Progress | None = None, **options: Any
    ) -> Iterator[ChatPiece]:
        self.asked.append((messages, options))
        if self.thinks:
            yield ChatPiece("hm", 1, "thinking")
        yield from self._say(messages[-1]["content"].rpartition("\n")[2], on_progress)

    def _say(self, text: str, on_progress: Progress | None = None) -> Iterator[ChatPiece]:
        self.calls += 1
        self.most = max(self.most, self.calls)
        try:
            if text.startswith("long") and on_progress is not None:
                for done in range(8000):
                    time.sleep(0.01)
                    on_progress(done, 8000)
            if text == "too long":
                raise BundleError("CHM424", "it does not fit")
            self._said = json.dumps(ANSWERS[text], ensure_ascii=False) if text in ANSWERS else text
            for number, letter in enumerate(self._said):
                if text.startswith("slow"):
                    time.sleep(0.01)
                yield ChatPiece(letter, number, "answer")
                if text.startswith("fails") and number == 3:
                    raise BundleError("CHM423", "no token")
        finally:
            self.calls -= 1

    def close(self) -> None:
        self.closed = True


def compiled(schema: Mapping[str, Any]) -> bytes:
    """In place of a grammar its schema."""
    if schema.get("type") == "nonsense":
        raise BundleError("CHM281", "what type is that?")
    return json.dumps(schema).encode()


@contextmanager
def running(server: ChatServer) -> Iterator[ChatServer]:
    with server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


def client_of(server: ChatServer) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.url, api_key="none", max_retries=0, timeout=30)


def complete(client: openai.OpenAI, text: str, **options: Any) -> Any:
    return client.chat.completions.create(model="toy", messages=[{"role": "user", "content": text}], **options)


def streamed(client: openai.OpenAI, text: str, **options: Any) -> tuple[str, list[Any], str]:
    """Content, calls and the reason of the end, put together."""
    content, calls, reason = "", [], ""
    for chunk in complete(client, text, stream=True, **options):
        for choice in chunk.choices:
            content += choice.delta.content or ""
            calls += [(c.function.name, c.function.arguments) for c in choice.delta.tool_calls or []]
            reason = choice.finish_reason or reason
    return content, calls, reason
