"""A trained model that others published, docs/modules.md: GRUs that say how words are spoken, as their package does."""

from __future__ import annotations

import importlib
import json
import re
import sys
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from project import ROOT
from web_tools import CHROMIUM, in_chromium, serving

import chimerac
from chimerac.compiler.build import pipeline
from chimerac.compiler.build.importing import module_of_source
from chimerac.compiler.ir.interpreter import Session
from chimerac.frontends.export.importer import import_module

LETTERS, END = 29, 2
SAID_BEGIN, SAID_END = LETTERS + 2, LETTERS + 3
MOST = 20  #: phonemes of a word


def words(count: int) -> list[str]:
    """Of our own pages, in the order of the alphabet."""
    text = " ".join(path.read_text("utf-8") for path in sorted((ROOT / "docs").glob("*.md")))
    found = sorted(set(re.findall(r"\b[a-z]{3,14}\b", text)))
    assert len(found) >= count
    return found[:: len(found) // count][:count]


@cache
def package() -> Any:
    """The package's model; what it needs to know of texts is replaced, for it would be downloaded."""
    nltk = ModuleType("nltk")
    nltk.__dict__.update(pos_tag=None, data=SimpleNamespace(find=lambda name: name))
    corpus, tokenize = ModuleType("nltk.corpus"), ModuleType("nltk.tokenize")
    corpus.__dict__.update(cmudict=SimpleNamespace(dict=dict))
    tokenize.__dict__.update(TweetTokenizer=lambda: SimpleNamespace(tokenize=str.split))
    with pytest.MonkeyPatch.context() as patch:
        for name, module in (("nltk", nltk), ("nltk.corpus", corpus), ("nltk.tokenize", tokenize)):
            patch.setitem(sys.modules, name, module)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as it is compiled: its texts have escapes that Python no longer likes
            return importlib.import_module("g2p_en").G2p()


def expected(word: str) -> list[str]:
    found: list[str] = package().predict(word)
    return found


def tokens_of(word: str) -> list[int]:
    return [*(ord(letter) - ord("a") + 3 for letter in word), END, SAID_BEGIN]


def spoken(tokens: Sequence[int]) -> list[str]:
    """Names of the phonemes up to the end of the word."""
    ids = [token - LETTERS for token in tokens]
    ends = [place for place, number in enumerate(ids) if number == SAID_END - LETTERS]
    return [package().idx2p[number] for number in ids[: (ends or [len(ids)])[0]]]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of the page, as it stands there."""
    page = (ROOT / "docs" / "modules.md").read_text("utf-8")
    (text,) = re.findall(r"`phonemes.py`[^`]*`[^`]*`:\n\n```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    path = tmp_path_factory.mktemp("phonemes") / "phonemes.py"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_interpreter_says_what_the_package_does(source: Path) -> None:
    module = module_of_source(f"{source}:Phonemes").eval().requires_grad_(False)
    lowered = pipeline.run(import_module(module, name="phonemes", block=16), pipeline.passes())[0]
    for word in words(4):
        session, said = Session(lowered), list[int]()
        for token in tokens_of(word):
            logits = session.forward([token])
        while len(said) < MOST and SAID_END not in said:
            said.append(int(logits.argmax()))
            logits = session.forward([said[-1]])
        assert spoken(said) == expected(word), word


@pytest.fixture(scope="module")
def bundles(source: Path) -> dict[str, Path]:
    report = chimerac.build(f"{source}:Phonemes", targets=["x86_64-avx2", "wasm"], out=source.parent / "dist")
    return {bundle.target: bundle.path for bundle in report.bundles}


@pytest.mark.slow
def test_a_thousand_words_natively_and_in_node(bundles: dict[str, Path]) -> None:
    for path in bundles.values():
        with chimerac.load(path) as session:
            for word in words(1000):
                said = [piece.token for piece in session.generate(tokens_of(word), max_tokens=MOST)]
                assert spoken(said) == expected(word), (path.name, word)


PAGE = """<!doctype html><script type="module">
import { Chimera } from "./chimera.mjs";
const post = (value) => fetch("/result", { method: "POST", body: JSON.stringify(value) });
try {
  const model = await Chimera.load("./");
  const said = [];
  for (const prompt of PROMPTS) {
    const made = [];
    for await (const { token } of model.generate(prompt, { maxTokens: MOST })) made.push(token);
    said.push(made);
  }
  await post(said);
} catch (error) { await post({ thrown: String(error) }); }
</script>"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_thousand_words_in_a_page(bundles: dict[str, Path], tmp_path: Path) -> None:
    prompts = json.dumps([tokens_of(word) for word in words(1000)])
    page = PAGE.replace("PROMPTS", prompts).replace("MOST", str(MOST))
    folder = next(path for target, path in bundles.items() if target.startswith("wasm"))
    with serving(folder) as server:
        found = in_chromium(server, tmp_path, page)
    for word, said in zip(words(1000), found, strict=True):
        assert spoken(said) == expected(word), word
