"""What grammars copy: runs of words of the request, and names of lists, on every target and in the reference."""

from __future__ import annotations

import itertools
import json
import random
import re
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from texts import STRANGE, random_texts

from chimerac.compiler.packaging.grammar_packs import compile_grammar
from chimerac.runtime import BundleError, load
from chimerac.runtime.bundle_format.container import parse_container
from chimerac.runtime.bundle_format.fstpack import Automaton, Vocabulary, pack_of_container
from chimerac.runtime.reference.grammar_engine import GrammarEngine
from chimerac.runtime.reference.slots import of_request
from chimerac.runtime.reference.tokenizer import Tokenizer
from chimerac.runtime.sessions.native import NativeSession

COPY = {"type": "string", "x-copy": "request"}
NAME = {"type": "string", "x-copy": "names"}
ANSWER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": NAME,
        "items": {"type": "array", "items": COPY, "minItems": 1, "maxItems": 3},
        "area": {"anyOf": [{"type": "string", "x-copy": "areas"}, {"type": "null"}]},
        "n": {"type": "integer"},
    },
    "required": ["name", "items"],
    "additionalProperties": False,
}
SCHEMA = compile_grammar(schema=ANSWER, whitespace=1)
LARK = compile_grammar(lark='start: ("+" REQUEST "\\n")+ ("@" NAMES)?\n%declare REQUEST NAMES')
REQUESTS = (
    "Add milk, bread and Anna’s jam to the list!",
    'say "hello\\ world" in the Küche at 21.5 or 7:30',
    "居間の電気を付けて 21,5度",
    "the the the the a the",
    "T-shirt #1 C++ 50% 😀 x_y",
    "\u00e9\u0301te e\u0301te",
    "Lamp 2, the lamp and the kÜCHE; the bigg one",
    "one\ntwo three\tfour",
)
NAMES = ("lamp", "lamp 2", 'the "big" one', "Küche", "a\\b")
OTHERS = ("lamp\tKüche", "lamp 2", 'the "big" one', "Küche\tthe list\t電気", "a\\b\tzero")


def automaton_of(data: bytes) -> Automaton:
    return pack_of_container(parse_container(data)).grammars[0]


def engine_of(data: bytes, vocabulary: Vocabulary, tokenizer: Tokenizer) -> GrammarEngine:
    ends = tuple(special.id for special in tokenizer.specials if special.role == "end")
    return GrammarEngine(automaton_of(data), vocabulary, tokenizer.tokens, ends)


@pytest.fixture(scope="module")
def session(model: Any) -> Iterator[NativeSession]:
    with load(model.folder) as opened:
        assert isinstance(opened, NativeSession)
        yield opened


@pytest.mark.parametrize("data", [SCHEMA, LARK], ids=["schema", "lark"])
def test_c_and_the_reference_walk_alike(
    data: bytes, session: NativeSession, vocabulary: Vocabulary, tokenizer: Tokenizer
) -> None:
    """Masks, with limits and without, closing, forced bytes, and the bytes of every place."""
    engine, grammar = engine_of(data, vocabulary, tokenizer), session.grammar(data)
    assert grammar is not None
    assert grammar.slots
    for seed in range(8):
        source = random.Random(seed)
        listed = {"names": OTHERS if seed % 2 else None, "areas": ("Küche", "k") if seed % 3 == 1 else None}
        words = {kind: None if not of else "".join(f"{one}\n" for one in of).encode() for kind, of in listed.items()}
        for kind, text in {"request": REQUESTS[seed % len(REQUESTS)].encode(), **words}.items():
            engine.set_words(kind, text)
            grammar.set_words(kind, text)
        at = engine.start()
        left = source.choice([None, engine.closing(at) + source.randint(0, 30)])
        for _ in range(40):
            assert grammar.closing == engine.closing(at)
            assert grammar.complete == engine.complete(at)
            assert grammar.forced() == engine.forced(at)
            assert grammar.save() == engine.stored(at)
            mask = engine.mask(at, left)
            assert np.array_equal(grammar.mask(left)[: len(mask)], mask)
            choices = [int(token) for token in np.flatnonzero(mask) if tokenizer.tokens[token]]
            if not choices:
                break
            longest = max(choices, key=lambda token: len(tokenizer.tokens[token]))
            token = source.choice(choices) if source.random() < 0.7 else longest
            after = engine.accept(at, token)
            assert after is not None
            grammar.accept(token)
            if left is not None:  # some way always leads to the end in time
                left -= 1
                assert engine.closing(after) <= left or engine.closing(after) < engine.closing(at)
            at = after


