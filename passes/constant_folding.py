"""Computes at build time what depends on constants only."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from chimerac.compiler.ir.interpreter import evaluate
from chimerac.compiler.ir.module import Constant, Module, Op, Value
from chimerac.compiler.ir.ops import OPS
from chimerac.compiler.ir.types import TensorType
from chimerac.passes.base import Builder, Rewritten, rewrite

#: Characters of the name of a folded constant; longer ones become a hash, for names of sections are bounded.
MOST_NAME = 120


@dataclass(frozen=True)
class ConstantFolding:
    """Folds element-wise and reshaping ops; a folded constant is named after the value it replaces."""

    name: str = "constant_folding"

    def run(self, module: Module) -> Rewritten:
        constants = dict(module.constants)
        folded = 0
        graphs = {}
        for graph_name, graph in module.graphs.items():
            known: dict[str, str] = {}

            def fold(op: Op, builder: Builder, known: dict[str, str] = known) -> Sequence[Value] | None:
                nonlocal folded
                if op.name == "constant":
                    known[op.results[0].name] = op.text("name")
                    return None
                if not OPS[op.name].folds or any(v.name not in known for v in op.operands):
                    return None
                names = [known[v.name] for v in op.operands]
                data = evaluate(op, [constants[n].data for n in names])[0]
                name = _name(op, names)
                while name in constants and not _equal(constants[name], data):  # dots in names can make two the same
                    name += "_"
                constants[name] = Constant(TensorType.of(data), data)
                value = builder.constant(name, TensorType.of(data))
                known[value.name] = name
                folded += 1
                return (value,)

            graphs[graph_name] = rewrite(graph, fold)
        notes = (f"folded {folded} ops",) if folded else ()
        return Rewritten(replace(module, graphs=graphs, constants=constants), notes)


def _equal(constant: Constant, data: np.ndarray) -> bool:
    return constant.type == TensorType.of(data) and constant.data.tobytes() == data.tobytes()


def _name(op: Op, operands: Sequence[str]) -> str:
    """A name that is the same in every graph where the same thing is folded."""
    options = "".join(f".{v}" for _, v in sorted(op.attributes.items())).replace(",", "x")
    name = f"{'.'.join(operands)}.{op.name}{options}"
    if len(name) <= MOST_NAME:
        return name
    return f"folded.{hashlib.sha256(name.encode()).hexdigest()[:16]}.{op.name}"
