"""The variants of a native bundle: chosen by the processor or by name, and all of one mind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import chimerac
from chimerac.compiler.verbs.inspect import inspect
from chimerac.compiler.verbs.verify import verify
from chimerac.runtime.errors import BundleError
from chimerac.runtime.sessions.native_library import NativeLibrary
from chimerac.targets.code.variants import kernel_sets
from chimerac.targets.isa import load_isa

TARGET = "x86_64-avx2"
#: variant → what Linux calls the feature
FLAGS = {"avx2": "avx2", "avxvnni": "avx_vnni", "avx512vnni": "avx512_vnni", "amxint8": "amx_int8"}
SCRIPT = """
import json, sys, chimerac
with chimerac.load(sys.argv[1]) as session:
    list(session.generate("It was a bright cold day", max_tokens=24, loops=2))
    print(json.dumps([session.kernels, session.tokens(), session.logits_hash(), session.state_hash()]))
"""


def runnable() -> list[str]:
    """Variants that this processor runs, from plain to best."""
    flags = set(Path("/proc/cpuinfo").read_text().split())
    return [one.name for one in kernel_sets(load_isa(TARGET)) if FLAGS[one.name] in flags]


def run(bundle: Path, kernels: str | None) -> subprocess.CompletedProcess[str]:
    """In a process of its own: a loaded library keeps its choice."""
    environment = {name: value for name, value in os.environ.items() if name != "CHIMERA_CPU"}
    if kernels is not None:
        environment["CHIMERA_CPU"] = kernels
    command = [sys.executable, "-c", SCRIPT, str(bundle)]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_every_variant_computes_the_same(bundles: dict[str, Path]) -> None:
    found = {name: json.loads(run(bundles[TARGET], name).stdout) for name in runnable()}
    assert {name: kernels for name, (kernels, *_) in found.items()} == {name: name for name in found}
    assert len({json.dumps(rest) for _, *rest in found.values()}) == 1


def test_the_best_variant_is_the_default(bundles: dict[str, Path]) -> None:
    for nothing in (None, ""):
        assert json.loads(run(bundles[TARGET], nothing).stdout)[0] == runnable()[-1]


def test_variants_are_shown(bundles: dict[str, Path]) -> None:
    assert "kernels: avx2, avxvnni, avx512vnni, amxint8 (the best" in inspect(bundles[TARGET]).render()
    assert "kernels: simd128\n" in inspect(bundles["wasm"]).render()
    assert verify(bundles[TARGET]).kernels == runnable()[-1]


def test_an_unknown_variant(bundles: dict[str, Path]) -> None:
    done = run(bundles[TARGET], "amx")
    assert done.returncode == 1
    assert "BundleError: the library has no kernels amx" in done.stderr


def test_choosing_through_the_library(bundles: dict[str, Path]) -> None:
    with chimerac.load(bundles[TARGET]) as session:
        before = session.kernels
        library = NativeLibrary(bundles[TARGET] / "libchimera.so")
        assert library.get("chm_cpu_selected").decode() == before
        names = [one.name for one in kernel_sets(load_isa(TARGET))]
        assert [library.get("chm_cpu_kernels", i) for i in range(-1, len(names) + 1)] == [
            None,
            *(name.encode() for name in names),
            None,
        ]
        try:
            hashes = set()
            for name in runnable():
                library.call("chm_cpu_select", name.encode())
                assert session.kernels == name
                session.reset()
                session.prefill(range(40))
                hashes.add((session.logits_hash(), session.state_hash()))
            assert len(hashes) == 1
            with pytest.raises(BundleError, match="no kernels nothing") as caught:
                library.call("chm_cpu_select", b"nothing")
            assert caught.value.code == "CHM420"
            assert session.kernels == runnable()[-1]
        finally:
            library.call("chm_cpu_select", None)
        assert session.kernels == before


def test_prompts_do_not_depend_on_threads(bundles: dict[str, Path]) -> None:
    """Products are shared by rows, norms and gates by tokens: of whole blocks, and of a few tokens that are left."""
    found = set()
    for threads in (1, 2, 3, 7):
        with chimerac.load(bundles[TARGET], threads=threads) as session:
            for count in (39, 5, 2):
                session.prefill(range(count))
            found.add((session.logits_hash(), session.state_hash()))
    assert len(found) == 1
