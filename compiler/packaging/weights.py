"""The weights of a lowered module as sections of a file, and the digest that is theirs on every target."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from chimerac.compiler.ir.layouts import (
    form_of,
    pack_ternary,
    panel_rows_of,
    ternary_bytes,
    ternary_layout,
    unpack_ternary,
)
from chimerac.compiler.ir.module import Constant, Module, walk
from chimerac.compiler.ir.ops import OPS
from chimerac.passes.base import constant_names
from chimerac.passes.dead_code import DeadCode
from chimerac.passes.ternary_packing import TernaryPacking
from chimerac.runtime.bundle_format import Section, array_section, contents_sha256
from chimerac.targets.code.driver import used_sections

#: The layout of packed weights that ``model_sha256`` is made of: that of most targets.
SHARED_ROWS, SHARED_FORM = 8, "t2"


def weight_sections(module: Module) -> list[Section]:
    """The sections of a weights file, in its order."""
    return [_section(name, module.constants[name]) for name in used_sections(module)]


def _section(name: str, constant: Constant) -> Section:
    if constant.computed:
        like = array_section(name, np.empty(0, constant.type.numpy))
        section = replace(like, shape=tuple(int(d) for d in constant.type.shape), data=constant.parts)
    else:
        section = array_section(name, constant.data)
    return replace(section, dtype="BF16") if constant.type.dtype == "bf16" else section


def model_sha256(module: Module, contents: str | None = None) -> str:
    """Digest of a lowered module's weights, whatever layout its target reads: what snapshots are tied to.

    It is the digest of the contents of a weights file in two bits and panels of 8 rows.

    Args:
        contents: ``contents_sha256`` of the weights file of this module, where there is one: most often the answer.
    """
    layouts = {module.constants[name].type.layout for name in used_sections(module)}
    packed = {layout for layout in layouts if layout and not layout.startswith("panel.")}
    other = {layout for layout in packed if form_of(layout) != SHARED_FORM}
    if contents is not None and not other:
        return contents
    if not other:  # weights in plain order
        module = DeadCode().run(TernaryPacking(SHARED_ROWS).run(module).module).module
        return contents_sha256(weight_sections(module))
    sizes = _sizes(module)
    return contents_sha256([_in_shared_layout(module, section, sizes) for section in weight_sections(module)])


def _sizes(module: Module) -> dict[str, tuple[int, int]]:
    """Packed constant → rows and columns of its matrices."""
    found = {}
    for graph in module.graphs.values():
        names = constant_names(graph)
        for op in walk(graph.ops):
            definition = OPS[op.name]
            if definition.packed is not None:
                weight = names[op.operands[definition.index(definition.packed.weights)].name]
                found[weight] = (op.integer("rows"), op.integer("columns"))
    return found


def _in_shared_layout(module: Module, section: Section, sizes: dict[str, tuple[int, int]]) -> Section:
    constant = module.constants[section.name]
    layout = constant.type.layout
    if section.name not in sizes or form_of(layout) == SHARED_FORM:
        return section
    rows, columns = sizes[section.name]
    shape = (*constant.type.shape[:-1], ternary_bytes(rows, columns, SHARED_ROWS, SHARED_FORM))

    def packed() -> Iterator[np.ndarray]:
        trits = unpack_ternary(constant.data, rows, columns, panel_rows_of(layout), form_of(layout))
        yield pack_ternary(trits, SHARED_ROWS, SHARED_FORM)

    name = section.name.removesuffix(layout) + ternary_layout(SHARED_ROWS, SHARED_FORM)
    return replace(section, name=name, shape=tuple(int(d) for d in shape), data=packed)