def words_of(text: str) -> list[str]:
    """The words of a text without signs in them, by Python's own idea of a word."""
    return re.findall(r"[^\W]+", text)


def is_run(copied: str, request: str) -> bool:
    """Whether a copy stands in the request, with whole words on both sides."""
    for found in re.finditer(re.escape(copied), request):
        before, after = request[: found.start()], request[found.end() :]
        cut_before = re.search(r"\w$", before) and re.match(r"\w", copied)
        cut_after = re.match(r"\w", after) and re.search(r"\w$", copied)
        if not cut_before and not cut_after:
            return True
    return False


PLAIN = (REQUESTS[0], "turn on the Anna's lamp, please; 21.5 degrees", "ä ö ü ß straße Straße 12 12.5", "x")


def test_nothing_is_invented(session: NativeSession) -> None:
    """Whatever a model of random weights wants to say, what it says is what was said."""
    copies = 0
    for seed, request in itertools.product(range(25), PLAIN):
        options: dict[str, Any] = {"grammar": SCHEMA, "seed": seed, "temperature": 2.0, "max_tokens": 152 + seed}
        answer = json.loads("".join(map(str, session.generate(request, **options))))
        for copied in (answer["name"], *answer["items"]):
            assert is_run(copied, request), (copied, request)
            copies += 1
    assert copies >= 2 * 25 * len(PLAIN)


def test_names_of_a_list_are_canonical(session: NativeSession) -> None:
    seen = set()
    for seed in range(40):
        options: dict[str, Any] = {"grammar": SCHEMA, "seed": seed, "temperature": 3.0, "max_tokens": 160}
        text = "".join(map(str, session.generate("turn it on", lists={"names": NAMES, "areas": []}, **options)))
        answer = json.loads(text)
        seen.add(answer["name"])
        assert answer.get("area") in (None, "")  # there are no areas
    assert seen <= set(NAMES)
    assert len(seen) > 2


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
def test_web_bundles_copy_the_same(
    make_wasm_toy: Callable[[Tokenizer], Any], session: NativeSession, tokenizer: Tokenizer
) -> None:
    with load(make_wasm_toy(tokenizer).folder) as web:
        for seed, request in enumerate((*REQUESTS, "")):
            for grammar in (SCHEMA, LARK):
                options: dict[str, Any] = {"grammar": grammar, "seed": seed, "temperature": 2.0, "max_tokens": 160}
                options |= {"lists": {"names": list(NAMES)}} if seed % 2 else {}
                options |= {"request": request, "lists": {"names": []}} if seed > 4 else {}
                found = [outcome(one, request or "x", options) for one in (session, web)]
                assert found[0] == found[1]


def outcome(session: Any, prompt: str, options: dict[str, Any]) -> str:
    try:
        return "".join(map(str, session.generate(prompt, **options)))
    except BundleError as error:
        return f"{error.code} {error.message}"


def test_snapshots_keep_the_place_in_a_copy(session: NativeSession, model: Any) -> None:
    """Another session goes on from the middle of a word, if it is told of the same request, and only then."""
    request = "add semi skimmed milk and oat biscuits to the list"
    options: dict[str, Any] = {"grammar": SCHEMA, "max_tokens": 160, "temperature": 2.0, "seed": 5}
    steps = session.generate(request, **options)
    text = ""
    for piece in steps:
        text += str(piece)
        if re.search(r'"name" ?: ?"[^"]', text):
            break
    place = session.snapshot()
    rest = "".join(map(str, steps))
    assert rest.count('"') > 4
    with load(model.folder) as other:
        assert isinstance(other, NativeSession)
        list(other.generate(request, **{**options, "max_tokens": 159}))
        other.restore(place)
        assert "".join(going_on(other)) == rest
        other.restore(place)
        grammar = other.grammar(SCHEMA)
        assert grammar is not None
        grammar.set_words("request", b"something else")
        with pytest.raises(BundleError, match="was not begun with this grammar") as caught:
            going_on(other)
        assert caught.value.code == "CHM421"


