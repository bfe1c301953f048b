"""The ledger of open obligations: what a scan of the text finds, in every runtime, however it was saved."""

from __future__ import annotations

import ctypes as ct
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from snapshots import changed, with_number

from chimerac.frontends.grammar.lark_files import lark_grammar
from chimerac.passes.grammar_fst import GrammarFst
from chimerac.runtime import BundleError, Session, load
from chimerac.runtime import bundle_format as bf
from chimerac.runtime.bundle_format.fstpack import FLAG_PROSE, FLAG_RHYTHM, Pack, pack_bytes
from chimerac.runtime.bundle_format.grammar_trie import vocabulary_of
from chimerac.runtime.options import GenerateOptions
from chimerac.runtime.reference.grammars import GrammarRun, PythonGrammars
from chimerac.runtime.reference.sampler import sample
from chimerac.runtime.reference.tokenizer import read_tokenizer, tokenizer_sections
from chimerac.runtime.sessions.diagnostics import LEDGER_NUMBERS
from chimerac.runtime.sessions.native import NativeSession
from chimerac.runtime.sessions.runner import RunnerSession

#: Brackets, sentences and lists; each token of the toy is a byte.
TEXTS = r"""
start: | "(" start ")" start | "[" start "]" start | "." start | "\n" line | WORD start
line: | "(" start ")" start | "[" start "]" start | "\n" line | WORD start | "- " start | "12) " start | " * " start
WORD: /[ab ]/
"""
LEDGER = bf.Ledger(bf.OBLIGATIONS, 64, 65535)
VALVE = bf.Valve((1.0, 1.5), (1, 2, 4), ("grammar_branching", "debt_pressure"))
DUE = {"close_bracket": 512, "complete_sentence": 60, "finish_list": 256}
OPTIONS: dict[str, Any] = {"max_tokens": 150, "temperature": 4.0, "seed": 6}
_ITEM = re.compile(r"[ \t\r]*([-*+]|[0-9]+[.)])[ \t\r]")


@pytest.fixture(scope="module")
def grammar(toy: Any) -> bytes:
    """With classes of tokens, so that sentences and lists count."""
    tokenizer = read_tokenizer(toy.file("tokenizer"))
    automaton = replace(GrammarFst().compile(lark_grammar(TEXTS)), flags=FLAG_PROSE | FLAG_RHYTHM)
    digest = bf.contents_sha256(tokenizer_sections(tokenizer))
    return pack_bytes(Pack((automaton,), vocabulary_of(tokenizer.tokens), digest))


def with_ledger(session: Session, ledger: bf.Ledger | None = LEDGER, valve: bf.Valve | None = None) -> Session:
    """The same session with a ledger in its manifest."""
    session.manifest = replace(session.manifest, generation=bf.Generation(ledger=ledger, valve=valve))
    return session


