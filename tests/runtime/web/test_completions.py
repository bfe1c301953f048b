"""What models are asked in other shapes: texts that end a generation, results, chat.completions.create."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest
from web_tools import Server, run_node

from chimerac.runtime import bundle_format as bf

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")


def test_texts_that_end_a_generation(server: Server) -> None:
    """For every piece of an answer: what is yielded is the answer before the first place of the text."""
    found = run_node(
        server,
        """
        const model = await load(url);
        const run = async (stop) => {
          const steps = model.generate("hello", { maxTokens: 40, temperature: 2, seed: 9, stop });
          const shown = [];
          for await (const { text } of steps) shown.push(text);
          const { text, finishReason, tokens } = await steps.result;
          return { text, finishReason, same: text === shown.join(""), tokens: [...tokens] };
        };
        const whole = await run(undefined);
        const rows = [];
        for (let size = 1; size < 6; size += 1) {
          for (let place = 0; place + size <= whole.text.length; place += 3) {
            const stop = whole.text.slice(place, place + size);
            if (/\\p{Surrogate}/u.test(stop)) continue;
            rows.push([stop, await run(size % 2 ? stop : ["nowhere in it", stop])]);
          }
        }
        result([whole, await run("nowhere in it"), await run(whole.text.slice(-4) + "more"), rows]);
        """,
    )
    whole, nowhere, beginning, rows = found
    assert whole["finishReason"] == "length"
    assert nowhere == beginning == whole
    assert len(rows) > 20
    for stop, row in rows:
        assert row["text"] == whole["text"][: whole["text"].index(stop)]
        assert row["finishReason"] == "stop"
        assert row["same"]
        assert row["tokens"] == whole["tokens"][: len(row["tokens"])]


def test_completions_are_the_parts_of_chat(server: Server) -> None:
    program = """
        const read = async (name) => new Uint8Array(await (await fetch(new URL(name, url))).arrayBuffer());
        const manifest = await (await fetch(new URL("manifest.json", url))).json();
        const names = ["chimera.wasm", "toy.b158", "toy_tokenizer.model"];
        const [wasm, weights, tokenizer] = await Promise.all(names.map(read));
        const pieces = { opening: [], answer: ["\\n"], next: ["\\n"], prompt: ["\\n"], system: null, trim: "none" };
        const marked = (marks) => {
          manifest.chat = { pieces, marks, space: false };
          return load({ manifest, wasm, weights, tokenizer });
        };
        const messages = [{ role: "user", content: "hello" }];
        const plain = await marked({});
        let [seed, tokens] = [0, []];
        while (tokens.length < 60) {
          const trial = plain.chat(messages, { maxTokens: 60, temperature: 6, seed: (seed += 1) });
          for await (const piece of trial);
          ({ tokens } = await trial.result);
        }
        const model = await marked({ thinking: [tokens[4], tokens[20]] }); // any that are there
        const options = { maxTokens: 60, temperature: 6, seed };
        const parts = { answer: "", thinking: "" };
        const steps = model.chat(messages, options);
        for await (const { text, part } of steps) parts[part] += text;
        const { usage, finishReason } = await steps.result;
        const request = { model: "any", messages, max_tokens: 60, temperature: 6, seed };
        const whole = await model.chat.completions.create(request);
        const deltas = [];
        const streamed = { ...request, stream: true, stream_options: { include_usage: true } };
        for await (const chunk of await model.chat.completions.create(streamed)) deltas.push(chunk);
        for await (const chunk of await model.chat.completions.create({ ...request, stream: true })) break;
        const wrong = [];
        for (const change of [{ n: 2 }, { tools: [] }, { stream: 1 }, { messages: "x" },
          { stream: true, messages: [] }, { stream: true, stop: 5 }, { seed: 1.5 }, { max_tokens: "5" }, { model: 5 },
          { stream_options: { usage: true } }, { logprobs: true }, { logit_bias: { 5: 1 } }, { top_logprobs: 2 },
          { response_format: { type: "xml" } }, { response_format: { type: "json_schema" } },
          { response_format: "json" }])
          wrong.push((await failure(model.chat.completions.create({ ...request, ...change })))?.[0]);
        const properties = { a: { type: "null" } };
        const schema = { type: "object", properties, required: ["a"], additionalProperties: false };
        const form = { type: "json_schema", json_schema: { name: "a", schema } };
        const more = { response_format: form, logprobs: false, logit_bias: {}, max_tokens: 40 };
        const shaped = (await plain.chat.completions.create({ ...request, ...more })).choices[0].message.content;
        const stopped = new AbortController();
        stopped.abort();
        const aborted = await failure(model.chat.completions.create(request, { signal: stopped.signal }));
        result({ parts, usage, finishReason, whole, deltas, wrong, aborted, shaped });
        """
    found: dict[str, Any] = run_node(server, program)
    (choice,) = found["whole"]["choices"]
    parts = found["parts"]
    assert parts["thinking"]
    assert choice["message"] == {
        "role": "assistant",
        "content": parts["answer"],
        "reasoning_content": parts["thinking"],
    }
    assert choice["finish_reason"] == found["finishReason"] == "length"
    usage = {
        "prompt_tokens": found["usage"]["promptTokens"],
        "completion_tokens": 60,
        "total_tokens": found["usage"]["totalTokens"],
    }
    assert found["whole"]["usage"] == usage
    *chunks, last, counted = found["deltas"]
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    for field, part in (("content", "answer"), ("reasoning_content", "thinking")):
        assert "".join(chunk["choices"][0]["delta"].get(field, "") for chunk in chunks) == parts[part]
    assert last["choices"][0]["finish_reason"] == "length"
    assert all(chunk["choices"][0]["finish_reason"] is None for chunk in chunks)
    assert (counted["choices"], counted["usage"]) == ([], usage)
    assert {chunk["id"] for chunk in found["deltas"]} == {found["deltas"][0]["id"]}
    assert found["wrong"] == ["CHM420"] * 16
    assert json.loads(found["shaped"]) == {"a": None}
    assert found["aborted"][0] == 20


def test_calls_of_tools_are_whole(server: Server) -> None:
    """A stand-in for a model: what it says between the marks of a call is no call, or one."""
    program = """
        const said = (text) => ({
          manifest: { name: "stand-in", chat: { pieces: { system: null } } },
          chat() {
            const [first, second] = [text.slice(0, 3), text.slice(3)];
            const texts = [["answer", "yes"], ["tool_call", first], ["tool_call", second], ["answer", "."]];
            const steps = (async function* () { for (const [part, text] of texts) yield { text, part, token: 1 }; })();
            const usage = { promptTokens: 1, completionTokens: 4, totalTokens: 5 };
            return Object.assign(steps, { result: Promise.resolve({ finishReason: "stop", usage }) });
          },
        });
        const rows = [];
        const object = '{"name": "light", "arguments": {"on": true}}';
        for (const text of [object, '{"name": "x", "arguments": "{}"}', '{"on": 1}', "no"])
          rows.push((await complete(said(text), { messages: [{ role: "user", content: "a" }] })).choices[0]);
        result(rows);
        """
    module = (bf.WEB_DIRECTORY / "completions.mjs").as_uri()
    found = run_node(server, f'import {{ complete }} from "{module}";\n{program}')
    calls = [row["message"].get("tool_calls") for row in found]
    assert calls[0] == [{"id": "call_0", "type": "function", "function": {"name": "light", "arguments": '{"on":true}'}}]
    assert calls[1][0]["function"] == {"name": "x", "arguments": "{}"}
    assert calls[2:] == [None, None]
    assert [row["finish_reason"] for row in found] == ["tool_calls", "tool_calls", "stop", "stop"]
    assert [row["message"]["content"] for row in found] == ["yes.", "yes.", 'yes{"on": 1}.', "yesno."]