def going_on(session: NativeSession) -> list[str]:
    found = []
    while True:
        finished, _, text = session._next()
        found.append(text)
        if finished:
            return found


def test_what_is_refused(session: NativeSession, model: Any) -> None:
    cases: list[tuple[Any, dict[str, Any], str, str]] = [
        ([1, 2], {}, "CHM421", "none was given"),
        ("?!", {"grammar": LARK}, "CHM420", "it has none"),
        ("x", {"lists": {"names": ["a\nb"]}}, "CHM420", "control character"),
        ("x", {"lists": {"names": [" a"]}}, "CHM420", "a space before it"),
        ("x", {"lists": {"names": ["x" * 256]}}, "CHM420", "255 bytes"),
        ("x", {"lists": {"names": ["x" * 65]}}, "CHM420", "over 64 bytes"),
        ("x", {"lists": {"nams": ["x"]}}, "CHM420", "did you mean 'names'"),
        ("x", {"lists": ["x"]}, "CHM420", "not a mapping"),
        ("x", {"lists": {"names": "x"}}, "CHM420", "not a list of names"),
        ("x", {"request": 5}, "CHM420", "neither a text nor its bytes"),
        ("x", {"request": "x " * 20_000}, "CHM420", "20000 words"),
        ("x", {"request": "x" * (1 << 20) + "x"}, "CHM420", "too long"),
    ]
    for prompt, options, code, message in cases:
        with pytest.raises(BundleError, match=message) as caught:
            list(session.generate(prompt, **{"grammar": SCHEMA, "max_tokens": 200, **options}))
        assert caught.value.code == code, options
    texts = "".join(map(str, session.generate([1, 2], grammar=SCHEMA, max_tokens=200, request="left lamp")))
    assert json.loads(texts)["name"] in ("left lamp", "left", "lamp")


def test_runs_begin_and_end_with_words() -> None:
    """Each case: a request, runs that are among those it has, and texts that are none."""
    cases = [
        ("milk, bread", {"milk", "bread", "milk, bread"}, {"milk,", "ilk", ", bread"}),
        ("Anna's 21.5", {"Anna's", "21.5", "Anna's 21.5"}, {"Anna", "s", "21"}),
        ("居間の", {"居", "居間", "間の", "居間の"}, set()),
        ("x\ny z", {"x", "y", "y z"}, {"x\ny"}),
        ("C++ #1", {"C", "C+", "C++", "#1", "C++ #1", "1"}, {" #1"}),
        ("e\u0301te", {"e\u0301te"}, {"e", "te"}),
    ]
    for text, runs, none in cases:
        made = of_request(text.encode(), json=False)
        found = {entry.text[:end].decode() for entry in made.entries for end in entry.ends}
        assert runs <= found, text
        assert not none & found, text
    assert of_request(b'a"b\\c', json=True).text == b'a\\"b\\\\c'


def test_runs_of_any_bytes_are_the_same_in_c(
    session: NativeSession, vocabulary: Vocabulary, tokenizer: Tokenizer
) -> None:
    for data, texts in ((SCHEMA, random_texts(12, 60)), (LARK, STRANGE)):
        engine, grammar = engine_of(data, vocabulary, tokenizer), session.grammar(data)
        assert grammar is not None
        begin = b'{"name":"' if data == SCHEMA else b"+"
        for text in texts:
            engine.set_words("request", text)
            grammar.set_words("request", text)
            at = engine.feed(engine.start(), begin)
            assert at is not None
            for byte in begin:
                grammar.accept(byte)
            for _ in range(8):
                mask = engine.mask(at)
                assert np.array_equal(grammar.mask()[: len(mask)], mask), text
                choices = [int(token) for token in np.flatnonzero(mask)]
                if not choices:
                    break
                token = max(choices, key=lambda one: (len(tokenizer.tokens[one]), one))
                after = engine.accept(at, token)
                if after is None:
                    break
                at = after
                grammar.accept(token)
