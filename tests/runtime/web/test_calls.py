"""chimera.mjs used wrongly: calls at the same time, aborts in the middle, wrong arguments. In Node and in Chromium."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from web_tools import CHROMIUM, Server, in_chromium, run_node

from chimerac.runtime import bundle_format as bf
from chimerac.runtime import load
from chimerac.runtime.arguments import nearest
from chimerac.runtime.options import OPTION_NAMES

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")

CALLS = Path(__file__).parent / "calls.mjs"
IMPORT = f'import {{ story, wrongArguments }} from "{CALLS.as_uri()}";\n'


def check_story(found: dict[str, Any], toy: Any) -> None:
    options: dict[str, Any] = {"max_tokens": 12, "temperature": 1.3, "seed": 3}
    with load(toy.folder) as session:
        tokens = [piece.token for piece in session.generate("hello", **options)]
        whole = [piece.token for piece in session.generate([i % 288 for i in range(60_000)], **options)]
    assert found["expected"] == found["made"] == found["afterBreak"] == found["afterError"] == tokens
    assert found["second"][0] == "CHM421"
    assert found["thrown"][1] == found["listener"][1] == "mine"
    assert found["aborted"][0] == found["never"][0] == 20, "the code of an AbortError"
    assert 0 < found["told"][0]["loaded"] < found["told"][0]["total"] == 60_000
    assert found["afterAbort"] == tokens
    assert found["whole"] == whole, "slices change no bits"
    assert found["last"] == {"phase": "prompt", "loaded": 60_000, "total": 60_000}
    assert found["rising"]
    assert found["pieces"] > 3
    assert [code for code, _ in found["wrong"]] == ["CHM420"] * 9
    assert 'did you mean "temperature"?' in found["wrong"][5][1]


def test_calls_at_the_same_time_and_aborts(server: Server, toy: Any) -> None:
    found = run_node(server, IMPORT + "result(await story(await load(url)));")
    check_story(found, toy)
    assert len(found["told"]) == 1, "an abort in a slice is seen before the next one"


def test_an_aborted_prefill_goes_on_where_it_was_left(server: Server) -> None:
    found = run_node(
        server,
        """
        const model = await load(url);
        const long = Int32Array.from({ length: 60000 }, (_, i) => i % 288);
        const stop = new AbortController();
        const onProgress = ({ loaded }) => { if (loaded > 5000) stop.abort(); };
        const aborted = await failure(model.prefill(long, { signal: stop.signal, onProgress }));
        const position = model.position;
        await model.prefill(long.subarray(position));
        const state = String(await model.stateHash());
        await model.reset();
        await model.prefill(long);
        // between slices the event loop has its turn, and others may look, but not change anything
        const seen = [];
        const busy = [];
        await model.reset();
        const running = model.prefill(long);
        setImmediate(async () => {
          await model.stateHash();
          seen.push(model.position);
          const generate = async () => { for await (const piece of model.generate("a")); };
          const restore = () => model.restore(new Uint8Array(8));
          for (const call of [() => model.prefill([1]), () => model.reset(), generate, restore])
            busy.push((await failure(call()))?.[0] ?? null);
        });
        await running;
        const same = String(await model.stateHash()) === state && model.position === 60000;
        const disposed = model.prefill(long);
        setImmediate(() => model.dispose());
        const after = [await failure(disposed), await failure(model.prefill([1]))];
        result({ aborted, position, same, seen, busy, after: after.map(([code]) => code) });
        """,
    )
    assert found["aborted"][0] == 20
    assert 5000 < found["position"] < 20_000, "of 60,000; at most one slice after the abort"
    assert found["same"]
    assert 0 < found["seen"][0] < 60_000
    assert found["busy"] == ["CHM421"] * 4
    assert found["after"] == ["CHM421"] * 2


def test_a_generation_that_nobody_refers_to_frees_the_model(server: Server) -> None:
    found = run_node(
        server,
        """
        import { setFlagsFromString } from "node:v8";
        import { runInNewContext } from "node:vm";
        setFlagsFromString("--expose-gc");
        const gc = runInNewContext("gc");
        const model = await load(url);
        const begin = async () => { await model.generate("hello", { maxTokens: 1e9 }).next(); };
        await begin();
        const before = (await failure(model.prefill([1])))?.[0];
        let after = before;
        for (let i = 0; i < 100 && after; i += 1) {
          gc();
          await new Promise((resolve) => setTimeout(resolve, 5));
          after = (await failure(model.prefill([1])))?.[0];
        }
        result({ before, after: after ?? null });
        """,
    )
    assert found == {"before": "CHM421", "after": None}


def test_arguments_that_are_none(server: Server) -> None:
    found = run_node(server, IMPORT + "result(await wrongArguments(load, url));")
    codes = [code for code, _ in found["found"]]
    assert set(codes) <= {"CHM420", "CHM410"}, [row for row in found["found"] if row[0] not in ("CHM420", "CHM410")]
    assert codes.count("CHM410") <= 3, "objects without a manifest, and a path without a bundle"
    assert all(len(message) < 300 and "\x1b" not in message for _, message in found["found"])
    assert any('did you mean "maxTokens"?' in message for _, message in found["found"])
    assert any('did you mean "threads"?' in message for _, message in found["found"])
    assert found["names"] == ["CHM431"] * 4
    assert found["fine"] is None
    assert found["same"]
    assert found["any"] == [255, 195]


SLIPS = [
    "temprature",
    "TopP",
    "maxtokens",
    "top-k",
    "sede",
    "lops",
    "stop",
    "n",
    "",
    "repetitionPenality",
    "t" * 500,
    "gramar",
]


def test_the_same_names_are_meant_in_both_languages(server: Server) -> None:
    program = f"""
        import {{ nearest }} from "{(bf.WEB_DIRECTORY / "arguments.mjs").as_uri()}";
        result({SLIPS!r}.map((slip) => nearest(slip, {list(OPTION_NAMES)!r})));
    """
    assert run_node(server, program) == [nearest(slip, OPTION_NAMES) for slip in SLIPS]


@needs_chromium
@pytest.mark.parametrize("where", ["page", "worker"])
def test_the_same_in_a_browser(server: Server, toy: Any, tmp_path: Path, where: str) -> None:
    shutil.copy(CALLS, server.folder)
    found = in_chromium(
        server,
        tmp_path,
        f"""<!doctype html><meta charset="utf-8"><script type="module">
        import {{ Chimera }} from "./chimera.mjs";
        import {{ story }} from "./{CALLS.name}";
        const post = (value) => fetch("/result", {{ method: "POST", body: JSON.stringify(value) }});
        try {{
          await post(await story(await Chimera.load("./", {{ worker: {str(where == "worker").lower()} }})));
        }} catch (error) {{ await post({{ thrown: `${{error}} ${{error.stack}}` }}); }}
        </script>""",
    )
    assert isinstance(found["thrown"], list), found
    check_story(found, toy)
