"""Names that a request says: an answer names one of these; what is said is compared with Python's own idea of words."""

from __future__ import annotations

import io
import itertools
import json
import random
import re
import subprocess
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chimerac.compiler.packaging.grammar_packs import compile_grammar
from chimerac.runtime import Session, load
from chimerac.runtime import bundle_format as bf
from chimerac.runtime.reference.heard import folded, heard, hint

HOME: dict[str, Any] = {
    "entities": [
        {"name": "Lamp", "domain": "light"},
        {"name": "Floor Lamp", "aliases": ["corner light", "", "a\tb"], "domain": "light"},
        {"name": "Kettle", "domain": "switch"},
        {"name": "TV", "aliases": ["télé"], "domain": "media_player"},
        {"name": "Dishwasher", "domain": "switch"},
        {"name": "Лампа", "domain": "light"},
        {"name": "テレビ", "domain": "media_player"},
    ],
    "areas": [{"name": "Bedroom", "aliases": ["Schlafzimmer"]}, "Bath"],
}
NAME = {"type": "string", "x-copy": "names"}
ANSWERS = compile_grammar(schema={"type": "array", "items": NAME, "minItems": 1, "maxItems": 1}, whitespace=0)
ALL = {row["name"] for row in HOME["entities"]}
SAID = [
    ("turn on the KETTLE", {"Kettle"}),
    ("turn on the floor lamp", {"Floor Lamp"}),
    ("the lamp and the floor lamp", {"Lamp", "Floor Lamp"}),
    ("corner light off", {"Floor Lamp"}),
    ("TÉLÉ aus", {"TV"}),
    ("the tvs", ALL),
    ("trun off the dishwahser", {"Dishwasher"}),
    ("kettle, and the dishwahser", {"Kettle", "Dishwasher"}),
    ("включи ЛАМПА", {"Лампа"}),
    ("テレビをつけて", {"テレビ"}),
    ("fantasy", ALL),
    ("the lampslight", {"Lamp"}),
    ("turn it on in the Schlafzimmer", ALL),
    ("kettle " * 300, ALL),  # too long a request
]


@pytest.fixture(scope="module")
def session(native_or_node: Path) -> Iterator[Session]:
    with load(native_or_node) as opened:
        opened.set_names(HOME)
        yield opened


def test_an_answer_names_what_was_named(session: Session) -> None:
    """Whatever a model of random weights wants to say."""
    for request, names in SAID:
        found = set()
        for seed in range(12 if names is not ALL else 6):
            options: dict[str, Any] = {"grammar": ANSWERS, "max_tokens": 90, "temperature": 3.0, "seed": seed}
            found.add(json.loads("".join(map(str, session.generate("x", request=request, **options))))[0])
        assert found <= names, request
        assert len(found) > 1 or names is not ALL, request


def test_case_is_that_of_python() -> None:
    for code in (*range(0x250), *range(0x370, 0x530), *range(0x1E00, 0x1F00)):
        lower = chr(code).lower()
        if unicodedata.category(chr(code)) != "Lu" or len(lower) > 1 or lower in "ς":
            continue
        known = code < 0x180 or 0x386 <= code <= 0x3AB or code >= 0x400
        if known and code not in (0x3CF, 0x4C0, 0x1E9E):  # of no living language, or with a small letter elsewhere
            assert folded(chr(code)) == lower, hex(code)
    assert folded("ς") == "σ"
    assert all(folded(sign) == sign for sign in "aé1 ßテ.")


def test_what_is_said_as_regular_expressions_find_it() -> None:
    """Whole words only, so that nothing is like a name: names of two letters."""
    words = ["ab", "cd", "ef gh", "gh", "cd ef"]
    source = random.Random(1)
    several = 0
    for _ in range(300):
        names = source.sample(words, source.randint(1, 4))
        said = " ".join(source.choice(["ab", "CD", "ef", "Gh", "abc", "x", "d"]) for _ in range(source.randint(1, 7)))
        spans = {
            (at.start(), at.start() + len(name)): name
            for name in names
            for at in re.finditer(rf"\b(?={re.escape(name)}\b)", said.lower())
        }
        longest = {
            name
            for (first, end), name in spans.items()
            if not any(a <= first and end <= b and (a, b) != (first, end) for a, b in spans)
        }
        lines = "".join(f"{name}\n" for name in names)
        found = set(heard(said.encode(), {"names": lines.encode()})["names"].decode().split("\n")[:-1])
        assert longest <= found, (said, names)
        assert {name for name in found if " " not in name} == {
            name for name in (longest or found) if " " not in name
        }, (said, names)
        assert longest or found == set(names) or all(" " in name for name in found), (said, names)
        several += len(longest) > 1
    assert several > 30


