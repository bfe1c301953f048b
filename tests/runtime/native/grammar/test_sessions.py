"""Generations that follow a grammar: native and in Node, every limit of tokens, snapshots, defaults, errors."""

from __future__ import annotations

import ctypes as ct
import io
import itertools
import json
import random
import re
import shutil
import subprocess
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from snapshots import with_number

from chimerac.compiler.packaging.grammar_packs import compile_grammar
from chimerac.runtime import BundleError, load
from chimerac.runtime import bundle_format as bf
from chimerac.runtime.bundle_format.fstpack import (
    FLAG_PARAGRAPH,
    FLAG_PROSE,
    FLAG_REPETITION,
    FLAG_RHYTHM,
    Pack,
    pack_bytes,
)
from chimerac.runtime.options import GenerateOptions
from chimerac.runtime.reference.sampler import sample
from chimerac.runtime.reference.tokenizer import Tokenizer, tokenizer_sections
from chimerac.runtime.sessions.native import NativeSession

from .conftest import PERSON, SOURCES, Compiled, add_pack

Get = Callable[[str], Compiled]
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")


def python_text(text: str) -> None:
    """Strings and brackets are closed, as Python's own tokenizer sees it."""
    depth = 0
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            assert not (token.type == tokenize.ERRORTOKEN and token.string[0] in "'\""), "an open string"
            if token.type == tokenize.OP:
                depth += token.string in "([{"
                depth -= token.string in ")]}"
            assert depth >= 0
    except IndentationError:
        return  # of lines, which the grammar leaves free
    assert depth == 0


def markdown_text(text: str) -> None:
    """Fences are closed."""
    fence = None
    for line in text.split("\n"):
        found = re.match(r" {0,3}(`{3,}|~{3,})", line)
        if fence is None and found and not ("`" in found[1] and "`" in line[found.end() :]):
            fence = found[1]
        elif fence and found and found[1].startswith(fence) and not line[found.end() :].strip():
            fence = None
    assert fence is None


PARSERS: dict[str, Callable[[str], object]] = {
    "json": json.loads,
    "python": python_text,
    "markdown": markdown_text,
    "plain_text": str,
    "choices": lambda text: SOURCES["choices"]["choices"].index(text),
    "regex": lambda text: re.fullmatch(SOURCES["regex"]["regex"], text).span(),  # type: ignore[union-attr]
    "person": lambda text: jsonschema.validate(json.loads(text), PERSON),
    "items": lambda text: jsonschema.validate(json.loads(text), SOURCES["items"]["schema"]),
    "long": lambda text: jsonschema.validate(json.loads(text), SOURCES["long"]["schema"]),
    "bounded": lambda text: jsonschema.validate(json.loads(text), SOURCES["bounded"]["schema"]),
    "points": lambda text: jsonschema.validate(json.loads(text), SOURCES["points"]["schema"]),
}


@pytest.fixture(scope="module")
def session(model_with_grammars: Path) -> Iterator[NativeSession]:
    with load(model_with_grammars) as opened:
        assert isinstance(opened, NativeSession)
        yield opened


def text_of(session: Any, prompt: str, **options: Any) -> str:
    return "".join(map(str, session.generate(prompt, **options)))


def complete_text(session: Any, grammar: Compiled, seed: int, **options: Any) -> str:
    """A generation whose text must be one of the grammar's, as its parser sees it too."""
    wanted = grammar.engine.closing(grammar.engine.start())
    limit = options.pop("max_tokens", wanted + seed % 80)
    text = text_of(session, f"seed {seed}", grammar=grammar.data, seed=seed, max_tokens=limit, **options)
    assert len(session.tokens()) <= limit
    at = grammar.engine.feed(grammar.engine.start(), text.encode())
    assert at is not None, text
    assert grammar.engine.complete(at), text
    PARSERS[grammar.name](text)
    return text


def generations(session: Any, compiled: Get, count: int) -> None:
    for number in range(count):
        name = list(SOURCES)[number % len(SOURCES)]
        temperature = random.Random(number).choice([0.0, 0.7, 1.0, 5.0, 100.0])
        complete_text(session, compiled(name), number, temperature=temperature, top_k=number % 3 * 10)


