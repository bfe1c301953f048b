"""The command line in this process, and bundles that a test may spoil."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_tools import Command, Outcome
from click.testing import CliRunner

from chimerac.compiler.build.importing import Described, import_model
from chimerac.compiler.cli.main import main
from chimerac.compiler.model import Model


@pytest.fixture(scope="session")
def chimerac() -> Command:
    """``chimerac("run", bundle, "text", input=…)``: the command line with these arguments."""

    def call(*arguments: str | Path, input: str | bytes | None = None) -> Outcome:
        found = CliRunner().invoke(main, [str(a) for a in arguments], input=input)
        if found.exception is not None and not isinstance(found.exception, SystemExit):
            raise found.exception  # what a user would see as a traceback
        return Outcome(found.exit_code, found.stdout, found.stderr)

    return call


@pytest.fixture(scope="session")
def source(document: Path) -> Model:
    """The imported model of the session's bundles, for builds that need not import it again."""
    return import_model(document, scale="nano")


@pytest.fixture
def imported(source: Model, monkeypatch: pytest.MonkeyPatch) -> Model:
    """Makes every build and verification of this test use the session's imported model."""

    def import_described(described: Described, **options: object) -> Model:
        assert described.description.digest == source.digest
        return source

    for user in ("build", "importing"):
        monkeypatch.setattr(f"chimerac.compiler.build.{user}.import_described", import_described)
    return source


@pytest.fixture
def copied(bundles: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a target's bundle."""

    def copy(target: str) -> Path:
        folder = tmp_path / "copies" / bundles[target].name
        shutil.copytree(bundles[target], folder)
        return folder

    return copy
