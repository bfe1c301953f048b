"""Answers to requests for chat completions: what the model is asked, and which of its text is a call of a tool."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from chimerac.runtime.serving.chat_requests import ApiError, ChatRequest, Tool, Turn
from chimerac.runtime.serving.intents import actions_of, refusal_of
from chimerac.runtime.serving.stop_texts import StopTexts
from chimerac.runtime.sessions.interface import Session

#: Makes a grammar of a JSON Schema: the bytes of a pack. Raises BundleError for one that cannot be.
Compile = Callable[[Mapping[str, Any]], bytes]
#: Seconds that a request waits for those before it.
TURN_SECONDS: Final = 60.0
LOOK_SECONDS: Final = 0.25  #: between looks at whether a client that waits for its turn is still there
MAX_TOKENS: Final = 256  #: of an answer, where neither the request nor the bundle says more
_ANY_OBJECT: Final = {"type": "object"}
_CALLING: Final = (
    'You can call functions. To call one, answer with JSON and nothing else: {"name": …, "arguments": {…}}\n'
)


@dataclass(frozen=True)
class Delta:
    """The next part of an answer: text of its content or of thinking, or calls, as names and texts of arguments."""

    content: str = ""
    thinking: str = ""
    calls: tuple[tuple[str, str], ...] = ()


@dataclass
class Made:
    """What an answer came to, filled in as it comes."""

    finish_reason: str = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    calls: list[tuple[str, str]] = field(default_factory=list)


class Answering:
    """A session that requests are answered with, one after the other."""

    def __init__(self, session: Session, compile_schema: Compile) -> None:
        self._session, self._compile = session, compile_schema
        self._turn = threading.Lock()
        self.name = session.manifest.name

    def answer(self, request: ChatRequest, made: Made, still_there: Callable[[], bool]) -> Generator[Delta, None, None]:
        """The parts of an answer, as they come; ``made`` is right at the end.

        ``still_there``: whether anybody waits for the answer; it is asked where no part can show that, before the first
        one. Raises ApiError, BundleError for what the session refuses, and ConnectionAbortedError where nobody waits.
        """
        grammar = self._grammar(request)

        def look(done: int = 0, total: int = 0) -> None:
            if not still_there():
                raise ConnectionAbortedError

        self._await_turn(look)
        try:
            look()
            options = {**self._options(request, grammar), "on_progress": look}
            yield from self._converse(request, options, made) if self._chats else self._command(request, options, made)
        finally:
            self._turn.release()

    def _await_turn(self, look: Callable[[], None]) -> None:
        end = time.monotonic() + TURN_SECONDS
        while not self._turn.acquire(timeout=min(LOOK_SECONDS, TURN_SECONDS)):
            look()
            if time.monotonic() >= end:
                raise ApiError("other requests take too long", code="overloaded", status=503)

    @property
    def _chats(self) -> bool:
        return self._session.manifest.chat is not None

    def _grammar(self, request: ChatRequest) -> bytes | None:
        """What the answer has to follow; None: what the bundle's answers follow."""
        if request.needs_call:
            return self._compile(_schema_of_calls(request.offered, *self._names_of_a_call))
        if request.schema is None:
            return None
        return self._compile(request.schema or _ANY_OBJECT)

    @property
    def _names_of_a_call(self) -> tuple[str, str]:
        return ("name", "arguments") if self._chats else ("intent", "slots")

    def _options(self, request: ChatRequest, grammar: bytes | None) -> dict[str, Any]:
        own = self._session.manifest.generation
        default = {} if own is not None and own.max_tokens is not None else {"max_tokens": MAX_TOKENS}
        return {**default, **request.options, "grammar": grammar}

    # a model of one request: the last message of the user -----------------------------------------------------------

    def _command(self, request: ChatRequest, options: dict[str, Any], made: Made) -> Generator[Delta, None, None]:
        last = request.turns[-1]
        if last.role == "tool":  # what was asked for is done, or not; such a model has no words for it
            yield Delta(_outcome(last.content))
            return
        asked = next((turn.content for turn in reversed(request.turns) if turn.role == "user"), None)
        if asked is None:
            raise ApiError("there is no message of the user", "messages", "invalid_value")
        stops, text = StopTexts(request.stop), ""
        steps = self._session.generate(asked, **options)
        try:
            for piece in steps:
                self._count(made)
                text += stops.pass_on(piece.text)
                if stops.found:
                    break
                yield Delta()  # nothing yet: whether it is a call is known at the end
        finally:
            steps.close()
        text += stops.rest()
        self._ended(made, stops)
        offered = {tool.name for tool in request.offered}
        actions = actions_of(text)
        if actions and offered and all(action.intent in offered for action in actions):
            calls = tuple((action.intent, json.dumps(action.slots, ensure_ascii=False)) for action in actions)
            yield from self._called(calls, made)
            return
        yield Delta((refusal_of(actions) if offered else None) or text)

    # a model of conversations ---------------------------------------------------------------------------------------

    def _converse(self, request: ChatRequest, options: dict[str, Any], made: Made) -> Generator[Delta, None, None]:
        steps = self._session.chat(self._messages(request), **options)
        stops, held, calling = StopTexts(request.stop), "", ""
        holds = bool(request.offered)  # content that may be a call, until it cannot be one
        try:
            for piece in steps:
                self._count(made)
                if piece.part != "answer":
                    calling += piece.text if piece.part == "tool_call" else ""
                    yield Delta(thinking=piece.text if piece.part == "thinking" else "")
                    continue
                held += stops.pass_on(piece.text)
                holds = holds and (not held.strip() or held.lstrip().startswith("{"))
                yield Delta("" if holds else held)
                held = held if holds else ""
                if stops.found:
                    break
        finally:
            steps.close()
        held += stops.rest()
        self._ended(made, stops)
        for text in (calling, held):
            call = _call_of(text, request.offered)
            if call is not None:
                yield from self._called((call,), made)
            elif text.strip():
                yield Delta(text)

    def _messages(self, request: ChatRequest) -> list[dict[str, str]]:
        """The turns as the session takes them: a system message or none, then user and assistant in turns."""
        chat = self._session.manifest.chat
        assert chat is not None
        system = [turn.content for turn in request.turns if turn.role == "system"]
        if request.offered:
            system.append(_CALLING + "\n".join(map(_described, request.offered)))
        rows: list[dict[str, str]] = []
        for turn in request.turns:
            if turn.role == "system":
                continue
            role, text = ("assistant" if turn.role == "assistant" else "user"), _text_of(turn)
            if rows and rows[-1]["role"] == role:
                rows[-1]["content"] += "\n" + text
            else:
                rows.append({"role": role, "content": text})
        told = "\n\n".join(system)
        if told and chat.pieces is not None and chat.pieces.system is not None:
            rows.insert(0, {"role": "system", "content": told})
        elif told and rows and rows[0]["role"] == "user":
            rows[0]["content"] = f"{told}\n\n{rows[0]['content']}"
        return rows

    # what both have in common ---------------------------------------------------------------------------------------

    def _count(self, made: Made) -> None:
        if not made.prompt_tokens:  # the first token of the answer was not run yet
            made.prompt_tokens = self._session.position

    def _ended(self, made: Made, stops: StopTexts) -> None:
        made.prompt_tokens = made.prompt_tokens or self._session.position
        made.completion_tokens = len(self._session.tokens())
        made.finish_reason = "stop" if stops.found else self._session.finish_reason or "stop"

    def _called(self, calls: tuple[tuple[str, str], ...], made: Made) -> Generator[Delta, None, None]:
        made.finish_reason = "tool_calls" if made.finish_reason == "stop" else made.finish_reason
        made.calls += calls
        yield Delta(calls=calls)


