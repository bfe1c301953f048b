"""A tokenizer with many merged tokens, a toy model over it on both targets, and grammars compiled for it."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from project import NATIVE_TESTS

from chimerac.compiler.packaging.grammar_packs import compile_grammar
from chimerac.passes.grammar_fst.masks import with_masks
from chimerac.runtime import bundle_format as bf
from chimerac.runtime.bundle_format.container import parse_container
from chimerac.runtime.bundle_format.fstpack import (
    FLAG_DEFAULT,
    Automaton,
    Pack,
    Vocabulary,
    pack_bytes,
    pack_of_container,
)
from chimerac.runtime.bundle_format.grammar_trie import vocabulary_of
from chimerac.runtime.reference.grammar_engine import GrammarEngine
from chimerac.runtime.reference.tokenizer import Special, Tokenizer, tokenizer_sections

TEXT = (
    '{"name": "Bob é", "age": 12.5e-3, "list": [1, 2, [true, false, null]], "x": {"y": "\\u00e9\\n"}}  \n\t'
    " def f(x): return \"abc\" 'q' # c\n```python\n# Title\n\n* item **b** [link](url)\n$x^2$ \\begin{a}\\end{a} "
    "SELECT a FROM b WHERE c = 'd'; for (let i = 0; i < n; ++i) {} `t ${x}` echo \"$(ls)\" 漢字"
).encode()

PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 2, "maxLength": 9},
        "tags": {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 5},
        "kid": {"$ref": "#"},
    },
    "required": ["name", "tags"],
    "additionalProperties": False,
}
POINT: dict[str, Any] = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 3}
SOURCES: dict[str, dict[str, Any]] = {
    "json": {"mode": "json"},
    "python": {"mode": "python"},
    "markdown": {"mode": "markdown"},
    "plain_text": {"mode": "plain_text"},
    "choices": {"choices": ["on", "off", "only", "é"]},
    "regex": {"regex": r"[a-z]{2,5}(-\d{3})+"},
    "person": {"schema": PERSON},
    "items": {"schema": {"type": "array", "items": {"anyOf": [{"type": "number"}, {"type": "object"}]}, "minItems": 3}},
    "long": {"schema": {"type": "string", "minLength": 5, "maxLength": 60}},
    "bounded": {"schema": {"type": "string", "pattern": "^(?:[ -~é]|ê.z)*$", "minLength": 9, "maxLength": 50}},
    "points": {"schema": {"type": "array", "items": POINT, "minItems": 2, "maxItems": 4}},
}


def make_tokens() -> tuple[bytes, ...]:
    """All bytes, and pieces of text of many lengths."""
    source = random.Random(3)
    found: set[bytes] = {b'"' + b"x" * 40, b" " * 30, b"e" * 70}
    while len(found) < 800:
        start, size = source.randrange(len(TEXT)), source.randint(2, source.choice([3, 4, 6, 20]))
        found.add(TEXT[start : start + size])
        found.add(bytes(source.choice(b'{}[]",: \n01a') for _ in range(source.randint(2, 5))))
    pieces = sorted(piece for piece in found if len(piece) > 1)
    return (*(bytes([value]) for value in range(256)), *pieces)


def make_tokenizer() -> Tokenizer:
    """The tokens, two that end a text, one to begin it, a hole, one before what is heard."""
    tokens = make_tokens()
    first = len(tokens)
    roles = (("<end>", "end"), ("<begin>", "begin"), ("<stop>", "end"), ("<pad>", "pad"), ("<heard>", "heard"))
    specials = tuple(Special(name, first + i, role) for i, (name, role) in enumerate(roles))
    return Tokenizer((*tokens, *[b""] * 6), specials)


@dataclass(frozen=True)
class Compiled:
    """One grammar in every form that the tests compare."""

    name: str
    data: bytes
    tokenizer: Tokenizer
    vocabulary: Vocabulary

    @cached_property
    def automaton(self) -> Automaton:
        return pack_of_container(parse_container(self.data)).grammars[0]

    @cached_property
    def engine(self) -> GrammarEngine:
        ends = tuple(special.id for special in self.tokenizer.specials if special.role == "end")
        return GrammarEngine(self.automaton, self.vocabulary, self.tokenizer.tokens, ends)

    @cached_property
    def stored(self) -> bytes:
        """A pack for the tokenizer, with its tables and masks made ahead of time."""
        digest = bf.contents_sha256(tokenizer_sections(self.tokenizer))
        return pack_bytes(Pack((with_masks(self.automaton, self.vocabulary),), self.vocabulary, digest))


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return make_tokenizer()


@pytest.fixture(scope="session")
def vocabulary(tokenizer: Tokenizer) -> Vocabulary:
    return vocabulary_of(tokenizer.tokens)


@pytest.fixture(scope="session")
def compiled(tokenizer: Tokenizer, vocabulary: Vocabulary) -> Callable[[str], Compiled]:
    """compiled(name): one of SOURCES."""
    known: dict[str, Compiled] = {}

    def get(name: str) -> Compiled:
        if name not in known:
            known[name] = Compiled(name, compile_grammar(**SOURCES[name]), tokenizer, vocabulary)
        return known[name]

    return get


@pytest.fixture(scope="session")
def bundle_pack(compiled: Callable[[str], Compiled], tokenizer: Tokenizer, vocabulary: Vocabulary) -> bytes:
    """What a bundle carries: several grammars, of which ``person`` is the default."""
    automata = []
    for name in ("json", "person", "plain_text"):
        automaton = compiled(name).automaton
        flags = automaton.flags | (FLAG_DEFAULT if name == "person" else 0)
        automata.append(with_masks(replace(automaton, name=name, flags=flags), vocabulary))
    return pack_bytes(Pack(tuple(automata), vocabulary, bf.contents_sha256(tokenizer_sections(tokenizer))))


def add_pack(folder: Path, pack: bytes) -> None:
    """Put a pack into a bundle's folder and manifest."""
    (folder / "toy.fstpack").write_bytes(pack)
    manifest = bf.read_manifest(folder)
    files = (*manifest.files, bf.file_entry(folder / "toy.fstpack", "grammar"))
    bf.write_manifest(folder, replace(manifest, files=files))