def test_every_generation_is_a_text_of_its_grammar(session: NativeSession, compiled: Get) -> None:
    generations(session, compiled, 180)


@pytest.mark.slow
def test_ten_thousand_generations(session: NativeSession, compiled: Get) -> None:
    generations(session, compiled, 10_000)


@pytest.mark.parametrize("name", ["json", "person", "items", "regex", "python"])
def test_every_limit_of_tokens_is_kept_and_the_text_closed(name: str, session: NativeSession, compiled: Get) -> None:
    grammar = compiled(name)
    shortest = grammar.engine.closing(grammar.engine.start())
    for limit in range(max(1, shortest), shortest + 40):
        complete_text(session, grammar, limit, max_tokens=limit, temperature=1.5)


def test_too_few_tokens_are_refused_before_anything_is_done(session: NativeSession, compiled: Get) -> None:
    grammar = compiled("person")
    shortest = grammar.engine.closing(grammar.engine.start())
    before = session.snapshot()
    with pytest.raises(BundleError, match=f"may need {shortest}") as caught:
        text_of(session, "a", grammar=grammar.data, max_tokens=shortest - 1)
    assert caught.value.code == "CHM420"
    assert session.snapshot() == before
    complete_text(session, grammar, 0, max_tokens=shortest)


def test_the_default_grammar_and_names_and_none(session: NativeSession, model: Any) -> None:
    options: dict[str, Any] = {"max_tokens": 60, "temperature": 3.0, "seed": 8}
    jsonschema.validate(json.loads(text_of(session, "x", **options)), PERSON)
    assert text_of(session, "x", **options) == text_of(session, "x", grammar="person", **options)
    json.loads(text_of(session, "x", grammar="json", **options))
    free = text_of(session, "x", grammar="none", **options)
    with load(model.folder) as plain:
        assert text_of(plain, "x", **options) == free, "without a grammar nothing changes"
        with pytest.raises(BundleError, match="the bundle has none") as caught:
            text_of(plain, "x", grammar="json")
        assert caught.value.code == "CHM431"
    with pytest.raises(BundleError, match="no grammar 'latin'") as caught:
        text_of(session, "x", grammar="latin")
    assert caught.value.code == "CHM431"
    with pytest.raises(BundleError) as caught:
        text_of(session, "x", grammar=5)
    assert caught.value.code == "CHM420"
    with pytest.raises(BundleError) as caught:
        text_of(session, "x", grammar=b"not a pack")
    assert caught.value.code == "CHM401"
    assert text_of(session, "x", grammar="none", **options) == free, "an error leaves the session usable"


def test_it_ends_where_nothing_may_follow(session: NativeSession, compiled: Get) -> None:
    """Choices end with an end token, whose place in the tokens tells that the text stopped by itself."""
    assert text_of(session, "x", grammar=compiled("choices").data, max_tokens=20) in SOURCES["choices"]["choices"]
    assert session.finish_reason == "stop"
    tokens = session.tokens()
    assert tokens[-1] in compiled("choices").engine.ends
    assert session.finish_reason == "stop"


def test_forced_tokens_leave_the_same_state_as_chosen_ones(session: NativeSession) -> None:
    """Tokens without a choice are run several at a time, which changes no bit."""
    text = "only"
    assert text_of(session, "x", grammar=compile_grammar(regex="[o][n][l][y]"), max_tokens=30) == text
    tokens, hashes = session.tokens(), (session.state_hash(), session.logits_hash())
    session.reset()
    session.prefill(_prompt(session, "x"))
    for token in tokens:
        session.prefill([token])
    assert (session.state_hash(), session.logits_hash()) == hashes


def _prompt(session: NativeSession, text: str) -> list[int]:
    begin = session._library.get("chm_tokenizer_special", session._bundle, b"begin")
    return [begin, *session.encode(text)]


