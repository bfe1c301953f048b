"""An imported module whose matrices get the forms that rules ask for: other ops, and other constants where needed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from chimerac.compiler.ir.module import Attribute, Constant, Graph, Module, Op, Region, Value, used_values, walk
from chimerac.compiler.ir.ops import OPS
from chimerac.compiler.ir.quantised import Quantised
from chimerac.compiler.ir.types import TOKENS, TensorType, f32
from chimerac.frontends.matrices.forms import BLOCK, Form
from chimerac.frontends.matrices.masters import by_largest
from chimerac.frontends.matrices.matrix import Matrix, kept
from chimerac.frontends.matrices.refusals import check
from chimerac.frontends.matrices.rules import AUTO, FORMATS, MASTERS, Rules
from chimerac.frontends.matrices.uses import Uses, uses_of, weights_of


@dataclass(frozen=True)
class Formed:
    """A module whose matrices have their forms, and these matrices."""

    module: Module
    matrices: tuple[Matrix, ...]


def formed(module: Module, rules: Rules, aliases: Mapping[str, Sequence[str]]) -> Formed:
    """The module with matrices as the rules ask.

    Args:
        module: as imported, with weights in memory.
        aliases: all names of each parameter and buffer, by that of its constant.

    Raises:
        UserError: CHM236, a rule fits no parameter or none that can have its format; CHM242, numbers that are NaN or
            infinite, or too large for a float16 scale.
    """
    uses = {name: found for name, found in uses_of(module).items() if name in aliases}
    able = {name: found for name, found in uses.items() if found.multiplied and _is_matrix(module.constants[name])}
    check(rules, module, aliases, uses, able)
    matrices = [
        _matrix(name, module.constants[name], uses[name], rules.format_of(aliases[name])) for name in sorted(able)
    ]
    constants = dict(module.constants)
    renamed: dict[str, _Weight] = {}
    for matrix in matrices:
        if matrix.form.kind != "float32":
            turned = "turned" in uses[matrix.name].sides
            renamed[matrix.name] = _stored(matrix, turned=turned, constants=constants)
    graphs = {name: _Rewriting(graph, renamed).graph() for name, graph in module.graphs.items()}
    return Formed(replace(module, graphs=graphs, constants=constants), tuple(matrices))


def _is_matrix(constant: Constant) -> bool:
    return constant.type.dtype == "f32" and len(constant.type.shape) == 2 and not constant.computed


def _matrix(name: str, constant: Constant, uses: Uses, wanted: str) -> Matrix:
    data = constant.data.T if "turned" in uses.sides else constant.data
    size = (int(data.shape[0]), int(data.shape[1]))

    def floats(start: int, end: int) -> np.ndarray:
        return np.ascontiguousarray(data[start:end])

    kind = "float32" if wanted == AUTO else FORMATS[wanted]
    plain = Matrix(name, name, size, Form(kind), f"float32 as {kind}" if kind != "float32" else "float32", floats)
    if wanted in MASTERS:
        return by_largest(plain, MASTERS[wanted], "F32")
    if wanted not in (AUTO, "ternary"):
        return plain
    found = kept(plain, "float32")
    table_of_rows = uses.looked_up and found.form.factor == "row"
    return plain if table_of_rows else found


@dataclass(frozen=True)
class _Weight:
    """A matrix as a module has it: names of its constant and of its factor, "" for none."""

    name: str
    type: TensorType
    form: Form
    factor: str
    factor_type: TensorType | None


def _stored(matrix: Matrix, *, turned: bool, constants: dict[str, Constant]) -> _Weight:
    """Put the numbers of a matrix, and its factor, among the constants."""
    rows = matrix.size[0]
    name, kind = matrix.name, f32(*matrix.size)
    if matrix.codes is not None:
        codes, scales = matrix.codes(0, rows)
        whole = (Constant(TensorType.of(array), array) for array in (codes, scales))
        source = Constant(kind, Quantised("trits", matrix.form.group, *whole))
    elif turned:
        source = Constant(kind, matrix.floats(0, rows))
    else:
        source = constants[name]
    if turned:
        name = _free(f"{name}.turned", constants)
    constants[name] = source
    if matrix.factor is None:
        return _Weight(name, kind, matrix.form, "", None)
    factor = _free(f"{matrix.name}.factor", constants)
    constants[factor] = Constant(TensorType.of(matrix.factor), matrix.factor)
    return _Weight(name, kind, matrix.form, factor, constants[factor].type)


def _free(name: str, constants: Mapping[str, Constant]) -> str:
    while name in constants:
        name += "_"
    return name


@dataclass
class _Rewriting:
    """One graph: ops over matrices that have another form become the ops of that form."""

    source: Graph
    weights: Mapping[str, _Weight]
    taken: set[str] = field(default_factory=set)

    def graph(self) -> Graph:
        self.taken = {v.name for v in self.source.inputs} | {r.name for op in walk(self.source.ops) for r in op.results}
        self.taken |= {v.name for v in used_values(self.source.ops)}
        self.known = weights_of(self.source.ops)
        return replace(self.source, ops=self._ops(self.source.ops))

    def _ops(self, ops: Iterable[Op]) -> tuple[Op, ...]:
        made: list[Op] = []
        for op in ops:
            regions = tuple(Region(r.arguments, self._ops(r.ops), r.results) for r in op.regions)
            op = replace(op, regions=regions)
            takes = op.name in ("linear", "sparse_linear", "embedding")
            name, _ = self.known.get(op.operands[1].name, ("", "")) if takes else ("", "")
            made += self._formed(op, self.weights[name]) if name in self.weights else [op]
        return tuple(made)

    def _formed(self, op: Op, weight: _Weight) -> list[Op]:
        """The ops in place of a product or a look-up; the last of them has its result."""
        ops: list[Op] = []

        def emit(name: str, *operands: Value, **attributes: Attribute) -> Value:
            types = OPS[name].infer([v.type for v in operands], attributes)
            result = Value(self._fresh(op.results[0].name), types[0])
            ops.append(replace(op, name=name, operands=operands, results=(result,), attributes=attributes))
            return result

        def held(name: str, kind: TensorType) -> Value:
            value = Value(self._fresh(name), kind)
            ops.append(Op("constant", (), (value,), {"name": name}, (), op.part, op.location))
            return value

        kind, matrix = weight.form.kind, held(weight.name, weight.type)
        made = f"{kind}_{op.name}"
        if op.name == "embedding":
            groups = {"group": weight.form.group} if weight.form.integers else {}
            ids, shape = op.operands[0], op.operands[0].type.shape
            flat = kind == "ternary" and len(shape) != 1
            if flat:
                count = TOKENS if TOKENS in shape else math.prod(int(extent) for extent in shape)
                ids = emit("reshape", ids, shape=str(count))
            result = emit(made, ids, matrix, **groups)
            if flat:
                result = emit("reshape", result, shape=",".join(map(str, op.results[0].type.shape)))
        elif op.name == "sparse_linear":  # a row of the matrix is what a neuron gives
            hidden = op.operands[0]
            if weight.factor_type is not None:
                hidden = emit("mul", hidden, held(weight.factor, weight.factor_type))
            result = emit(made, hidden, matrix, **({"group": weight.form.group} if weight.form.integers else {}))
            weight = replace(weight, factor_type=None)
        else:
            sizes = {"group": weight.form.group, "block": BLOCK} if weight.form.integers else {}
            result = emit(made, op.operands[0], matrix, **sizes)
        if weight.factor_type is not None:
            result = emit("mul", result, held(weight.factor, weight.factor_type))
        for bias in op.operands[2:]:
            result = emit("add", result, bias)
        ops[-1] = replace(ops[-1], results=op.results)
        return ops

    def _fresh(self, hint: str) -> str:
        hint = "".join(c if c.isalnum() else "_" for c in hint)
        count = 1
        while (name := f"{hint}_form{count}") in self.taken:
            count += 1
        self.taken.add(name)
        return name
