"""docs/tutorial.md, command by command: its files, its loss, and the answer of the bundle it ends with."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from project import ROOT

PAGE = ROOT / "docs" / "tutorial.md"


@pytest.mark.slow
def test_the_tutorial_does_what_it_says(tmp_path: Path) -> None:
    page = PAGE.read_text("utf-8")
    for name, text in re.findall(r"^`([\w.]+)`:\n\n```\w+\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        (tmp_path / name).write_text(text)
    assert {file.name for file in tmp_path.iterdir()} == {"make_rows.py", "house.chimera"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    printed = ""
    for commands in re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        done = subprocess.run(
            ["sh", "-euc", commands], cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        printed += done.stdout
    for said in re.findall(r"It says `(.*?)`", page):
        assert said in printed
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    loss, exact = re.search(r"to less than ([\d.]+), and at least (\d+) % of the held-out", page).groups()  # type: ignore[union-attr]
    assert log[-1]["phase"] == "sft"
    assert log[-1]["loss"] < float(loss)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["seen"]["rows"] == 52
    assert metrics["seen"]["exact"] >= int(exact) / 100
    assert f"{re.findall(r'^    (.*)$', page, re.MULTILINE)[-1]}\n" in printed
    bundle = sum(file.stat().st_size for file in (tmp_path / "dist" / "house.x86_64-avx2").rglob("*"))
    assert bundle < 1_000_000
