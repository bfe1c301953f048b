"""A module with the graph of its draft head, which has an export form of its own over the same weights and states."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from torch import nn

from chimerac.compiler.errors import InternalError
from chimerac.compiler.ir.module import Module, Parts
from chimerac.frontends.export.importer import import_module


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
    return replace(module.with_graph(graph), constants={**head.constants, **module.constants})
