"""A server of the toy's web bundle."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from web_tools import Server, serving

from chimerac.compiler.packaging.scripts import write_web_files
from chimerac.runtime import bundle_format as bf


@pytest.fixture
def server(wasm_toy: Any, tmp_path: Path) -> Iterator[Server]:
    folder = tmp_path / "site"
    shutil.copytree(wasm_toy.folder, folder)
    write_web_files(folder, (*bf.WEB_FILES, *bf.PAGE_FILES, *bf.DEMO_FILES))
    with serving(folder) as state:
        yield state
