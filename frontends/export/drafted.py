"""A module with the graph of its draft head, which has an export form of its own over the same weights and states."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from torch import nn

from chimerac.compiler.errors import InternalError, UserError
from chimerac.compiler.ir.module import Constant, Module, Parts
from chimerac.compiler.ir.types import TensorType
from chimerac.frontends.export.importer import import_module
from chimerac.runtime.bundle_format.constants import DRAFT_IDS


def with_draft(module: Module, exported: nn.Module, computed: Mapping[str, Parts] | None = None) -> Module:
    """``module``, imported from ``exported``, with the graph ``draft`` if that has a ``draft_form`` of its own.

    Args:
        computed: as of ``import_module``.
    """
    draft_form: Callable[[], nn.Module | None] | None = getattr(exported, "draft_form", None)
    form = None if draft_form is None else draft_form()
    if form is None:
        return module
    head = import_module(form.eval(), name=module.name, block=module.block, computed=computed)
    if any(module.states.get(name) != state for name, state in head.states.items()):
        raise InternalError(f"the draft head of {module.name} has states of its own: {', '.join(head.states)}")
    graph = replace(head.entry("main"), name="draft", role="draft")
    ids = _ids(form, int(module.entry("main").results[0].type.shape[-1]))
    constants = {**head.constants, DRAFT_IDS: Constant(TensorType.of(ids), ids), **module.constants}
    return replace(module.with_graph(graph), constants=constants)


def _ids(form: nn.Module, vocabulary: int) -> np.ndarray:
    """The tokens i32 [S] that are scored. Raises UserError CHM242 where they are none, or one is there twice."""
    held = form.get_buffer(DRAFT_IDS).numpy()
    if (held != np.floor(held)).any() or held.min() < 0 or held.max() >= vocabulary or len(set(held)) < len(held):
        raise UserError("CHM242", f"{DRAFT_IDS} has numbers that are no tokens of {vocabulary:,}, or one twice")
    return held.astype(np.int32)
