"""Compiling and linking: reproducible, cached, with errors that say what is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from kernel_harness import native_isas

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.types import f32
from chimerac.targets.code import codegen
from chimerac.targets.code.kernel_queue import compile_kernels
from chimerac.targets.code.link import link
from chimerac.targets.isa import load_isa
from chimerac.targets.kernel_spec import KernelSpec

SPEC = KernelSpec("silu", (f32("T", 24),), (f32("T", 24),), ())
OTHER = KernelSpec("tanh", (f32(7),), (f32(7),), ())


@pytest.mark.parametrize("name", native_isas())
def test_objects_and_libraries_are_reproducible(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    isa = load_isa(name)
    outputs = []
    for attempt in ("a", "b"):
        monkeypatch.setattr(codegen, "cache_directory", lambda place=tmp_path / f"cache {attempt}": place)
        objects = compile_kernels([SPEC, OTHER, SPEC], isa, tmp_path / attempt)
        assert [o.spec for o in objects] == [SPEC, OTHER]
        assert all(o.seconds > 0 for o in objects)
        again = compile_kernels([SPEC], isa, tmp_path / f"{attempt} again")
        assert again[0].seconds == 0
        assert again[0].object_path.read_bytes() == objects[0].object_path.read_bytes()
        outputs.append(tmp_path / attempt / f"library{isa.suffix}")
        link([o.object_path for o in objects], [], isa, outputs[-1], [SPEC.symbol])
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    assert OTHER.symbol.encode() not in outputs[0].read_bytes()  # not exported, so neither named nor kept


def test_keys_differ_by_all_that_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    x86, wasm = load_isa("x86_64-avx2"), load_isa("wasm32-simd128")
    keys = {codegen.cache_key(SPEC, x86), codegen.cache_key(OTHER, x86), codegen.cache_key(SPEC, wasm)}
    monkeypatch.setattr(codegen, "source_digest", lambda: "other sources")
    assert len(keys | {codegen.cache_key(SPEC, x86)}) == 4


def test_progress(tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    compile_kernels(
        [SPEC, OTHER], load_isa("x86_64-avx2"), tmp_path, lambda o, done, of: seen.append((o.spec.op, done, of))
    )
    assert seen == [("silu", 1, 2), ("tanh", 2, 2)]


def test_an_op_without_a_kernel(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'moe' has no kernel") as caught:
        compile_kernels([KernelSpec("moe", (), (), ())], load_isa("x86_64-avx2"), tmp_path)
    assert caught.value.code == "CHM301"


def test_a_failing_c_compiler(tmp_path: Path) -> None:
    source = tmp_path / "broken.c"
    source.write_text("int broken(void) { return missing; }\n")
    with pytest.raises(UserError, match="undeclared identifier 'missing'") as caught:
        link([], [source], load_isa("x86_64-avx2"), tmp_path / "broken.so", ["broken"])
    assert caught.value.code == "CHM302"


def test_finding_kernels_loads_no_tvm() -> None:
    modules = "chimerac.targets.code.codegen, chimerac.targets.code.link"
    code = f"import sys, {modules}; print('tvm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
