"""What a prompt is told of the names that a request says: the same tokens in C, JavaScript and Python."""

from __future__ import annotations

import ctypes as ct
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chimerac.compiler.packaging.grammar_packs import compile_grammar
from chimerac.runtime import Session, load
from chimerac.runtime.names import names_of
from chimerac.runtime.reference.heard import MOST_HINTED, hint
from chimerac.runtime.sessions.native import NativeSession

HOME: dict[str, Any] = {
    "entities": [
        {"name": "Lamp", "domain": "light"},
        {"name": "Floor Lamp", "aliases": ["corner light"], "domain": "light"},
        {"name": "Kettle, the", "aliases": ["kettle"], "domain": "switch"},
        {"name": "テレビ", "aliases": ["télé"], "domain": "media_player"},
        *({"name": f"Socket {n}", "domain": "switch"} for n in range(12)),
    ],
    "areas": [{"name": "Bedroom", "aliases": ["Schlafzimmer"]}, "Bath"],
    "floors": ["Cellar"],
}
NAME = {"type": "string", "x-copy": "names"}
ANSWERS = compile_grammar(schema={"type": "array", "items": NAME, "minItems": 1, "maxItems": 1}, whitespace=0)
SAID = [
    ("turn on the KETTLE", "Kettle, the;;"),
    ("corner light and lamp", "Lamp,Floor Lamp;;"),
    ("floor lamp in the Schlafzimmer", "Floor Lamp;Bedroom;"),
    ("TÉLÉ aus im cellar, bath", "テレビ;Bath;Cellar"),
    ("the sockets", ",".join(f"~Socket {n}" for n in range(MOST_HINTED)) + ";;"),
    ("floor lamp or the kettel", "Floor Lamp,~Kettle, the;;"),
    ("what time is it", ";;"),
    ("kettle " * 300, ";;"),  # too long a request
]
LISTS = {kind: "".join(f"{line}\n" for line in lines).encode() for kind, lines in names_of(HOME).lists.items()}


@pytest.mark.parametrize(("said", "told"), SAID)
def test_the_text(said: str, told: str) -> None:
    found = hint(said.encode(), LISTS).decode()
    assert found == told


def test_names_that_are_said_are_told_as_regular_expressions_find_them() -> None:
    words = ["ox", "ax ox", "up", "go"]  # too short for anything to be like them
    for said in ("ox up", "the ax ox went up", "go, OX", "ax", "upox", "ax ox ox"):
        longest = re.sub("ax ox", "", said.lower())
        wanted = [one for one in words if re.search(rf"\b{one}\b", longest if one == "ox" else said.lower())]
        assert hint(said.encode(), {"names": "".join(f"{one}\n" for one in words).encode()}) == (
            f"{','.join(wanted)};;".encode()
        )


@pytest.fixture(scope="module")
def session(native_or_node: Path) -> Iterator[Session]:
    with load(native_or_node) as opened:
        yield opened


def _answer(session: Session, prompt: Any, **options: Any) -> tuple[str, str]:
    made = session.generate(prompt, grammar=ANSWERS, max_tokens=90, temperature=3.0, seed=5, **options)
    return "".join(map(str, made)), session.state_hash()


def test_prompts_have_them_before_the_answer(session: Session) -> None:
    heard = session.encode("<heard>", specials=True)[0]
    session.set_names(HOME)
    after = session.snapshot()
    for said, _ in SAID:
        session.restore(after)
        told = hint(said.encode(), LISTS).decode()
        tokens = [*session.encode(said, begins=False), heard, *session.encode(told, begins=False)]
        wanted = _answer(session, tokens, request=said, reset=False)
        assert _answer(session, said) == wanted
        session.restore(after)
        assert _answer(session, said, reset=False) == wanted


def test_without_names_there_is_nothing_to_hear(session: Session) -> None:
    session.set_names(None)
    wanted = _answer(session, "turn on the kettle")
    tokens = [*session.encode("<begin>", specials=True), *session.encode("turn on the kettle")]
    assert _answer(session, tokens, request="turn on the kettle") == wanted
    session.set_names({"entities": []})
    assert _answer(session, "turn on the kettle") == wanted


def test_c_runs_the_same_tokens(model: Any) -> None:
    with load(model.folder) as session:
        assert isinstance(session, NativeSession)
        session.set_names(HOME)
        after = session.snapshot()
        wanted = _answer(session, said := "turn on the floor lamp")[1]
        library, handle = session._library, session._session
        session.restore(after)
        grammar = session.grammar(ANSWERS)
        assert grammar is not None
        library.call("chm_session_set_grammar", handle, grammar.handle)
        library.get("chm_session_prompt", handle, said.encode(), len(said))
        library.call("chm_session_begin_generation", handle, 90)
        token = ct.c_int32()
        while not library.call("chm_session_generate", handle, ct.byref(token)):
            pass
        assert session.state_hash() == wanted
        room, count = (ct.c_int32 * 1)(), ct.c_size_t()
        with pytest.raises(Exception, match=r"do not fit|no room"):
            library.call("chm_session_hint", handle, room, 0, ct.byref(count))
        with pytest.raises(Exception, match=r"do not fit|no room"):
            library.call("chm_session_hint", handle, room, 1, ct.byref(count))
