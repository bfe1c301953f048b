"""The full-size model: what building it takes, its size, its start, its memory and its speed.

    PYTHONPATH=src python benchmarks/full_size.py [--bundle FOLDER] [--embedding ternary] [--json FILE]

Without ``--bundle`` it builds examples/chimera51.txt with random weights for x86-64 first. Linux only. Memory is what a
process has resident, mapped files included, or its proportional share (PSS), in which a page that n mappings share
counts 1/n in each.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "examples" / "chimera51.txt"
MB = 1e6
RUN = "from chimerac.compiler.cli.main import main; main()"


def status(pid: int | str = "self") -> dict[str, float]:
    """MB resident, resident at most, of memory of its own, of mapped files, and the proportional share."""
    found = {}
    for file, names in (("status", ("VmRSS", "VmHWM", "RssAnon", "RssFile")), ("smaps_rollup", ("Pss",))):
        for line in Path(f"/proc/{pid}/{file}").read_text("ascii").splitlines():
            name, _, value = line.partition(":")
            if name in names:
                found[name] = int(value.split()[0]) * 1024 / MB
    return found


# ---- what child processes do; each prints JSON, one object a line ----


def build_child(config: str, out: str, *overrides: str) -> Iterator[dict[str, Any]]:
    """Build, and tell each step's seconds and most resident memory."""
    from chimerac.compiler.build.build import build

    begun = time.perf_counter()

    def tell(step: str, what: str, seconds: float) -> None:
        line = {"step": step, "what": what, "seconds": seconds, **status()}
        print(json.dumps(line), flush=True)
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew

    report = build(config, scale="full", targets=("x86_64-avx2",), out=out, overrides=overrides, progress=tell)
    yield {"step": "all", "seconds": time.perf_counter() - begun, "path": str(report.bundles[0].path)}


def sessions_child(bundle: str, count: str, hold: str) -> Iterator[dict[str, Any]]:
    """Open sessions of one bundle as a C program would, each with a token run; wait for the end of input if asked."""
    import ctypes as ct

    from chimerac.runtime.bundle_format import read_manifest
    from chimerac.runtime.sessions.native_library import NativeLibrary

    files = {entry.role: str(Path(bundle) / entry.name) for entry in read_manifest(bundle).files}
    before = status()
    library, handle = NativeLibrary(files["code"]), ct.c_void_p()
    paths = (files["weights"].encode(), files["tokenizer"].encode())
    library.call("chm_bundle_open_files", *paths, 1, None, ct.byref(handle))
    opened = []
    for token in range(int(count)):
        session = ct.c_void_p()
        library.call("chm_session_open", handle, None, ct.byref(session))
        library.call("chm_session_prefill", session, (ct.c_int32 * 2)(1000 + token, 5), 2)
        opened.append(session)
    yield {"before": before, **status()}
    if hold == "hold":
        sys.stdin.read()


def python_child(bundle: str, count: str) -> Iterator[dict[str, Any]]:
    """The same with sessions that ``load`` opens, each with a mapping of its own of the same file."""
    from chimerac.runtime import load

    with ExitStack() as stack:
        for token in range(int(count)):
            stack.enter_context(load(bundle)).prefill([1000 + token, 5])
        yield status()


def decode_child(bundle: str, threads: str, tokens: str) -> Iterator[dict[str, Any]]:
    """Seconds of each generated token."""
    from chimerac.runtime import load

    with load(bundle, threads=int(threads)) as session:
        laps, last = [], 0.0
        for _ in session.generate("The quick brown fox", max_tokens=int(tokens) + 2):
            now = time.perf_counter()
            laps.append(now - last)
            last = now
        yield {"laps": laps[2:], "kernels": session.kernels}


CHILDREN = {"build": build_child, "sessions": sessions_child, "python": python_child, "decode": decode_child}


