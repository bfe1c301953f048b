"""Requests for chat completions, as OpenAI's API has them, read and checked.

https://platform.openai.com/docs/api-reference/chat is the form. What a bundle cannot do is refused by its name; what
changes no answer (``IGNORED``) is accepted and not looked at; a field of another name is refused, as that API does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from chimerac.runtime.arguments import kind, shown

#: Fields that say nothing about the answer.
IGNORED: Final = (
    *("user", "metadata", "store", "service_tier", "parallel_tool_calls", "reasoning_effort", "verbosity"),
    *("prompt_cache_key", "prompt_cache_retention", "safety_identifier"),
)
#: Fields with the one value that can be asked for; null is not given.
_ONLY: Final[Mapping[str, Any]] = {
    "n": 1,
    "logprobs": False,
    "frequency_penalty": 0,
    "presence_penalty": 0,
    "logit_bias": {},
    "modalities": ["text"],
}
_KNOWN: Final = (
    *("model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens", "temperature", "top_p"),
    *("seed", "stop", "tools", "tool_choice", "response_format", *_ONLY, *IGNORED),
)
_ROLES: Final = ("system", "developer", "user", "assistant", "tool")
MOST_MESSAGES, MOST_TOOLS, MOST_STOPS, MOST_STOP_CHARACTERS = 1024, 128, 4, 1024


class ApiError(Exception):
    """What a client is told in place of an answer.

    Attributes:
        status: of HTTP.
        param: the field that is wrong.
        code: a short name for programs.
    """

    def __init__(self, message: str, param: str | None = None, code: str | None = None, *, status: int = 400) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code

    def body(self) -> dict[str, Any]:
        """The JSON of it."""
        what = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": self.message, "type": what, "param": self.param, "code": self.code}}


@dataclass(frozen=True)
class Tool:
    """A function that the client can call. ``parameters`` is a JSON Schema of its arguments, an object."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class Turn:
    """A message; ``calls`` are an assistant's: names and the text of their arguments."""

    role: str
    content: str
    calls: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class ChatRequest:
    """What is asked for.

    Attributes:
        options: of ``Session.generate``.
        tool_choice: "none", "auto", "required", or the name of one tool in ``only``.
        schema: of the answer, with ``json_schema``; {} is any object, with ``json_object``; None: text.
    """

    turns: tuple[Turn, ...]
    options: Mapping[str, Any]
    stop: tuple[str, ...] = ()
    stream: bool = False
    include_usage: bool = False
    tools: tuple[Tool, ...] = ()
    tool_choice: str = "auto"
    only: str | None = None
    schema: Mapping[str, Any] | None = None

    @property
    def needs_call(self) -> bool:
        """Whether the answer has to be a call."""
        return bool(self.tools) and self.tool_choice == "required"

    @property
    def offered(self) -> tuple[Tool, ...]:
        """The tools that may be called."""
        if self.tool_choice == "none":
            return ()
        return tuple(tool for tool in self.tools if self.only in (None, tool.name))


def read_request(body: bytes, model: str) -> ChatRequest:
    """Check a request to the model of this name. Raises ApiError."""
    try:
        row = json.loads(body)
    except (ValueError, RecursionError):
        raise ApiError("the body is no JSON") from None
    if not isinstance(row, dict):
        raise ApiError("the body is no JSON object")
    for name in row:
        if name not in _KNOWN:
            raise ApiError(f"Unrecognized request argument supplied: {shown(name)}", name, "unknown_parameter")
    row = {name: value for name, value in row.items() if value is not None}
    for name, only in _ONLY.items():
        if name in row and row[name] != only:
            raise ApiError(f"{name} can only be {json.dumps(only)} here", name, "unsupported_value")
    if row.get("model") != model:
        message = f"there is no model {shown(row.get('model'))}; this server has {model!r}"
        raise ApiError(message, "model", "model_not_found", status=404)
    more = _of_type(row, "stream_options", dict, "an object", {})
    tools = _tools(row.get("tools", []))
    choice, only_tool = _tool_choice(row.get("tool_choice", "auto"), tools)
    return ChatRequest(
        turns=_turns(row.get("messages")),
        options=_options(row),
        stop=_stop(row.get("stop", [])),
        stream=_of_type(row, "stream", bool, "true or false", False),
        include_usage=_of_type(more, "include_usage", bool, "true or false", False),
        tools=tools,
        tool_choice=choice,
        only=only_tool,
        schema=_schema(row.get("response_format", {"type": "text"})),
    )


def _of_type(row: Mapping[str, Any], name: str, wanted: type, what: str, default: Any) -> Any:
    value = row.get(name, default)
    if not isinstance(value, wanted):
        raise ApiError(f"{name} is {kind(value)}, not {what}", name, "invalid_type")
    return value