@pytest.fixture(scope="session")
def model(
    make_toy_bundle: Callable[..., Any], native_target: str, tokenizer: Tokenizer, compile_native: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Any:  # fmt: skip
    """A toy bundle without grammars."""
    toy_c = NATIVE_TESTS / "toy_model.c"
    folder = tmp_path_factory.mktemp("model")
    sources = [toy_c, *(bf.NATIVE_DIRECTORY / name for name in bf.POSIX_SOURCES)]
    vocab = len(tokenizer.tokens)
    first = make_toy_bundle(folder / "sizes", toy_c, native_target, tokenizer=tokenizer, vocab=vocab)
    digest = first.manifest.weights_sha256
    defines = [f'-DTOY_TARGET="{native_target}"', f'-DTOY_WEIGHTS_SHA256="{digest}"', f"-DVOCAB={vocab}"]
    warnings = ("-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror")
    code = compile_native(folder / "libchimera.so", sources, "-shared", "-fPIC", *warnings, *defines)
    return make_toy_bundle(folder / "bundle", code, native_target, tokenizer=tokenizer, vocab=vocab)


@pytest.fixture(scope="session")
def model_with_grammars(model: Any, bundle_pack: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with grammars: its folder."""
    import shutil

    folder = tmp_path_factory.mktemp("grammars") / "bundle"
    shutil.copytree(model.folder, folder)
    add_pack(folder, bundle_pack)
    return folder


def walk(grammar: Compiled, seed: int, steps: int) -> list[tuple[Any, np.ndarray, int | None, int]]:
    """A random walk of the reference: (configuration, mask, tokens left or None, token chosen)."""
    source, engine = random.Random(seed), grammar.engine
    at = engine.start()
    left = source.choice([None, None, engine.closing(at) + source.randint(0, 40)])
    found = []
    for _ in range(steps):
        mask = engine.mask(at, left)
        choices = [int(t) for t in np.flatnonzero(mask) if grammar.tokenizer.tokens[t]]
        if not choices:
            found.append((at, mask, left, -1))
            break
        longest = max(choices, key=lambda t: len(grammar.tokenizer.tokens[t]))
        token = source.choice(choices) if source.random() < 0.7 else longest
        found.append((at, mask, left, token))
        after = engine.accept(at, token)
        assert after is not None
        at = after
        left = None if left is None else left - 1
    return found


@pytest.fixture(params=["native", "node"], scope="module")
def native_or_node(request: pytest.FixtureRequest) -> Path:
    """The folder of a model's bundle, for this machine and then for Node.js."""
    if request.param == "node" and shutil.which("node") is None:
        pytest.skip("needs Node.js")
    make: Callable[[Tokenizer], Any] = request.getfixturevalue("make_wasm_toy")
    tokenizer = request.getfixturevalue("tokenizer")
    folder: Path = request.getfixturevalue("model").folder if request.param == "native" else make(tokenizer).folder
    return folder
