"""Speculation changes no token, no logit and no bit of the state, whatever is guessed, on every target."""

from __future__ import annotations

import ctypes as ct
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from replay import Program, Recorded
from tree_models import calls_of, tree_model

import chimerac
from chimerac.compiler.bench.subject import NativeSubject
from chimerac.compiler.build import pipeline
from chimerac.compiler.build.build import build
from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.layouts import FORMS
from chimerac.passes.ternary_packing import TernaryPacking
from chimerac.runtime.bundle_format import OBLIGATIONS, Generation, Ledger, Valve, read_manifest
from chimerac.runtime.errors import BundleError
from chimerac.runtime.reference.tokenizer import read_tokenizer
from chimerac.runtime.sessions.native import NativeSession
from chimerac.runtime.sessions.runner import find_emulator
from chimerac.runtime.sessions.speculation import Speculation
from chimerac.targets.isa import load_isa

TARGETS = ("x86_64-avx2", "wasm32-simd128", "aarch64-neon")
PROMPT = [random.Random(1).randrange(200) for _ in range(37)]
TOKENS = 72
FIXED: dict[str, Any] = {"max_tokens": TOKENS, "exit_threshold": 0.0, "grammar": "none"}
#: How tokens are chosen; loops are fixed, so that trees are possible.
CHOICES: list[dict[str, Any]] = [
    {},
    {"temperature": 1.0, "top_p": 0.9, "seed": 5, "loops": 1},
    {"temperature": 0.5, "repetition_penalty": 1.2, "loops": 3},
]


# ---- the code of models ----------------------------------------------------------------------------------------------


def compare(seeds: Sequence[int], target: str, folder: Path) -> None:
    """Trees of random models, against the interpreter, which tests/passes/test_tree_walks.py holds to single tokens."""
    recorded = []
    for i, seed in enumerate(seeds):
        packing = [TernaryPacking(load_isa(target).panel_rows, form=FORMS[i % len(FORMS)])]
        module, _ = pipeline.run(tree_model(seed), pipeline.passes(packing=packing, speculate=True))
        recorded.append(Recorded(module, calls_of(module, seed), 1 + seed % module.loops[1]))
    found = Program(target, recorded, folder).run(0, "cortex-a53" if target == "aarch64-neon" else "")
    for seed, one, ours in zip(seeds, recorded, found, strict=True):
        for call, (got, wanted) in enumerate(zip(ours, one.expected(), strict=True)):
            differ = [name for name in wanted if got[name].tobytes() != wanted[name].tobytes()]
            assert not differ, f"model {seed}: {differ} after call {call}"


@pytest.mark.parametrize("target", [TARGETS[0], *(pytest.param(t, marks=pytest.mark.slow) for t in TARGETS[1:])])
def test_trees_of_random_models_give_the_interpreters_bits(target: str, tmp_path: Path) -> None:
    if target == "aarch64-neon" and not find_emulator("aarch64"):
        pytest.skip("needs qemu-aarch64: scripts/setup-qemu.sh")
    compare(range(8), target, tmp_path / "program")


@pytest.mark.slow
def test_trees_of_three_hundred_models_give_the_interpreters_bits(tmp_path: Path) -> None:
    compare(range(100, 400), TARGETS[0], tmp_path / "program")


# ---- sessions --------------------------------------------------------------------------------------------------------

Drafter = Callable[[int, int], tuple[list[int], list[int]]]  #: position, most nodes → tokens, parents
_CALLBACK = ct.CFUNCTYPE(
    ct.c_int32, ct.c_void_p, ct.c_int32, ct.POINTER(ct.c_int32), ct.POINTER(ct.c_int32), ct.c_int32
)


@pytest.fixture
def session(speculating: dict[str, Path]) -> Iterator[NativeSession]:
    with chimerac.load(speculating["x86_64-avx2"]) as opened:
        assert isinstance(opened, NativeSession)
        yield opened