def test_a_snapshot_keeps_the_place_in_the_grammar(session: NativeSession, compiled: Get) -> None:
    options: dict[str, Any] = {"grammar": compiled("person").data, "max_tokens": 50, "temperature": 2.0, "seed": 4}
    whole = text_of(session, "x", **options)
    tokens = session.tokens()
    generator = session.generate("x", **options)
    start = "".join(next(generator).text for _ in range(7))
    snapshot = session.snapshot()
    rest = "".join(piece.text for piece in generator)
    assert start + rest == whole
    session.restore(snapshot)
    call, again, token = session._library.call, [], ct.c_int32()
    while not call("chm_session_generate", session._session, ct.byref(token)):
        again.append(token.value)
    assert [*again, token.value][: len(tokens) - 7] == tokens[7:]
    session.restore(snapshot)
    call("chm_session_set_grammar", session._session, None)
    with pytest.raises(BundleError, match="not begun with this grammar") as caught:
        call("chm_session_generate", session._session, ct.byref(token))
    assert caught.value.code == "CHM421"


def test_a_forged_place_in_the_grammar_is_refused(session: NativeSession, compiled: Get) -> None:
    """The grammar is known only when a restored generation goes on: then its place is checked."""
    generator = session.generate("x", grammar=compiled("person").data, max_tokens=50, temperature=2.0)
    for _ in range(7):
        next(generator)
    snapshot, token = session.snapshot(), ct.c_int32()
    generator.close()
    assert bf.parse_container(snapshot).array("grammar")[:2].any()
    for index, value in ((1, 255), (5, 255), (5, 65), (6, 2)):  # state, depth, finished
        session.restore(with_number(snapshot, "grammar.place", index, value))
        assert session._library.get("chm_session_complete", session._session) == 0
        with pytest.raises(BundleError, match="damaged") as caught:
            session._library.call("chm_session_generate", session._session, ct.byref(token))
        assert caught.value.code == "CHM421"


def test_a_conversation_goes_on_with_another_grammar(session: NativeSession, compiled: Get) -> None:
    json.loads(text_of(session, "a", grammar="json", max_tokens=20, temperature=1.0))
    position = session.position
    text = text_of(session, "b", grammar=compiled("choices").data, reset=False, temperature=1.0)
    assert text in SOURCES["choices"]["choices"]
    assert session.position > position


def test_many_grammars_of_one_session(session: NativeSession) -> None:
    for number in range(24):
        word = f"word{number % 12}"
        assert text_of(session, "x", grammar=compile_grammar(choices=[word]), max_tokens=20) == word


@needs_node
def test_node_makes_the_same_text(
    model_with_grammars: Path, make_wasm_toy: Callable[[Tokenizer], Any], tokenizer: Tokenizer, bundle_pack: bytes,
    compiled: Get, session: NativeSession,
) -> None:  # fmt: skip
    toy = make_wasm_toy(tokenizer)
    add_pack(toy.folder, bundle_pack)
    with load(toy.folder) as node:
        cases: list[Any] = [None, "none", "json", "plain_text", compiled("regex").data, compiled("long").data]
        for number, grammar in enumerate([*cases, *cases]):
            options = {"grammar": grammar, "max_tokens": 70, "temperature": 1.2, "seed": number}
            assert text_of(node, "x", **options) == text_of(session, "x", **options)
            assert node.tokens() == session.tokens()
            assert node.finish_reason == session.finish_reason
        for grammar, code in (("latin", "CHM431"), (b"not a pack", "CHM401")):
            with pytest.raises(BundleError) as caught:
                text_of(node, "x", grammar=grammar)
            assert caught.value.code == code
        with pytest.raises(BundleError) as caught:
            text_of(node, "x", grammar="json", max_tokens=-1)
        assert caught.value.code == "CHM420"


WORKER = """
import { readFile } from "node:fs/promises";
const [module, folder, grammar] = process.argv.slice(2);
const { Chimera } = await import(module);
const bytes = new Uint8Array(await readFile(grammar));
const model = await Chimera.load(folder);
const run = async (grammar, seed) => {
  const steps = model.generate("x", { grammar, maxTokens: 70, temperature: 1.2, seed });
  for await (const piece of steps) void piece;
  return (await steps.result).text;
};
const texts = [await run(bytes, 1), await run(bytes, 2)];
const before = model.memoryBytes;
for (let i = 0; i < 60; i += 1) await run(bytes, 1);
texts.push(await run(bytes.slice(), 1));
console.log(JSON.stringify({ texts, grown: model.memoryBytes - before }));
await model.dispose();
"""


