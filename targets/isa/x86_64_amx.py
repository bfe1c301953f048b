"""The tile registers (AMX-INT8) of Intel's servers from Sapphire Rapids on: products with trits as C functions."""

from __future__ import annotations

import math
from dataclasses import replace

from chimerac.compiler.ir.layouts import form_of
from chimerac.targets.isa.definition import CKernels, Isa
from chimerac.targets.kernel_spec import KernelSpec

#: As in runtime/native/chm_amxint8.h: columns of a tile, and most columns of a matrix.
COLUMNS, MOST = 64, 8192
BATCH = 4 * COLUMNS  #: columns that are multiplied at a time


def _body(spec: KernelSpec, before: str) -> list[str] | None:
    """A product of several tokens goes through tiles; one token's, and sizes that do not fill tiles, do not."""
    if spec.op != "ternary_matmul" or not spec.dynamic or form_of(spec.operands[2].layout) != "t2":
        return None
    rows, columns, group, block = (spec.integer(name) for name in ("rows", "columns", "group", "block"))
    if columns % COLUMNS or columns > MOST or not (block == COLUMNS or block == group >= columns):
        return None
    if group not in (COLUMNS, 2 * COLUMNS) and group % BATCH and group < columns:
        return None
    last = len(spec.c_parameters)
    n, begin, end = (f"a{i}" for i in range(last - 3, last))
    each = math.prod(extent for extent in spec.operands[0].shape[:-1] if isinstance(extent, int))
    count = n if each == 1 else f"{n} * {each}"
    return [
        f"static const chm_amxint8_matrix matrix = {{{rows}, {columns}, {group}, {block}}};",
        f"if ({count} < CHM_AMXINT8_LEAST)",
        f"  {before}({', '.join(f'a{i}' for i in range(last))});",
        "else",
        f"  chm_amxint8_product(&matrix, a0, a1, a2, a3, a4, {count}, {begin}, {end});",
    ]


def amx_of(isa: Isa, base: str) -> Isa:
    """``isa`` with these products, as a variant of the instruction set of this name; its panels have 8 rows."""
    return replace(
        isa,
        name=f"{base}+amxint8",
        kernels="amxint8",
        needs=("amxint8",),
        c_kernels=CKernels("chm_amxint8.h", ("native/chm_amxint8.c",), _body),
    )