def run(
    session: NativeSession, choice: dict[str, Any], nodes: int, drafter: Drafter | None = None, **options: Any
) -> tuple[tuple[list[int], str, str], Speculation]:
    """Tokens and the hashes of state and logits after them, with trees of at most so many nodes; what was guessed."""

    def call(_: int, position: int, tokens: Any, parents: Any, most: int) -> int:
        assert drafter is not None
        guessed, above = drafter(position, most)
        for i, (token, parent) in enumerate(zip(guessed, above, strict=True)):
            tokens[i], parents[i] = token, parent
        return len(guessed)

    callback = _CALLBACK(call)
    session.invoke("chm_session_set_drafter", ct.cast(callback, ct.c_void_p) if drafter else None, None)
    pieces = session.generate(PROMPT, **{**FIXED, **choice, **options})
    next(pieces)
    session._library.call("chm_session_set_speculation", session._session, nodes)
    for _ in pieces:
        pass
    found = session.tokens(), session.state_hash(), session.logits_hash()
    session.invoke("chm_session_set_drafter", None, None)
    return found, session.speculation()


def chain(tokens: list[int]) -> tuple[list[int], list[int]]:
    return tokens, list(range(-1, len(tokens) - 1))


def right(text: list[int]) -> Drafter:
    return lambda position, most: chain(text[position : position + most])


def wrong(text: list[int]) -> Drafter:
    return lambda position, most: chain([(token + 1) % 200 for token in text[position : position + most]])


def mixed(text: list[int], seed: int) -> Drafter:
    """Random trees, some of whose tokens are right."""
    rng = random.Random(seed)

    def guess(position: int, most: int) -> tuple[list[int], list[int]]:
        tokens: list[int] = []
        parents: list[int] = []
        levels: list[int] = []
        for i in range(rng.randint(0, most)):
            parents.append(i - 1 if rng.random() < 0.6 else rng.randrange(-1, i))
            levels.append(levels[parents[i]] + 1 if parents[i] >= 0 else 0)
            known = position + levels[i] < len(text) and rng.random() < 0.6
            tokens.append(text[position + levels[i]] if known else rng.randrange(200))
        return tokens, parents

    return guess


@pytest.mark.parametrize("choice", CHOICES, ids=["greedy", "sampled", "penalised"])
def test_whatever_is_guessed_the_bits_are_the_same(session: NativeSession, choice: dict[str, Any]) -> None:
    plain, counted = run(session, choice, 0)
    assert counted == Speculation()
    text = PROMPT + plain[0]
    found, counted = run(session, choice, 20, right(text))
    assert found == plain
    assert counted.rollbacks == 0 < counted.accepted <= counted.proposed
    assert counted.passes < TOKENS / 8
    found, counted = run(session, choice, 20, wrong(text))
    assert found == plain
    assert counted.accepted == 0 < counted.rollbacks
    for seed, nodes in enumerate((20, 20, 13, 5, 2)):
        found, counted = run(session, choice, nodes, mixed(text, seed))
        assert found == plain
        assert counted.sources.keys() == {"drafter"}
    found, counted = run(session, choice, 20)
    assert found == plain
    assert counted.sources.keys() <= {"text", "loose", "grammar"}


@pytest.mark.parametrize("seed", [2, 7])
def test_the_valve_sees_what_it_sees_without(session: NativeSession, seed: int) -> None:
    """Loops change at the ends of blocks, where trees end, too."""
    choice: dict[str, Any] = {"temperature": 1.0, "seed": seed, "loops": 4}
    session.manifest = replace(session.manifest, generation=Generation(valve=Valve((0.0, 64.0), (1, 2, 4))))
    entropies = set()
    for _ in session.generate(PROMPT, speculate=False, **FIXED, **choice):
        entropies.add(float(session.library.get("chm_session_entropy", session._session)))
    least, most = min(entropies - {0.0}), max(entropies)
    texts = []
    # the first block is medium, and one of the others is the first that is low; or high again
    for bounds in ((least + 0.11, most + 0.11), (0.0, (least + most) / 2 + 0.1), (most, most + 0.2)):
        valve = Valve(bounds, (1, 2, 4))
        session.manifest = replace(session.manifest, generation=Generation(valve=valve))
        plain, counted = run(session, choice, 0)
        assert counted == Speculation()
        text = PROMPT + plain[0]
        for nodes, drafter in ((20, right(text)), (20, wrong(text)), (13, mixed(text, seed)), (20, None)):
            found, counted = run(session, choice, nodes, drafter)
            assert found == plain
        texts.append(plain)
    session.manifest = replace(session.manifest, generation=None)
    texts.append(run(session, choice, 0)[0])
    assert len({state for _, state, _ in texts}) >= 3


