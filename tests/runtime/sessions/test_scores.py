"""How likely an answer was: one sum in every runtime, what numpy makes of the logits; and answers that are refused."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from project import NATIVE_TESTS

from chimerac.compiler.packaging.grammar_packs import compile_grammar
from chimerac.runtime import BundleError, Session, load
from chimerac.runtime import bundle_format as bf
from chimerac.runtime.reference.sampler import log_probability
from chimerac.runtime.sessions.native import NativeSession
from chimerac.runtime.sessions.runner import RUNNER_NAME
from chimerac.targets.code.library import runner_files

REFUSAL = bf.Refusal(0.5, 2.0, '{"intent":"OutOfDomain","slots":{}}')
DRAWN: dict[str, Any] = {"max_tokens": 12, "temperature": 1.5, "repetition_penalty": 1.3, "seed": 3}


def text(session: Session, **options: Any) -> str:
    return "".join(map(str, session.generate("hello", **options)))


def known(session: Session) -> tuple[float | None, bool, float | None]:
    return session.score, session.refused, session.probability


def summed(session: NativeSession, prompt: str, tokens: list[int], grammar: Any) -> tuple[np.float32, float]:
    """By the reference, and in double precision."""
    own, exact = np.float32(0), 0.0
    list(session.generate(prompt, max_tokens=0, grammar="none"))
    if grammar is not None:
        grammar.start()
    bare = [not session.library.get("chm_tokenizer_token", session._bundle, n, None) for n in range(session.vocab_size)]
    for token in tokens:
        logits = session.logits()
        assert logits is not None
        allowed = ~np.array(bare) if grammar is None else grammar.mask()[: len(logits)]
        if np.count_nonzero(allowed) > 1:
            own = np.float32(own + log_probability(logits, ~allowed, token))
            held = logits[allowed].astype(np.float64)
            exact += float(logits[token]) - float(np.log(np.exp(held).sum()))
        if grammar is not None:
            grammar.accept(token)
        session.prefill([token])
    return own, exact


def test_the_score_of_a_text_under_a_grammar(toy: Any) -> None:
    tables = compile_grammar(regex="([a-f]{2}|stop)x[0-9]?")
    with load(toy.folder) as session:
        assert isinstance(session, NativeSession)
        found = text(session, grammar=tables, score=True, **DRAWN)
        score, tokens = session.score, session.tokens()
        own, exact = summed(session, "hello", tokens, session.grammar(tables))
        assert score is not None
        assert score == own
        assert score == pytest.approx(exact, rel=1e-5)
        assert score < -1
        assert text(session, grammar=tables, **DRAWN) == found
        assert known(session)[0] is None
        only = compile_grammar(choices=["yes"])
        assert text(session, grammar=only, score=True) == "yes"
        assert known(session)[0] == 0  # nothing else could have been said


def test_every_session_counts_the_same_score(
    any_session: Session, toy: Any, open_session: Callable[[], Session]
) -> None:
    with load(toy.folder) as native:
        expected = text(native, score=True, **DRAWN)
        assert text(any_session, score=True, **DRAWN) == expected
        assert any_session.score == native.score
        assert native.score is not None
        assert native.score < -1
        # greedy and without a penalty the same logits count
        text(any_session, score=True, max_tokens=5)
        text(native, score=True, max_tokens=5)
        assert any_session.score == native.score
        text(any_session, max_tokens=5)
        assert known(any_session) == (None, False, None)
        # a part of the generation is a sum already; what starts a sequence forgets it
        steps = native.generate("hello", score=True, **DRAWN)
        next(steps)
        assert native.score is not None
        assert native.score <= 0
    for wrong in ({"score": 1}, {"refuse": "no"}):
        with pytest.raises(BundleError) as error:
            any_session.generate("x", **wrong)
        assert error.value.code == "CHM420"


@pytest.fixture(params=["native", "wasm"])
def refusing(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[bf.Refusal], Session]:
    """A toy bundle with a refusal."""
    if request.param == "wasm" and shutil.which("node") is None:
        pytest.skip("needs Node.js")
    toy: Any = request.getfixturevalue("toy" if request.param == "native" else "wasm_toy")
    shutil.copytree(toy.folder, tmp_path / "own")

    def make(refusal: bf.Refusal) -> Session:
        bf.write_manifest(tmp_path / "own", replace(toy.manifest, refusal=refusal))
        return load(tmp_path / "own")

    return make


def test_an_unlikely_answer_is_refused(refusing: Callable[[bf.Refusal], Session]) -> None:
    with refusing(REFUSAL) as session:
        whole = list(session.generate("hello", refuse=False, score=True, **DRAWN))
        plain, tokens, score = "".join(map(str, whole)), session.tokens(), session.score
        assert (session.refused, score is not None) == (False, True)
        assert score is not None
        assert session.probability == pytest.approx(math.exp(score / 2))
        pieces = list(session.generate("hello", **DRAWN))
        assert "".join(map(str, pieces)) == REFUSAL.answer
        assert (session.refused, session.finish_reason) == (True, "stop")
        made = session.tokens()
        assert made == tokens[: len(made)]
        assert len(made) < len(tokens)  # it ends as soon as it is too unlikely
        assert [piece.token for piece in pieces] == made
        assert session.score is not None
        assert math.exp(session.score / 2) < 0.5
        assert text(session, grammar="none", **DRAWN) == plain  # of the bundle's default grammar only
        assert not session.refused
    with refusing(replace(REFUSAL, threshold=math.exp(score / 2) * 0.99)) as session:
        pieces = list(session.generate("hello", **DRAWN))
        assert "".join(map(str, pieces)) == plain
        assert [piece.text for piece in pieces[:-1]] == [""] * (len(pieces) - 1)
        assert [piece.token for piece in pieces] == [piece.token for piece in whole]
        assert (session.refused, session.score) == (False, score)


SCRIPT = """
const { Chimera } = await import(process.argv[1]);
const model = await Chimera.load(process.argv[2]);
const found = [];
for (const options of [{ score: true }, {}, { refuse: false }]) {
  const steps = model.generate("hello", { maxTokens: 8, ...options });
  let text = "";
  for await (const piece of steps) text += piece.text;
  const { score, refused, text: whole } = await steps.result;
  found.push([score, refused, text === whole && text]);
}
console.log(JSON.stringify(found));
await model.dispose();
"""


def test_a_worker_tells_the_score(wasm_toy: Any, toy: Any, tmp_path: Path) -> None:
    """Models of JavaScript compute in one, and answers come back from it."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs Node.js")
    with load(toy.folder) as session:
        plain = text(session, max_tokens=8, score=True)
        score = session.score
    shutil.copytree(wasm_toy.folder, tmp_path / "own")
    for refusal, first, refused in ((None, plain, False), (replace(REFUSAL, threshold=1.0), REFUSAL.answer, True)):
        bf.write_manifest(tmp_path / "own", replace(wasm_toy.manifest, refusal=refusal))
        command = [
            node,
            "--input-type=module",
            "-e",
            SCRIPT,
            str(bf.WEB_DIRECTORY / "chimera.mjs"),
            str(tmp_path / "own"),
        ]
        found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout)
        assert [row[1:] for row in found] == [[refused, first], [refused, first], [False, plain]]
        assert found[2][0] is None
        assert refused or found[0][0] == score
        assert (found[1][0] is None) != refused  # a bundle that refuses counts


