"""The entropy valve: what numpy and PyTorch make of the logits, in every runtime, however the text was run or saved."""

from __future__ import annotations

import itertools
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_bundles import TOY_C, WARNINGS, make_bundle, toy_defines, toy_weights

from chimerac.compiler.packaging.grammar_packs import compile_grammar
from chimerac.runtime import BundleError, Session, load
from chimerac.runtime import bundle_format as bf
from chimerac.runtime.reference.tokenizer import read_tokenizer
from chimerac.runtime.reference.valve import FORCED, HIGH, Look, look, loops_at, next_level, routed_loops
from chimerac.runtime.sessions.native import NativeSession

RANDOM = np.random.default_rng()
BLOCK, VOCABULARY, MOST = 16, 288, 4
#: In the middle of what the toy's entropies are, so that all levels come.
VALVE = bf.Valve((5.0, 5.5), (1, 2, 4))
DRAWN: dict[str, Any] = {"temperature": 1.3, "repetition_penalty": 1.2, "loops": MOST}


@pytest.fixture(scope="module")
def seed(toy: Any) -> int:
    """One with which the toy's text is long and comes to all levels."""
    with load(toy.folder) as opened:
        session = with_valve(opened)
        assert isinstance(session, NativeSession)
        level = session.library.get
        for found in range(200):
            steps = session.generate("hello", max_tokens=150, seed=found, **DRAWN)
            levels = [level("chm_session_level", session._session) for _ in steps]
            if len(levels) == 150 and set(levels[:80]) == {0, 1, 2}:
                return found
    raise AssertionError("no text of all levels")


def with_valve(session: Session, valve: bf.Valve | None = VALVE) -> Session:
    """The same session with a valve in its manifest."""
    session.manifest = replace(session.manifest, generation=bf.Generation(valve=valve))
    return session


def replayed(
    session: NativeSession, folder: Path, prompt: list[int], tokens: list[int], valve: bf.Valve, *, routed: bool = False
) -> tuple[list[int], list[str]]:
    """The levels of a generation's blocks and the state after each token, by the reference: each is run by itself.

    ``routed``: the model has the toy's router, whose scores are in the row of the last token.
    """
    level, levels, states = HIGH, [], []
    session.reset()
    scores, chosen = np.zeros(MOST, np.float32), 0
    rows = np.frombuffer(toy_weights()[0].raw(), np.float32).reshape(VOCABULARY, -1)

    def run(token: int) -> None:
        nonlocal scores, chosen
        if routed and session.position % BLOCK == 0:
            chosen = routed_loops(scores, MOST)
        session.invoke("chm_session_set_loops", loops_at(valve, level, MOST, 1, chosen))
        session.prefill([token])
        scores = rows[token, :MOST]

    session.invoke("chm_session_set_valve", *bf.NO_VALVE)
    for token in prompt:
        run(token)
    tokenizer = read_tokenizer(folder / "toy_tokenizer.model")
    ends = {special.id for special in tokenizer.specials if special.role in ("end", "control")}
    never = np.array([n >= len(tokenizer.tokens) or not (tokenizer.tokens[n] or n in ends) for n in range(VOCABULARY)])
    for token in tokens:
        if session.position % BLOCK == 0:
            logits = session.logits()
            assert logits is not None
            level = next_level(valve, level, look(logits, never), VOCABULARY)
            levels.append(level)
        run(token)
        states.append(session.state_hash())
    return levels, states


@pytest.mark.parametrize("size", [1, 2, 9, 288, 5000])
def test_the_entropy_is_that_of_torch(size: int) -> None:
    for scale in (0.0, 0.1, 1.0, 30.0, 1e30):
        logits = (RANDOM.standard_normal(size) * scale).astype(np.float32)
        logits[RANDOM.random(size) < 0.1] = np.nan
        excluded = RANDOM.random(size) < 0.3
        held = torch.from_numpy(logits[~(excluded | np.isnan(logits))].astype(np.float64))
        seen = look(logits, excluded)
        assert seen.count == len(held)
        if len(held):
            expected = torch.distributions.Categorical(logits=held).entropy().item() / math.log(2)
            assert seen.entropy == pytest.approx(expected, rel=1e-5, abs=1e-5)
    assert look(np.full(4, np.inf, np.float32), np.zeros(4, bool)) == Look(np.float32(2), 4)
    assert look(logits, np.ones(size, bool)) == Look(np.float32(0), 0)


