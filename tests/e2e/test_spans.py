"""Banks of spans in whole bundles: what they guess comes faster, and no bit is another."""

from __future__ import annotations

import ctypes as ct
import random
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from span_banks import changed, put, random_bank

import chimerac
from chimerac.compiler.build.build import build
from chimerac.compiler.errors import UserError
from chimerac.compiler.packaging.data_files import write_spans
from chimerac.compiler.packaging.options import PackagingOptions
from chimerac.compiler.verbs.guessed import Guessed
from chimerac.compiler.verbs.run import run
from chimerac.compiler.verbs.spans import mine_spans
from chimerac.frontends.spans.mining import Text, mine
from chimerac.runtime.bundle_format import (
    Generation,
    Shares,
    file_entry,
    read_container,
    read_manifest,
    write_manifest,
)
from chimerac.runtime.bundle_format.sfpack import make_bank, read_bank, write_bank
from chimerac.runtime.errors import BundleError
from chimerac.runtime.reference.tokenizer import read_tokenizer
from chimerac.runtime.sessions.interface import Session
from chimerac.runtime.sessions.native import NativeSession
from chimerac.runtime.sessions.native_bank import CERTIFICATE_BYTES

PROMPTS = [[random.Random(i).randrange(200) for _ in range(9)] for i in range(6)]
BANK = {"begun", "following", "near"}  #: sources of guesses
FIXED: dict[str, Any] = {"max_tokens": 60, "exit_threshold": 0.0, "grammar": "none"}
CHOICES: list[dict[str, Any]] = [{}, {"temperature": 1.0, "top_p": 0.9, "seed": 5}, {"grammar": "json", "seed": 2}]


@pytest.fixture(scope="module")
def native(speculating: dict[str, Path]) -> Path:
    return speculating["x86_64-avx2"]


def tokenizer_of(bundle: Path) -> Path:
    entry = read_manifest(bundle).file("tokenizer")
    assert entry is not None
    return bundle / entry.name


@pytest.fixture(scope="module")
def digest(native: Path) -> str:
    return read_container(tokenizer_of(native)).contents_sha256


def texts(session: Session, nodes: int | None = None, **options: Any) -> list[tuple[list[int], str, str]]:
    """What the session says to each prompt, with trees of so many nodes."""
    found = []
    for prompt in PROMPTS:
        pieces = session.generate(prompt, **{**FIXED, **options})
        next(pieces)
        if nodes is not None:
            assert isinstance(session, NativeSession)
            session._library.call("chm_session_set_speculation", session._session, nodes)
        for _ in pieces:
            pass
        found.append((session.tokens(), session.state_hash(), session.logits_hash()))
    return found


def told(native: Path, digest: str, folder: Path) -> Path:
    """A bank of what the model says to the prompts."""
    with chimerac.load(native) as session:
        said = [
            Text(np.array(prompt + text[0]), len(prompt)) for prompt, text in zip(PROMPTS, texts(session), strict=True)
        ]
    path = folder / "told.sfpack"
    write_bank(path, make_bank(mine(said * 3, np.ones(1 << 18, bool), entries=999, longest=30), digest))
    return path


def test_no_bank_changes_the_text(native: Path, digest: str, tmp_path: Path) -> None:
    """All right, and all wrong but for chance, greedy, sampled and with a grammar."""
    write_bank(tmp_path / "random.sfpack", random_bank(9000, 3, 200, digest)[0])
    good = told(native, digest, tmp_path)
    with chimerac.load(native) as session:
        plain = [texts(session, 0, **choice) for choice in CHOICES]
    for bank in (good, tmp_path / "random.sfpack"):
        with chimerac.load(native, spans=bank) as session:
            for choice, wanted in zip(CHOICES, plain, strict=True):
                for nodes in (20, 5, 1, 0):
                    assert texts(session, nodes, **choice) == wanted
                    counted = session.speculation()
                    assert nodes or not counted.proposed


