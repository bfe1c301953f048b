"""Which kernel set a WebAssembly module with relaxed SIMD chooses."""

from __future__ import annotations

from pathlib import Path

import pytest
import wasmtime

from chimerac.runtime.bundle_format import NATIVE_DIRECTORY, WASM_C_FLAGS
from chimerac.targets.code.definitions import defining
from chimerac.targets.code.link import link
from chimerac.targets.isa import load_isa

DOT4 = 1 << 32  #: CHM_CPU_DOT4
PROBE = """
#include "chm_internal.h"

const chm_model_desc chm_model;
int32_t chm_fail(int32_t status, const char *format, ...) {
  (void)format;
  return status;
}
uint64_t features(void);
uint64_t features(void) { return chm_cpu_features(); }
"""


def features(isa: str, folder: Path, *, deterministic: bool) -> int:
    """What ``chm_cpu_features`` says in a module of this instruction set."""
    source, output = folder / "probe.c", folder / "probe.wasm"
    source.write_text(PROBE)
    chosen = load_isa(isa)
    link(
        [],
        [source, *defining([NATIVE_DIRECTORY / "chm_cpu.c"], chosen.definitions)],
        chosen,
        output,
        ["features"],
        [NATIVE_DIRECTORY],
        WASM_C_FLAGS,
    )
    config = wasmtime.Config()
    config.wasm_relaxed_simd_deterministic = deterministic
    store = wasmtime.Store(wasmtime.Engine(config))
    module = wasmtime.Module.from_file(store.engine, str(output))
    assert not module.imports
    return int(wasmtime.Instance(store, module, []).exports(store)["features"](store))


def test_only_modules_with_relaxed_simd_ask(tmp_path: Path) -> None:
    assert features("wasm32-simd128", tmp_path, deterministic=False) == 0


def test_signed_products_are_taken_for_those_of_a_processor(tmp_path: Path) -> None:
    """Arm's instruction and the deterministic semantics agree outside 0..127."""
    assert features("wasm32-relaxed", tmp_path, deterministic=True) == DOT4


@pytest.mark.parametrize("deterministic", [False, True])
def test_no_other_feature_is_seen(tmp_path: Path, deterministic: bool) -> None:
    assert features("wasm32-relaxed", tmp_path, deterministic=deterministic) in (0, DOT4)