def test_levels_go_one_step_and_hold_on() -> None:
    valve = bf.Valve((1.0, 2.0), (1, 2, 4))
    table = {
        0: [(0.99, 0), (1.0, 1), (9.0, 1)],
        1: [(0.89, 0), (0.95, 1), (1.99, 1), (2.0, 2)],
        2: [(1.89, 1), (1.95, 2), (0.0, 1)],
    }
    for level, cases in table.items():
        for bits, expected in cases:
            assert next_level(valve, level, Look(np.float32(bits), 50), VOCABULARY) == expected
    branching = replace(valve, metrics=("grammar_branching",))
    assert next_level(branching, 1, Look(np.float32(1.8), VOCABULARY), VOCABULARY) == 2  # a quarter more
    assert next_level(branching, 1, Look(np.float32(1.05), 1), VOCABULARY) == 0  # nearly a quarter less
    assert next_level(branching, 1, FORCED, VOCABULARY) == 0
    assert [loops_at(valve, level, 3, 2) for level in range(3)] == [2, 2, 3]


def test_each_block_takes_the_loops_of_its_level(toy: Any, seed: int) -> None:
    with load(toy.folder) as opened:
        session = with_valve(opened)
        assert isinstance(session, NativeSession)
        prompt = session._prompt_tokens(b"hello", True).tolist()
        states = [session.state_hash() for _ in session.generate(prompt, max_tokens=150, seed=seed, **DRAWN)]
        tokens, last = session.tokens(), session.library.get("chm_session_level", session._session)
        levels, expected = replayed(session, toy.folder, prompt, tokens, VALVE)
        assert set(levels) == {0, 1, 2}
        assert last == levels[-1]
        assert states == expected
        for _ in session.generate(prompt, max_tokens=150, valve=False, seed=seed, **DRAWN):
            assert session.iterations == MOST
        assert session.tokens() != tokens


