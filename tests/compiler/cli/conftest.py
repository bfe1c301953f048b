"""The command line in this process, and bundles that a test may spoil."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_tools import Command, Outcome
from click.testing import CliRunner

from chimerac.compiler.build.build import Source, import_model
from chimerac.compiler.cli.main import main
from chimerac.frontends.config import ModelConfig
from chimerac.frontends.families.chimera.shape import ChimeraShape


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
def source(document: Path) -> Source:
    """The imported model of the session's bundles, for builds that need not import it again."""
    return import_model(document, scale="nano")


@pytest.fixture
def imported(source: Source, monkeypatch: pytest.MonkeyPatch) -> Source:
    """Makes every build and verification of this test use the session's imported model."""

    def import_shape(settings: ModelConfig, shape: ChimeraShape, **options: object) -> Source:
        assert settings.digest == source.config.digest
        return source

    monkeypatch.setattr("chimerac.compiler.build.build.import_shape", import_shape)
    return source


@pytest.fixture
def copied(bundles: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a target's bundle."""

    def copy(target: str) -> Path:
        folder = tmp_path / "copies" / bundles[target].name
        shutil.copytree(bundles[target], folder)
        return folder

    return copy
