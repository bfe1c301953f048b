"""The names of a home in C: the text and the lists that Python makes of the same JSON, its refusals, and a session."""

from __future__ import annotations

import ctypes as ct
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chimerac.runtime import BundleError, load
from chimerac.runtime.names import names_of
from chimerac.runtime.sessions.native import NativeSession

RANDOM = np.random.default_rng()
#: Of which names are made: signs that part them, spaces of all kinds, quotes, letters of one to four bytes.
PIECES = (
    *(
        "a",
        "lamp",
        "Küche",
        "漢",
        "🏠",
        " ",
        "  ",
        "\t",
        "\u00a0",
        "\u3000",
        "=",
        ":",
        ",",
        ";",
        "|",
        "^",
        '"',
        "\\",
        "/",
    ),
    *("'", "é", "e\u0301", "\u2028", "0"),
)
HOME = {
    "entities": [
        {"name": "Ceiling lamp", "aliases": ["big light", "sun"], "domain": "light", "area": "Küche"},
        {"name": "Robo: the, cleaner", "domain": "vacuum"},
        "Kettle",
        {"name": " Ceiling lamp ", "domain": "light", "area": "attic"},
    ],
    "areas": [{"name": "Küche", "aliases": ["kitchen"]}, "bath"],
    "floors": ["cellar", {"name": "Erster Stock", "aliases": ["^upstairs"]}, "cellar"],
}


class Names:
    """The functions of C."""

    def __init__(self, library: Path) -> None:
        self.library = ct.CDLL(str(library))
        self.library.chm_last_error.restype = ct.c_char_p
        self.library.chm_names_text.restype = ct.c_void_p
        self.library.chm_names_close.restype = None

    def open(self, text: bytes) -> tuple[int, ct.c_void_p]:
        names = ct.c_void_p()
        return self.library.chm_names_open(text, ct.c_size_t(len(text)), None, ct.byref(names)), names

    def read(self, text: bytes) -> tuple[str, dict[str, tuple[str, ...]]]:
        """The prefix and the lists; raises ValueError with status and message."""
        status, names = self.open(text)
        if status:
            assert not names
            raise ValueError(f"{status} {self.library.chm_last_error().decode()}")
        prefix, things, areas, floors = (self.text(names, kind) for kind in range(4))
        assert self.text(names, 4) is None
        self.library.chm_names_close(names)
        assert prefix is not None
        lists = {"names": things, "areas": areas, "floors": floors}
        return prefix, {name: tuple(rows.split("\n")[:-1]) for name, rows in lists.items() if rows is not None}

    def text(self, names: ct.c_void_p, kind: int) -> str | None:
        size = ct.c_size_t()
        found = self.library.chm_names_text(names, kind, ct.byref(size))
        return None if found is None else ct.string_at(found, size.value).decode()


@pytest.fixture(scope="module")
def names(toy_library: Path) -> Names:
    return Names(toy_library)


def expected(home: Any) -> tuple[str, dict[str, tuple[str, ...]]]:
    found = names_of(home)
    return found.prefix, dict(found.lists)


def drawn_text(most: int) -> str:
    return "".join(RANDOM.choice(PIECES, RANDOM.integers(1, most)))


def drawn_row(keys: tuple[str, ...]) -> Any:
    if RANDOM.random() < 0.2:
        return drawn_text(5)
    row: dict[str, Any] = {"name": drawn_text(4)}
    for key in keys:
        if RANDOM.random() < 0.6:
            row[key] = [drawn_text(4) for _ in range(RANDOM.integers(0, 4))] if key == "aliases" else drawn_text(3)
    return dict(sorted(row.items(), key=lambda _: RANDOM.random()))


def test_the_texts_are_those_of_python(names: Names) -> None:
    assert names.read(json.dumps(HOME).encode()) == expected(HOME)
    accepted = 0
    for _ in range(400):
        home = {
            "entities": [drawn_row(("aliases", "domain", "area")) for _ in range(RANDOM.integers(0, 9))],
            "areas": [drawn_row(("aliases",)) for _ in range(RANDOM.integers(0, 5))],
            "floors": [drawn_row(("aliases",)) for _ in range(RANDOM.integers(0, 3))],
        }
        for text in (json.dumps(home), json.dumps(home, ensure_ascii=False, indent=1)):
            try:
                wanted: Any = expected(home)
            except BundleError:
                with pytest.raises(ValueError, match=r"^420 "):
                    names.read(text.encode())
                continue
            assert names.read(text.encode()) == wanted
            accepted += 1
    assert accepted > 200


@pytest.mark.parametrize(
    "text",
    [
        *("{}", '{"entities": []}', ' { "areas" : [ "x" ] } ', '{"areas": ["\\ud83c\\udfe0 \\u00e9\\/\\"\\\\"]}'),
        '{"areas": ["x"], "areas": ["y"]}',
        '{"entities": [{"name": "a", "name": "b", "aliases": ["x"], "aliases": []}]}',
        '{"entities": [{"name": "a", "domain": "", "area": " "}]}',
        '{"areas": ["' + "x" * 255 + '"]}',
    ],
)
def test_texts_that_are_homes(names: Names, text: str) -> None:
    assert names.read(text.encode()) == expected(json.loads(text))