@pytest.fixture(scope="module")
def routed_toy(compile_native: Any, native_target: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The toy with a router, that guesses, too."""
    folder = tmp_path_factory.mktemp("routed")
    sources = [TOY_C, *(bf.NATIVE_DIRECTORY / name for name in bf.POSIX_SOURCES)]
    flags = ("-shared", "-fPIC", *WARNINGS, *toy_defines(native_target), "-DTOY_ROUTED", "-DTOY_SPECULATES")
    return make_bundle(folder / "toy", compile_native(folder / "libchimera.so", sources, *flags), native_target)


def test_equal_scores_stand_for_all_iterations() -> None:
    cases = {(0, 0, 0): 0, (2, 1, 2): 0, (3, 3, 2): 3, (3, 1, 2): 2, (1, 3, 3): 0, (math.nan, 1, 0): 3}
    for scores, loops in cases.items():
        assert routed_loops(np.array([scores], np.float32), 4) == loops


@pytest.mark.parametrize("valve", [VALVE, bf.Valve((0.0, 0.0), (MOST, MOST, MOST))])
def test_a_router_chooses_for_each_block(routed_toy: Any, valve: bf.Valve) -> None:
    """No more than the level, in prompts too, whatever is guessed and wherever the text was saved."""
    prompt = list(range(40, 78))
    with load(routed_toy.folder) as opened:
        session = with_valve(opened, valve)
        assert isinstance(session, NativeSession)
        for seed in range(200):
            options = {**DRAWN, "seed": seed, "max_tokens": 120}
            plain = [session.state_hash() for _ in session.generate(prompt, speculate=False, **options)]
            if session.finish_reason == "length":
                break
        tokens = session.tokens()
        _, expected = replayed(session, routed_toy.folder, prompt, tokens, valve, routed=True)
        assert plain[: len(tokens)] == expected  # an end of the text may follow the last token
        list(session.generate(prompt, speculate=False, **options))
        saved, counts = session.snapshot(), set()
        for _ in session.generate(prompt, speculate=True, **options):
            counts.add(session.iterations)
        assert counts >= {1, 2, 3, 4} if valve != VALVE else len(counts) >= 2
        assert session.tokens() == tokens
        assert session.snapshot() == saved
        for cut in (1, 9, 10, 11, 26, 40):
            list(session.generate(prompt, **options | {"max_tokens": cut}))
            middle = session.snapshot()
            session.restore(middle)
            assert session.snapshot() == middle
            list(session.generate([], reset=False, **options | {"max_tokens": 120 - cut}))
            assert session.snapshot() == saved
        list(session.generate(prompt, valve=False, **options))
        assert session.iterations == MOST


def test_all_runtimes_make_the_same_text(any_session: Session, toy: Any, seed: int) -> None:
    branching = replace(VALVE, metrics=("grammar_branching",))
    with load(toy.folder) as native:
        for valve in (VALVE, branching, None):
            if valve is not None and any_session.manifest.target.startswith("wasm"):
                continue  # reads the manifest of its folder: below
            found = []
            for session in (with_valve(native, valve), with_valve(any_session, valve)):
                list(session.generate("hello", max_tokens=90, seed=seed, **DRAWN))
                found.append((session.tokens(), session.state_hash(), session.snapshot()))
            assert found[0] == found[1]
    with pytest.raises(BundleError) as error:
        any_session.generate("x", valve=1)
    assert error.value.code == "CHM420"


def test_snapshots_hold_the_level(toy: Any, seed: int, open_session: Callable[[], Session]) -> None:
    """Saved in any place of a text, it goes on as it did; without a lowered level a snapshot is as before."""
    with load(toy.folder) as opened, open_session() as other:
        session = with_valve(opened)
        if not other.manifest.target.startswith("wasm"):
            with_valve(other)
        list(session.generate("hello", max_tokens=120, seed=seed, **DRAWN))
        whole, end = session.tokens(), session.snapshot()
        sections = []
        for cut in (1, 11, 12, 26, 27, 28, 43, 44, 76):
            list(session.generate("hello", max_tokens=cut, seed=seed, **DRAWN))
            begun, saved = session.tokens(), session.snapshot()
            sections.append(b"valve" in saved)
            other.restore(saved)
            assert other.snapshot() == saved
            if other.manifest.generation is None:
                continue
            list(other.generate([], max_tokens=120 - cut, reset=False, seed=seed, **DRAWN))
            assert begun + other.tokens() == whole
            assert other.state_hash() == session_hash(session, end)
        assert set(sections) == {False, True}


@pytest.mark.parametrize("kind", ["native", "wasm"])
def test_a_bundle_has_a_valve_of_its_own(
    kind: str, toy: Any, seed: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """From its manifest: with the loops of a mode as the most, unless the caller wants none."""
    if kind == "wasm" and shutil.which("node") is None:
        pytest.skip("needs Node.js")
    own: Any = toy if kind == "native" else request.getfixturevalue("wasm_toy")
    shutil.copytree(own.folder, tmp_path / "own")
    defaults = bf.Generation(modes={"flat": 3, "deep": MOST}, valve=replace(VALVE, metrics=("grammar_branching",)))
    bf.write_manifest(tmp_path / "own", replace(own.manifest, generation=defaults))
    options = {name: value for name, value in DRAWN.items() if name != "loops"} | {"seed": seed}
    found = []
    with load(tmp_path / "own") as session, load(toy.folder) as native:
        native.manifest = replace(native.manifest, generation=defaults)
        for mode, valve in itertools.product(("flat", "deep"), (True, False)):
            given = {"mode": mode, "valve": valve, "max_tokens": 90, **options}
            made = []
            for one in (session, native):
                list(one.generate("hello", **given))
                made.append((one.tokens(), one.snapshot()))
            assert made[0] == made[1]
            found.append(made[0])
        assert len({str(tokens) for tokens, _ in found}) >= 3
        session.restore(found[0][1])
        assert session.snapshot() == found[0][1]
        plain = session.record_self_test([1, 2, 3], 40)
        native.manifest = toy.manifest
        assert plain == native.record_self_test([1, 2, 3], 40)


def session_hash(session: Session, snapshot: bytes) -> str:
    session.restore(snapshot)
    return session.state_hash()


def test_forced_tokens_are_certain(toy: Any) -> None:
    """Several are run at once, and yet each with the loops of its block."""
    grammar = compile_grammar(regex="a{40}[bc]{30}d{40}")
    with load(toy.folder) as opened:
        session = with_valve(opened, bf.Valve((0.3, 0.6), (1, 2, 4)))
        assert isinstance(session, NativeSession)
        prompt = session.encode("hello")
        text = "".join(map(str, session.generate(prompt, grammar=grammar, max_tokens=150, **DRAWN)))
        state = session.state_hash()
        assert text.startswith("a" * 40)
        session.reset()
        session.invoke("chm_session_set_valve", *bf.NO_VALVE)
        handle, level = session.grammar(grammar), HIGH
        assert handle is not None
        handle.start()
        levels = []
        for number, token in enumerate(prompt + session.tokens()):
            if number >= len(prompt):
                mask = handle.mask()[:VOCABULARY]
                if number % BLOCK == 0:
                    logits = session.logits()
                    assert logits is not None
                    seen = look(logits, ~mask) if np.count_nonzero(mask) > 1 else FORCED
                    level = next_level(session.manifest.generation.valve, level, seen, VOCABULARY)  # type: ignore[union-attr, arg-type]
                    levels.append(level)
                handle.accept(token)
            session.invoke("chm_session_set_loops", (1, 2, 4)[level])
            session.prefill([token])
        assert session.state_hash() == state
        assert {0, 1} <= set(levels)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((1.0, 2.0, 0, 1, 1, 0), "has no loops"),
        ((2.0, 1.0, 1, 1, 1, 0), "not in order"),
        ((math.nan, 1.0, 1, 1, 1, 0), "not in order"),
        ((1.0, math.inf, 1, 1, 1, 0), "not in order"),
        ((1.0, 2.0, 1, 1, 1, 256), "unknown"),
    ],
)
def test_a_valve_that_is_none(toy: Any, numbers: tuple[Any, ...], message: str) -> None:
    with load(toy.folder) as session:
        assert isinstance(session, NativeSession)
        with pytest.raises(BundleError, match=message) as error:
            session.invoke("chm_session_set_valve", *numbers)
    assert error.value.code == "CHM420"