def test_certificates_decide_what_is_guessed_from(native: Path, digest: str, tmp_path: Path) -> None:
    """A span whose certificate is not its own is left out, one without is not."""
    good = told(native, digest, tmp_path)
    spans = len(read_bank(good).records)
    for name, value in (("bad", 5), ("old", 0)):
        for i in range(spans):
            source = tmp_path / name if i else good
            (tmp_path / name).write_bytes(changed(source, "spans.rec", put("certificate", i, value)))
    with chimerac.load(native) as session:
        plain = texts(session, 0)
    found = {}
    for name in ("told.sfpack", "bad", "old"):
        with chimerac.load(native, spans=tmp_path / name) as session:
            assert texts(session, 20) == plain
            found[name] = session.speculation()
            certified = found[name].rejected.keys() & {"damaged"}
            assert isinstance(session, NativeSession)
            bank = session._shared.bank  # type: ignore[union-attr]
            assert bank is not None
            if name == "bad":
                with pytest.raises(BundleError, match="not that of its span"):
                    bank.certificate(0)
            else:
                assert len(bank.certificate(0)) == CERTIFICATE_BYTES
        assert bool(certified) == (name == "bad") != bool(BANK & found[name].sources.keys())
        assert sum(found[name].wrong.values()) <= found[name].rollbacks
    assert found["old"] == found["told.sfpack"]


def test_what_is_in_the_bank_comes_in_few_passes(native: Path, digest: str, tmp_path: Path) -> None:
    bank = told(native, digest, tmp_path)
    with chimerac.load(native, spans=bank) as session:
        texts(session, 20)
        counted = session.speculation()
    assert sum(right for name, (_, right) in counted.sources.items() if name in BANK) > 40
    assert counted.passes < 15


def test_damage_is_noticed(native: Path, digest: str, tmp_path: Path) -> None:
    """Of a file of the caller's, whose checksums are compared."""
    write_bank(tmp_path / "bank", random_bank(90, 3, 200, digest)[0])
    data = bytearray((tmp_path / "bank").read_bytes())
    data[-1] ^= 1
    (tmp_path / "bank").write_bytes(data)
    with pytest.raises(BundleError, match=r"section 'spans\.key' is damaged") as found:
        chimerac.load(native, spans=tmp_path / "bank")
    assert found.value.code == "CHM406"


def test_what_cannot_be_guessed_from_is_refused(
    native: Path, bundles: dict[str, Path], speculating: dict[str, Path], digest: str, tmp_path: Path
) -> None:
    bank, _ = random_bank(20, 3, 200, digest)
    write_bank(tmp_path / "good", bank)
    write_bank(tmp_path / "other", random_bank(20, 3)[0])
    (tmp_path / "text").write_text("no container at all")
    cases = [
        (native, "other", "CHM434", "of another tokenizer"),
        (native, "text", "CHM401", "not a chimera container"),
        (native, "missing", "CHM400", "No such file"),
        (bundles["x86_64-avx2"], "good", "CHM421", "built without speculation"),
        (speculating["wasm"], "good", "CHM421", "from their caller"),
    ]
    for bundle, name, code, message in cases:
        with pytest.raises(BundleError, match=message) as found:
            chimerac.load(bundle, spans=tmp_path / name)
        assert found.value.code == code
    with chimerac.load(native, spans=tmp_path / "good") as session:
        assert isinstance(session, NativeSession)
        assert len(session._shared.bank) == 20  # type: ignore[union-attr, arg-type]


