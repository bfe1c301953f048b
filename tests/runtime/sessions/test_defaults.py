"""A bundle's defaults of generation: they hold where the caller says nothing, and nowhere else."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chimerac.runtime import BundleError, load
from chimerac.runtime import bundle_format as bf

DEFAULTS = bf.Generation(
    temperature=0.9, top_p=0.8, repetition_penalty=1.3, max_tokens=11, exit_threshold=0.2, modes={"deep": 4, "flat": 1}
)


@pytest.fixture(params=["native", "wasm"])
def bundle(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A toy bundle with defaults of its own."""
    if request.param == "wasm" and shutil.which("node") is None:
        pytest.skip("needs Node.js")
    toy: Any = request.getfixturevalue("toy" if request.param == "native" else "wasm_toy")
    shutil.copytree(toy.folder, tmp_path / "own")
    bf.write_manifest(tmp_path / "own", replace(toy.manifest, generation=DEFAULTS))
    return tmp_path / "own"


def made(session: Any, **options: Any) -> list[int]:
    for _ in session.generate("hello", **options):
        pass
    found: list[int] = session.tokens()
    return found


def test_defaults_hold_where_nothing_is_given(bundle: Path) -> None:
    explicit = DEFAULTS.options()
    with load(bundle) as session:
        own = made(session)
        assert own == made(session, **explicit)
        assert own == made(session, temperature=None, grammar=None)
        assert len(own) <= 11
        assert made(session, max_tokens=30)[: len(own)] == own
        for name, value in {"temperature": 0.0, "exit_threshold": 0.0, "repetition_penalty": 1.0}.items():
            assert made(session, **{name: value}) == made(session, **{**explicit, name: value})


def test_a_mode_sets_the_loops_unless_they_are_given(bundle: Path) -> None:
    options = {"exit_threshold": 0.0, "temperature": 0.0, "max_tokens": 24}
    with load(bundle) as session:
        deep, flat = made(session, mode="deep", **options), made(session, mode="flat", **options)
        assert deep == made(session, loops=4, **options)
        assert flat == made(session, loops=1, **options)
        assert deep != flat
        assert flat == made(session, mode="deep", loops=1, **options)
        with pytest.raises(BundleError, match="there is no mode 'fast'") as error:
            session.generate("hello", mode="fast")
        assert error.value.code == "CHM420"
        assert "deep, flat" in str(error.value.hint)


def test_the_self_test_is_of_the_likeliest_tokens(bundle: Path, toy: Any) -> None:
    with load(bundle) as session, load(toy.folder) as plain:
        assert session.record_self_test([1, 2, 3], 8) == plain.record_self_test([1, 2, 3], 8)


def test_a_bundle_without_defaults_has_no_modes(toy: Any) -> None:
    with load(toy.folder) as session, pytest.raises(BundleError, match="there is no mode 'deep'") as error:
        session.generate("hello", mode="deep")
    assert error.value.hint == "the bundle has no modes"