@needs_node
def test_a_worker_opens_a_compiled_grammar_once(
    make_wasm_toy: Callable[[Tokenizer], Any], tokenizer: Tokenizer, bundle_pack: bytes, compiled: Get,
    session: NativeSession, tmp_path: Path,
) -> None:  # fmt: skip
    """Its bytes come with every request."""
    toy = make_wasm_toy(tokenizer)
    add_pack(toy.folder, bundle_pack)
    grammar = compiled("person").data
    (tmp_path / "person.fstpack").write_bytes(grammar)
    (tmp_path / "worker.mjs").write_text(WORKER)
    module = (bf.WEB_DIRECTORY / "chimera.mjs").as_uri()
    command = ["node", str(tmp_path / "worker.mjs"), module, str(toy.folder), str(tmp_path / "person.fstpack")]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout)
    options: dict[str, Any] = {"grammar": grammar, "max_tokens": 70, "temperature": 1.2}
    assert found["texts"] == [text_of(session, "x", seed=seed, **options) for seed in (1, 2, 1)]
    assert found["grown"] == 0


def weights(soft: np.ndarray, flags: int, history: list[int], generated: int) -> np.ndarray:
    """Biases of docs/fstpack.md, section 5, in 1/256 nat."""
    made = history[len(history) - generated :]
    bias = np.zeros(len(soft), np.int64)
    if flags & FLAG_RHYTHM:
        since = next((n for n, token in enumerate(reversed(made)) if soft[token] & 1), len(made))
        bias += np.where(soft & 1, min(512, 16 * max(0, since - 24)), 0)
    if flags & FLAG_PARAGRAPH:
        since = next((n for n, token in enumerate(reversed(made)) if soft[token] & 2), len(made))
        bias += np.where(soft & 2, min(512, 4 * max(0, since - 120)), 0)
    if flags & FLAG_REPETITION:
        window = history[-256:]
        again = np.zeros(len(soft), np.int64)
        for before, token in itertools.pairwise(window):
            again[token] -= 128 * (before == window[-1])
        bias += np.where(soft & 8, 0, np.maximum(again, -512))
    return np.clip(bias, -512, 512)


@pytest.mark.parametrize(
    "flags",
    [
        *(pytest.param(flag, marks=pytest.mark.slow) for flag in (FLAG_RHYTHM, FLAG_PARAGRAPH, FLAG_REPETITION)),
        FLAG_RHYTHM | FLAG_PARAGRAPH | FLAG_REPETITION,
    ],
)
def test_weights_of_prose_are_added_to_the_logits(flags: int, model: Any, compiled: Get, tokenizer: Tokenizer) -> None:
    """The choice is that of the Python sampler for the sums, among what the grammar allows."""
    grammar = compiled("plain_text")
    automaton = replace(grammar.automaton, flags=FLAG_PROSE | flags)
    pack = pack_bytes(Pack((automaton,), grammar.vocabulary, bf.contents_sha256(tokenizer_sections(tokenizer))))
    soft = grammar.vocabulary.soft
    changed = 0
    with load(model.folder) as plain:
        assert isinstance(plain, NativeSession)
        for seed, temperature in enumerate((0.0, 1.0, 0.5, 1.0)):
            options = GenerateOptions(temperature=temperature, seed=seed)
            sampling = {"temperature": temperature, "seed": seed}
            text_of(plain, "hello", grammar=pack, max_tokens=260, **sampling)
            tokens, prompt, at = plain.tokens(), _prompt(plain, "hello"), grammar.engine.start()
            plain.reset()
            plain.prefill(prompt)
            for number, token in enumerate(tokens):
                history = [*prompt, *tokens[:number]]
                logits = plain.logits()
                assert logits is not None
                excluded = ~grammar.engine.mask(at, 260 - number)
                bias = (weights(soft, flags, history, number) / 256).astype(np.float32)
                recent = history[-256:]
                assert token == sample(logits + bias, excluded, recent, len(history), options), number
                changed += token != sample(logits, excluded, recent, len(history), options)
                following = grammar.engine.accept(at, token)
                if following is None:
                    break
                at = following
                plain.prefill([token])
    assert changed or flags == FLAG_PARAGRAPH, "all but the smallest weights make a difference"