def scanned(text: str, ledger: bf.Ledger = LEDGER) -> tuple[dict[str, int], Fraction]:
    """What is open after a text of single bytes, and the pressure, by a scan of it."""
    brackets: list[int] = []
    sentence = item = None
    start = 0
    for number, sign in enumerate(text, 1):
        if sign in "([":
            brackets.append(number)
        elif sign in ")]" and not text[number - 2 : number - 1].isdigit():  # not that of an item
            brackets.pop()
        if sign == ".":
            sentence = None
        elif sentence is None and sign.isalnum():
            sentence = number
        if sign == "\n":
            item = None if not text[start : number - 1].strip(" \t\r") else item
            start = number
        elif item is None and _ITEM.fullmatch(text[start:number]):
            item = number
    found = [("close_bracket", opened) for opened in brackets if "close_bracket" in ledger.obligations]
    for name, opened in (("complete_sentence", sentence), ("finish_list", item)):
        if opened is not None and name in ledger.obligations and len(found) < ledger.outstanding:
            found.append((name, opened))
    pressure = Fraction()
    for name, opened in found:
        pressure += (1 + Fraction(min(255, 255 * (len(text) - opened) // DUE[name]), 255)) / 128
    return dict(Counter(name for name, _ in found)), pressure


@pytest.mark.parametrize(
    "ledger", [LEDGER, bf.Ledger(("complete_sentence", "finish_list"), 1, 65535), bf.Ledger(("close_bracket",), 64)]
)
def test_it_is_what_a_scan_of_the_text_finds(toy: Any, grammar: bytes, ledger: bf.Ledger) -> None:
    """And the numpy reference's, whose choices are the same ones."""
    tokenizer = read_tokenizer(toy.file("tokenizer"))
    engine = PythonGrammars(tokenizer, None).choose(grammar)
    assert engine is not None
    seen: Counter[str] = Counter()
    with load(toy.folder) as opened:
        session = with_ledger(opened, ledger)
        assert isinstance(session, NativeSession)
        for seed in (1, 3, 6):
            given = OPTIONS | {"seed": seed}
            text, told, sections = "", [], []
            for piece in session.generate("hello", grammar=grammar, **given):
                text += piece.text
                diagnostics = session.diagnostics()
                told.append((dict(diagnostics.obligations), diagnostics.pressure))
                if piece.text:
                    assert told[-1][0] == scanned(text, ledger)[0]
                    assert told[-1][1] == float(scanned(text, ledger)[1])
                seen.update(diagnostics.obligations)
                sections.append(session.snapshot())
            tokens, history = session.tokens(), session._prompt_tokens(b"hello", True).tolist()
            session.reset()
            session.prefill(history)
            run = GrammarRun.begin(engine, OPTIONS["max_tokens"], ledger)
            for token, numbers, snapshot in zip(tokens, told, sections, strict=True):
                logits = session.logits()
                assert logits is not None
                allowed = run.allowed(session.vocab_size)
                if np.count_nonzero(allowed) > 1:
                    weighted, options = run.weighted(logits, history), GenerateOptions(**given)
                    assert token == sample(weighted, ~allowed, history, len(history), options)
                run.accept(token)
                debts = run.debts()
                assert ({name: n for name, n in debts.open.items() if n}, debts.pressure / 32640) == numbers
                assert bf.parse_container(snapshot).array("ledger").tolist() == list(run.open.words())
                history.append(token)
                session.prefill([token])
    assert seen.keys() <= set(ledger.obligations) & DUE.keys()
    assert ledger.outstanding < 64 or len(seen) == len(set(ledger.obligations) & DUE.keys())


def test_pressure_closes(toy: Any, grammar: bytes) -> None:
    """Sentences and lists end earlier the more is open, and without a ledger texts are as before."""
    ends = []
    with load(toy.folder) as session:
        for ledger in (None, LEDGER):
            with_ledger(session, ledger)
            text = ""
            for seed in range(8):
                text += "".join(map(str, session.generate("hello", grammar=grammar, **OPTIONS | {"seed": seed})))
            ends.append(text.count(".") / len(text))
            assert (b"ledger" in session.snapshot()) == (ledger is not None)
        assert ends[1] > 1.2 * ends[0]
        with_ledger(session)
        list(session.generate("hello", **OPTIONS))
        assert session.diagnostics().depth == 0  # without a grammar there is none
        assert b"ledger" not in session.snapshot()


def test_the_valve_looks_at_the_pressure(toy: Any, grammar: bytes) -> None:
    """Between what its first look makes of the entropy without and with the pressure, the level stays or falls."""
    with load(toy.folder) as session:

        def levels(bound: float) -> list[tuple[str, float, float]]:
            with_ledger(session, LEDGER, bf.Valve((0.0, bound), (1, 2, 4), ("debt_pressure",)))
            steps = session.generate("hello", grammar=grammar, **OPTIONS)
            found = (session.diagnostics() for _ in steps)
            return [(one.level, one.entropy, one.pressure) for one in found]

        plain = levels(0.0)
        first = next(number for number, (_, entropy, _) in enumerate(plain) if entropy)
        entropy, pressure = plain[first][1], plain[first - 1][2]
        assert pressure > 0.005
        falls = entropy + 0.5 * (pressure - 0.5) + 0.1  # a tenth of a bit below a bound the level is kept
        assert levels(falls - 0.1 * pressure)[first][0] == "high"
        assert levels(falls + 0.1 * pressure)[first][0] == "medium"


@pytest.fixture(params=["node", "runner"])
def other(request: pytest.FixtureRequest, toy: Any, tmp_path: Path) -> Iterator[Session]:
    """A session of the toy that is not native, with a ledger and a valve that looks at it."""
    generation = bf.Generation(ledger=LEDGER, valve=VALVE)
    if request.param == "runner":
        session: Session = RunnerSession(toy.manifest, request.getfixturevalue("runner"), "/usr/bin/env")
        with with_ledger(session, LEDGER, VALVE) as opened:
            yield opened
        return
    if shutil.which("node") is None:
        pytest.skip("needs Node.js")
    web = request.getfixturevalue("wasm_toy")
    shutil.copytree(web.folder, tmp_path / "web")
    bf.write_manifest(tmp_path / "web", replace(web.manifest, generation=generation))
    with load(tmp_path / "web") as opened:
        yield opened


def test_all_runtimes_keep_the_same(other: Session, toy: Any, grammar: bytes) -> None:
    with load(toy.folder) as native:
        with_ledger(native, LEDGER, VALVE)
        found = []
        for session in (native, other):
            list(session.generate("hello", grammar=grammar, loops=4, **OPTIONS))
            found.append((session.tokens(), session.snapshot(), session.diagnostics()))
        assert found[0] == found[1]
        diagnostics = found[0][2]
        assert diagnostics.depth
        assert sum(diagnostics.levels.values()) == len(found[0][0])
        assert all(diagnostics.levels.values())
        other.restore(found[0][1])
        assert other.snapshot() == found[0][1]


def test_saved_anywhere_it_goes_on(toy: Any, grammar: bytes) -> None:
    """In another session, in the middle of a generation."""
    with load(toy.folder) as one, load(toy.folder) as two:
        with_ledger(one), with_ledger(two)
        assert isinstance(one, NativeSession)
        assert isinstance(two, NativeSession)
        list(two.generate("other", grammar=grammar, **OPTIONS))
        pieces = one.generate("hello", grammar=grammar, **OPTIONS)
        for number, piece in enumerate(pieces):
            if number % 7 == 0:
                two.restore(one.snapshot())
            else:
                token = ct.c_int32()
                two.invoke("chm_session_generate", ct.byref(token))
                assert token.value == piece.token
            assert two.diagnostics() == replace(one.diagnostics(), levels=two.diagnostics().levels)
            assert two.snapshot() == one.snapshot()


def test_damaged_numbers_are_refused(toy: Any, grammar: bytes) -> None:
    with load(toy.folder) as session:
        with_ledger(session)
        list(session.generate("hello", grammar=grammar, **OPTIONS))
        good = session.snapshot()
        words = bf.parse_container(good).array("ledger")
        for place, value in (
            (0, 1 << 31),
            (1, words[0] + 1),
            (2, words[0] + 1),
            (3, 5),
            (4, words[0] + 1),
            (67, 1 << 31),
        ):
            with pytest.raises(BundleError, match="out of range") as error:
                session.restore(with_number(good, "ledger", place, value))
            assert error.value.code == "CHM420"
        with pytest.raises(BundleError, match="ledger") as error:
            session.restore(changed(good, {"ledger": words[:67]}))
        assert error.value.code == "CHM404"
        session.restore(good)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("chm_session_set_ledger", (64, 1, 1), "is unknown"),
        ("chm_session_set_ledger", (1, 65, 1), "at most 64 obligations"),
        ("chm_session_set_ledger", (1, 1, 65536), "a weight of at most 65535"),
        ("chm_session_ledger", (None, LEDGER_NUMBERS), "has 7 numbers"),
        ("chm_session_ledger", ((ct.c_uint32 * 8)(), 8), "has 7 numbers"),
        ("chm_session_levels", ((ct.c_uint64 * 3)(), 2), "has 3 levels"),
    ],
)
def test_settings_that_are_none(toy: Any, name: str, values: tuple[Any, ...], message: str) -> None:
    with load(toy.folder) as session:
        assert isinstance(session, NativeSession)
        with pytest.raises(BundleError, match=message) as error:
            session.invoke(name, *values)
    assert error.value.code == "CHM420"