def child(what: str, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    """Start a process that does one of ``CHILDREN``."""
    command = [sys.executable, __file__, "--child", what, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)


def answer(what: str, *arguments: str) -> dict[str, Any]:
    """The last object that a child prints."""
    out, _ = (process := child(what, *arguments)).communicate()
    if process.returncode:
        sys.exit(f"{what} failed")
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


# ---- measurements ----


def measure_build(config: Path, out: Path, overrides: list[str]) -> dict[str, Any]:
    """Steps of a build, and the most memory of it and of the compilers that it starts."""
    process = child("build", str(config), str(out), *overrides)
    assert process.stdout is not None
    steps = []
    for line in process.stdout:
        steps.append(json.loads(line))
        show = steps[-1]
        if "what" in show:
            own, mapped = show["RssAnon"], show["RssFile"]
            memory = f"{show['VmHWM']:8,.0f} MB at most, {own:6,.0f} own + {mapped:6,.0f} mapped at its end"
            print(f"  {show['seconds']:7.1f} s  {memory}  {show['step']}: {show['what']}", flush=True)
    if process.wait():
        sys.exit("the build failed")
    compilers = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / MB
    peak = max(compilers, *(step["VmHWM"] for step in steps[:-1]))
    print(f"  {steps[-1]['seconds']:7.1f} s  {peak:8,.0f} MB at most in all")
    return {"steps": steps, "seconds": steps[-1]["seconds"], "peak_mb": peak, "path": steps[-1]["path"]}


def measure_sizes(bundle: Path, config: Path, overrides: list[str]) -> dict[str, Any]:
    """Bytes of each file, and the config's budget as ``chimerac check`` resolves it."""
    from chimerac.frontends import config as language
    from chimerac.frontends.families.chimera.from_config import shape as shape_of
    from chimerac.frontends.families.chimera.sizes.claims import budget_total
    from chimerac.frontends.families.chimera.sizes.parameters import count_parameters
    from chimerac.frontends.families.chimera.sizes.storage import weight_bytes
    from chimerac.runtime.bundle_format import read_manifest

    files = {path.name: path.stat().st_size for path in sorted(bundle.iterdir())}
    for name, size in files.items():
        print(f"  {size / MB:10,.2f} MB  {name}")
    settings = language.load(config, scale="full", overrides=overrides)
    shape = shape_of(settings)
    counts = count_parameters(shape)
    manifest = read_manifest(bundle)
    stored, streams = manifest.memory.weights_bytes / MB, settings.deployment.max_streams
    computed = sum(weight_bytes(shape, counts)) / MB
    allowed = budget_total(settings, shape, counts)
    needed = allowed - computed + stored
    session = (manifest.memory.state_bytes + manifest.memory.arena_bytes) / MB
    usable = (settings.memory_budget_mb.total or 0) + (settings.memory_budget_mb.headroom_8gb or 0)
    print(f"  weights: {stored:,.0f} MB in the bundle; computed for the config at 1.6 bits: {computed:,.0f} MB")
    print(f"  budget: {needed:,.0f} MB with the bundle's weights and {streams} streams, of {usable:,.0f} MB usable")
    return {"files": files, "weights_mb": stored, "computed_mb": computed, "needed_mb": needed, "usable_mb": usable} | {
        "session_mb": session
    }


def measure_start(bundle: Path, rounds: int, folder: Path) -> dict[str, float]:
    """Median seconds from the start of a process to its first token, the files in the page cache."""
    from chimerac.runtime.bundle_format import read_manifest

    files = {entry.role: bundle / entry.name for entry in read_manifest(bundle).files}
    program = folder / "start"
    source = Path(__file__).with_suffix("").with_name("full_size_start.c")
    compiler = [sys.executable, "-m", "ziglang", "cc", "-O2", f"-I{bundle}", str(source), str(files["code"])]
    subprocess.run([*compiler, f"-Wl,-rpath,{bundle.resolve()}", "-o", str(program)], check=True)
    opened = [str(program), str(files["weights"]), str(files["tokenizer"])]
    run = [sys.executable, "-c", RUN, "run", str(bundle), "Hello", "--max-tokens", "1"]
    nothing = {**os.environ, "CHIMERAC_CACHE": str(folder / "no cache")}
    cases: dict[str, tuple[list[str], dict[str, str] | None]] = {
        "chimerac run": (run, None),
        "chimerac run, SHA-256 of all files": (run, nothing),
        "a C program": ([*opened, "1"], None),
        "a C program, CRC-32 of the weights": ([*opened, "0"], None),
    }
    subprocess.run(["cat", *map(str, bundle.iterdir())], check=True, stdout=subprocess.DEVNULL)
    found = {}
    for name, (command, environment) in cases.items():
        laps = []
        for index in range(rounds + 1):
            begun = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
            if index:  # the first one fills caches
                laps.append(time.perf_counter() - begun)
            if environment:
                subprocess.run(["rm", "-rf", environment["CHIMERAC_CACHE"]], check=True)
        found[name] = statistics.median(laps)
        print(f"  {found[name]:6.2f} s  {name}")
    return found


def measure_memory(bundle: Path, count: int) -> dict[str, Any]:
    """One session, many in a process, many opened by Python, and many processes with one each."""
    one, many = answer("sessions", str(bundle), "1", ""), answer("sessions", str(bundle), str(count), "")
    from_python = answer("python", str(bundle), str(count))
    processes = [child("sessions", str(bundle), "1", "hold", stdin=subprocess.PIPE) for _ in range(count)]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    shares = [status(process.pid)["Pss"] for process in processes]
    for process in processes:
        process.communicate()
    rows = {
        "1 session": (one["VmRSS"], one["Pss"]),
        f"{count} sessions of a bundle": (many["VmRSS"], many["Pss"]),
        f"{count} sessions that Python loads": (from_python["VmRSS"], from_python["Pss"]),
        f"{count} processes together": (None, sum(shares)),
    }
    for name, (whole, share) in rows.items():
        print(f"  {'' if whole is None else f'{whole:,.0f}':>8} MB resident, {share:8,.0f} MB share  {name}")
    return {name: {"resident_mb": whole, "share_mb": share} for name, (whole, share) in rows.items()}


def measure_speed(bundle: Path, tokens: int) -> dict[str, float]:
    """Median decoded tokens per second."""
    found = {}
    for threads in (1, 2):
        told = answer("decode", str(bundle), str(threads), str(tokens))
        found[str(threads)] = 1 / statistics.median(told["laps"])
        print(f"  {found[str(threads)]:6.2f} tokens/s  {threads} thread{'s' * (threads > 1)}, {told['kernels']}")
    return found


def main() -> None:
    """Measure and print; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, help="a bundle that was built; none is built then")
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("--embedding", default="int8", help="quantization.embedding_format")
    parser.add_argument("--sessions", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=24, help="decoded for the speed")
    parser.add_argument("--rounds", type=int, default=5, help="starts of which the median is taken")
    parser.add_argument("--json", type=Path, help="file for all numbers")
    options = parser.parse_args()
    overrides = [] if options.embedding == "int8" else [f"quantization.embedding_format={options.embedding}"]
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        bundle = options.bundle
        if bundle is None:
            print("build")
            found["build"] = measure_build(options.config, Path(temporary) / "dist", overrides)
            bundle = Path(found["build"]["path"])
        print("size")
        found["size"] = measure_sizes(bundle, options.config, overrides)
        print(f"start to first token, median of {options.rounds}")
        found["start"] = measure_start(bundle, options.rounds, Path(temporary))
        print("memory")
        found["memory"] = measure_memory(bundle, options.sessions)
        print("decode")
        found["decode"] = measure_speed(bundle, options.tokens)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        for made in CHILDREN[sys.argv[2]](*sys.argv[3:]):
            print(json.dumps(made), flush=True)
    else:
        main()
