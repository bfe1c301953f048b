"""What callers may hand to a session, and the one typed error of everything else; the same for all kinds of session."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from chimerac.runtime import BundleError, Session, load
from chimerac.runtime.arguments import nearest
from chimerac.runtime.options import OPTION_NAMES, GenerateOptions


@pytest.fixture
def session(any_session: Session) -> Session:
    return any_session


def refused(call: Callable[[], object], *words: str, code: str = "CHM420") -> None:
    with pytest.raises(BundleError) as caught:
        call()
    assert caught.value.code == code
    assert len(caught.value.message) < 300
    assert caught.value.message.isascii() or "…" in caught.value.message
    for word in words:
        assert word in caught.value.message


@pytest.mark.parametrize(
    ("prompt", "word"),
    [
        (None, "None"),
        (3.5, "3.5"),
        (5, "5"),
        (True, "True"),
        ("a\udc00b", "lone surrogate at character 1"),
        ({"a": 1}, "a dict"),
        ({1, 2}, "a set"),
        (iter([1]), "a list_iterator"),
        (np.array(5), "a ndarray"),
        (object(), "a object"),
        ([1, 2.0], "2.0"),
        ([1, "2"], "a str"),
        ([1, None], "None"),
        ([True], "True"),
        ([[1]], "a list"),
        (np.array([[1]]), "a ndarray"),
        (np.array([1.0]), "1.0"),
        ([288], "token 288 is not in the vocabulary of 288"),
        ([-1], "token -1"),
        ([10**400], "too many digits"),
    ],
)
def test_prompts_that_are_none(session: Session, prompt: Any, word: str) -> None:
    refused(lambda: session.generate(prompt), word)
    if not isinstance(prompt, str):
        refused(lambda: session.prefill(prompt), word)


@pytest.mark.parametrize("text", [None, 5, 3.5, ["a"], "\ud800", "ab\udfff"])
def test_texts_that_are_none(session: Session, text: Any) -> None:
    refused(lambda: session.encode(text))


def test_texts_tokens_and_bytes_in_any_form(session: Session) -> None:
    """Bytes are taken as they are: a byte tokenizer has a token for each."""
    assert session.encode("é\0😀") == session.encode("é\0😀".encode()) == list("é\0😀".encode())
    for data in (b"\xff\xc3", bytearray(b"\xff\xc3"), memoryview(b"\xff\xc3")):
        assert session.encode(data) == [255, 195]  # type: ignore[arg-type]
    hashes = set()
    for tokens in ([5, 7], (5, 7), np.array([5, 7]), np.array([5, 7], np.uint8), range(5, 9, 2), bytearray(b"\5\7")):
        session.reset()
        prompt = [*tokens] if isinstance(tokens, bytearray) else tokens
        session.prefill(prompt)  # type: ignore[arg-type]
        hashes.add(session.state_hash())
    assert len(hashes) == 1
    assert [*session.generate("é", max_tokens=3)] == [*session.generate("é".encode(), max_tokens=3)]
    assert len([*session.generate(b"\xff", max_tokens=3)]) == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temprature": 1}, ("'temprature'", "did you mean 'temperature'?")),
        ({"maxTokens": 1}, ("did you mean 'max_tokens'?",)),
        ({"top-p": 1}, ("did you mean 'top_p'?",)),
        ({"onProgress": print}, ("did you mean 'on_progress'?",)),
        ({"x" * 5000: 1}, ("there are max_tokens", "…")),
        ({"\x1b[31m": 1}, (r"'\x1b[31m'",)),
        ({"max_tokens": 1.5}, ("max_tokens is 1.5",)),
        ({"max_tokens": "many"}, ("max_tokens is 'many'",)),
        ({"max_tokens": -1}, ("-1",)),
        ({"max_tokens": 10**5000}, ("too many digits",)),
        ({"max_tokens": True}, ("True",)),
        ({"seed": 1.5}, ("seed is 1.5",)),
        ({"seed": -1}, ("seed is -1",)),
        ({"seed": 2**64}, ("seed",)),
        ({"seed": "5"}, ("seed is '5'",)),
        ({"temperature": float("nan")}, ("temperature is nan",)),
        ({"temperature": "hot"}, ("'hot'",)),
        ({"temperature": 10**400}, ("too many digits",)),
        ({"temperature": 1j}, ("a complex",)),
        ({"top_p": float("-inf")}, ("-inf",)),
        ({"top_p": [1]}, ("a list",)),
        ({"reset": "no"}, ("reset is",)),
        ({"reset": 0}, ("reset is 0",)),
        ({"mode": 5}, ("mode is 5",)),
        ({"mode": ["fast"]}, ("mode is a list",)),
        ({"mode": "fast"}, ("there is no mode 'fast'",)),
        ({"grammar": 5}, ("grammar is 5",)),
        ({"on_progress": 5}, ("on_progress is 5",)),
    ],
)
def test_options_that_are_none(session: Session, options: dict[str, Any], words: tuple[str, ...]) -> None:
    refused(lambda: session.generate("a", **options), *words)


def test_numbers_of_other_types_are_numbers(session: Session) -> None:
    plain = list(session.generate("a", max_tokens=4, temperature=0.5, top_k=3, seed=9))
    options: dict[str, Any] = {
        "max_tokens": np.int64(4),
        "temperature": np.float32(0.5),
        "top_k": np.uint8(3),
        "seed": np.uint64(9),
    }
    assert list(session.generate("a", **options)) == plain
    assert list(session.generate("a", **{**options, "temperature": Fraction(1, 2)})) == plain


@pytest.mark.parametrize("name", ["jsn", "json\0", "\udc00", "", "a b", "\x1b]0;x\x07"])
def test_grammars_that_the_bundle_has_not(session: Session, name: str) -> None:
    refused(lambda: list(session.generate("a", grammar=name)), "there is no grammar", code="CHM431")


@pytest.mark.parametrize("snapshot", [None, "text", 5, [1, 2]])
def test_snapshots_that_are_no_bytes(session: Session, snapshot: Any) -> None:
    refused(lambda: session.restore(snapshot), "not bytes")


def test_snapshots_in_any_form_of_bytes(session: Session) -> None:
    session.reset()
    session.prefill([1, 2, 3])
    snapshot = session.snapshot()
    forms: list[Any] = [snapshot, bytearray(snapshot), memoryview(snapshot)]
    for form in forms:
        session.restore(form)
        assert session.snapshot() == snapshot


def test_wrong_arguments_change_nothing(session: Session) -> None:
    session.reset()
    session.prefill([1, 2, 3])
    state = session.state_hash()
    refused(lambda: session.generate("a", seed=-1))
    refused(lambda: session.prefill([1, 2, 999]))
    refused(lambda: session.encode("a", specials="yes"))  # type: ignore[arg-type]
    assert (session.position, session.state_hash()) == (3, state)


@pytest.mark.parametrize("folder", [None, 5, 3.5, b"x", "a\0b"])
def test_folders_that_are_none(folder: Any) -> None:
    with pytest.raises(BundleError) as caught:
        load(folder)
    assert caught.value.code in ("CHM410", "CHM420")


@pytest.mark.parametrize(
    ("slip", "meant"),
    [
        ("temprature", "temperature"),
        ("Temperature", "temperature"),
        ("maxtokens", "max_tokens"),
        ("max_token", "max_tokens"),
        ("topp", "top_p"),
        ("top_pk", "top_p"),
        ("sede", "seed"),
        ("lops", "loops"),
        ("repetition_penality", "repetition_penalty"),
        ("stop", None),
        ("n", None),
        ("", None),
        ("logit_bias", None),
        ("t" * 5000, None),
    ],
)
def test_the_name_that_was_meant(slip: str, meant: str | None) -> None:
    assert nearest(slip, OPTION_NAMES) == meant


def test_every_option_can_be_given(session: Session) -> None:
    given = {name: getattr(GenerateOptions(), name) for name in OPTION_NAMES}
    assert list(session.generate("a", **given | {"max_tokens": 2})) == list(session.generate("a", max_tokens=2))
