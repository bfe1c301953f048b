"""The handler of PyTorch's ``scan``, whose step is a graph of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch.fx import Node

from chimerac.compiler.ir.module import Region, Value
from chimerac.compiler.ir.scans import row_of, stack_of
from chimerac.compiler.ir.types import TOKENS
from chimerac.frontends.export.handler import Handler, Importer, reshape


def _scan(importer: Importer, node: Node, makes: str) -> Any:
    """``scan(step, init, xs, more)``: the step takes carried values, rows without their first axis, and ``more``.

    Along the tokens of a whole text it begins with ``init`` at the first one, and goes on from call to call.
    """
    arguments: Any = node.args
    step, init, xs, more = arguments
    graph = getattr(step.graph.owning_module, step.target)
    begin, sequences = ([importer.value(value) for value in given] for given in (init, xs))
    given = [importer.given(value) for value in more]
    count, length = len(begin), sequences[0].type.shape[0]
    begins = importer.whole_sequence and length == TOKENS and all(map(importer.evaluated.is_free, init))
    states = (
        [_carried(importer, value, argument) for value, argument in zip(begin, init, strict=True)] if begins else []
    )
    begin = [value for _, value in states] or begin
    types = [value.type for value in begin] + [row_of(value.type) for value in sequences]
    taken = importer.open_region(node, types)
    rows = [reshape(importer, row, row.type.shape[1:], node) for row in taken[count:]]
    made = importer.follow(graph, [*taken[:count], *rows, *given])
    shapes = [value.type.shape for value in begin]
    shapes += [(1, *importer.dims(stacked, node)[1:]) for stacked in node.meta["val"][count:]]
    ends = [reshape(importer, value, shape, node) for value, shape in zip(made, shapes, strict=True)]
    region = Region(taken, importer.close_region(), tuple(ends))
    types = [value.type for value in begin] + [stack_of(value.type, length) for value in ends[count:]]
    found = importer.emit(makes, [*begin, *sequences], {"carried": count}, node, types=types, regions=(region,))
    results: tuple[Value, ...] = found if isinstance(found, tuple) else (found,)
    for (name, _), value in zip(states, results, strict=False):
        importer.carry(name, value)
    return results


def _carried(importer: Importer, value: Value, argument: Any) -> tuple[str, Value]:
    """A state that begins with a value which no input decides."""
    held = np.asarray(importer.evaluated.of(argument)).astype(value.type.numpy)
    return importer.carried("scanned", value.type, held.reshape([int(d) for d in value.type.shape]))


HANDLERS: Mapping[str, Handler] = {"scan": Handler(_scan, "scan", ("reshape",))}
