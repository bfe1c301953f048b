"""The loader's types in a program that uses all of them, under `tsc --strict`."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from chimerac.runtime import bundle_format as bf

HERE = Path(__file__).parent
TSC = HERE / "node_modules/typescript/bin/tsc"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not TSC.exists(), reason="run scripts/setup-browser.sh"),
]


@pytest.mark.parametrize(("library", "module"), [("esnext,dom", "nodenext"), ("es2022,dom", "esnext")])
def test_a_consumer_passes_the_strict_compiler(tmp_path: Path, library: str, module: str) -> None:
    """Today's library, and that of 2022, which has no `await using`; in the ways of Node and of bundlers."""
    text = (HERE / "consumer.mts").read_text(encoding="utf-8")
    if "es2022" in library:
        text = text.replace("await using", "const")
    (tmp_path / "consumer.mts").write_text(text, encoding="utf-8")
    for name in ("chimera.d.mts", "compiler.d.mts"):
        shutil.copy(bf.WEB_DIRECTORY / name, tmp_path)
    resolution = "bundler" if module == "esnext" else module
    options = ["--strict", "--noEmit", "--target", "es2022", "--lib", library]
    options += ["--module", module, "--moduleResolution", resolution]
    command = ["node", str(TSC), *options, "consumer.mts"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "")