def _options(row: Mapping[str, Any]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for name, most in (("temperature", 2.0), ("top_p", 1.0)):
        value = row.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
            raise ApiError(f"{name} is {kind(value)}, not a number from 0 to {most:g}", name, "invalid_value")
        options |= {name: value} if name in row else {}
    for name in ("max_tokens", "max_completion_tokens", "seed"):
        value = row.get(name, 1)
        if type(value) is not int or not -(1 << 63) <= value < 1 << 63 or (name != "seed" and not 0 < value < 1 << 31):
            raise ApiError(f"{name} is {kind(value)}, not a whole number in range", name, "invalid_value")
    most_tokens = row.get("max_completion_tokens", row.get("max_tokens"))
    options |= {} if most_tokens is None else {"max_tokens": most_tokens}
    return options | ({"seed": row["seed"] & (1 << 64) - 1} if "seed" in row else {})


def _stop(value: Any) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    fit = isinstance(texts, list) and len(texts) <= MOST_STOPS
    if not fit or not all(isinstance(t, str) and 0 < len(t) <= MOST_STOP_CHARACTERS for t in texts):
        raise ApiError(f"stop is no text, and no list of up to {MOST_STOPS} texts", "stop", "invalid_value")
    return tuple(texts)


def _schema(value: Any) -> Mapping[str, Any] | None:
    what = value.get("type") if isinstance(value, dict) else None
    if what == "text":
        return None
    if what == "json_object":
        return {}
    inner = value.get("json_schema") if what == "json_schema" else None
    schema = inner.get("schema") if isinstance(inner, dict) else None
    if not isinstance(schema, dict):
        message = "response_format is none of text, json_object, and json_schema with a schema"
        raise ApiError(message, "response_format", "invalid_value")
    return schema


def _tools(value: Any) -> tuple[Tool, ...]:
    if not isinstance(value, list) or len(value) > MOST_TOOLS:
        raise ApiError(f"tools is no list of up to {MOST_TOOLS}", "tools", "invalid_type")
    return tuple(_tool(f"tools[{n}]", one) for n, one in enumerate(value))


def _tool(place: str, value: Any) -> Tool:
    function = value.get("function") if isinstance(value, dict) and value.get("type") == "function" else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
        raise ApiError(f"{place} is no function with a name", place, "invalid_value")
    parameters = function.get("parameters") or {"type": "object", "properties": {}, "additionalProperties": False}
    description = function.get("description") or ""
    if not isinstance(parameters, dict) or not isinstance(description, str):
        raise ApiError(f"{place}.function has no schema or no text where one should be", place, "invalid_type")
    return Tool(function["name"], description, parameters)


def _tool_choice(value: Any, tools: Sequence[Tool]) -> tuple[str, str | None]:
    if value in ("none", "auto"):
        return value, None
    if value == "required" and tools:
        return "required", None
    function = value.get("function") if isinstance(value, dict) and value.get("type") == "function" else None
    name = function.get("name") if isinstance(function, dict) else None
    if name is None or name not in [tool.name for tool in tools]:
        raise ApiError("tool_choice is none of none, auto, required and the tools", "tool_choice", "invalid_value")
    return "required", name


def _turns(value: Any) -> tuple[Turn, ...]:
    if not isinstance(value, list) or not 0 < len(value) <= MOST_MESSAGES:
        raise ApiError(f"messages is no list of 1 to {MOST_MESSAGES}", "messages", "invalid_type")
    return tuple(_turn(f"messages[{n}]", one) for n, one in enumerate(value))


def _turn(place: str, value: Any) -> Turn:
    role = value.get("role") if isinstance(value, dict) else None
    if role not in _ROLES:
        raise ApiError(f"{place}.role is none of {', '.join(_ROLES)}", f"{place}.role", "invalid_value")
    calls = value.get("tool_calls") or []
    if not isinstance(calls, list):
        raise ApiError(f"{place}.tool_calls is no list", place, "invalid_type")
    found = tuple(_call(place, one) for one in calls) if role == "assistant" else ()
    return Turn("system" if role == "developer" else role, _content(place, value.get("content"), bool(found)), found)


def _call(place: str, value: Any) -> tuple[str, str]:
    function = value.get("function") if isinstance(value, dict) else None
    name, given = (function.get("name"), function.get("arguments")) if isinstance(function, dict) else (None, None)
    if not isinstance(name, str) or not isinstance(given, str):
        raise ApiError(f"{place} has a call without name and arguments", place, "invalid_value")
    return name, given


def _content(place: str, value: Any, optional: bool) -> str:
    if value is None and optional:
        return ""
    if isinstance(value, str):
        return value
    parts = value if isinstance(value, list) else [None]
    texts = [one.get("text") if isinstance(one, dict) and one.get("type") == "text" else None for one in parts]
    if not all(isinstance(text, str) for text in texts):
        raise ApiError(f"{place}.content is no text, and no list of texts", f"{place}.content", "invalid_value")
    return "".join(map(str, texts))