@pytest.mark.parametrize("target", ["x86_64-avx2", "wasm"])
def test_a_bundle_has_a_bank_of_its_own(
    target: str, speculating: dict[str, Path], native: Path, digest: str, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(speculating[target], bundle)
    told(native, digest, bundle)
    manifest = read_manifest(bundle)
    write_manifest(bundle, replace(manifest, files=(*manifest.files, file_entry(bundle / "told.sfpack", "spans"))))
    with chimerac.load(bundle) as session:
        for prompt in PROMPTS[:2]:
            said = []
            for speculate in (True, False):
                pieces = session.generate(prompt, speculate=speculate, **FIXED)
                next(pieces)
                if speculate and isinstance(session, NativeSession):  # whether it pays here or not
                    session._library.call("chm_session_set_speculation", session._session, 20)
                for _ in pieces:
                    pass
                said.append((session.tokens(), session.state_hash()))
                counted = session.speculation()
                assert (counted.proposed > 0) == speculate == bool(BANK & counted.sources.keys())
            assert said[0] == said[1]


def test_banks_of_builds(native: Path, digest: str, tmp_path: Path) -> None:
    """A bank of the tokenizer is copied; others are refused before anything is built."""
    bank = random_bank(20, 3, 200, digest)[0]
    write_bank(tmp_path / "good", bank)
    write_bank(tmp_path / "other", random_bank(20, 3)[0])
    (tmp_path / "text").write_text("no container at all")
    model: Any = SimpleNamespace(tokenizer=read_tokenizer(tokenizer_of(native)))
    assert write_spans(tmp_path, model, {"spans": "x.sfpack"}, None) == {}
    assert write_spans(tmp_path, model, {"spans": "x.sfpack"}, tmp_path / "good") == {"x.sfpack": "spans"}
    assert (read_bank(tmp_path / "x.sfpack").records == bank.records).all()
    with pytest.raises(UserError, match="of another tokenizer") as found:
        write_spans(tmp_path, model, {"spans": "x.sfpack"}, tmp_path / "other")
    assert found.value.code == "CHM434"
    with pytest.raises(UserError) as found:
        PackagingOptions(spans=tmp_path / "text")
    assert found.value.code == "CHM401"
    with pytest.raises(UserError, match="for bundles that guess") as found:
        build("home", out=tmp_path / "out", packaging=PackagingOptions(spans=tmp_path / "good"))
    assert found.value.code == "CHM314"


def test_mining_texts(native: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("Über the garden wall the cat ran. Under the garden wall the cat sat. " * 9)
    made = mine_spans(native, [tmp_path / "text"], out=tmp_path / "bank")
    bank = read_bank(tmp_path / "bank")
    assert (made.spans, made.texts) == (len(bank.records), 1)
    assert str(made).startswith(f"{tmp_path / 'bank'}: {made.spans:,} spans of ")
    with chimerac.load(native) as session:
        whole = session.encode((tmp_path / "text").read_text())
        spans = [list(bank.tokens(i)) for i in range(made.spans)]
        assert all(any(whole[at : at + len(span)] == span for at in range(len(whole))) for span in spans)
        tokenizer = read_tokenizer(tokenizer_of(native))
        for span in spans:
            assert session.encode(tokenizer.decode_bytes(span).decode(), begins=False) == span


def test_mining_answers(native: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans are of what is said, and none of what was asked; what random weights say is in no tokens that text has."""
    monkeypatch.setattr("chimerac.compiler.verbs.spans._is_canonical", lambda *_: True)
    (tmp_path / "prompts").write_text("one two three four\n\none two three four\n" * 2)
    made = mine_spans(native, [tmp_path / "prompts"], out=tmp_path / "bank", answers=True, max_tokens=40)
    assert (made.texts, made.tokens) == (4, 160)
    with chimerac.load(native, spans=tmp_path / "bank") as session:
        for _ in session.generate("one two three four", max_tokens=40, exit_threshold=0.0):
            pass
        said = session.tokens()
    bank = read_bank(tmp_path / "bank")
    for i in range(made.spans):
        span = list(bank.tokens(i))
        assert any(said[at : at + len(span)] == span for at in range(len(said)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"entries": 0}, "a bank of 0 spans"),
        ({"entries": 524_289}, "a bank of 524289 spans"),
        ({"least": 1}, "come 1 times"),
        ({"least": 999}, "nothing comes 999 times"),
        ({"files": ["missing"]}, "No such file"),
        ({"files": ["latin"]}, "not UTF-8"),
    ],
)
def test_what_cannot_be_mined_is_refused(options: dict[str, Any], message: str, native: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("the same again " * 9)
    (tmp_path / "latin").write_bytes(b"\xe4\xf6")
    files = [tmp_path / name for name in options.pop("files", ["text"])]
    with pytest.raises(UserError, match=message) as found:
        mine_spans(native, files, out=tmp_path / "bank", **options)
    assert found.value.code == "CHM420"


def test_guessed_tokens_are_told(native: Path, digest: str, tmp_path: Path) -> None:
    """As many as were accepted, and the text is the same."""
    bank = told(native, digest, tmp_path)
    with chimerac.load(native, spans=bank) as session:
        assert isinstance(session, NativeSession)
        for grammar in ("none", "json"):
            guessed = Guessed(session)
            known: list[tuple[str, bool]] = []
            text = ""
            for piece in session.generate(PROMPTS[0], **{**FIXED, "grammar": grammar}):
                if not text and not known:
                    session._library.call("chm_session_set_speculation", session._session, 20)
                text += piece.text
                known += guessed.push(piece)
            known += guessed.rest()
            assert "".join(part for part, _ in known) == text
            assert sum(mark for _, mark in known) == session.speculation().accepted
            assert session.speculation().accepted or grammar == "json"
    heard: list[str] = []
    answer = run(native, PROMPTS[0], spans=bank, hear_guessed=lambda part, _: heard.append(part), max_tokens=9)
    assert "".join(heard) == answer.text


@pytest.mark.parametrize("mode", [None, "fast"])
@pytest.mark.parametrize("target", ["x86_64-avx2", "wasm"])
def test_shares_decide_who_is_asked(
    target: str, mode: str | None, speculating: dict[str, Path], native: Path, digest: str, tmp_path: Path
) -> None:
    """Of a manifest that has them, or of the mode; the text is the same."""
    bundle = tmp_path / "bundle"
    shutil.copytree(speculating[target], bundle)
    told(native, digest, bundle)
    manifest = read_manifest(bundle)
    files = (*manifest.files, file_entry(bundle / "told.sfpack", "spans"))
    texts_of = {"text", "loose", "begun", "following"}
    said = set()
    for shares, asked in (
        (Shares(near=0, text=0, head=0, grammar=0), set()),
        (Shares(text=0, head=0, grammar=0), {"near", "begun"}),  # a span that a text has gone on in is begun
        (Shares(near=0, head=0, grammar=0), texts_of),
        (Shares(near=0, text=0, head=0, grammar=5), {"following", "begun"}),
    ):
        modes = {"fast": 1, "other": 1}
        own = {"shares": shares} if mode is None else {"modes": modes, "mode_shares": {mode: shares, "other": Shares()}}
        generation = replace(manifest.generation or Generation(), **own)
        write_manifest(bundle, replace(manifest, files=files, generation=generation))
        with chimerac.load(bundle) as session:
            pieces = session.generate(PROMPTS[0], mode=mode, **FIXED)
            next(pieces)
            if isinstance(session, NativeSession):  # whether it pays here or not
                session._library.call("chm_session_set_speculation", session._session, 20)
            for _ in pieces:
                pass
            assert session.speculation().sources.keys() <= asked
            assert bool(session.speculation().proposed) == bool(asked)
            said.add((*session.tokens(), session.state_hash()))
    assert len(said) == 1


def test_wrong_shares_are_refused(native: Path) -> None:
    with chimerac.load(native) as session:
        assert isinstance(session, NativeSession)
        session.invoke("chm_session_set_shares", None, 0)
        for numbers, message in (
            ([1] * 5, "6 numbers"),
            ([257, *[0] * 5], "at most 256"),
            ([0] * 5 + [1 << 21], "at most 256"),
        ):
            with pytest.raises(BundleError, match=message) as found:
                session.invoke("chm_session_set_shares", (ct.c_uint32 * len(numbers))(*numbers), len(numbers))
            assert found.value.code == "CHM420"
