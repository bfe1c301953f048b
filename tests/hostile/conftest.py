"""The C reader with sanitizers, fed by a program."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_once import Once
from project import NATIVE_TESTS

from chimerac.runtime import bundle_format as bf

SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-O1", "-g")


@pytest.fixture(scope="session")
def driver(compile_native: Callable[..., Path], toy_flags: list[str], once: Once) -> Path:
    here = NATIVE_TESTS
    sources = [here / "hostile_driver.c", here / "toy_model.c"]
    sources += [bf.NATIVE_DIRECTORY / name for name in bf.POSIX_SOURCES]
    flags = (*SANITIZERS, *toy_flags)
    return once("driver", lambda folder: compile_native(folder / "hostile", sources, *flags)) / "hostile"


@pytest.fixture(scope="session")
def run_driver(driver: Path, toy: Any) -> Callable[..., list[int]]:
    """run_driver(mode, [kind,] file, *rest): the numbers that the driver prints; fails on any sanitizer report."""

    def run(mode: str, *arguments: object) -> list[int]:
        words = [str(argument) for argument in arguments]
        place = 1 if mode == "cases" else 2
        words.insert(place, str(toy.file("weights")))
        result = subprocess.run([driver, mode, *words], capture_output=True, text=True, timeout=120, check=False)
        assert result.returncode == 0, result.stderr[-3000:]
        return [int(line) for line in result.stdout.split()]

    return run