REFUSED = {
    "[]": "the names are a list, not an object with entities and areas",
    "7": "the names are a number",
    '{"rooms": []}': "there is no key 'rooms'; there are entities, areas",
    '{"areas": {}}': "areas is an object, not a list",
    '{"entities": null}': "entities is null, not a list",
    '{"areas": [3]}': r"areas\[0\] is a number, not an object with a name",
    '{"areas": ["x", []]}': r"areas\[1\] is a list, not an object with a name",
    '{"areas": [{}]}': r"areas\[0\] has no name",
    '{"areas": [{"name": 3}]}': r"areas\[0\].name is a number, not a name",
    '{"areas": [{"name": " "}]}': r"areas\[0\].name is empty, not a name",
    '{"areas": [""]}': r"areas\[0\].name is empty, not a name",
    '{"areas": [{"name": "x", "area": "y"}]}': r"there is no key of areas\[0\] 'area'; there are name, aliases",
    '{"entities": [{"nam": "x"}]}': "there are name, aliases, domain, area",
    '{"entities": [{"name": "x", "aliases": "y"}]}': r"entities\[0\].aliases is a text, not a list",
    '{"entities": [{"name": "x", "aliases": [true]}]}': r"entities\[0\].aliases is true or false, not a name",
    '{"entities": [{"name": "x", "domain": {}}]}': r"entities\[0\].domain is an object, not a name",
    '{"areas": ["a\\nb"]}': "has a control character",
    '{"entities": [{"name": "x", "area": "a\\u0000b"}]}': "has a control character",
    '{"areas": ["' + "é" * 128 + '"]}': "is not a name of at most 255 bytes",
    json.dumps({"areas": ["x"] * 4097}): "the areas are over the limit of 4096",
    json.dumps({"entities": [{"name": "x", "aliases": ["y"] * 4097}]}): r"entities\[0\].aliases are over the limit",
}


@pytest.mark.parametrize(("text", "message"), REFUSED.items(), ids=[text[:40] for text in REFUSED])
def test_what_is_no_home(names: Names, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^420 .*{message}"):
        names.read(text.encode())
    with pytest.raises(BundleError) as error:
        names_of(json.loads(text))
    assert error.value.code == "CHM420"


def test_what_is_no_json(names: Names) -> None:
    whole = json.dumps(HOME, ensure_ascii=False).encode()
    for cut in range(len(whole)):
        with pytest.raises(
            ValueError, match=f"^420 the names are no JSON at byte ({cut}|{cut - 1}|{cut - 2}|{cut - 3})"
        ):
            names.read(whole[:cut])
    for text in (
        *(
            b"",
            b" ",
            b"{,}",
            b'{"areas" []}',
            b'{"areas": [1 2]}',
            b'{"areas": ["x",]}',
            b'{"areas": ["x"],}',
            b"{} x",
            b"nul",
        ),
        *(b'{"areas": ["\\x"]}', b'{"areas": ["\\u12g4"]}', b'{"areas": ["\\ud800"]}', b'{"areas": ["\\udc00"]}'),
        *(
            b'{"areas": ["\\ud800\\u0041"]}',
            b'{"areas": ["\xff"]}',
            b'{"areas": ["a\nb"]}',
            b"{}\0",
            b"\xef\xbb\xbf{}",
            b"?",
        ),
    ):
        with pytest.raises(ValueError, match=r"^420 "):
            names.read(text)
    with pytest.raises(ValueError, match="over 1048576 bytes"):
        names.read(b" " * (1 << 20) + b"{}")
    status, _ = names.open(b"{}")
    assert status == 0
    assert names.library.chm_names_open(None, ct.c_size_t(2), None, ct.byref(ct.c_void_p())) == 420
    assert names.library.chm_names_open(b"{}", ct.c_size_t(2), None, None) == 420
    assert names.text(ct.c_void_p(), 0) is None
    names.library.chm_names_close(None)


def test_a_session_is_told_names(names: Names, toy: Any) -> None:
    with load(toy.folder) as session, load(toy.folder) as other:
        assert isinstance(session, NativeSession)
        told = Names(Path(toy.file("code")))
        status, home = told.open(json.dumps(HOME).encode())
        assert status == 0
        other.set_names(HOME)
        session.prefill([1, 2, 3])
        assert told.library.chm_session_tell_names(session._session, home) == 0
        assert session.position == len(session.encode(names_of(HOME).prefix))
        plain = "".join(map(str, session.generate("on", reset=False, max_tokens=12)))
        assert plain == "".join(map(str, other.generate("on", max_tokens=12)))
        assert session.state_hash() == other.state_hash()
        assert told.library.chm_session_tell_names(session._session, None) == 0
        assert session.position == 0
        assert told.library.chm_session_tell_names(None, home) == 420
        told.library.chm_names_close(home)
