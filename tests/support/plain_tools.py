"""Runs a graph of the role call in the interpreter, in tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from chimerac.compiler.ir.interpreter import evaluate
from chimerac.compiler.ir.module import Module, Op
from chimerac.compiler.ir.verify import verify


def as_operand(value: torch.Tensor) -> np.ndarray:
    """A tensor as the IR has it: float32 or int32, a float without axes with one of extent 1."""
    array = np.asarray(value.detach().numpy())
    if array.dtype.kind == "f":
        return np.asarray(array, np.float32).reshape(array.shape or (1,))
    return np.asarray(array, np.int32)


def run_plain(
    module: Module,
    inputs: Sequence[torch.Tensor],
    states: dict[str, np.ndarray] | None = None,
    observe: Callable[[Op, list[np.ndarray], list[np.ndarray]], None] | None = None,
) -> list[np.ndarray]:
    """The results of a call; ``states`` holds the states from call to call, ``observe`` sees operands and results."""
    verify(module)
    graph = module.entry("call")
    states = {} if states is None else states
    for name, state in module.states.items():
        shape = [int(d) for d in state.type.shape]
        initial = np.zeros(shape, state.type.numpy)
        states.setdefault(name, initial if state.initial is None else module.constants[state.initial].data.copy())
    values = {v.name: as_operand(x) for v, x in zip(graph.inputs, inputs, strict=True)}
    for op in graph.ops:
        if op.name == "constant":
            found = [module.constants[op.text("name")].data]
        elif op.name == "state.read":
            found = [states[op.text("name")].copy()]
        elif op.name == "state.write":
            states[op.text("name")] = values[op.operands[0].name]
            continue
        else:
            given = [values[v.name] for v in op.operands]
            found = list(evaluate(op, given))
            if observe is not None:
                observe(op, given, found)
        for value, array in zip(op.results, found, strict=True):
            assert array.dtype == value.type.numpy, op
            values[value.name] = array
    return [values[v.name] for v in graph.results]
