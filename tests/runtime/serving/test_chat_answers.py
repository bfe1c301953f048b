"""Chat completions, asked for with the client that OpenAI publishes: texts, streams, tools, schemas, conversations."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest
from scripted_chats import ANSWERS, TOOLS, TURN_ON, Scripted, client_of, complete, running, streamed

from chimerac.compiler.verbs.serve import serve_api
from chimerac.runtime import load
from chimerac.runtime.serving import chat_answers


def test_the_model(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["toy"]
    assert client.models.retrieve("toy").owned_by == "chimerac"
    with pytest.raises(openai.NotFoundError) as error:
        client.models.retrieve("gpt")
    assert error.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="gpt", messages=[{"role": "user", "content": "x"}])


def test_an_answer(client: openai.OpenAI, commands: Scripted) -> None:
    found = complete(
        client, "hello", max_tokens=5, temperature=0.5, top_p=0.9, seed=-1, user="me", reasoning_effort="low"
    )
    (choice,) = found.choices
    assert (choice.message.content, choice.message.tool_calls, choice.finish_reason) == ("hello", None, "stop")
    assert (found.usage.prompt_tokens, found.usage.completion_tokens, found.usage.total_tokens) == (7, 5, 12)
    assert found.object == "chat.completion"
    options = {"max_tokens": 5, "temperature": 0.5, "top_p": 0.9, "seed": 2**64 - 1, "grammar": None}
    assert commands.asked == [("hello", options)]
    complete(client, "x", max_completion_tokens=3)
    assert commands.asked[-1][1]["max_tokens"] == 3
    complete(client, "x")
    assert commands.asked[-1][1] == {"max_tokens": chat_answers.MAX_TOKENS, "grammar": None}


def test_a_stream(client: openai.OpenAI) -> None:
    chunks = list(complete(client, "hello", stream=True, stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(c.choices[0].delta.content or "" for c in chunks[:-1]) == "hello"
    assert [c.choices[0].finish_reason for c in chunks[:-1]][-1] == "stop"
    assert (chunks[-1].choices, chunks[-1].usage.total_tokens) == ([], 12)
    assert len({c.id for c in chunks}) == 1
    assert all(c.usage is None for c in complete(client, "hello", stream=True))


def test_the_last_request_counts(client: openai.OpenAI, commands: Scripted) -> None:
    messages: list[Any] = [
        {"role": "developer", "content": "be kind"},
        {"role": "user", "content": "first"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "a", **TOOLS[0], "function": {"name": "a", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "a", "content": "{}"},
        {"role": "user", "content": [{"type": "text", "text": "se"}, {"type": "text", "text": "cond"}]},
    ]
    assert client.chat.completions.create(model="toy", messages=messages).choices[0].message.content == "second"
    assert commands.asked[0][0] == "second"
    for result, said in (
        ('{"success": true}', "Done."),
        ('{"error": "E", "error_text": "no"}', "no"),
        ("fine", "Done."),
        ("[" * 100_000, "Done."),
    ):
        more = [*messages[:3], messages[3] | {"content": result}]
        assert client.chat.completions.create(model="toy", messages=more).choices[0].message.content == said
    assert len(commands.asked) == 1  # of results nothing is asked


def test_actions_are_calls_of_tools(client: openai.OpenAI) -> None:
    message = complete(client, "on", tools=TOOLS).choices[0].message
    (call,) = message.tool_calls
    assert (message.content, call.id, call.function.name) == (None, "call_0", "HassTurnOn")
    assert json.loads(call.function.arguments) == {"name": "Küche"}
    assert complete(client, "on", tools=TOOLS).choices[0].finish_reason == "tool_calls"
    assert streamed(client, "both", tools=TOOLS) == (
        "", [("HassTurnOn", '{"name": "Küche"}'), ("HassTurnOff", "{}")], "tool_calls",
    )  # fmt: skip
    # without tools, with others, and where none may be called, it is text
    for options in ({}, {"tools": TOOLS[1:]}, {"tools": TOOLS, "tool_choice": "none"}):
        choice = complete(client, "on", **options).choices[0]
        assert (json.loads(choice.message.content), choice.finish_reason) == (TURN_ON, "stop")
    assert complete(client, "no", tools=TOOLS).choices[0].message.content == "Sorry, I cannot do that."
    assert json.loads(complete(client, "no").choices[0].message.content) == ANSWERS["no"]


def test_a_call_that_is_required_follows_the_schema_of_its_tool(client: openai.OpenAI, commands: Scripted) -> None:
    complete(client, "on", tools=TOOLS, tool_choice="required")
    both = json.loads(commands.asked[-1][1]["grammar"])
    assert [one["properties"]["intent"]["const"] for one in both["anyOf"]] == ["HassTurnOn", "HassTurnOff"]
    named: Any = {"type": "function", "function": {"name": "HassTurnOff"}}
    choice = complete(client, "on", tools=TOOLS, tool_choice=named).choices[0]
    one = json.loads(commands.asked[-1][1]["grammar"])
    assert one["properties"] == {"intent": {"const": "HassTurnOff"}, "slots": {"type": "object"}}
    assert choice.message.tool_calls is None  # this session does not care for grammars


def test_an_answer_follows_a_schema(client: openai.OpenAI, commands: Scripted) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    complete(client, "x", response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": schema}})
    assert json.loads(commands.asked[-1][1]["grammar"]) == schema
    complete(client, "x", response_format={"type": "json_object"})
    assert json.loads(commands.asked[-1][1]["grammar"]) == {"type": "object"}
    complete(client, "x", response_format={"type": "text"})
    assert commands.asked[-1][1]["grammar"] is None


@pytest.mark.parametrize(
    ("text", "stop", "expected"),
    [
        *(
            ("one two", " t", "one"),
            ("one two", ["zz", "ne"], "o"),
            ("one two", ["o t"], "one two"),
            ("aab", "ab", "a"),
        ),
        *(("one tw", "two", "one tw"), ("stop", "stop", "")),
    ],
)
def test_texts_that_end_an_answer(
    client: openai.OpenAI, chat_client: openai.OpenAI, text: str, stop: Any, expected: str
) -> None:
    for asked in (client, chat_client):
        assert complete(asked, text, stop=stop).choices[0].message.content == expected
        assert streamed(asked, text, stop=stop) == (expected, [], "stop")


def test_a_conversation_is_put_together(chat_client: openai.OpenAI, chats: Scripted) -> None:
    messages: list[Any] = [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": "a"},
        {"role": "user", "content": "b"},
        {
            "role": "assistant",
            "content": "c",
            "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "1", "content": "d"},
    ]
    found: Any = chat_client.chat.completions.create(model="toy", messages=messages, tools=TOOLS)
    assert found.choices[0].message.content == "Result: d"
    assert found.choices[0].message.reasoning_content == "hm"
    system, first, answer, result = chats.asked[0][0]
    assert system["content"].startswith("be kind\n\nYou can call functions.")
    assert '"HassTurnOff", "description": "does it"' in system["content"]
    assert (first, answer["role"]) == ({"role": "user", "content": "a\nb"}, "assistant")
    assert answer["content"] == 'c\n{"name": "f", "arguments": {}}'
    assert result == {"role": "user", "content": "Result: d"}
    chats.manifest = replace(
        chats.manifest, chat=replace(chats.manifest.chat, pieces=replace(chats.manifest.chat.pieces, system=None))
    )
    chat_client.chat.completions.create(model="toy", messages=messages[:2])
    assert chats.asked[1][0] == [{"role": "user", "content": "be kind\n\na"}]


def test_a_conversation_calls_tools(chat_client: openai.OpenAI, chats: Scripted) -> None:
    expected = [("HassTurnOn", '{"name": "x"}')]
    assert streamed(chat_client, "call", tools=TOOLS) == ("", expected, "tool_calls")
    (call,) = complete(chat_client, "call", tools=TOOLS).choices[0].message.tool_calls
    assert call.function.arguments == '{"name": "x"}'
    for options in ({}, {"tools": TOOLS, "tool_choice": "none"}):
        assert streamed(chat_client, "call", **options) == (json.dumps(ANSWERS["call"]), [], "stop")
    assert streamed(chat_client, "other call", tools=TOOLS) == (json.dumps(ANSWERS["other call"]), [], "stop")
    complete(chat_client, "call", tools=TOOLS[:1], tool_choice="required")
    assert json.loads(chats.asked[-1][1]["grammar"])["properties"]["name"] == {"const": "HassTurnOn"}


def test_a_bundle_answers(toy: Any, with_chat: Callable[[Any, Path], Path], tmp_path: Path) -> None:
    with load(toy.folder) as session:
        expected = "".join(map(str, session.generate("hello", max_tokens=9, temperature=1.0, seed=4)))
        prompt, made = len(session.encode("hello")) + 1, len(session.tokens())  # after the token that begins
    with running(serve_api(toy.folder, port=0)) as server, client_of(server) as client:
        found = complete(client, "hello", max_tokens=9, temperature=1.0, seed=4)
        assert found.choices[0].message.content == expected
        assert (found.usage.prompt_tokens, found.usage.completion_tokens) == (prompt, made)
        schema = {
            "type": "object",
            "properties": {"a": {"enum": ["x", "y"]}},
            "required": ["a"],
            "additionalProperties": False,
        }
        format: Any = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
        answer = complete(client, "hello", response_format=format).choices[0]
        assert json.loads(answer.message.content)["a"] in ("x", "y")
        tool: Any = {"type": "function", "function": {"name": "f", "parameters": schema}}
        for stream in (False, True):
            if stream:
                _, ((name, given),), reason = streamed(client, "hello", tools=[tool], tool_choice="required")
            else:
                choice = complete(client, "hello", tools=[tool], tool_choice="required").choices[0]
                call = choice.message.tool_calls[0].function
                name, given, reason = call.name, call.arguments, choice.finish_reason
            assert (name, reason) == ("f", "tool_calls")
            assert json.loads(given)["a"] in ("x", "y")
        bad: Any = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"contains": {}}}}
        with pytest.raises(openai.BadRequestError) as error:
            complete(client, "hello", response_format=bad)
        assert error.value.code == "CHM281"
        assert complete(client, "hello", max_tokens=3).choices[0].finish_reason == "length"
    folder = with_chat(toy, tmp_path / "chat")
    messages: list[Any] = [{"role": "user", "content": "hello"}]
    with load(folder) as session:
        pieces = session.chat(messages, max_tokens=20)
        expected = "".join(piece.text for piece in pieces if piece.part == "answer")
    with running(serve_api(folder, port=0)) as server, client_of(server) as client:
        assert complete(client, "hello", max_tokens=20).choices[0].message.content == expected
        assert streamed(client, "hello", max_tokens=20)[0] == expected