def test_drawn_tokens_have_the_models_probabilities(session: NativeSession, speculating: dict[str, Path]) -> None:
    """Those of the softmax, by a chi-squared test of three tokens in a row, the last two drawn in trees.

    It is exact by construction: the noise of a token depends on seed and position only, so that each seed draws the
    same tokens without trees, too.
    """
    few, draws = 4, 700
    sampled: dict[str, Any] = {
        "temperature": 1.0,
        "top_k": few,
        "max_tokens": 3,
        "exit_threshold": 0.0,
        "grammar": "none",
    }
    folder = speculating["x86_64-avx2"]
    entry = read_manifest(folder).file("tokenizer")
    assert entry is not None
    special = np.array([not token for token in read_tokenizer(folder / entry.name).tokens])
    likely: dict[tuple[int, ...], dict[int, float]] = {}

    def look(said: tuple[int, ...], levels: int) -> None:
        session.reset()
        session.prefill([*PROMPT[:5], *said])
        logits = session.logits()
        assert logits is not None
        logits[: special.size][special] = -np.inf
        kept = np.argsort(-logits, kind="stable")[:few]
        shares = np.exp(logits[kept].astype(np.float64) - logits[kept[0]])
        likely[said] = dict(zip(map(int, kept), shares / shares.sum(), strict=True))
        for token in likely[said] if levels else ():
            look((*said, token), levels - 1)

    look((), 2)
    session.invoke("chm_session_set_stop_tokens", None, 0)  # no text ends early
    said: list[int] = []

    def call(_: int, position: int, tokens: Any, parents: Any, most: int) -> int:
        for i, token in enumerate(likely[tuple(said)]):
            tokens[i], parents[i] = token, -1
        return few

    callback = _CALLBACK(call)
    session.invoke("chm_session_set_drafter", ct.cast(callback, ct.c_void_p), None)
    counts: Counter[tuple[int, ...]] = Counter()
    for seed in range(draws):
        found = []
        for nodes in (20, 0):
            said.clear()
            for piece in session.generate(PROMPT[:5], seed=seed, **sampled):
                if not said:
                    session._library.call("chm_session_set_speculation", session._session, nodes)
                said.append(piece.token)
            found.append(tuple(session.tokens()))
            assert session.speculation().accepted == (1 if nodes else 0)
        assert found[0] == found[1]
        counts[found[0]] += 1
    session.invoke("chm_session_set_drafter", None, None)
    wanted = {
        (a, b, c): draws * p * q * r
        for a, p in likely[()].items()
        for b, q in likely[(a,)].items()
        for c, r in likely[(a, b)].items()
    }
    rare = [one for one, share in wanted.items() if share < 5]
    pairs = [(counts[one], share) for one, share in wanted.items() if share >= 5]
    pairs += [(sum(counts[one] for one in rare), sum(wanted[one] for one in rare))] if rare else []
    assert sum(counts.values()) == sum(count for count, _ in pairs)
    freedom = len(pairs) - 1
    assert freedom > 9
    statistic = sum((count - share) ** 2 / share for count, share in pairs)
    assert statistic < freedom * (1 - 2 / (9 * freedom) + 3.09 * (2 / (9 * freedom)) ** 0.5) ** 3  # 99.9 % are below


def test_wasm_gives_the_same_bits(speculating: dict[str, Path], session: NativeSession) -> None:
    """Its guesses are those of the text."""
    with chimerac.load(speculating["wasm"]) as web:
        for choice in CHOICES[:2]:
            plain, _ = run(session, choice, 0)
            for speculate in (True, False):
                for _ in web.generate(PROMPT, speculate=speculate, **FIXED, **choice):
                    pass
                assert (web.tokens(), web.state_hash(), web.logits_hash()) == plain


