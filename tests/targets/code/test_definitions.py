"""Macros that a build defines reach the sources that mention them, and leave the others to be shared."""

from __future__ import annotations

import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from chimerac.runtime.bundle_format import NATIVE_DIRECTORY
from chimerac.targets.code.definitions import defining
from chimerac.targets.code.library import code_files
from chimerac.targets.code.link import link
from chimerac.targets.isa import load_isa
from chimerac.targets.registry import find_target

ISA = load_isa("wasm32-simd128")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("CHIMERAC_CACHE", str(folder))
    return folder


@pytest.fixture
def sources(tmp_path: Path) -> list[Path]:
    """One that mentions A, one that mentions B and A_LONGER_NAME, and one that mentions none."""
    folder = tmp_path / "sources"
    folder.mkdir()
    texts = {
        "first.c": "int first(void) { return A; }\n",
        "second.c": "#ifdef A_LONGER_NAME\n#error defined\n#endif\nint second(void) { return B; }\n",
        "third.c": "int third(void) { return 3; }\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    return [folder / name for name in texts]


def test_who_mentions_no_macro_stays_the_same_file(sources: list[Path]) -> None:
    first, second, third = defining(sources, ["A=4", "B=5"])
    assert third == sources[2]
    assert first.name == "first.c"
    assert first.read_text() == "#define A 4\n#include <first.c>\n"
    assert second.read_text() == "#define B 5\n#include <second.c>\n"
    assert defining(sources, []) == sources


def test_files_follow_from_the_values(sources: list[Path], cache: Path) -> None:
    once, again, other = (defining(sources, [f"A={value}"])[0] for value in (4, 4, 6))
    assert once == again != other
    assert once.is_relative_to(cache)
    assert len(list(cache.rglob("first.c*"))) == 2, "and none is left unfinished"


def test_threads_write_the_same_files(sources: list[Path], cache: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        for value in range(40):
            same = [f"A={value}", "B=5"]
            first, *others = pool.map(lambda given: defining(sources, given), [same] * 8)
            assert others == [first] * 7
    assert len(list(cache.rglob("*.c*"))) == 41, "and none is left unfinished"


def test_programs_see_the_values(gcc: str, sources: list[Path], tmp_path: Path) -> None:
    main = tmp_path / "main.c"
    declared = "int first(void), second(void), third(void);\n"
    main.write_text(declared + "int main(void) { return first() * second() + third(); }\n")
    program = tmp_path / "program"
    compiled = [main, *defining(sources, ["A=4", "B=5"])]
    subprocess.run([gcc, f"-I{sources[0].parent}", *compiled, "-o", program], check=True)
    assert subprocess.run([program], check=False).returncode == 23


def test_modules_with_other_macros_share_the_rest(sources: list[Path], tmp_path: Path, cache: Path) -> None:
    for value in (4, 6):
        model = tmp_path / f"build{value}" / "model.c"
        model.parent.mkdir()
        model.write_text(f"int model(void) {{ return {value}; }}\n")
        compiled = [model, *defining(sources, [f"A={value}", "B=5"])]
        link([], compiled, ISA, model.with_name("module.wasm"), ["model", "first"], [sources[0].parent], ["-nostdlib"])
    objects = [re.sub(r"-.*|\.o$", "", path.name) for path in (cache / "zig" / "o").rglob("*.o")]
    assert sorted(objects) == ["first", "first", "model", "model", "second", "third"]


def test_macros_of_modules_are_mentioned_by_sources_alone() -> None:
    """Not by headers: a source that has a macro from there would be taken for one without."""
    names = {d.partition("=")[0] for file in code_files(find_target("wasm")) for d in file.isa.definitions}
    assert names == {"CHM_WASM_RELAXED"}
    for path in NATIVE_DIRECTORY.glob("*.h"):
        for line in path.read_text("utf-8").splitlines():
            default = re.fullmatch(r"#(ifndef CHM_BUILT_RULES|define CHM_BUILT_RULES 0xffffffffu)", line)
            assert default or not re.search(rf"\b({'|'.join(names)}|CHM_BUILT_RULES)\b", line), (path.name, line)
