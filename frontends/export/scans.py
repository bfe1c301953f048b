"""The handler of PyTorch's ``scan``, whose step is a graph of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch.fx import Node

from chimerac.compiler.ir.module import Region
from chimerac.compiler.ir.scans import row_of, stack_of
from chimerac.frontends.export.handler import Handler, Importer, reshape


def _scan(importer: Importer, node: Node, makes: str) -> Any:
    """``scan(step, init, xs, more)``: the step takes carried values, rows without their first axis, and ``more``."""
    arguments: Any = node.args
    step, init, xs, more = arguments
    graph = getattr(step.graph.owning_module, step.target)
    begin, sequences = ([importer.value(value) for value in given] for given in (init, xs))
    given = [importer.given(value) for value in more]
    count, length = len(begin), sequences[0].type.shape[0]
    types = [value.type for value in begin] + [row_of(value.type) for value in sequences]
    taken = importer.open_region(node, types)
    rows = [reshape(importer, row, row.type.shape[1:], node) for row in taken[count:]]
    results = importer.follow(graph, [*taken[:count], *rows, *given])
    shapes = [value.type.shape for value in begin]
    shapes += [(1, *importer.dims(stacked, node)[1:]) for stacked in node.meta["val"][count:]]
    ends = [reshape(importer, value, shape, node) for value, shape in zip(results, shapes, strict=True)]
    region = Region(taken, importer.close_region(), tuple(ends))
    types = [value.type for value in begin] + [stack_of(value.type, length) for value in ends[count:]]
    made = importer.emit(makes, [*begin, *sequences], {"carried": count}, node, types=types, regions=(region,))
    return made if isinstance(made, tuple) else (made,)


HANDLERS: Mapping[str, Handler] = {"scan": Handler(_scan, "scan", ("reshape",))}
