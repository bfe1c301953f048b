"""The toy bundle with a program that runs it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from made_once import Once
from project import NATIVE_TESTS

from chimerac.runtime import Session, load
from chimerac.runtime import bundle_format as bf
from chimerac.runtime.sessions.runner import RUNNER_NAME, RunnerSession
from chimerac.targets.code.library import runner_files

#: What the toy's runner takes where it is told nothing.
DEFAULTS = bf.Generation(
    temperature=0.8,
    top_p=0.9,
    repetition_penalty=1.2,
    max_tokens=9,
    modes={"deep": 3},
    mode_shares={"deep": bf.Shares(near=7)},
)


@pytest.fixture(scope="session")
def runner(toy: Any, toy_flags: list[str], compile_native: Any, once: Once) -> Path:
    """The toy bundle's folder with a runner in it."""

    def make(folder: Path) -> None:
        shutil.copytree(toy.folder, folder / "toy")
        names = folder / "names.c"
        names.write_text("#include <stdint.h>\n" + runner_files("toy.b158", "toy_tokenizer.model", "", DEFAULTS))
        sources = [bf.NATIVE_DIRECTORY / name for name in (*bf.POSIX_SOURCES, *bf.RUNNER_SOURCES)]
        toy_c = NATIVE_TESTS / "toy_model.c"
        flags = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror", "-pthread", "-lm", *toy_flags]
        compile_native(folder / "toy" / RUNNER_NAME, [toy_c, names, *sources], *flags)

    return once("runner", make) / "toy"


@pytest.fixture(params=["native", "node", "runner"], scope="module")
def open_session(request: pytest.FixtureRequest) -> Callable[[], Session]:
    """Opens the toy: in this process, in Node, or as a program that an emulator could run."""
    toy = request.getfixturevalue("toy")
    if request.param == "native":
        return lambda: load(toy.folder)
    if request.param == "runner":
        folder = request.getfixturevalue("runner")
        return lambda: RunnerSession(toy.manifest, folder, "/usr/bin/env")
    if shutil.which("node") is None:
        pytest.skip("needs Node.js")
    web = request.getfixturevalue("wasm_toy").folder
    return lambda: load(web)


@pytest.fixture
def any_session(open_session: Callable[[], Session]) -> Iterator[Session]:
    """One of each kind in turn."""
    with open_session() as session:
        yield session
