"""``build --timings``, ``--verbose`` and ``--jobs``: where the time goes, and that bundles do not depend on it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from cli_tools import Command

from chimerac.compiler.build.build import build
from chimerac.compiler.build.timings import KernelTime, LinkTime, PassTime, Timings
from chimerac.compiler.errors import UserError
from chimerac.compiler.model import Model
from chimerac.targets.code.library import code_files
from chimerac.targets.registry import find_target


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "dist"


@pytest.mark.parametrize("jobs", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_timings_of_a_build(
    chimerac: Command, document: Path, imported: Model, bundles: dict[str, Path], out: Path, tmp_path: Path, jobs: int
) -> None:
    file, modules = tmp_path / "timings.json", code_files(find_target("wasm"))
    options = ("--scale", "nano", "-t", "wasm", "-o", out, "-j", jobs, "--timings", file, "--verbose")
    shown = chimerac("build", document, *map(str, options))
    assert shown.code == 0, shown.err
    assert re.search(r"^11 passes +\d+\.\d\d s\n  \w+ +wasm +\d+\.\d\d s$", shown.out, re.MULTILINE), shown.out
    assert re.search(rf"^{len(modules)} links +\d+\.\d\d s$", shown.out, re.MULTILINE)
    found = json.loads(file.read_text())
    assert found.keys() == {"chimerac", "jobs", "seconds", "steps", "passes", "kernels", "links"}
    assert found["jobs"] == jobs
    assert [s["step"] for s in found["steps"] if s["target"] == ""] == ["config", "self-test vector"]
    steps = {s["step"] for s in found["steps"] if s["target"] == "wasm"}
    assert {"passes", "weights", "kernels", "bundle", "self-test"} <= steps
    assert found["passes"][0]["name"] == "entry_points"
    assert {p.keys() == {"target", "name", "ops", "seconds"} for p in found["passes"]} == {True}
    kernels = found["kernels"]
    generated = {isa.name for module in modules for isa in (module.isa, *module.isa.variants) if isa.c_kernels is None}
    assert {k["instruction_set"] for k in kernels} == generated
    assert len({(k["instruction_set"], k["symbol"]) for k in kernels}) == len(kernels)
    assert kernels[0].keys() == {"target", "instruction_set", "symbol", "op", "operands", "seconds"}
    assert {link["file"] for link in found["links"]} == {p.name for p in bundles["wasm"].glob("*.wasm")}
    everything = [part for group in ("steps", "passes", "kernels", "links") for part in found[group]]
    assert all(0 <= part["seconds"] <= found["seconds"] for part in everything)
    built = out / bundles["wasm"].name
    names = sorted(p.name for p in bundles["wasm"].iterdir())
    assert sorted(p.name for p in built.iterdir()) == names
    assert [n for n in names if (built / n).read_bytes() != (bundles["wasm"] / n).read_bytes()] == []


def test_quiet_by_default(chimerac: Command, document: Path, imported: Model, out: Path) -> None:
    shown = chimerac("build", document, "--scale", "nano", "-t", "onnx", "-o", out, "--no-verify")
    assert shown.code == 0, shown.err
    assert "passes  " not in shown.out.replace("8 passes, ", "")
    assert "more " not in shown.out


def test_a_place_that_cannot_be_written(chimerac: Command, document: Path, imported: Model, out: Path) -> None:
    options = ("--scale", "nano", "-t", "onnx", "-o", out, "--no-verify", "--timings", out / "gone" / "timings.json")
    chimerac("build", document, *options).refused("CHM321", "timings.json: No such file or directory")


def test_jobs_that_make_no_sense(chimerac: Command, out: Path) -> None:
    chimerac("build", "home", "--jobs", "0", "-o", out).misused("0 is not in the range x>=1")
    with pytest.raises(UserError, match="0 jobs") as caught:
        build("home", jobs=0, out=out)
    assert caught.value.code == "CHM312"


def test_the_table_shows_the_slowest_first() -> None:
    passes = tuple(PassTime("wasm", f"pass_{i}", 1, float(i)) for i in range(4))
    kernels = (KernelTime("wasm", "wasm32-simd128", "chk_cached", "silu", ("f32[4]",), 0.0),)
    timings = Timings(1, 10.0, (), passes, kernels, (LinkTime("wasm", "chimera.wasm", 0.25),))
    lines = timings.table(most=2).split("\n")
    assert [line.split() for line in lines] == [
        ["4", "passes", "6.00", "s"],
        ["pass_3", "wasm", "3.00", "s"],
        ["pass_2", "wasm", "2.00", "s"],
        ["2", "more", "1.00", "s"],
        ["1", "link", "0.25", "s"],
        ["chimera.wasm", "wasm", "0.25", "s"],
    ]
    assert len({len(line) for line in lines}) == 1
