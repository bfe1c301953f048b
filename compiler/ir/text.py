"""The readable form of a module; ``parse(print_module(m))`` gives the same module back, but for constant data.

    module tiny block=16 loops=2..3
    constant w: f32[8,8]
    state s: f32[8] iterations=3 initial=w0
    graph decode(%tokens: i32[1], %position: i32[]) tokens=1 {
      %x: f32[1,8] = embedding(%tokens, %table)
      %y: f32[1,8] = loop(%x) {default=2, exit_threshold=0.0, maximum=3} (%write: i32[], %h: f32[1,8]) {
        ...
        yield %h2
      }
      return %y
    }

Constants print without their data; the parser takes data from a mapping, zeros where it has none.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping

import numpy as np

from chimerac.compiler.errors import InternalError
from chimerac.compiler.ir.module import Attribute, Constant, Graph, Module, Op, Region, State, Value
from chimerac.compiler.ir.types import TensorType


def print_module(module: Module) -> str:
    """The text form of a module."""
    lines = [f"module {module.name} block={module.block} loops={module.loops[0]}..{module.loops[1]}"]
    lines += [f"constant {name}: {c.type}" for name, c in module.constants.items()]
    for name, state in module.states.items():
        initial = f" initial={state.initial}" if state.initial else ""
        lines.append(f"state {name}: {state.type} iterations={state.iterations}{initial}")
    for graph in module.graphs.values():
        lines.append(f"graph {graph.name}({_declare(graph.inputs)}) tokens={graph.tokens} {{")
        lines += _print_ops(graph.ops, "  ")
        lines += [f"  return {', '.join(map(str, graph.results))}", "}"]
    return "\n".join(lines) + "\n"


def print_op(op: Op) -> str:
    """The first line of an op's text."""
    return next(iter(_print_ops((op,), "")))


def _declare(values: tuple[Value, ...]) -> str:
    return ", ".join(f"{v}: {v.type}" for v in values)


def _print_ops(ops: tuple[Op, ...], indent: str) -> Iterator[str]:
    for op in ops:
        results = f"{_declare(op.results)} = " if op.results else ""
        attributes = ", ".join(f"{k}={v!r}" for k, v in sorted(op.attributes.items()))
        line = f"{indent}{results}{op.name}({', '.join(map(str, op.operands))})"
        line += f" {{{attributes}}}" if attributes else ""
        if not op.regions:
            yield line
            continue
        for region in op.regions:
            yield f"{line} ({_declare(region.arguments)}) {{"
            yield from _print_ops(region.ops, indent + "  ")
            yield f"{indent}  yield {', '.join(map(str, region.results))}"
            yield f"{indent}}}"


_NAME = r"[\w.$]+"
_MODULE = re.compile(rf"module (\S+) block=(\d+) loops=(\d+)\.\.(\d+)")
_CONSTANT = re.compile(rf"constant ({_NAME}): (\S+)")
_STATE = re.compile(rf"state ({_NAME}): (\S+) iterations=(\d+)(?: initial=({_NAME}))?")
_GRAPH = re.compile(rf"graph ({_NAME})\((.*)\) tokens=(\d+) \{{")
_OP = re.compile(rf"(?:(%.*?) = )?({_NAME})\((.*?)\)(?: \{{(.*?)\}})?(?: \((.*)\) \{{)?")
_VALUE = re.compile(rf"%({_NAME}): (\w+\[[^\]]*\](?:<[\w.]+>)?)")
_ATTRIBUTE = re.compile(r"(\w+)=('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|[^,}]+)")


def parse(text: str, data: Mapping[str, np.ndarray] | None = None) -> Module:
    """The module that prints as ``text``. Raises ``InternalError`` with the line number of the first mistake."""
    return _Parser(text, data or {}).module()


class _Parser:
    def __init__(self, text: str, data: Mapping[str, np.ndarray]) -> None:
        self.lines = [(i, line.strip()) for i, line in enumerate(text.splitlines(), 1) if line.strip()]
        self.data = data
        self.next = 0
        self.values: dict[str, Value] = {}

    def match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        if self.next >= len(self.lines):
            return None
        found = pattern.fullmatch(self.lines[self.next][1])
        if found:
            self.next += 1
        return found

    def fail(self, message: str) -> InternalError:
        number, line = self.lines[self.next] if self.next < len(self.lines) else (0, "end of text")
        return InternalError(f"line {number}: {message}: {line!r}")

    def module(self) -> Module:
        head = self.match(_MODULE)
        if head is None:
            raise self.fail("expected a module line")
        constants, states, graphs = {}, {}, {}
        while found := self.match(_CONSTANT):
            kind = TensorType.parse(found[2])
            array = self.data.get(found[1])
            if array is None:
                array = np.zeros([int(d) for d in kind.shape], kind.numpy)
            constants[found[1]] = Constant(kind, array)
        while found := self.match(_STATE):
            states[found[1]] = State(TensorType.parse(found[2]), int(found[3]), found[4])
        while found := self.match(_GRAPH):
            self.values = {}
            inputs = self.declare(found[2])
            ops, results = self.ops("return")
            graphs[found[1]] = Graph(found[1], inputs, ops, results, int(found[3]))
        if self.next < len(self.lines):
            raise self.fail("expected a constant, state or graph")
        return Module(head[1], graphs, constants, states, int(head[2]), (int(head[3]), int(head[4])))

    def declare(self, text: str | None) -> tuple[Value, ...]:
        values = tuple(Value(name, TensorType.parse(kind)) for name, kind in _VALUE.findall(text or ""))
        self.values.update((v.name, v) for v in values)
        return values

    def use(self, text: str) -> tuple[Value, ...]:
        names = [part.strip().removeprefix("%") for part in text.split(",") if part.strip()]
        for name in names:
            if name not in self.values:
                raise self.fail(f"%{name} is not defined")
        return tuple(self.values[name] for name in names)

    def ops(self, end: str) -> tuple[tuple[Op, ...], tuple[Value, ...]]:
        """Ops up to the line that starts with ``end``, and the values that line names; the closing brace is eaten."""
        ops: list[Op] = []
        while True:
            if stop := self.match(re.compile(rf"{end} (.*)")):
                results = self.use(stop[1])
                if self.match(re.compile(r"\}")) is None:
                    raise self.fail("expected }")
                return tuple(ops), results
            found = self.match(_OP)
            if found is None:
                raise self.fail("expected an op")
            operands = self.use(found[3])
            attributes: dict[str, Attribute] = {k: ast.literal_eval(v) for k, v in _ATTRIBUTE.findall(found[4] or "")}
            regions: tuple[Region, ...] = ()
            if found[5] is not None:
                arguments = self.declare(found[5])
                regions = (Region(arguments, *self.ops("yield")),)
            ops.append(Op(found[2], operands, self.declare(found[1]), attributes, regions))
