"""The readable form of a module; ``parse(print_module(m))`` gives the same module back, but for constant data.

    module tiny block=16 loops=2..3
    constant w: f32[8,8]
    state s: f32[8] iterations=3 initial=w0
    graph decode(%tokens: i32[1], %position: i32[]) tokens=1 role=decode {
      %x: f32[1,8] = embedding(%tokens, %table) @embedding
      %y: f32[1,8] = loop(%x) {default=2, exit_threshold=0.0, maximum=3} (%write: i32[], %h: f32[1,8]) {
        ...
        yield %h2
      }
      return %y
    }

What follows ``@`` is the op's part of the model, where that is not ``head``; a graph's role prints where it is not
``main``. Constants print without their data; the
parser takes data from a mapping, zeros where it has none. Locations do not print.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from typing import cast, get_args

import numpy as np

from chimerac.compiler.errors import InternalError
from chimerac.compiler.ir.module import HEAD, Attribute, Constant, Graph, Module, Op, Region, Role, State, Value
from chimerac.compiler.ir.types import TensorType


def print_module(module: Module) -> str:
    """The text form of a module."""
    lines = [f"module {module.name} block={module.block} loops={module.loops[0]}..{module.loops[1]}"]
    lines += [f"constant {name}: {c.type}" for name, c in module.constants.items()]
    for name, state in module.states.items():
        initial = f" initial={state.initial}" if state.initial else ""
        lines.append(f"state {name}: {state.type} iterations={state.iterations}{initial}")
    for graph in module.graphs.values():
        role = f" role={graph.role}" if graph.role != "main" else ""
        lines.append(f"graph {graph.name}({_declare(graph.inputs)}) tokens={graph.tokens}{role} {{")
        lines += _print_ops(graph.ops, "  ")
        lines += [f"  return {', '.join(map(str, graph.results))}".rstrip(), "}"]
    return "\n".join(lines) + "\n"


def print_op(op: Op) -> str:
    """The first line of an op's text."""
    return next(iter(_print_ops((op,), "")))


def _declare(values: tuple[Value, ...]) -> str:
    return ", ".join(f"{v}: {v.type}" for v in values)


def _print_ops(ops: tuple[Op, ...], indent: str) -> Iterator[str]:
    for op in ops:
        results = f"{_declare(op.results)} = " if op.results else ""
        attributes = ", ".join(f"{k}={_literal(v)}" for k, v in sorted(op.attributes.items()))
        line = f"{indent}{results}{op.name}({', '.join(map(str, op.operands))})"
        line += f" {{{attributes}}}" if attributes else ""
        line += f" @{op.part}" if op.part != HEAD else ""
        if not op.regions:
            yield line
            continue
        for region in op.regions:
            yield f"{line} ({_declare(region.arguments)}) {{"
            yield from _print_ops(region.ops, indent + "  ")
            yield f"{indent}  yield {', '.join(map(str, region.results))}".rstrip()
            yield f"{indent}}}"


def _literal(value: Attribute) -> str:
    """As Python reads it: an infinity is a number too large for a float."""
    return repr(value).replace("inf", "1e999") if isinstance(value, float) else repr(value)


_NAME = r"[\w.$]+"
_MODULE = re.compile(r"module (\S+) block=(\d+) loops=(\d+)\.\.(\d+)")
_CONSTANT = re.compile(r"constant (\S+): (\S+)")
_STATE = re.compile(r"state (\S+): (\S+) iterations=(\d+)(?: initial=(\S+))?")
_GRAPH = re.compile(rf"graph ({_NAME})\((.*)\) tokens=(\d+)(?: role=(\w+))? \{{")
_OP = re.compile(rf"(?:(%.*?) = )?({_NAME})\((.*?)\)(?: \{{(.*?)\}})?(?: @({_NAME}))?(?: \((.*)\) \{{)?")
_VALUE = re.compile(rf"%({_NAME}): (\w+\[[^\]]*\](?:<[\w.]+>)?)")
_VALUES = re.compile(rf"{_VALUE.pattern}(?:, {_VALUE.pattern})*")
_ATTRIBUTE = re.compile(r"(\w+)=('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|[^,}]+)")
_ATTRIBUTES = re.compile(rf"{_ATTRIBUTE.pattern}(?:, {_ATTRIBUTE.pattern})*")


def parse(text: str, data: Mapping[str, np.ndarray] | None = None) -> Module:
    """The module that prints as ``text``. Raises ``InternalError`` with the line number of the first mistake."""
    return _Parser(text, data or {}).module()


