"""The toy bundle with a program that runs it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from project import NATIVE_TESTS

from chimerac.runtime import bundle_format as bf
from chimerac.runtime.sessions.runner import RUNNER_NAME
from chimerac.targets.code.library import runner_files

#: What the toy's runner takes where it is told nothing.
DEFAULTS = bf.Generation(temperature=0.8, top_p=0.9, repetition_penalty=1.2, max_tokens=9, modes={"deep": 3})


@pytest.fixture(scope="session")
def runner(toy: Any, toy_flags: list[str], compile_native: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy bundle's folder with a runner in it."""
    folder = tmp_path_factory.mktemp("runner") / "toy"
    shutil.copytree(toy.folder, folder)
    names = folder.parent / "names.c"
    names.write_text("#include <stdint.h>\n" + runner_files("toy.b158", "toy_tokenizer.model", "", DEFAULTS))
    sources = [bf.NATIVE_DIRECTORY / name for name in (*bf.POSIX_SOURCES, *bf.RUNNER_SOURCES)]
    toy_c = NATIVE_TESTS / "toy_model.c"
    flags = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror", "-pthread", "-lm", *toy_flags]
    compile_native(folder / RUNNER_NAME, [toy_c, names, *sources], *flags)
    return folder


@pytest.fixture(scope="session")
def needs_node() -> None:
    if shutil.which("node") is None:
        pytest.skip("needs Node.js")
