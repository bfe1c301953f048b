"""A web bundle that holds no language model, in Chromium: the worker's calls and the page beside it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from called_bundles import WASM, bundle
from made_once import Once
from web_tools import CHROMIUM, Server, in_chromium

from chimerac.runtime import load

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning"),
]

PAGE = """<!doctype html><iframe id="page" src="called/index.html"></iframe><script type="module">
import { Chimera } from "./chimera.mjs";
const post = (value) => fetch("/result", { method: "POST", body: JSON.stringify(value) });
const failure = (promise) => promise.then(() => null, (error) => [error.code, error.message]);
try {
  const model = await Chimera.load("called/");
  const given = { ids: [3, 1], kept: [true, true], scale: [1] };
  await model.call(given);
  const { scores, seen } = await model.call(given);
  const wrong = await failure(model.call({ ...given, ids: [3, 10] }));
  const spoken = await failure(model.generate("x").next());
  await model.reset();
  const again = await model.call(given);
  const about = () => document.getElementById("page").contentDocument.getElementById("about").textContent;
  while (!about().includes("no language model")) await new Promise((resolve) => setTimeout(resolve, 20));
  const form = document.getElementById("page").contentDocument.getElementById("form").checkVisibility();
  const tested = await model.selfTest();
  await post({ scores: [...scores], seen: [...seen], wrong, spoken, again: [...again.seen], tested, form });
  model.dispose();
} catch (error) {
  await post(`${error.stack}`);
}
</script>"""


def test_a_worker_calls_it_and_the_page_says_what_it_is(server: Server, once: Once, tmp_path: Path) -> None:
    folder = bundle(once, "classifier", WASM)
    shutil.copytree(folder, server.folder / "called")
    with load(folder) as session:
        expected = session.call({"ids": [3, 1], "kept": [True, True], "scale": 1})["scores"]
    found = in_chromium(server, tmp_path, PAGE)
    assert found == {
        "scores": expected.reshape(-1).tolist(),
        "seen": [2],
        "wrong": ["CHM420", "the input ids has the value 10; 0 to 9 are possible"],
        "spoken": ["CHM421", "the bundle holds no language model, and has no tokens; use call()"],
        "again": [1],
        "tested": True,
        "form": False,
    }
