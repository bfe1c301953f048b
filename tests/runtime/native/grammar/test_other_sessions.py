"""Grammars where the decode loop is not that of a native session: in Python, in ``chimera-run``."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from project import NATIVE_TESTS

from chimerac.compiler.packaging.grammar_packs import compile_grammar
from chimerac.runtime import BundleError, load
from chimerac.runtime import bundle_format as bf
from chimerac.runtime.bundle_format.fstpack import FLAG_PROSE, FLAG_REPETITION, FLAG_RHYTHM, Pack, pack_bytes
from chimerac.runtime.options import GenerateOptions
from chimerac.runtime.reference.grammars import GrammarRun, PythonGrammars
from chimerac.runtime.reference.sampler import sample
from chimerac.runtime.reference.tokenizer import Tokenizer, tokenizer_sections
from chimerac.runtime.sessions.native import NativeSession
from chimerac.runtime.sessions.runner import RUNNER_NAME, RunnerSession
from chimerac.targets.code.library import runner_files

from .conftest import Compiled

Get = Callable[[str], Compiled]


@pytest.fixture(scope="module")
def session(model_with_grammars: Path) -> Iterator[NativeSession]:
    with load(model_with_grammars) as opened:
        assert isinstance(opened, NativeSession)
        yield opened


def prose(compiled: Get, tokenizer: Tokenizer) -> bytes:
    from dataclasses import replace

    grammar = compiled("plain_text")
    automaton = replace(grammar.automaton, flags=FLAG_PROSE | FLAG_REPETITION | FLAG_RHYTHM)
    return pack_bytes(Pack((automaton,), grammar.vocabulary, bf.contents_sha256(tokenizer_sections(tokenizer))))


@pytest.mark.parametrize("name", [None, "json", "regex", "choices", "prose", "copies"])
def test_python_chooses_the_same_tokens(
    name: str | None, session: NativeSession, compiled: Get, tokenizer: Tokenizer, model_with_grammars: Path
) -> None:
    grammars = PythonGrammars(tokenizer, model_with_grammars / "toy.fstpack")
    wanted: str | bytes | None = name
    if name == "prose":
        wanted = prose(compiled, tokenizer)
    elif name in ("regex", "choices"):
        wanted = compiled(name).data
    elif name == "copies":
        wanted = compile_grammar(schema={"type": "string", "x-copy": "request"})
    engine = grammars.choose(wanted)
    assert engine is not None
    assert grammars.choose(wanted) is engine
    for seed in range(4):
        sampling: dict[str, Any] = {"temperature": 1.0, "seed": seed, "max_tokens": 70, "request": "hey é, list it"}
        options = GenerateOptions(**sampling)
        grammars.set_words(engine, options)
        list(session.generate([1, 2, 3], grammar=wanted, **sampling))
        expected = session.tokens()
        run, history = GrammarRun.begin(engine, 70), [1, 2, 3]
        session.reset()
        session.prefill(history)
        for token in expected:
            logits = session.logits()
            assert logits is not None
            allowed = run.allowed(session.vocab_size)
            assert token == sample(run.weighted(logits, history), ~allowed, history, len(history), options)
            run.accept(token)
            history.append(token)
            session.prefill([token])
        assert expected[-1] in engine.ends or len(expected) == 70


def test_names_that_python_does_not_find(tokenizer: Tokenizer, model_with_grammars: Path, compiled: Get) -> None:
    grammars = PythonGrammars(tokenizer, model_with_grammars / "toy.fstpack")
    assert grammars.choose("none") is None
    with pytest.raises(BundleError) as caught:
        grammars.choose("latin")
    assert caught.value.code == "CHM431"
    bare = PythonGrammars(tokenizer, None)
    assert bare.choose(None) is None
    with pytest.raises(BundleError, match="the bundle has none"):
        bare.choose("json")
    assert bare.choose(compiled("regex").data) is not None
    other = Tokenizer(tokenizer.tokens[:-7] + (b"",) * 7, tokenizer.specials)
    with pytest.raises(BundleError, match="another tokenizer") as caught:
        PythonGrammars(other, None).choose(compiled("choices").stored)
    assert caught.value.code == "CHM431"
    with pytest.raises(BundleError) as caught:
        PythonGrammars(None, None).choose(compiled("regex").data)
    assert caught.value.code == "CHM421"


@pytest.fixture(scope="module")
def runner(
    model_with_grammars: Path, compile_native: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("runner") / "bundle"
    shutil.copytree(model_with_grammars, folder)
    names = folder.parent / "names.c"
    files = runner_files("toy.b158", "toy_tokenizer.model", "toy.fstpack")
    names.write_text(f'#include "chm_model.h"\n{files}', "ascii")
    manifest = bf.read_manifest(folder)
    vocab = len(load_tokens(folder))
    toy_c = NATIVE_TESTS / "toy_model.c"
    sources = [toy_c, names, *(bf.NATIVE_DIRECTORY / name for name in (*bf.POSIX_SOURCES, *bf.RUNNER_SOURCES))]
    defines = ['-DTOY_TARGET="test"', f'-DTOY_WEIGHTS_SHA256="{manifest.weights_sha256}"', f"-DVOCAB={vocab}"]
    warnings = ("-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror")
    compile_native(folder / RUNNER_NAME, sources, *warnings, "-pthread", "-lm", *defines)
    return folder


def load_tokens(folder: Path) -> tuple[bytes, ...]:
    from chimerac.runtime.reference.tokenizer import read_tokenizer

    return read_tokenizer(folder / "toy_tokenizer.model").tokens


def test_the_runner_follows_the_same_grammars(runner: Path, session: NativeSession, compiled: Get) -> None:
    with RunnerSession(bf.read_manifest(runner), runner, "/usr/bin/env") as other:
        copies = compile_grammar(
            schema={"type": "array", "items": {"type": "string", "x-copy": "names"}, "minItems": 1}
        )
        lists = {"names": ["left lamp", "Küche"]}
        grammars = [None, "none", "json", compiled("regex").data, "plain_text", copies, copies, None]
        for number, grammar in enumerate(grammars):
            options: dict[str, Any] = {"grammar": grammar, "max_tokens": 90, "temperature": 1.5, "seed": number}
            options |= {"lists": lists, "score": True} if number % 2 else {}
            expected = "".join(map(str, session.generate("x and é", **options)))
            assert "".join(map(str, other.generate("x and é", **options))) == expected
            assert other.tokens() == session.tokens()
            assert other.finish_reason == session.finish_reason
            assert other.score == session.score
        for bad, code in (("latin", "CHM431"), ("two words", "CHM431"), ("", "CHM431"), (b"no pack", "CHM401")):
            with pytest.raises(BundleError) as caught:
                list(other.generate("x", grammar=bad))
            assert caught.value.code == code
        with pytest.raises(BundleError, match="max_tokens is 3; the grammar's shortest text may need 26") as caught:
            list(other.generate("x", grammar="person", max_tokens=3))
        assert caught.value.code == "CHM420"
        assert len(list(other.generate("x", grammar="person", max_tokens=26))) > 1


def test_the_runner_without_its_grammar_file(runner: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(runner, folder)
    (folder / "toy.fstpack").unlink()
    with RunnerSession(bf.read_manifest(folder), folder, "/usr/bin/env") as other:
        with pytest.raises(BundleError) as caught:
            list(other.generate("x"))
        assert caught.value.code == "CHM401", "never silently without its grammar"
        list(other.generate("x", grammar="none", max_tokens=2))
        logits = other.logits()
        assert logits is not None
        assert np.isfinite(logits).all()
