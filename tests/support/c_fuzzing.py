"""Fuzz targets of the C runtime: built with sanitizers, and run from the seeds and from what was found before.

``python -m c_fuzzing TARGET|all EXECUTIONS SEED`` runs them for long; scripts/fuzz.sh calls it. With clang they are
linked with libFuzzer, else with ``tests/hostile/fuzz/fuzz_driver.c``, which gcc's coverage guides.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fuzz_seeds import make_seeds
from project import NATIVE_TESTS, TESTS
from toy_bundles import toy_defines

from chimerac.runtime import bundle_format as bf

SOURCES: Final = TESTS / "hostile" / "fuzz"
CORPUS: Final = TESTS / "hostile" / "corpus"  #: a folder a target: every input that found something
TARGETS: Final = (
    *("container", "tokenizer", "pack", "snapshot", "session", "runner", "calls", "names", "heard"),
    *("spans", "drafts", "memory"),
)
#: Targets with a model in their file, in place of the toy model.
OWN_MODEL: Final = frozenset({"calls"})
#: Those with another toy model than the rest.
MODEL_FLAGS: Final = {"drafts": ("-DTOY_DRAFTS",), "memory": ("-DTOY_MEMORY",)}
#: In whose place ``fuzz.c`` has something that mutated inputs get past.
CHECKSUMS: Final = ("chm_crc32.c", "chm_sha256.c")
_SANITIZERS: Final = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g1", "-O1")

#: What pays for a session that guesses depends on the time, and equal seeds shall give equal runs.
_CLOCK: Final = "-Dclock_gettime=fuzz_clock"


@dataclass(frozen=True)
class Toolchain:
    """What compiles and links the targets."""

    compiler: str
    coverage: tuple[str, ...]  #: flags of the files whose coverage guides
    link: tuple[str, ...]
    driver: bool  #: whether our own driver is linked in


GCC: Final = Toolchain("gcc", ("-fsanitize-coverage=trace-pc",), (), driver=True)
LIBFUZZER: Final = Toolchain("clang", ("-fsanitize=fuzzer-no-link",), ("-fsanitize=fuzzer",), driver=False)


def toolchain() -> Toolchain:
    """LibFuzzer where clang is there."""
    return LIBFUZZER if shutil.which("clang") else GCC


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


def build(
    folder: Path, targets: Sequence[str] = TARGETS, tools: Toolchain | None = None, more: Sequence[str] = ()
) -> dict[str, Path]:
    """Target → program, in a folder that has the seeds too. ``more``: flags of the linker."""
    tools = tools or toolchain()
    make_seeds().write(folder)
    files = [f'-DFUZZ_{name.upper()}="{folder / name}.bin"' for name in ("weights", "tokenizer", "pack", "bank")]
    common = [tools.compiler, *bf.C_FLAGS, "-Wall", "-Wextra", f"-I{bf.NATIVE_DIRECTORY}", f"-I{SOURCES}"]
    common += [*toy_defines("test"), "-DTOY_SPECULATES", "-DTOY_ROUTED", *files]
    flags = {bf.NATIVE_DIRECTORY / name: (*_SANITIZERS, *tools.coverage, _CLOCK) for name in bf.POSIX_SOURCES}
    for name in CHECKSUMS:
        del flags[bf.NATIVE_DIRECTORY / name]
    flags |= {SOURCES / f"fuzz_{target}.c": (*_SANITIZERS, *tools.coverage) for target in targets}
    flags[SOURCES / "fuzz.c"] = _SANITIZERS
    if tools.driver:
        flags[SOURCES / "fuzz_driver.c"] = ()

    def compile_one(source: Path) -> str:
        output = str(folder / f"{source.stem}.o")
        _run([*common, *flags[source], "-c", str(source), "-o", output])
        return output

    def compile_model(more: Sequence[str]) -> str:
        output = str(folder / f"toy_model{''.join(more)}.o")
        sanitizer = "-fsanitize=address"  # in undefined behaviour most of the time would go by
        _run([*common, sanitizer, *more, "-c", str(NATIVE_TESTS / "toy_model.c"), "-o", output])
        return output

    with ThreadPoolExecutor(2) as pool:
        objects = dict(zip(flags, pool.map(compile_one, flags), strict=True))
        own = {target: [objects.pop(SOURCES / f"fuzz_{target}.c")] for target in targets}
        wanted = {target: MODEL_FLAGS.get(target, ()) for target in targets if target not in OWN_MODEL}
        models = {more: compile_model(more) for more in set(wanted.values())}
        for target, more in wanted.items():
            own[target].append(models[more])

        def link(target: str) -> Path:
            program = folder / f"fuzz_{target}"
            linker = [tools.compiler, *_SANITIZERS, *tools.link, *more, "-pthread"]
            _run([*linker, *own[target], *objects.values(), "-o", str(program)])
            return program

        return dict(zip(targets, pool.map(link, targets), strict=True))


@dataclass(frozen=True)
class Run:
    """What a program says at its end."""

    executions: int
    coverage: int  #: blocks, or edges of libFuzzer


def inputs_of(program: Path) -> list[str]:
    """Folders of the inputs that a target begins with."""
    target = program.name.removeprefix("fuzz_")
    found = CORPUS / target
    return [str(program.parent / "seeds" / target), *([str(found)] if found.is_dir() else [])]


def run(program: Path, executions: int, seed: int, out: Path | None = None, tools: Toolchain | None = None) -> Run:
    """Run a target; AssertionError with the report of the sanitizers and the place of what was found."""
    tools, out = tools or toolchain(), out or program.parent
    if tools.driver:
        options = ["-executions", str(executions), "-seed", str(seed), "-out", str(out)]
        patterns = (r"executions (\d+)", r"blocks (\d+)")
    else:
        options = [f"-runs={executions}", f"-seed={seed}", f"-artifact_prefix={out}/{program.name}-", "-max_len=8192"]
        options += ["-timeout=20", "-print_final_stats=1"]
        patterns = (r"number_of_executed_units: (\d+)", r"cov: (\d+)")
    command = [str(program), *options, *inputs_of(program)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        raise AssertionError(f"{program.name}, seed {seed}: {done.stdout}{done.stderr[-5000:]}")
    executed, covered = (re.findall(pattern, done.stdout + done.stderr)[-1] for pattern in patterns)
    return Run(int(executed), int(covered))


def main() -> None:
    """Run one target, or all one after the other; findings are written to the current folder."""
    which, executions, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    targets = TARGETS if which == "all" else (which,)
    with tempfile.TemporaryDirectory() as folder:
        for target, program in build(Path(folder), targets).items():
            done = run(program, executions, seed, Path.cwd())
            print(f"{target:<12} {done.executions:>11,} executions, coverage {done.coverage:,}", flush=True)


if __name__ == "__main__":
    main()
