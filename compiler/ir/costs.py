"""What one decoded token costs, or one call of tensors: multiply–adds and bytes of weights, by layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from chimerac.compiler.ir.module import Graph, Module, Op
from chimerac.compiler.ir.ops import OPS
from chimerac.compiler.ir.scans import Scan


@dataclass(frozen=True)
class Cost:
    """Work of one decoded token in a part of the model.

    Attributes:
        part: for example ``layers.3.mixer``.
        multiply_adds: products that enter a sum, looped layers counted ``visits`` times.
        weight_bytes: bytes of weights read once; of experts, those of the chosen ones.
        visits: times a token runs through this part, with the default number of iterations.
    """

    part: str
    multiply_adds: int
    weight_bytes: int
    visits: int


def decode_costs(module: Module) -> list[Cost]:
    """Costs of the decoding graph by part, in order of execution; of a module without tokens those of a call, for one
    element of the axis that varies.
    """
    totals: dict[str, list[int]] = {}
    counted: set[tuple[str, str]] = set()  # unrolled iterations read the same weights
    graph = module.usual
    constants = _constants(graph)
    for op, visits in _visits(graph.ops, 1, module.loops[0]):
        if op.name == "constant":
            continue
        entry = totals.setdefault(op.part, [0, 0, visits])
        entry[0] += multiply_adds(op) * visits
        for name, size in _weights_read(op, constants, module):
            if (op.part, name) not in counted:
                counted.add((op.part, name))
                entry[1] += size
    return [Cost(part, *numbers) for part, numbers in totals.items() if numbers[0] or numbers[1]]


def decode_steps(module: Module) -> dict[tuple[str, str], int]:
    """(part, name of the op) → bytes of weights that its kernels read for a token, in order of execution.

    Unlike ``Cost.weight_bytes`` each of the default number of iterations counts: so many bytes are streamed, if the
    weights do not fit the processor's caches.
    """
    totals: dict[tuple[str, str], int] = {}
    graph = module.usual
    constants = _constants(graph)
    for op, visits in _visits(graph.ops, 1, module.loops[0]):
        if op.name != "constant":
            read = sum(size for _, size in _weights_read(op, constants, module))
            totals[op.part, op.name] = totals.get((op.part, op.name), 0) + read * visits
    return totals


def multiply_adds(op: Op) -> int:
    """Products of one token that enter a sum; element-wise work is not counted."""
    products = OPS[op.name].work.multiply_adds
    return 0 if products is None else products([v.type for v in op.operands], op.attributes)


def _constants(graph: Graph) -> dict[str, str]:
    return {op.results[0].name: op.text("name") for op, _ in _visits(graph.ops, 1, 1) if op.name == "constant"}


def _weights_read(op: Op, constants: dict[str, str], module: Module) -> Iterator[tuple[str, int]]:
    """Constants that a kernel reads, and how many bytes of each for a token."""
    share = _expert_share(op)
    # scalars are literals of the code and have no bytes among the weights; a look-up reads a row
    for name in (constants[v.name] for v in op.operands if v.name in constants and v.type.shape):
        if not OPS[op.name].work.one_row:
            yield name, int(module.constants[name].type.bytes() * share)


def _expert_share(op: Op) -> float:
    """The part of an expert layer's weights that one token reads."""
    definition = OPS[op.name]
    if definition.work.experts is None:
        return 1.0
    offsets = op.operands[definition.index(definition.work.experts)]
    return min(1.0, int(op.operands[0].type.shape[1]) / (int(offsets.type.shape[0]) - 1))


def _visits(ops: tuple[Op, ...], visits: int, loops: int) -> Iterator[tuple[Op, int]]:
    for op in ops:
        yield op, visits
        for region in op.regions:
            yield from _visits(region.ops, visits * (loops if op.name == "loop" else _rows(op)), loops)


def _rows(scan: Op) -> int:
    """How often the region of a scan runs for a token."""
    length = Scan.of(scan).length
    return length if isinstance(length, int) else 1
