"""Kernels compiled by worker processes: the same files for any number of them, errors, crashes, nothing left behind."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from chimerac.compiler.errors import InternalError, UserError
from chimerac.compiler.ir.types import TensorType, f32
from chimerac.targets.code import codegen, kernel_queue
from chimerac.targets.code.kernel_queue import KernelQueue, compile_kernels, usable_cores
from chimerac.targets.isa import load_isa
from chimerac.targets.kernel_spec import KernelSpec

ISA = load_isa("x86_64-avx2")
#: small kernels: enough for two workers
SPECS = [
    KernelSpec(op, (f32(size),), (f32(size),), ()) for op in ("silu", "tanh", "sigmoid", "neg") for size in range(1, 6)
]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, for its workers too, and workers for few kernels."""
    monkeypatch.setenv("CHIMERAC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(kernel_queue, "KERNELS_PER_WORKER", 2)
    return tmp_path / "cache" / "kernels"


@pytest.fixture
def queue() -> Iterator[KernelQueue]:
    with KernelQueue(2) as running:
        yield running


def workers(of: int) -> list[int]:
    """Processes that a process started and that still run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == of and state != "Z":
            found.append(int(path.parent.name))
    return found


def started(of: int, before: Sequence[int], count: int = 2) -> list[int]:
    """Its new processes, as soon as there are so many."""
    deadline = time.monotonic() + 300
    while len(new := [pid for pid in workers(of) if pid not in before]) < count:
        assert time.monotonic() < deadline, f"{len(new)} of {count} workers"
        time.sleep(0.001)
    return new


def test_the_number_of_workers_changes_no_byte(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = {}
    for jobs in (1, 2):
        monkeypatch.setenv("CHIMERAC_CACHE", str(tmp_path / f"cache {jobs}"))
        before = workers(os.getpid())
        with KernelQueue(jobs) as queue:
            batch = queue.submit([(SPECS, ISA)])
            if jobs == 2:
                started(os.getpid(), before)
            objects = batch.finish(tmp_path / str(jobs))
        assert workers(os.getpid()) == before
        assert [o.spec for o in objects] == SPECS
        assert all(o.seconds > 0 and o.isa == ISA.name for o in objects)
        assert not list((tmp_path / f"cache {jobs}").rglob(f"*{codegen.UNFINISHED}"))
        made[jobs] = {o.symbol: o.object_path.read_bytes() for o in objects}
    assert made[1] == made[2]


def test_batches_share_what_is_the_same(tmp_path: Path, queue: KernelQueue) -> None:
    relaxed = load_isa("wasm32-relaxed")
    first = queue.submit([(SPECS, load_isa("wasm32-simd128"))])
    second = queue.submit([(SPECS, relaxed), (SPECS[:2], replace(ISA, symbol_suffix="__x86"))])
    assert all(o.seconds > 0 for o in first.finish(tmp_path / "a"))
    shown: list[tuple[str, int, int]] = []
    objects = second.finish(tmp_path / "b", lambda o, done, of: shown.append((o.isa, done, of)))
    assert [o.seconds > 0 for o in objects] == [False] * len(SPECS) + [True] * 2
    assert shown[0] == ("wasm32-relaxed", 1, 22)
    assert shown[-1] == ("x86_64-avx2", 22, 22)
    again = queue.submit([(SPECS, relaxed)]).finish(tmp_path / "c")
    assert {o.object_path.read_bytes() for o in again} == {o.object_path.read_bytes() for o in objects[:-2]}


def test_nothing_is_started_for_what_is_in_the_cache(tmp_path: Path) -> None:
    compile_kernels(SPECS, ISA, tmp_path / "a")
    before = workers(os.getpid())
    with KernelQueue(2) as queue:
        batch = queue.submit([(SPECS, ISA)])
        assert workers(os.getpid()) == before
        assert all(o.seconds == 0 for o in batch.finish(tmp_path / "b"))


def test_an_instruction_set_that_workers_do_not_know(tmp_path: Path, queue: KernelQueue) -> None:
    """It is compiled here, from the object that was given."""
    other = replace(ISA, name="x86_64-avx2-of-a-test", target={**ISA.target, "mcpu": "skylake"})
    objects = queue.submit([(SPECS, ISA), (SPECS, replace(other, symbol_suffix="__other"))]).finish(tmp_path)
    assert all(o.symbol.encode() in o.object_path.read_bytes() for o in objects)
    assert {o.symbol.endswith("__other") for o in objects[len(SPECS) :]} == {True}


def test_an_op_without_a_kernel_starts_nothing(queue: KernelQueue) -> None:
    before = workers(os.getpid())
    with pytest.raises(UserError, match="'moe' has no kernel") as caught:
        queue.submit([([*SPECS, KernelSpec("moe", (), (), ())], ISA)])
    assert caught.value.code == "CHM301"
    assert workers(os.getpid()) == before


def test_an_error_of_a_kernel_is_the_same_with_workers(tmp_path: Path) -> None:
    """The body of this product does not take such groups."""
    weights, scales = TensorType("u8", (1, 2, 32), "t2.r8"), TensorType("f16", (1, 2, 8), "panel.r8")
    broken = KernelSpec(
        "ternary_matmul",
        (TensorType("i8", (4, 24)), f32(4, 2), weights, scales),
        (f32(4, 8),),
        (("block", 12), ("columns", 24), ("group", 12), ("rows", 8)),
    )
    messages = []
    for jobs in (1, 2):
        with KernelQueue(jobs) as queue, pytest.raises(InternalError) as caught:
            queue.submit([([*SPECS, broken], ISA)]).finish(tmp_path)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert "no ternary kernel for group 12, block 12" in messages[0]


def test_a_worker_that_dies_is_replaced(tmp_path: Path, queue: KernelQueue, cache: Path) -> None:
    before = workers(os.getpid())
    batch = queue.submit([(SPECS, ISA)])
    os.kill(started(os.getpid(), before)[0], signal.SIGKILL)
    objects = batch.finish(tmp_path)
    assert len(objects) == len(SPECS)
    assert not list(cache.glob(f"*{codegen.UNFINISHED}"))


@pytest.mark.slow
def test_a_kernel_that_crashes_its_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice, so that it is not an accident; the others are compiled all the same."""
    (tmp_path / "crashing_compiler.py").write_text(
        "import os, signal\n"
        "from chimerac.targets import kernels\n"
        "real = kernels.find_kernel\n"
        "def find_kernel(op):\n"
        "    if op == 'tanh': os.kill(os.getpid(), signal.SIGSEGV)\n"
        "    return real(op)\n"
        "import chimerac.targets.code.codegen as codegen\n"
        "codegen.find_kernel = find_kernel\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(kernel_queue, "WORKER", f"import crashing_compiler; {kernel_queue.WORKER}")
    with KernelQueue(2) as queue, pytest.raises(InternalError) as caught:
        queue.submit([(SPECS, ISA)]).finish(tmp_path / "objects")
    assert "was ended by SIGSEGV" in str(caught.value)
    assert "chk_tanh_" in str(caught.value)


def test_without_workers_kernels_are_compiled_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_queue, "WORKER", "raise SystemExit(3)")
    with KernelQueue(2) as queue:
        assert len(queue.submit([(SPECS[:8], ISA)]).finish(tmp_path)) == 8


def test_files_of_killed_processes_are_cleared_away(tmp_path: Path, cache: Path, queue: KernelQueue) -> None:
    cache.mkdir(parents=True)
    old, new = (cache / f"{name}{codegen.UNFINISHED}" for name in ("old.1", "new.1"))
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    queue.submit([(SPECS, ISA)]).finish(tmp_path / "objects")
    assert (old.exists(), new.exists()) == (False, True)


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
def test_no_worker_outlives_its_build(tmp_path: Path, ending: signal.Signals) -> None:
    script = (
        "import pickle, sys\n"
        "from pathlib import Path\n"
        "from chimerac.targets.code.kernel_queue import KernelQueue\n"
        "from chimerac.targets.isa import load_isa\n"
        "from chimerac.targets.code import kernel_queue\n"
        "kernel_queue.KERNELS_PER_WORKER = 2\n"
        "specs = pickle.load(sys.stdin.buffer)\n"
        "with KernelQueue(2) as queue:\n"
        "    batch = queue.submit([(specs, load_isa('x86_64-avx2'))])\n"
        "    print('begun', flush=True)\n"
        "    batch.finish(Path(sys.argv[1]))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "objects")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as build:
        assert build.stdin is not None
        assert build.stdout is not None
        build.stdin.write(pickle.dumps(SPECS))
        build.stdin.close()
        assert build.stdout.readline() == b"begun\n"
        children = started(build.pid, [])
        build.send_signal(ending)
        build.wait(300)
    deadline = time.monotonic() + 300
    while any(Path(f"/proc/{pid}").exists() for pid in children):
        assert time.monotonic() < deadline, "a worker still runs"
        time.sleep(0.05)


def test_usable_cores() -> None:
    assert usable_cores() == len(os.sched_getaffinity(0))
