"""x86-64 with AVX2: every desktop and server processor since 2013 (Intel Haswell, AMD Excavator)."""

from __future__ import annotations

import numpy as np

from chimerac.targets.isa.definition import Isa, Primitive, llvm_call, table


def _pairs(a: np.ndarray, b: np.ndarray, dtype: type) -> np.ndarray:
    products = a.astype(np.int64) * b.astype(np.int64)
    sums = products[0::2] + products[1::2]
    limits = np.iinfo(dtype)
    return np.clip(sums, limits.min, limits.max).astype(dtype)


ISA = Isa(
    name="x86_64-avx2",
    target={"kind": "llvm", "mtriple": "x86_64-unknown-linux-gnu", "mcpu": "haswell"},
    triple="x86_64-linux-gnu.2.28",
    compile_flags=("-march=haswell", "-fPIC", "-fvisibility=hidden"),
    link_flags=("-shared", "-Wl,-z,max-page-size=16384", "-Wl,--gc-sections"),
    export_flag="",
    suffix=".so",
    vector_bytes=32,
    panel_rows=8,
    panels_per_pass=4,
    primitives=table(
        Primitive(
            "dot2_u8_i8",
            "llvm.x86.avx2.pmadd.ub.sw",
            ("uint8x32", "int8x32"),
            "int16x16",
            lambda a, b: _pairs(a, b, np.int16),
            llvm_call("llvm.x86.avx2.pmadd.ub.sw", "int16x16"),
        ),
        Primitive(
            "dot2_i16",
            "llvm.x86.avx2.pmadd.wd",
            ("int16x16", "int16x16"),
            "int32x8",
            lambda a, b: _pairs(a, b, np.int32),
            llvm_call("llvm.x86.avx2.pmadd.wd", "int32x8"),
        ),
    ),
)