def _schema_of_calls(tools: Sequence[Tool], name: str, given: str) -> dict[str, Any]:
    """A call of one of some tools, as the model writes it."""
    calls = [
        {
            "type": "object",
            "properties": {name: {"const": tool.name}, given: tool.parameters},
            "required": [name, given],
            "additionalProperties": False,
        }
        for tool in tools
    ]
    return calls[0] if len(calls) == 1 else {"anyOf": calls}


def _call_of(text: str, tools: Sequence[Tool]) -> tuple[str, str] | None:
    """The call of a tool that a text is, as name and text of its arguments."""
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        return None
    name = row.get("name") if isinstance(row, dict) else None
    if name not in [tool.name for tool in tools]:
        return None
    given = row.get("arguments", {})
    return name, given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)


def _described(tool: Tool) -> str:
    row = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return json.dumps(row, ensure_ascii=False)


def _text_of(turn: Turn) -> str:
    if turn.role == "tool":
        return f"Result: {turn.content}"
    calls = [f'{{"name": {json.dumps(name)}, "arguments": {given}}}' for name, given in turn.calls]
    return "\n".join([turn.content, *calls] if turn.content else calls)


def _outcome(result: str) -> str:
    """What is said of the result of a call: an error in its words."""
    try:
        row = json.loads(result)
    except (ValueError, RecursionError):
        row = None
    wrong = row.get("error_text") or row.get("error") if isinstance(row, dict) else None
    return str(wrong) if wrong else "Done."
