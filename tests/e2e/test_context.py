"""A text ends with the context: every kind of session refuses what does not fit, before anything changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from attention_models import CachedModel
from made_once import made_once

import chimerac
from chimerac.runtime.bundle_format import Section, parse_container, read_manifest
from chimerac.runtime.bundle_format.container import container_bytes
from chimerac.runtime.errors import BundleError
from chimerac.runtime.options import NO_GRAMMAR, PLAIN
from chimerac.runtime.sessions.interface import Session

CONTEXT = 40
TARGETS = ("x86_64-avx2", "wasm", "onnx")


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def make(folder: Path) -> None:
        chimerac.compile(CachedModel(CONTEXT).eval(), name="cached", targets=TARGETS, out=folder)

    return made_once(tmp_path_factory, "a model with a context", make)


@pytest.fixture(params=TARGETS)
def session(request: pytest.FixtureRequest, bundles: Path) -> Iterator[Session]:
    name = {"wasm": "wasm32-simd128"}.get(request.param, request.param)
    folders = [path for path in bundles.iterdir() if name.startswith(path.name.partition(".")[2])]
    with chimerac.load(folders[0]) as opened:
        yield opened


def refused(message: str) -> pytest.RaisesExc[BundleError]:
    return pytest.raises(BundleError, match=message, check=lambda error: error.code == "CHM424")


def test_what_does_not_fit_changes_nothing(session: Session) -> None:
    assert session.context == session.manifest.context == CONTEXT
    session.prefill(list(range(30)))
    before = session.state_hash()
    with refused("11 tokens more; of the context of 40, 10 are left"):
        session.prefill(list(range(11)))
    with refused("12 tokens more"):
        list(session.generate("a long prompt"[:12], reset=False, grammar=NO_GRAMMAR, **PLAIN))
    with refused("41 tokens more; of the context of 40, 40 are left"):
        list(session.generate(list(range(41)), grammar=NO_GRAMMAR, **PLAIN))
    assert (session.position, session.state_hash()) == (30, before)
    session.prefill(list(range(10)))
    with refused("1 tokens more; of the context of 40, 0 are left"):
        session.prefill([1])
    assert session.position == 40
    session.reset()
    session.prefill(list(range(40)))


@pytest.mark.parametrize("prompt", [1, 25, 39, 40])
def test_a_generation_ends_with_the_context(session: Session, prompt: int) -> None:
    pieces = list(session.generate(list(range(prompt)), max_tokens=100, **PLAIN))
    assert sum(piece.token >= 0 for piece in pieces) == len(session.tokens()) == CONTEXT - prompt
    assert session.finish_reason == "length"
    session.state_hash()  # runs what was chosen
    assert session.position == CONTEXT
    assert not [piece for piece in session.generate([], reset=False, max_tokens=5, **PLAIN) if piece.token >= 0]
    assert session.finish_reason == "length"


def test_chosen_tokens_count_before_they_are_run(session: Session) -> None:
    for _ in session.generate(list(range(30)), max_tokens=4, **PLAIN):
        pass
    with refused("7 tokens more; of the context of 40, 6 are left"):
        session.prefill([1] * 7)
    session.prefill([1] * 6)
    assert session.position == CONTEXT


def test_a_grammar_that_does_not_fit_is_refused(session: Session) -> None:
    grammar = chimerac.compile_grammar(regex="[ab]{12}")
    with refused("of the context of 40"):
        list(session.generate(list(range(29)), grammar=grammar, max_tokens=30))
    text = "".join(piece.text for piece in session.generate(list(range(28)), grammar=grammar, max_tokens=30))
    assert len(text) == 12


def test_snapshots_have_the_rows_of_the_text(session: Session) -> None:
    """What lies beyond is zero again after a reset, and after going back."""
    empty = session.state_hash()
    sizes, hashes = [], []
    for count in (0, 5, 5, 30):
        if count:
            session.prefill(list(range(count)))
        sizes.append(parse_container(session.snapshot()).sections["state.key_0"].shape)
        hashes.append(session.state_hash())
    assert sizes == [(2, 0, 8), (2, 5, 8), (2, 10, 8), (2, 40, 8)]
    session.reset()
    assert session.state_hash() == hashes[0] == empty
    session.prefill(list(range(5)))
    snapshot = session.snapshot()
    session.prefill(list(range(20)))
    session.restore(snapshot)
    assert session.state_hash() == hashes[1]
    assert session.snapshot() == snapshot


@pytest.mark.parametrize("position", [0, 4, 6, 40])
def test_snapshots_with_other_rows_are_refused(session: Session, position: int) -> None:
    """A header that claims another position than the rows are of; checksums are right."""
    session.prefill(list(range(5)))
    container = parse_container(session.snapshot())
    numbers = container.array("sequence").copy()
    numbers[:3] = position, position > 0, position > 0
    sections = [
        Section(name, view.dtype, view.shape, container.array(name) if name != "sequence" else numbers)
        for name, view in container.sections.items()
    ]
    keys = {key: container.metadata[key] for key in ("chimera.config_sha256", "chimera.model_sha256")}
    before = session.state_hash()
    with pytest.raises(BundleError, match="is not F32", check=lambda error: error.code == "CHM404"):
        session.restore(container_bytes("state", sections, keys))
    numbers[0] = 41
    with pytest.raises(BundleError, check=lambda error: error.code == "CHM420"):
        session.restore(container_bytes("state", sections, keys))
    assert (session.position, session.state_hash()) == (5, before)


def test_snapshots_end_with_the_context(session: Session) -> None:
    session.prefill(list(range(CONTEXT)))
    snapshot = session.snapshot()
    session.reset()
    session.restore(snapshot)
    assert session.position == CONTEXT
    with refused("0 are left"):
        session.prefill([1])


def test_bench_measures_decode_after_texts(bundles: Path) -> None:
    folder = next(path for path in bundles.iterdir() if "x86_64" in path.name)
    report = chimerac.bench(folder, threads=(1,), prompts=(16, 100), after=(20, 39), seconds=0.05)
    (run,) = report.runs
    assert [(rate.tokens, rate.runs > 0, rate.tokens_per_second > 0) for rate in run.decode_after] == [(20, True, True)]
    assert [rate.tokens for rate in run.prefill] == [16]
    assert [note for note in report.notes if "does not fit" in note] == [
        "a text of 100 tokens does not fit the context: left out",
        "a text of 39 tokens does not fit the context: left out",
    ]
    assert "  decode after 20: tokens/s" in str(report)


def test_all_runtimes_compute_the_same(bundles: Path) -> None:
    found = set()
    for folder in bundles.iterdir():
        assert read_manifest(folder).context == CONTEXT
        with chimerac.load(folder) as session:
            session.prefill(list(range(3, 37)))
            found.add((session.state_hash(), session.logits_hash(), len(session.snapshot())))
    assert len(found) == 1
