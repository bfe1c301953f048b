"""Names of a home: the text before a request, the lists that answers are copied from; the same in every session."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chimerac.compiler.errors import UserError
from chimerac.compiler.packaging.grammar_packs import compile_grammar
from chimerac.compiler.verbs.run import run
from chimerac.runtime import BundleError, Session, load
from chimerac.runtime.names import names_of

HOME: dict[str, Any] = {
    "entities": [
        {"name": "Ceiling lamp", "aliases": ["big light", "sun"], "domain": "light", "area": "Küche"},
        {"name": "Kettle", "domain": "switch", "area": "Küche"},
        {"name": "Robo: the, cleaner", "domain": "vacuum"},
        {"name": "Ceiling lamp", "domain": "light", "area": "attic"},
    ],
    "areas": [{"name": "Küche", "aliases": ["kitchen"]}, "bath"],
}
NAME = {"type": "string", "x-copy": "names"}
ANSWERS = compile_grammar(schema={"type": "array", "items": NAME, "minItems": 1, "maxItems": 1}, whitespace=0)


@pytest.fixture
def session(native_or_node: Path) -> Iterator[Session]:
    with load(native_or_node) as opened:
        yield opened


def test_the_text_of_names() -> None:
    names = names_of(HOME)
    assert names.prefix == (
        "Küche=kitchen:light Ceiling lamp=big light=sun,switch Kettle;bath:;attic:light Ceiling lamp;"
        ":vacuum Robo the cleaner;|"
    )
    assert names.lists == {
        "names": ("Ceiling lamp\tbig light\tsun", "Kettle", "Robo: the, cleaner"),
        "areas": ("Küche\tkitchen", "bath", "attic"),
    }
    assert names_of({}).prefix == ""
    floors = names_of({"floors": ["cellar", {"name": "first^ floor", "aliases": ["upstairs"]}, "cellar"]})
    assert floors.prefix == "^cellar,first floor=upstairs,cellar;|"
    assert floors.lists == {"floors": ("cellar", "first^ floor\tupstairs")}


def answers(session: Session, **options: Any) -> list[str]:
    steps = (
        session.generate("on", grammar=ANSWERS, max_tokens=90, temperature=3.0, seed=n, **options) for n in range(9)
    )
    return ["".join(map(str, step)) for step in steps]


def test_each_sequence_starts_after_the_names(session: Session) -> None:
    prefix = names_of(HOME).prefix
    lists = {"names": [line.split("\t")[0] for line in names_of(HOME).lists["names"]]}
    session.reset()
    session.prefill(session.encode(prefix))
    before = session.snapshot()
    expected = []
    for n in range(9):
        session.restore(before)
        options: dict[str, Any] = {"grammar": ANSWERS, "max_tokens": 90, "temperature": 3.0, "seed": n}
        expected.append("".join(map(str, session.generate("on", lists=lists, reset=False, **options))))
    session.set_names(HOME)
    assert answers(session) == expected
    assert {json.loads(text)[0] for text in expected} <= set(lists["names"])
    assert set(map(str, answers(session, lists={"names": ["x"]}))) == {'["x"]'}
    session.set_names({"entities": []})
    assert set(answers(session)) == {'["on"]'}  # words of the request stand in for a list that is empty
    session.set_names(None)
    assert set(answers(session)) == {'["on"]'}


def test_self_tests_do_not_see_names(session: Session) -> None:
    bare = session.record_self_test([1, 2, 3], 4)
    session.set_names(HOME)
    assert session.record_self_test([1, 2, 3], 4) == bare
    assert "on" not in {json.loads(text)[0] for text in answers(session)}


WRONG: list[tuple[Any, str]] = [
    (5, "not an object with entities and areas"),
    ({"entites": []}, "entities"),
    ({"entities": {}}, "not a list"),
    ({"entities": [5]}, r"entities\[0\] is 5, not an object with a name"),
    ({"entities": [{"domain": "light"}]}, r"entities\[0\] has no name"),
    ({"entities": [{"name": " "}]}, r"entities\[0\].name"),
    ({"entities": [{"name": "a", "aliases": "b"}]}, 'aliases is (a str|"b"), not a list'),
    ({"areas": [{"name": "a", "aliases": [1]}]}, "aliases is 1, not a name"),
    ({"areas": ["a\nb"]}, "control character"),
    ({"areas": ["a"] * 5000}, "over the limit of 4096"),
]


@pytest.mark.parametrize(("home", "message"), WRONG)
def test_what_is_no_list_of_names(home: Any, message: str, session: Session) -> None:
    with pytest.raises(BundleError, match=message) as caught:
        session.set_names(home)
    assert caught.value.code == "CHM420"


def test_names_of_a_file(model: Any, tmp_path: Path) -> None:
    path = tmp_path / "home.json"
    path.write_text(json.dumps({"entities": [{"name": "Kettle"}]}))
    found = run(model.folder, "on", grammar=ANSWERS, names=path, max_tokens=90)
    assert str(found) == '["Kettle"]'
    path.write_text("{")
    with pytest.raises(UserError, match="it is no JSON") as caught:
        run(model.folder, "on", names=path)
    assert caught.value.code == "CHM420"
