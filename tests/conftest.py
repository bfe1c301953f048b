"""Fixtures for the whole suite: one build of the nano model for all targets."""

from __future__ import annotations

import difflib
import json
import os
import random
import signal
import sys
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_once import Once, made_once

pytest_plugins = ["toy_bundles"]

DOCUMENT = Path(__file__).parent / "data" / "chimera51_document.txt"
GOLDEN = Path(__file__).parent / "golden"
Golden = Callable[[str, str], None]

os.environ.setdefault("OMP_NUM_THREADS", "1")
# transformers would load it, and a process with both it and torch crashes at its end; its tests have one of their own
sys.modules["sentencepiece"] = None  # type: ignore[assignment]


@pytest.fixture(scope="session")
def document() -> Path:
    """The Chimera 5.1 config document as its owner wrote it."""
    return DOCUMENT


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """``once(name, make)``: the folder that ``make`` fills, once in a run of tests."""
    return partial(made_once, tmp_path_factory)


def _built(once: Once, targets: list[str]) -> dict[str, Path]:
    """Target name → bundle of the document at nano scale."""

    def make(folder: Path) -> None:
        from chimerac.compiler.build.build import build

        report = build(DOCUMENT, scale="nano", targets=targets, out=folder)
        (folder / "paths.json").write_text(json.dumps({bundle.target: str(bundle.path) for bundle in report.bundles}))

    paths = json.loads((once(" ".join(targets), make) / "paths.json").read_text())
    return {target: Path(path) for target, path in paths.items()}


@pytest.fixture(scope="session")
def bundles(once: Once) -> dict[str, Path]:
    """Target name → bundle of the document at nano scale, natively and for the web."""
    return _built(once, ["x86_64-avx2", "wasm"])


def pytest_configure() -> None:
    """A shell starts what runs in the background with SIGINT ignored, which programs started by tests would inherit."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if "PYTEST_XDIST_WORKER" in os.environ:
        # the cores have work already: processes that compile kernels, as test_kernel_queue.py has some, only load TVM
        from chimerac.targets.code import kernel_queue

        kernel_queue.KERNELS_PER_WORKER = 1000


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Random numbers of a test follow from its name, not from the tests before it: it is the same alone."""
    seed = zlib.crc32(item.nodeid.encode())
    random.seed(seed)
    if "torch" in sys.modules:  # who needs it has loaded it
        import torch

        torch.manual_seed(seed)
    if isinstance(item, pytest.Function) and hasattr(item.module, "RANDOM"):
        item.module.RANDOM = np.random.default_rng(seed)


#: Folders of which one worker runs all files, which share something that takes long to make.
TOGETHER = ("tests/targets/apple/", "tests/frontends/training/recipes/")
#: What is begun with, so that no worker is left alone with a long file in the end.
FIRST = (
    "tests/targets/apple/",
    "tests/e2e/test_aarch64.py",
    "tests/hostile/test_c_fuzz.py",
    "tests/e2e/test_wasm_variants.py",
    "tests/frontends/training/recipes/",
    "tests/frontends/export/test_attention.py",
    "tests/e2e/",
    "tests/frontends/export/",
    "tests/targets/",
    "tests/browser/",
    "tests/hostile/",
    "tests/compiler/",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The order in which workers are given files: that of FIRST, then as they were found."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(
            key=lambda item: next((i for i, path in enumerate(FIRST) if item.nodeid.startswith(path)), len(FIRST))
        )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Gives workers file after file: what the tests of one share is made once."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return next((path for path in TOGETHER if nodeid.startswith(path)), nodeid.partition("::")[0])

        def mark_test_complete(self, node: Any, item_index: int, duration: float = 0) -> None:
            super().mark_test_complete(node, item_index, duration)
            # all that a worker was ever given is counted through after every test: what is done is forgotten
            units = self.assigned_work[node]
            scope = self._split_scope(self.registered_collections[node][item_index])
            if all(units[scope].values()):
                del units[scope]

    config.option.loadscopereorder = False  # not the files with most tests first
    return Scheduling(config, log)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the texts in tests/golden anew")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """``golden("folder/name", text)``: the text is that of the file in tests/golden, to the letter.

    With ``--update-golden`` the file is written in place of being compared.
    """
    command = f"python -m pytest --update-golden {request.path.relative_to(request.config.rootpath)}"

    def compare(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
            return
        if not path.exists():
            pytest.fail(f"{path} is missing; this makes it: {command}", pytrace=False)
        before = path.read_text("utf-8")
        if text != before:
            lines = difflib.unified_diff(before.splitlines(), text.splitlines(), "golden", "now", lineterm="", n=1)
            pytest.fail("\n".join([f"{path} differs", *lines, f"if that is meant: {command}"]), pytrace=False)

    return compare


@pytest.fixture(scope="session")
def onnx_bundles(once: Once) -> dict[str, Path]:
    """Target name → bundle of the document at nano scale, for ONNX Runtime."""
    return _built(once, ["onnx", "onnx-fused"])
