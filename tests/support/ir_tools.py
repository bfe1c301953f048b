"""Short ways to make ops and modules in tests, and to compare what they compute."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np

from chimerac.compiler.ir.interpreter import Session, evaluate
from chimerac.compiler.ir.module import Attribute, Module, Op, Value
from chimerac.compiler.ir.ops import OPS
from chimerac.compiler.ir.text import parse, print_module
from chimerac.compiler.ir.types import TensorType
from chimerac.compiler.ir.verify import verify
from chimerac.passes.base import Pass
from chimerac.passes.entry_points import EntryPoints


def draw(seed: int, *shape: int, scale: float = 1.0) -> np.ndarray:
    """Normal float32 numbers; the same for the same seed."""
    return np.array(np.random.default_rng(seed).standard_normal(shape) * scale, np.float32)


def run_op(name: str, *arrays: np.ndarray, **attributes: Attribute) -> list[np.ndarray]:
    """Results of an op's reference, checked against the op's type rule; the operands must stay as they are."""
    operands = tuple(Value(f"a{i}", TensorType.of(a)) for i, a in enumerate(arrays))
    types = OPS[name].infer([o.type for o in operands], attributes)
    before = [a.tobytes() for a in arrays]
    op = Op(name, operands, tuple(Value(f"r{i}", t) for i, t in enumerate(types)), attributes)
    results = list(evaluate(op, arrays))
    assert [TensorType.of(r) for r in results] == list(types), f"{name} declares {types}"
    assert [a.tobytes() for a in arrays] == before, f"{name} changed an operand"
    return results


def scalar(value: int) -> np.ndarray:
    """An i32[] array."""
    return np.array(value, np.int32)


def module_of(text: str, data: Mapping[str, np.ndarray] | None = None, *, seed: int = 3) -> Module:
    """The verified module of a text; constants that ``data`` does not give are random."""
    text = textwrap.dedent(text).strip() + "\n"
    empty = parse(text)
    random = {
        name: draw(seed + i, *map(int, c.type.shape)).astype(c.type.numpy)
        for i, (name, c) in enumerate(empty.constants.items())
    }
    module = parse(text, {**random, **(data or {})})
    verify(module)
    return module


def entered(module: Module) -> Module:
    """The module with graphs ``decode`` and ``prefill`` for its ``main``."""
    return EntryPoints().run(module).module


def rewrite(step: Pass, module: Module) -> Module:
    """The verified result of a pass."""
    changed = step.run(module).module
    verify(changed)
    return changed


def trace(
    module: Module, calls: Sequence[Sequence[int]] = ((1, 2, 3), (0,), (3, 1)), *, loops: int | None = None
) -> list[bytes]:
    """Logits and states after each of some calls, as bytes: equal lists mean equal bits."""
    session = Session(module, loops=loops)
    found = []
    for tokens in calls:
        found.append(session.forward(tokens).tobytes())
        found += [session.states[name].tobytes() for name in sorted(session.states)]
    return found


def assert_same_bits(a: np.ndarray, b: np.ndarray) -> None:
    """Equal type and bits."""
    assert (a.dtype, a.shape) == (b.dtype, b.shape)
    assert a.tobytes() == b.tobytes(), f"{np.count_nonzero(a != b)} of {a.size} differ"


def assert_rewrites(step: Pass, before: str, after: str) -> Module:
    """A pass turns one text into another (line indentation aside) and keeps the numbers; the module it made."""
    module = module_of(before)
    changed = rewrite(step, module)
    expected = textwrap.dedent(after).strip().splitlines()
    assert print_module(changed).strip().splitlines() == expected
    return changed


def text_of(module: Module, graph: str) -> list[str]:
    """The lines of one graph without the surrounding declarations, stripped."""
    lines = print_module(Module(module.name, {graph: module.graphs[graph]}, {}, {}, module.block)).splitlines()
    return [line.strip() for line in lines[2:-1]]
