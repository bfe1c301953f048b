"""chimera.mjs: loading from a server that behaves, and from servers that do not; aborting; workers; the page itself."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from web_tools import CHROMIUM, Server, in_chromium, run_node

from chimerac.runtime import bundle_format as bf
from chimerac.runtime import load

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")


def test_the_manifests_defaults_hold_where_nothing_is_given(server: Server) -> None:
    found = run_node(
        server,
        """
        const text = await (await fetch(new URL("manifest.json", url))).text();
        const read = async (role) => {
          const { name } = JSON.parse(text).files.find((file) => file.role === role);
          return new Uint8Array(await (await fetch(new URL(name, url))).arrayBuffer());
        };
        const files = { wasm: await read("code"), weights: await read("weights"), tokenizer: await read("tokenizer") };
        const modes = { deep: { loops: 4 } };
        const own = { temperature: 0.9, top_p: 0.8, repetition_penalty: 1.3, max_tokens: 11, modes };
        const withOwn = (generation) => JSON.stringify({ ...JSON.parse(text), generation });
        const explicit = { temperature: 0.9, topP: 0.8, repetitionPenalty: 1.3, maxTokens: 11 };
        const plain = await load({ manifest: text, ...files });
        const model = await load({ manifest: withOwn(own), ...files });
        const tokens = async (which, options) => {
          const steps = which.generate("hello", options);
          for await (const piece of steps);
          return Array.from((await steps.result).tokens);
        };
        result({
          own: await tokens(model, {}),
          undefinedToo: await tokens(model, { temperature: undefined }),
          explicit: await tokens(plain, explicit),
          greedy: await tokens(model, { temperature: 0 }),
          plainGreedy: await tokens(plain, { ...explicit, temperature: 0 }),
          deep: await tokens(model, { mode: "deep" }),
          loops: await tokens(plain, { ...explicit, loops: 4 }),
          wrong: await failure(tokens(model, { mode: "flat" })),
          bad: await failure(load({ manifest: withOwn({ top_p: 2 }), ...files })),
          tested: await model.selfTest(),
        });
        """,
    )
    assert found["own"] == found["explicit"] == found["undefinedToo"]
    assert found["greedy"] == found["plainGreedy"] != found["own"]
    assert found["deep"] == found["loops"] != found["own"]
    assert found["wrong"][0] == "CHM420"
    assert "the bundle has deep" in found["wrong"][1]
    assert found["bad"][0] == "CHM410"
    assert found["tested"] is False  # the toy has none; that of a bundle is greedy whatever its defaults


def test_loads_from_a_server_and_generates_the_native_tokens(server: Server, toy: Any) -> None:
    with load(toy.folder) as session:
        pieces = [
            [piece.text, piece.token] for piece in session.generate("hello", max_tokens=30, temperature=1.2, seed=5)
        ]
        state = session.state_hash()
    found = run_node(
        server,
        """
        const progress = [];
        const model = await load(url, { onProgress: (p) => progress.push(p) });
        const pieces = [];
        const options = { maxTokens: 30, temperature: 1.2, seed: 5 };
        const steps = model.generate("hello", options);
        for await (const { text, token } of steps) pieces.push([text, token]);
        const state = (await model.stateHash()).toString(16).padStart(16, "0");
        const last = progress.at(-1);
        const files = progress.filter((p) => p.phase !== "compile");
        const rising = files.every((p, i) => i === 0 || p.loaded >= files[i - 1].loaded);
        const byManifest = await load(new URL("manifest.json", url));
        await Promise.all([model.dispose(), model.dispose()]);
        const afterwards = await failure(model.reset());
        const { finishReason: reason } = await steps.result;
        result({ pieces, state, last, rising, reason, name: byManifest.manifest.name, afterwards });
        """,
    )
    assert found["pieces"] == pieces
    assert found["state"] == state
    assert found["rising"]
    assert found["last"]["loaded"] == found["last"]["total"] > 0
    assert (found["reason"], found["name"]) == ("length", "toy")
    assert found["afterwards"][0] == "CHM421"


HTML = b"<!DOCTYPE html><html><body>Not here</body></html>"


@pytest.mark.parametrize(
    ("name", "answer", "code", "message"),
    [
        ("manifest.json", (404, b""), "CHM400", "404"),
        ("manifest.json", (200, HTML), "CHM412", "the server sent an HTML page for http"),
        ("manifest.json", (200, b"{"), "CHM410", "not JSON"),
        ("manifest.json", (200, b"null"), "CHM410", "not an object"),
        ("manifest.json", (200, b'{"schema": 9, "abi": "9.1"}'), "CHM411", "version 9"),
        ("chimera.wasm", (200, HTML), "CHM412", "the server sent an HTML page for http"),
        ("chimera.wasm", (404, HTML), "CHM400", "404"),
        ("chimera.wasm", (200, b""), "CHM412", "0 bytes"),
        ("toy.b158", (200, b"x" * 100), "CHM412", "100 bytes"),
        ("toy.b158", (200, b"x" * 1_000_000), "CHM412", "more than"),
        ("toy.b158", (501, b"oops"), "CHM400", "501"),
    ],
)
def test_servers_that_answer_something_else(
    server: Server, name: str, answer: tuple[int, bytes], code: str, message: str
) -> None:
    server.replace[name] = answer
    found = run_node(server, "result(await failure(load(url)));")
    assert found[0] == code
    assert message in found[1]


def test_bytes_that_differ_from_the_manifest(server: Server) -> None:
    for name in ("chimera.wasm", "toy.b158", "toy_tokenizer.model"):
        data = bytearray((server.folder / name).read_bytes())
        data[-1] ^= 1
        server.replace = {name: (200, bytes(data))}
        code, message = run_node(server, "result(await failure(load(url)));")
        assert (code, name in message) == ("CHM412", True)


@pytest.mark.parametrize("damage", ["flipped", "short", "long", "page"])
def test_a_damaged_file_in_a_cache_is_fetched_once_more_past_it(server: Server, damage: str) -> None:
    server.cached = True
    for name in ("chimera.wasm", "toy.b158", "toy_tokenizer.model"):
        data = (server.folder / name).read_bytes()
        flipped = data[:-1] + bytes([data[-1] ^ 1])
        wrong = {"flipped": flipped, "short": data[:-1], "long": data + b"x", "page": HTML}[damage]
        server.replace[name] = (200, wrong)
    assert run_node(server, "result((await load(url)).vocabSize);") == 288


def test_sizes_that_no_memory_has(server: Server) -> None:
    found = run_node(
        server,
        """
        const manifest = await (await fetch(new URL("manifest.json", url))).json();
        const bytes = new Uint8Array(8);
        const codes = [];
        for (const size of [2 ** 53 - 1, 2 ** 40, 2 ** 32 + 1]) {
          for (const file of manifest.files) {
            delete file.chunks;
            const before = file.bytes;
            file.bytes = size;
            codes.push((await failure(load({ manifest, wasm: bytes, weights: bytes, tokenizer: bytes })))[0]);
            file.bytes = before;
          }
        }
        result([codes.length, [...new Set(codes)]]);
        """,
    )
    assert found[0] > 0
    assert found[1] == ["CHM422"]


def test_a_manifest_cannot_point_elsewhere(server: Server) -> None:
    found = run_node(
        server,
        """
        const manifest = await (await fetch(new URL("manifest.json", url))).json();
        const bytes = new Uint8Array(8);
        const codes = [];
        for (const name of ["../secret", "http://example.com/x", "a/b", "", ".hidden", "a".repeat(65)]) {
          manifest.files[0].name = name;
          codes.push((await failure(load({ manifest, wasm: bytes, weights: bytes })))[0]);
        }
        result(codes);
        """,
    )
    assert found == ["CHM410"] * 6


def test_loading_from_bytes(server: Server) -> None:
    found = run_node(
        server,
        """
        const read = async (name) => (await fetch(new URL(name, url))).arrayBuffer();
        const [manifest, wasm, weights, tokenizer] = await Promise.all(
          ["manifest.json", "chimera.wasm", "toy.b158", "toy_tokenizer.model"].map(read));
        const model = await load({ manifest, wasm, weights: new Uint8Array(weights), tokenizer });
        const text = new TextDecoder().decode(manifest);
        await load({ manifest: text, wasm, weights, tokenizer });
        await load({ manifest: JSON.parse(text), wasm, weights, tokenizer });
        const missing = await failure(load({ manifest, wasm, tokenizer }));
        const short = await failure(load({ manifest, wasm, weights: weights.slice(1), tokenizer }));
        result({ vocab: model.vocabSize, missing: missing[0], short: short[0] });
        """,
    )
    assert found == {"vocab": 288, "missing": "CHM412", "short": "CHM412"}


def test_aborting_and_going_on(server: Server) -> None:
    found = run_node(
        server,
        """
        const run = async (options) => {
          let count = 0;
          const steps = model.generate("hello", options);
          results.push(steps.result);
          for await (const piece of steps) count += 1;
          return (await steps.result).tokens;
        };
        const results = [];
        const loading = new AbortController();
        loading.abort();
        const whileLoading = await failure(load(url, { signal: loading.signal }));
        const model = await load(url);
        const expected = [...(await run({ maxTokens: 20 }))];
        const abort = new AbortController();
        setTimeout(() => abort.abort(), 30);
        const aborted = await failure(run({ maxTokens: 1e9, signal: abort.signal }));
        const reason = await failure(results.at(-1));
        const same = String(await run({ maxTokens: 20 })) === String(expected);
        let second;
        for await (const piece of model.generate("hello", { maxTokens: 5 })) {
          second ??= await failure(run({}));
          break;
        }
        const again = String(await run({ maxTokens: 20 })) === String(expected);
        result({ whileLoading, aborted, reason, same, second, again });
        """,
    )
    assert found["whileLoading"][0] == 20, "the code of an AbortError"
    assert found["aborted"][0] == 20
    assert found["reason"][0] == 20
    assert found["same"]
    assert found["second"][0] == "CHM421"
    assert found["again"]


def test_arguments_and_snapshots(server: Server) -> None:
    found = run_node(
        server,
        """
        const model = await load(url);
        const run = async (prompt, options) => { for await (const piece of model.generate(prompt, options)); };
        const bad = [];
        for (const options of [{ temperature: -1 }, { topP: 2 }, { topK: -1 }, { topK: 1.5 }, { loops: 99 },
          { maxTokens: -1 }, { temperature: NaN }, { maxTokens: 2 ** 31 }, { stream: 2 ** 32 }, { exitThreshold: "x" }])
          bad.push((await failure(run("a", options)))?.[0]);
        bad.push((await failure(run([288], {})))[0], (await failure(run([], {})))[0]);
        const empty = await model.logits();
        await model.prefill([1, 2, 3]);
        const before = await model.stateHash();
        const snapshot = await model.snapshot();
        await model.prefill([4]);
        const moved = (await model.stateHash()) !== before;
        await model.restore(snapshot);
        const back = (await model.stateHash()) === before && model.position === 3;
        const damaged = await failure(model.restore(snapshot.subarray(1)));
        const steps = model.generate("a", { seed: 2n ** 63n, temperature: 1, maxTokens: 3 });
        for await (const piece of steps);
        result({ bad, empty, moved, back, damaged: damaged[0],
          length: (await steps.result).tokens.length, encoded: [...(await model.tokenize("hé"))] });
        """,
    )
    assert found["bad"] == ["CHM420"] * 11 + ["CHM421"]
    assert found["empty"] is None
    assert found["moved"]
    assert found["back"]
    assert found["damaged"] == "CHM401"
    assert found["length"] == 3
    assert found["encoded"] == list("hé".encode())


def test_own_sha256_is_sha256(server: Server) -> None:
    program = f"""
        import {{ sha256, sha256InScript }} from "{(bf.WEB_DIRECTORY / "sha256.mjs").as_uri()}";
        import {{ createHash, randomBytes }} from "node:crypto";
        import {{ getEventListeners }} from "node:events";
        let wrong = 0;
        const {{ signal }} = new AbortController();
        for (const size of [0, 1, 3, 55, 56, 63, 64, 65, 119, 120, 128, 1000, 70001]) {{
          const bytes = new Uint8Array(randomBytes(size));
          const expected = createHash("sha256").update(bytes).digest("hex");
          if ((await sha256InScript(bytes)) !== expected || (await sha256(bytes, signal)) !== expected) wrong += 1;
        }}
        const aborted = await sha256(new Uint8Array(9), AbortSignal.abort("stop")).catch((reason) => reason);
        result([wrong, aborted, getEventListeners(signal, "abort").length]);
        """
    assert run_node(server, program) == [0, "stop", 0], "wrong digests, the reason, and listeners that are left"


def test_web_files_need_nothing_from_elsewhere_and_no_eval() -> None:
    for path in bf.WEB_DIRECTORY.rglob("*.*"):
        if path.suffix not in {".mjs", ".mts", ".html", ".css", ".svg"}:
            continue
        text = path.read_text(encoding="utf-8").replace('"https://chimera.invalid/"', "a key")
        for word in ("eval(", "new Function", "Blob(", "createObjectURL", "cdn.", "https://"):
            assert word not in text.replace('"http://www.w3.org', ""), (path.name, word)
        if path.name != "cli.mjs":
            assert "node:" not in text, "bundlers for the browser stumble over node: imports"


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_page_in_chromium(server: Server, toy: Any, tmp_path: Path) -> None:
    """The page as it is shipped, under its own content security policy: load, generate, stop."""
    with load(toy.folder) as session:
        expected = "".join(map(str, session.generate("hello", max_tokens=20, temperature=1.5, top_p=0.95, seed=3)))
    found = in_chromium(
        server,
        tmp_path,
        """<!doctype html><meta charset="utf-8"><iframe src="index.html"></iframe><script type="module">
        const post = (value) => fetch("/result", { method: "POST", body: JSON.stringify(value) });
        const until = async (test) => { while (!test()) await new Promise((r) => setTimeout(r, 20)); };
        try {
          const frame = document.querySelector("iframe");
          const loaded = () => frame.contentDocument?.readyState === "complete";
          await until(() => loaded() && frame.contentDocument.getElementById("form"));
          const find = (id) => frame.contentDocument.getElementById(id);
          const violations = [];
          frame.contentDocument.addEventListener("securitypolicyviolation", (e) => violations.push(e.blockedURI));
          const state = () => frame.contentDocument.querySelector("main").dataset.state;
          const text = () => find("output").querySelector(".text").firstChild?.textContent ?? "";
          const ready = () => until(() => state() !== "running");
          await until(() => state() !== "loading");
          const loadError = find("error").textContent;
          Object.assign(find("temperature"), { value: 1.5 });
          Object.assign(find("seed"), { value: 3 });
          Object.assign(find("tokens"), { value: 20 });
          find("prompt").value = "hello";
          find("run").click();
          await ready();
          const output = text();
          find("tokens").value = 65536;
          find("temperature").value = 0;
          find("run").click();
          await until(() => text().length > 100);
          find("run").click();
          await ready();
          const stopped = text().length;
          find("tokens").value = 20;
          find("temperature").value = 1.5;
          find("run").click();
          await ready();
          const again = text();
          await post({ output, again, stopped, loadError, violations,
            title: find("title").textContent, error: find("failure").hidden });
        } catch (error) { await post({ thrown: String(error) }); }
        </script>""",
    )
    assert "thrown" not in found, found
    assert found["loadError"] == ""
    assert found["violations"] == []
    assert found["output"] == expected
    assert found["again"] == expected, "after a stop the model starts afresh"
    assert found["stopped"] > 100
    assert found["title"] == "toy"
    assert found["error"] is True


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_worker_client_in_chromium(server: Server, toy: Any, tmp_path: Path) -> None:
    with load(toy.folder) as session:
        list(session.generate("hello", max_tokens=20))
        tokens = session.tokens()
    found = in_chromium(
        server,
        tmp_path,
        """<!doctype html><script type="module">
        import { Chimera } from "./chimera.mjs";
        const post = (value) => fetch("/result", { method: "POST", body: JSON.stringify(value) });
        const failure = (promise) => promise.then(() => null, (error) => [error.name, error.code]);
        try {
          const missing = await failure(Chimera.load("nowhere/"));
          let progress = 0;
          const model = await Chimera.load("./", { onProgress: () => { progress += 1; } });
          const run = async (options) => {
            const made = [];
            const steps = model.generate("hello", options);
            for await (const { token } of steps) made.push(token);
            reason = (await steps.result).finishReason;
            return made;
          };
          let reason;
          const tokens = await run({ maxTokens: 20 });
          const abort = new AbortController();
          setTimeout(() => abort.abort(), 30);
          const aborted = await failure(run({ maxTokens: 1e9, signal: abort.signal }));
          const bad = await failure(run({ topP: 7 }));
          for await (const piece of model.generate("hello", { maxTokens: 1e9 })) break;
          const again = await run({ maxTokens: 20 });
          const running = failure(run({ maxTokens: 1e9 }));
          setTimeout(() => model.dispose(), 30);
          const { context } = model;
          await post({ missing, progress, tokens, reason, aborted, bad, again, context, disposed: await running });
        } catch (error) { await post({ thrown: String(error) }); }
        </script>""",
    )
    assert "thrown" not in found, found
    assert found["missing"] == ["HttpError", "CHM400"]
    assert found["progress"] > 0
    assert found["tokens"] == found["again"] == tokens
    assert found["reason"] == "length"
    assert found["context"] == 2**31 - 1
    assert found["aborted"][0] == "AbortError"
    assert found["bad"] == ["ArgumentError", "CHM420"]
    assert found["disposed"] == ["StateError", "CHM421"]


def test_files_are_asked_for_with_their_content_in_the_address(server: Server) -> None:
    program = """
        const asked = [];
        const recorded = (address, options) => { asked.push(String(address)); return fetch(address, options); };
        await (await load(url, { fetch: recorded })).dispose();
        result(asked);
        """
    manifest = json.loads((server.folder / "manifest.json").read_text())
    digests = {entry["name"]: entry["sha256"] for entry in manifest["files"]}
    asked = {address.removeprefix(server.url) for address in run_node(server, program)}
    assert "manifest.json" in asked
    assert len(asked) > 3
    assert all(
        name == f"{name.split('?')[0]}?v={digests[name.split('?')[0]][:16]}" for name in asked - {"manifest.json"}
    )


def test_a_kept_bundle_is_read_while_the_server_is_asked(server: Server) -> None:
    """What is kept counts only where the server has no other manifest; a visit that changes nothing writes nothing."""
    program = """
    const kept = new Map();
    let puts = 0;
    const cache = {
      match: async (key) => (kept.has(key) ? new Response(kept.get(key)) : undefined),
      put: async (key, response) => { puts += 1; kept.set(key, await response.arrayBuffer()); },
      delete: async (key) => kept.delete(key),
      keys: async () => [...kept.keys()].map((url) => ({ url })),
    };
    globalThis.caches = { open: async () => cache, has: async () => true };
    let answer = null; // in place of the server's manifest
    let begin = () => {};
    const asked = [];
    const fetching = async (address, options) => {
      asked.push(String(address).split("/").at(-1).split("?")[0]);
      if (!asked.at(-1).startsWith("manifest") || answer === null) return fetch(address, options);
      return answer();
    };
    const visit = async (more = {}) => {
      [puts, asked.length] = [0, 0];
      const found = await failure((async () => {
        const model = await load(url, { fetch: fetching, retries: 0, ...more });
        begin = { name: model.manifest.name, ...model.storage, version: model.manifest.provenance.version ?? null };
        await model.dispose();
      })());
      return { ...(found ? { error: found[0] } : begin), puts, asked: [...asked] };
    };
    const first = await visit();
    const again = await visit();
    const text = await (await fetch(new URL("manifest.json", url))).text();
    const other = JSON.parse(text);
    other.provenance = { version: "2" };
    answer = () => new Response(JSON.stringify(other));
    const newer = await visit();
    const settled = await visit();
    answer = () => new Response("", { status: 503 });
    const out = await visit();
    answer = () => { throw new TypeError("no network"); };
    const offline = await visit();
    answer = () => new Response("", { status: 404 });
    const gone = await visit();
    answer = () => new Response("{");
    const broken = await visit();
    other.files.find(({ role }) => role === "tokenizer").sha256 = "0".repeat(64);
    answer = () => new Response(JSON.stringify(other));
    const wrong = await visit();
    result({ first, again, newer, settled, wrong, out, gone, offline, broken });
    """
    found = run_node(server, program)
    size = found["first"]["downloaded"]
    assert (found["first"]["cached"], found["first"]["kind"]) == (0, "cache")
    assert size > 0
    for name, version in (("again", None), ("settled", "2"), ("out", "2"), ("offline", "2")):
        visit = found[name]
        assert (visit["downloaded"], visit["cached"], visit["puts"], visit["version"]) == (0, size, 0, version), name
        assert visit["asked"] == ["manifest.json"], name
    newer = found["newer"]
    assert (newer["version"], newer["downloaded"], newer["cached"]) == ("2", 0, size)
    assert newer["puts"] == 2  # its entry, first as one in the making
    assert [found[name]["error"] for name in ("gone", "broken", "wrong")] == ["CHM400", "CHM410", "CHM412"]


def test_types_name_what_the_module_has(server: Server) -> None:
    """chimera.d.mts declares exactly the members that a model, Chimera and the module have."""
    found = run_node(
        server,
        f"""
        import * as exported from "{(bf.WEB_DIRECTORY / "chimera.mjs").as_uri()}";
        const model = await load(url);
        const methods = Object.getOwnPropertyNames(Model.prototype).filter((name) => name !== "constructor");
        result([[...methods, ...Object.keys(model)].sort(), Object.keys(Chimera), Object.keys(exported)]);
        """,
    )
    text = (bf.WEB_DIRECTORY / "chimera.d.mts").read_text()
    declared = [
        {
            line.strip().removeprefix("readonly ").split("(")[0].split(":")[0]
            for line in text.split(beginning)[1].split("\n}")[0].splitlines()
        }
        for beginning in ("export declare class Model {", "export declare const Chimera: {")
    ]
    named = [{name for name in names if name.isidentifier()} for names in declared]
    assert named[0] == set(found[0])
    assert named[1] == set(found[1])
    assert set(re.findall(r"^export declare (?:class|const) (\w+)", text, re.MULTILINE)) == set(found[2])


def test_what_to_do_about_a_server_depends_on_its_answer(server: Server) -> None:
    program = """
    const answer = (status) => ({ retries: 0, fetch: async () => new Response("", { status }) });
    const say = (status) => load(url, answer(status)).then(() => null, ({ name, advice }) => [name, advice]);
    result([await say(404), await say(503)]);
    """
    missing, busy = run_node(server, program)
    assert missing == ["HttpError", "check the address"]
    assert busy == ["HttpError", "the server cannot answer now, try again later"]