class _Parser:
    def __init__(self, text: str, data: Mapping[str, np.ndarray]) -> None:
        self.lines = [(i, line.strip()) for i, line in enumerate(text.splitlines(), 1) if line.strip()]
        self.data = data
        self.next = 0  #: index of the first line that is not read yet
        self.values: dict[str, Value] = {}

    def match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        if self.next >= len(self.lines):
            return None
        found = pattern.fullmatch(self.lines[self.next][1])
        if found:
            self.next += 1
        return found

    def fail(self, message: str, *, read: bool = False) -> InternalError:
        """An error in the line that comes next, or, with ``read``, in the line read last."""
        index = self.next - read
        if index >= len(self.lines):
            last = self.lines[-1][0] if self.lines else 1
            return InternalError(f"line {last}: {message} after it, not the end of the text")
        number, line = self.lines[index]
        return InternalError(f"line {number}: {message}: {line!r}")

    def type(self, text: str, *, static: bool = False) -> TensorType:
        try:
            kind = TensorType.parse(text)
        except InternalError as error:
            raise self.fail(str(error), read=True) from None
        if static and kind.is_dynamic:
            raise self.fail(f"{kind} must have a fixed shape", read=True)
        return kind

    def module(self) -> Module:
        head = self.match(_MODULE)
        if head is None:
            raise self.fail("expected a module line")
        constants, states, graphs = {}, {}, {}
        while found := self.match(_CONSTANT):
            kind = self.type(found[2], static=True)
            array = self.data.get(found[1])
            if array is None:
                array = np.zeros([int(d) for d in kind.shape], kind.numpy)
            constants[found[1]] = Constant(kind, array)
        while found := self.match(_STATE):
            states[found[1]] = State(self.type(found[2], static=True), int(found[3]), found[4])
        while found := self.match(_GRAPH):
            self.values = {}
            inputs, role = self.declare(found[2]), self.role(found[4])
            ops, results = self.ops("return")
            graphs[found[1]] = Graph(found[1], inputs, ops, results, int(found[3]), role)
        if self.next < len(self.lines):
            raise self.fail("expected a constant, state or graph")
        return Module(head[1], graphs, constants, states, int(head[2]), (int(head[3]), int(head[4])))

    def declare(self, text: str | None) -> tuple[Value, ...]:
        if text and _VALUES.fullmatch(text) is None:
            raise self.fail("expected values such as %x: f32[T,8]", read=True)
        values = tuple(Value(name, self.type(kind)) for name, kind in _VALUE.findall(text or ""))
        self.values.update((v.name, v) for v in values)
        return values

    def role(self, text: str | None) -> Role:
        for role in get_args(Role):
            if text in (role, None):
                return cast(Role, role)
        raise self.fail(f"expected a role, one of {', '.join(get_args(Role))}", read=True)

    def attributes(self, text: str | None) -> dict[str, Attribute]:
        try:
            if text and _ATTRIBUTES.fullmatch(text) is None:
                raise ValueError
            return {name: ast.literal_eval(value) for name, value in _ATTRIBUTE.findall(text or "")}
        except (ValueError, SyntaxError):
            raise self.fail("expected attributes such as {axis=1, name='w'}", read=True) from None

    def use(self, text: str) -> tuple[Value, ...]:
        names = [part.strip().removeprefix("%") for part in text.split(",") if part.strip()]
        for name in names:
            if name not in self.values:
                raise self.fail(f"%{name} is not defined", read=True)
        return tuple(self.values[name] for name in names)

    def ops(self, end: str) -> tuple[tuple[Op, ...], tuple[Value, ...]]:
        """Ops up to the line that starts with ``end``, and the values that line names; the closing brace is eaten."""
        ops: list[Op] = []
        while True:
            if stop := self.match(re.compile(rf"{end}(?: (.*))?")):
                results = self.use(stop[1] or "")
                if self.match(re.compile(r"\}")) is None:
                    raise self.fail("expected }")
                return tuple(ops), results
            found = self.match(_OP)
            if found is None:
                raise self.fail("expected an op")
            operands = self.use(found[3])
            attributes = self.attributes(found[4])
            results = self.declare(found[1])
            regions: tuple[Region, ...] = ()
            if found[6] is not None:
                arguments = self.declare(found[6])
                regions = (Region(arguments, *self.ops("yield")),)
            ops.append(Op(found[2], operands, results, attributes, regions, found[5] or HEAD))