def test_self_tests_are_never_refused(refusing: Callable[[bf.Refusal], Session]) -> None:
    with refusing(replace(REFUSAL, threshold=1.0)) as session:
        vector = session.record_self_test([1, 2, 3], 6)
        assert len(vector.tokens) == 6
        assert not session.refused


def test_chimera_run_refuses(toy: Any, toy_flags: list[str], compile_native: Any, tmp_path: Path) -> None:
    """The program on the command line prints the whole answer or the refusal; with a grammar of the caller's all."""
    folder = tmp_path / "toy"
    shutil.copytree(toy.folder, folder)
    with load(toy.folder) as session:
        plain = text(session, max_tokens=8, score=True)
        assert session.score is not None
        chance = math.exp(session.score / 2)
    sources = [
        NATIVE_TESTS / "toy_model.c",
        *(bf.NATIVE_DIRECTORY / n for n in (*bf.POSIX_SOURCES, *bf.RUNNER_SOURCES)),
    ]
    for threshold, expected in ((chance * 1.01, 'say "ü" no'), (chance * 0.99, plain)):
        files = runner_files("toy.b158", "toy_tokenizer.model", "", None, bf.Refusal(threshold, 2.0, 'say "ü" no'))
        (tmp_path / "names.c").write_text("#include <stdint.h>\n" + files)
        flags = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror", "-pthread", "-lm", *toy_flags]
        program = compile_native(folder / RUNNER_NAME, [*sources, tmp_path / "names.c"], *flags)
        for options, said in (((), expected), (("--grammar", "none"), plain)):
            command = [program, "-n", "8", *options, "hello"]
            assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == said + "\n"


def test_older_bundles_count_none(toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with load(toy.folder) as session:
        assert isinstance(session, NativeSession)
        monkeypatch.setattr(session.library, "scores", False)
        text(session, max_tokens=3)
        with pytest.raises(BundleError, match="counted no scores") as error:
            text(session, max_tokens=3, score=True)
        assert error.value.code == "CHM414"