@pytest.mark.parametrize(
    ("name", "said", "like"),
    [
        *(("desk lamp", "dsk lamp", True), ("desk lamp", "lamp", False), ("desk lamp", "the desks", False)),
        *(("fan", "fantasy", False), ("lamp", "lamps", True), ("lamp", "lamb", False), ("tv", "tvs", False)),
    ],
)
def test_what_is_like_a_name(name: str, said: str, like: bool) -> None:
    lines = f"{name}\nwxyz\n".encode()
    assert heard(said.encode(), {"names": lines})["names"] == (f"{name}\n".encode() if like else lines)


Case = tuple[bytes, dict[str, bytes]]
KINDS = ("names", "areas", "floors")
SIGNS = ["a", "b", "A", " ", " ", "-", "é", "É", "\u0301", "テ", "'", "c", "Л", "Σ", "ς", "1"]


def _drawn(source: random.Random, most: int) -> str:
    return "".join(source.choices(SIGNS, k=source.randint(1, most)))


def _drawn_cases(source: random.Random, count: int) -> Iterator[Case]:
    """Requests, and lists of what they say and of other names."""
    for number in range(count):
        most = source.randint(1, 30)
        said = "".join(_drawn(source, most) for _ in range(400 if number % 100 == 0 else source.randint(0, 12)))
        lists = {}
        for kind in KINDS:
            names = []
            for _ in range(source.randint(0, 20)):
                at = source.randrange(len(said) + 1)
                part = said[at : at + source.randint(1, 20)]
                names.append(part if part and source.random() < 0.4 else _drawn(source, most))
            ends = [*source.choices("\t\n", k=len(names) - 1), "\n"] if names else []
            lists[kind] = "".join(itertools.chain(*zip(names, ends, strict=True))).encode()
        yield said.encode(), lists


def _letters() -> Iterator[Case]:
    """Letters of alphabets whose case is known and of others, among names that are letters, too, of either case."""
    for first in range(0x80, 0x2000, 32):
        letters = [letter for letter in map(chr, range(first, first + 32)) if letter.isalpha()]
        others = sorted({other for letter in letters for other in (letter, letter.lower(), letter.upper())})
        names = "".join(f"{other}\n" for other in others).encode()
        for said in (" ".join(letters[::2]), " ".join(letters[1::2])):
            yield said.encode(), {"names": names, "areas": names, "floors": b""}


def _large_cases() -> Iterator[Case]:
    """Long lists of what a request says as often as may be, is one word of, and is too long to say."""
    aliases = b"\n".join([b"\t".join([b"a"] * 8)] * 16_383) + b"\n"
    lengths = b"".join(b"a " * n + b"a\n" for n in range(128)) * 20
    for said in (b"a " * 1024, b"a" * 2048, b"a " * 1025):
        yield said, {"names": aliases, "areas": lengths, "floors": b"b\nc\n"}


def test_c_hears_as_the_interpreter(compile_native: Callable[..., Path], tmp_path: Path) -> None:
    files = ("heard", "utf8", "error", "pretokenizer", "grammar_words")
    sources = [Path(__file__).parent / "heard_driver.c", *(bf.NATIVE_DIRECTORY / f"chm_{name}.c" for name in files)]
    program = compile_native(tmp_path / "heard", sources)
    cases = [*_drawn_cases(random.Random(7), 500), *_letters(), *_large_cases()]
    texts = itertools.chain(*([said, *(lists[kind] for kind in KINDS)] for said, lists in cases))
    given = b"".join(len(text).to_bytes(4, "little") + text for text in texts)
    told = io.BytesIO(subprocess.run([program], input=given, capture_output=True, check=True).stdout)
    fewer = 0
    for said, lists in cases:
        found = {kind: told.read(int.from_bytes(told.read(4), "little")) for kind in KINDS}
        assert found == heard(said, lists), (said[:500], lists if len(said) < 500 else "")
        assert told.read(int.from_bytes(told.read(4), "little")) == hint(said, lists), said[:500]
        fewer += found != lists
    assert not told.read()
    assert fewer > 300


def test_what_one_list_has_said_is_no_likeness_for_another() -> None:
    lists = {"areas": b"bedroom\n", "names": b"bedroom lamp\ntelevision\n"}
    assert heard(b"turn on the tv in the bedroom", lists) == lists
    assert heard(b"turn on the bedroom lam", {"names": lists["names"]})["names"] == b"bedroom lamp\n"
    ending = b"Termostat\nTermostat Hall\n"
    assert heard(b"hur varm ar termostat halls", {"names": ending})["names"] == ending
    assert heard(b"termostat", {"names": ending})["names"] == b"Termostat\n"
    for order in itertools.permutations(lists):
        assert heard(b"bedroom bedrom lamp", {kind: lists[kind] for kind in order})["names"] == b"bedroom lamp\n"