def test_what_is_asked_in_the_middle_is_as_without(session: NativeSession) -> None:
    """Hashes, snapshots and positions between tokens, and going on from a snapshot."""

    def steps(nodes: int, drafter: Drafter | None) -> list[object]:
        seen: list[object] = []
        run(session, {}, nodes, drafter, max_tokens=1)
        for length in (3, 7, 5):
            pieces = session.generate([4], max_tokens=length, exit_threshold=0.0, grammar="none", reset=False)
            next(pieces)
            session._library.call("chm_session_set_speculation", session._session, nodes)
            seen += [piece.token for piece in pieces]
            saved = session.snapshot()
            seen += [saved, session.position, session.state_hash(), session.logits_hash()]
            session.restore(saved)
        return seen

    plain = steps(0, None)
    text = [0] * 200
    assert steps(20, right(text)) == plain
    assert steps(20, None) == plain


def test_a_tree_that_was_left_leaves_nothing_behind(session: NativeSession) -> None:
    """A new sequence begins while guesses are in the caches and rings."""
    plain, _ = run(session, {}, 0)
    pieces = session.generate(PROMPT, max_tokens=TOKENS, exit_threshold=0.0, grammar="none")
    next(pieces)
    session._library.call("chm_session_set_speculation", session._session, 20)
    for _ in range(9):
        next(pieces)
    pieces.close()
    session.reset()
    assert run(session, {}, 0)[0] == plain


def test_texts_that_follow_a_grammar_are_the_same(session: NativeSession) -> None:
    """Guesses from the text that it does not allow are not run; what is open is of the tokens that were chosen."""
    proposed = 0
    session.manifest = replace(session.manifest, generation=Generation(ledger=Ledger(OBLIGATIONS, 64, 65535)))
    for grammar in ("json", "python", "markdown"):
        for seed in range(4):
            choice = {"temperature": 1.0, "seed": seed, "grammar": grammar}
            plain, saved = run(session, choice, 0)[0], session.snapshot()
            assert b"ledger" in saved
            for nodes in (20, 6):
                found, counted = run(session, choice, nodes)
                assert found == plain
                assert session.snapshot() == saved
                proposed += counted.proposed
    assert proposed


def test_what_never_comes_is_soon_not_guessed(session: NativeSession) -> None:
    plain, _ = run(session, {}, 0)
    found, counted = run(session, {}, 1, wrong(PROMPT + plain[0]))
    assert found == plain
    assert 0 < counted.passes <= 3


def test_what_passes_take_is_measured(session: NativeSession, bundles: dict[str, Path]) -> None:
    """By the session itself, of which the benchmark asks for passes of many sizes."""
    found = NativeSubject(session).passes()
    assert found[0] == 1
    assert len(found) == 20
    assert found == sorted(found)
    assert found != [1 + i / 8 for i in range(20)]  # which a session thinks that has measured nothing
    costs = (ct.c_float * 21)()
    for count in (0, 21):
        with pytest.raises(BundleError, match="costs of 1 to 20 nodes"):
            session.invoke("chm_session_costs", costs, count)
    with chimerac.load(bundles["x86_64-avx2"]) as other:
        assert isinstance(other, NativeSession)
        assert NativeSubject(other).passes() == []
        with pytest.raises(BundleError, match="built without speculation"):
            other.invoke("chm_session_costs", costs, 1)


def test_what_is_asked_for_and_cannot_be_is_refused(
    session: NativeSession, bundles: dict[str, Path], document: Path, tmp_path: Path
) -> None:
    with pytest.raises(BundleError, match="fixed number of loops"):
        next(session.generate(PROMPT, speculate=True, exit_threshold=0.1))
    with pytest.raises(BundleError, match="not True or False"):
        session.generate(PROMPT, speculate=1)
    for nodes in (-1, 21):
        with pytest.raises(BundleError, match="trees of"):
            session.invoke("chm_session_set_speculation", nodes)
    for target in ("x86_64-avx2", "wasm"):
        with chimerac.load(bundles[target]) as other:
            with pytest.raises(BundleError, match="built without speculation"):
                next(other.generate(PROMPT, speculate=True))
            assert other.speculation() == Speculation()
    with pytest.raises(UserError, match="speculation for onnx") as found:
        build(document, scale="nano", targets=["onnx"], out=tmp_path, speculate=True)
    assert found.value.code == "CHM315"
