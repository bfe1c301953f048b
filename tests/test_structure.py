"""The shape of the repository: no circles of imports, tests where their subjects are, files of one idea."""

from __future__ import annotations

import re
import subprocess
from pathlib import PurePosixPath

import grimp
import pytest
from project import ROOT

MOST_LINES = 400
SOURCE = r".*\.(py|c|h|mjs|js|ts|swift)"

#: Files that are longer, and why they are one.
LONG = {
    "runtime/bundle_format/container.py": "what is written and what is refused when it is read, side by side",
    "runtime/native/chimera.h": "the C interface, which is one header for who embeds it",
    "runtime/native/chm_normal_tables.h": "tables",
    "runtime/native/chm_state.c": "snapshots: writing and reading share one description of the sections",
    "runtime/native/chm_unicode.h": "tables",
    "runtime/sessions/onnx.py": "one session",
    "targets/kernels/ternary.py": "one loop nest for all forms of packed trits",
    "tests/compiler/bench/test_bench.py": "tests of one report",
    "tests/runtime/sessions/test_session.py": "tests of one session",
    "tests/runtime/web/test_web.py": "tests of one page and its module",
}

#: Folders of tests that no folder of sources has, and what they test.
ROOMS_OF_TESTS = {
    "tests": "the repository",
    "tests/browser": "web bundles in Chromium",
    "tests/bundlers": "web bundles as npm packages, in bundlers and in Chromium",
    "tests/e2e": "whole bundles",
    "tests/hostile": "damaged and hostile files, whoever reads them",
    "tests/onnx_web": "ONNX bundles in Node",
    "tests/runtime/native/grammar": "chm_grammar*.c of runtime/native, alone and beside other engines",
    "tests/targets/apple": "kernels, library and models of both Apple targets, in an emulator",
}


def files() -> list[str]:
    """The files of the repository, new ones among them."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [name for name in found if (ROOT / name).is_file() and not (ROOT / name).is_symlink()]


def test_no_module_imports_one_that_imports_it() -> None:
    """Of files, a package's ``__init__`` among them; import-linter holds it for folders."""
    graph = grimp.build_graph("chimerac", include_external_packages=False)
    imported = {module: set(graph.find_modules_directly_imported_by(module)) for module in graph.modules}
    while imported:  # take away what imports nothing that is left
        leaves = {module for module, others in imported.items() if not others & imported.keys()}
        if not leaves:
            circle = {m: sorted(others & imported.keys()) for m, others in sorted(imported.items())}
            raise AssertionError(f"in circles, or above one: {circle}")
        for module in leaves:
            del imported[module]


def test_no_file_is_long_without_a_reason() -> None:
    lengths = {name: len((ROOT / name).read_bytes().splitlines()) for name in files() if re.fullmatch(SOURCE, name)}
    assert len(lengths) > 500
    long = {name for name, lines in lengths.items() if lines > MOST_LINES}
    assert long - LONG.keys() == set(), f"over {MOST_LINES} lines: split it, or say here why it is one file"
    assert {name for name in LONG if lengths.get(name, 0) < 0.9 * MOST_LINES} == set(), "no longer long"
    assert all(LONG.values())


def test_tests_are_where_their_subjects_are() -> None:
    """tests/a/b/test_*.py is about a/b."""
    names = [PurePosixPath(name) for name in files()]
    rooms = {str(name.parent) for name in names if name.parts[0] != "tests"}
    tests = {str(n.parent) for n in names if n.parts[0] == "tests" and re.fullmatch(r"test_\w+\.py", n.name)}
    strange = {folder for folder in tests if folder.removeprefix("tests/") not in rooms}
    assert strange == ROOMS_OF_TESTS.keys()
