"""Writes one graph of ``model.c``: kernels, copies and loops in the order they run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from chimerac.compiler.errors import InternalError
from chimerac.compiler.ir.module import Graph, Module, Op, Value, fewest_iterations
from chimerac.compiler.ir.ops import OPS
from chimerac.compiler.ir.scans import Scan
from chimerac.compiler.ir.types import TOKENS, TensorType
from chimerac.targets.code.batches import Batch
from chimerac.targets.code.chains import token_work
from chimerac.targets.code.places import (
    Arena,
    Argument,
    Copy,
    GraphPlan,
    Input,
    Kept,
    LastRow,
    Logits,
    MemoryPlan,
    Place,
    Result,
    Row,
    StateSlot,
    Weight,
    count,
    following,
    numbered,
)
from chimerac.targets.kernel_spec import KernelSpec

MOST_BACK = 16  #: kernels of a batch: CHM_BATCH of chm_threads.h


def is_scalar(kind: TensorType) -> bool:
    """Whether kernels get a value of the type as a number."""
    return kind.dtype == "i32" and kind.shape == ()


class GraphWriter:
    """One graph as a C function."""

    def __init__(
        self,
        module: Module,
        graph: Graph,
        plan: MemoryPlan,
        places: GraphPlan,
        sections: list[str],
        steps: list[tuple[str, str]],
    ) -> None:
        self.module, self.graph, self.plan, self.graph_plan = module, graph, plan, places
        self.section = {name: i for i, name in enumerate(sections)}
        self.number = {step: i for i, step in enumerate(steps)}
        self.step = -1  #: that the code written last belongs to
        self.batch = Batch()  #: shared kernels that nothing has waited for yet
        self.write = ""  #: C name of the running loop's write flag
        self.in_loop = False  #: what is written runs for each iteration
        self.slots: Mapping[str, int] = {}  #: states that the running path of a tree has for itself

    def function(self) -> Iterator[str]:
        yield f"CHM_KERNELS {self.graph.name}_kernels(chm_call *call, const int measured) {{"
        yield "  const uint8_t *const *w = call->weights;"
        yield "  uint8_t *state = call->state, *arena = call->arena;"
        yield "  const int32_t n = call->n;"
        yield "  (void)w, (void)state, (void)arena, (void)n, (void)measured;"
        looped = any(op.name == "loop" for op in self.graph.ops)
        iterations = f"call->iterations = {1 if looped else self.module.loops[1]};"
        cut = self._changing()
        if cut == len(self.graph.ops):
            yield f"  {iterations}"
            yield from self._ops(self.graph.ops, 0, "  ")
            yield from self._results("  ")
        else:
            yield "  if (call->without != CHM_WITHOUT_STATES) {"
            yield f"    {iterations}"
            yield from self._ops(self.graph.ops[:cut], 0, "    ")
            yield from self._join("    ")
            yield "  }"
            self.step = -1  # the call may begin here
            yield "  if (call->without != CHM_WITHOUT_LOGITS) {"
            yield from self._ops(self.graph.ops[cut:], count(self.graph.ops[:cut]), "    ")
            yield from self._results("    ")
            yield "  }"
        yield "}"
        yield f"CHM_GRAPH({self.graph.name})"
        yield ""

    def _changing(self) -> int:
        """How many ops there are up to the last one that changes a state, or that logits cannot be computed after."""
        if self.graph.role not in ("decode", "prefill"):
            return len(self.graph.ops)
        last = [i for i, op in enumerate(self.graph.ops, start=1) if self._changes(op)]
        return max(last, default=0)

    def _changes(self, op: Op) -> bool:
        if op.name == "state.write":
            return self._place(op.operands[0]) != self._state_slot(op)
        if op.regions or any(self._place(value) == Input("tokens") for value in op.operands):
            return True
        return OPS[op.name].has_kernel and any(isinstance(self._place(value), StateSlot) for value in op.results)

    def _results(self, indent: str) -> Iterator[str]:
        """Copies of results that no op has written where the caller wants them."""
        if self.graph.role != "call":
            for result in self.graph.results:
                if self._place(result) != Logits():
                    yield from self._wait((self._place(result),), (Logits(),), indent)
                    size = self._bytes(result.type)
                    yield f"{indent}memcpy(call->logits, {self._pointer(self._place(result))}, {size});"
            return
        for index, result in enumerate(self.graph.results):
            place, target = self._place(result), f"call->results[{index}]"
            if place == Result(index):
                continue
            yield from self._wait((place,), (Result(index),), indent)
            if is_scalar(result.type):
                yield f"{indent}*(int32_t *){target} = {self._argument(result)};"
            else:
                yield f"{indent}memcpy({target}, {self._pointer(place)}, {self._bytes(result.type)});"

    def _bytes(self, kind: TensorType) -> str:
        """The size of a value: of tokens that of the most, of tensors and of paths of a tree that of what there is."""
        varying = kind.shape.count(TOKENS)
        if self.graph.role in ("decode", "prefill") or not varying:
            return str(kind.bytes(self.graph.tokens))
        return " * ".join([*["(size_t)n"] * varying, str(kind.bytes(1))])

    def _ops(self, ops: tuple[Op, ...], start: int, indent: str) -> Iterator[str]:
        for here, op in numbered(ops, start):
            if OPS[op.name].has_kernel:
                yield from self._enter(op, indent)
            for copy in self.graph_plan.copies.get(here, ()):
                yield from self._wait((copy.source,), (copy.target,), indent)
                yield f"{indent}{self._copy(copy)}"
            if op.name == "loop":
                yield from self._join(indent)
                yield from self._loop(op, here, indent)
            elif op.name == "scan":
                yield from self._join(indent)
                yield from self._scan(op, here, indent)
            elif op.name in ("walk", "replay"):
                yield from self._join(indent)
                yield from self._tree(op, here, indent)
            elif op.name == "state.write":
                yield from self._write_state(op, indent)
            elif OPS[op.name].has_kernel:
                yield from self._kernel(op, indent)

    def _enter(self, op: Op, indent: str) -> Iterator[str]:
        """Say which step the op's kernel and copies belong to, if it is another one."""
        step = op.part, op.name
        if self.number[step] != self.step:
            self.step = self.number[step]
            comment = " ".join(step).replace("*", "")
            yield f"{indent}CHM_STEP({self.step}); /* {comment} */"

    def _join(self, indent: str) -> Iterator[str]:
        if self.batch.end():
            yield f"{indent}CHM_JOIN();"

    def _wait(self, reads: Iterable[Place], writes: Iterable[Place], indent: str) -> Iterator[str]:
        """A join before something that has to wait for the batch."""
        if self.batch.must_end(reads, writes):
            yield from self._join(indent)

    def _kernel(self, op: Op, indent: str) -> Iterator[str]:
        reads, writes = [[self._place(v) for v in values] for values in (op.operands, op.results)]
        by_tokens = self.graph.role == "prefill" and token_work(op) > 0
        shared = by_tokens or KernelSpec.of(op).sharing is not None
        followed = self.batch.followed(op, reads, writes, by_tokens=by_tokens) if shared else None
        if followed is None:
            yield from self._wait(reads, writes, indent)
        if shared:
            self.batch.add(op, reads, writes, by_tokens=by_tokens)
        yield f"{indent}{self._call(op, followed or (), by_tokens=by_tokens)}"

    def _call(self, op: Op, followed: Iterable[int], *, by_tokens: bool) -> str:
        spec = KernelSpec.of(op)
        result_of = {operand: result for result, operand in OPS[op.name].in_place.items()}
        arguments = [
            # in place: where the result is, which holds the operand's value, if need be as a copy
            self._pointer(self._place(op.results[result_of[i]])) if i in result_of else self._argument(v)
            for i, v in enumerate(op.operands)
        ]
        arguments += [self._pointer(self._place(op.results[i])) for i in spec.separate_results]
        values = " ".join(str(r) for r in op.results)
        comment = f"{values} {op.location}".strip().replace("*", "")  # neither ends the comment nor begins another
        if by_tokens:
            counts, part = ("1", "n", str(token_work(op))), "tokens"
        elif spec.sharing is not None:
            counts, part = ("n" if spec.dynamic else "1", str(spec.sharing.units), str(spec.sharing.work)), "part"
        else:
            arguments += ["n"] if spec.dynamic else []
            return f"{spec.symbol}({', '.join(arguments)}); /* {comment} */"
        for i, operand in enumerate(op.operands):
            if is_scalar(operand.type):
                arguments[i] = f"CHM_PASS({arguments[i]})"
        back = sum(1 << far - 1 for far in followed if far <= MOST_BACK)  # others were joined already
        shared = f"CHM_FOLLOW({back:#x}, " if back else "CHM_SHARE("
        return f"{shared}{spec.symbol}_{part}, {', '.join((*counts, *arguments))}); /* {comment} */"

    def _tree(self, op: Op, here: int, indent: str) -> Iterator[str]:
        """A ``walk`` or ``replay``."""
        raise InternalError(f"{op.name} outside of a tree", stage="driver")

    def _scan(self, op: Op, here: int, indent: str) -> Iterator[str]:
        scan, row = Scan.of(op), f"row{here}"
        rows = "n" if scan.length == TOKENS else str(scan.length)
        values = " ".join(str(r) for r in op.results)
        comment = f"{values} {op.location}".strip().replace("*", "")
        steps = f"{row} = {rows}; {row}-- > 0;" if scan.reverse else f"{row} = 0; {row} < {rows}; ++{row}"
        yield f"{indent}for (int32_t {steps}) {{ /* {comment} */"
        self.step = -1  # what ran before is another step for each row
        yield from self._ops(scan.region.ops, here + 1, indent + "  ")
        yield from self._join(indent + "  ")
        for copy in self.graph_plan.copies[following(op, here) - 1]:
            yield f"{indent}  {self._copy(copy)}"
        yield f"{indent}}}"
        self.step = -1

    def _copy(self, copy: Copy) -> str:
        target, source = self._pointer(copy.target), copy.source
        if is_scalar(copy.value.type):
            return f"*(int32_t *){target} = {self._argument_at(source)}; /* keep {copy.value} */"
        return f"memcpy({target}, {self._pointer(source)}, {self._bytes(copy.value.type)}); /* keep {copy.value} */"

    def _write_state(self, op: Op, indent: str) -> Iterator[str]:
        value, name = op.operands[0], op.text("name")
        source, target = self._place(value), self._state_slot(op)
        if source != target:
            size = value.type.bytes()
            yield from self._wait((source,), (target,), indent)
            yield f"{indent}memcpy({self._pointer(target)}, {self._pointer(source)}, {size}); /* state {name} */"

    def _state_slot(self, op: Op) -> StateSlot:
        """What a ``state.write`` writes to."""
        name = op.text("name")
        in_loop = self.in_loop and self.module.states[name].iterations > 1
        iteration = op.integer("iteration") if "iteration" in op.attributes else None if in_loop else 0
        return StateSlot(name, iteration)

    def _loop(self, op: Op, here: int, indent: str) -> Iterator[str]:
        region = op.regions[0]
        write, carried = region.arguments
        result = region.results[0]
        rows = "n" if carried.type.is_dynamic else str(carried.type.shape[0])
        width = carried.type.bytes(1) // 4 // (1 if carried.type.is_dynamic else int(carried.type.shape[0]))
        size = f"(size_t){rows} * {width * 4}"
        kept, new = self._pointer(self._place(carried)), self._pointer(self._place(result))
        inner = indent + "  "
        yield f"{indent}memcpy({kept}, {self._pointer(self._place(op.operands[0]))}, {size});"
        yield f"{indent}for (int32_t iteration = 0; iteration < call->loops; ++iteration) {{"
        yield f"{inner}const int32_t {write.name} = iteration == 0;"
        yield f"{inner}(void){write.name};"
        self.write, self.step = write.name, -1  # what ran before is another step in each iteration
        self.in_loop = True
        yield from self._ops(region.ops, here + 1, inner)
        self.in_loop = False
        yield from self._join(inner)
        yield f"{inner}call->iterations = iteration + 1;"
        last = max(1, fewest_iterations(op) - 1)  # the first iteration that may be the last, from 0
        yield f"{inner}const int done = call->exit_threshold > 0 && iteration >= {last} &&"
        yield f"{inner}    chm_converged({new}, {kept}, {rows}, {width}, call->exit_threshold);"
        yield f"{inner}memcpy({kept}, {new}, {size});"
        yield f"{inner}if (done) break;"
        yield f"{indent}}}"

    def _place(self, value: Value) -> Place:
        return self.graph_plan.places[value.name]

    def _argument(self, value: Value) -> str:
        place = self._place(value)
        return self._argument_at(place) if is_scalar(value.type) else self._pointer(place)

    def _argument_at(self, place: Place) -> str:
        """An integer without axes, which kernels get by value."""
        if isinstance(place, Input):
            return {"position": "call->position", "write": self.write}.get(place.name, place.name)
        if isinstance(place, Weight):
            return str(int(self.module.constants[place.name].data))
        return f"*(const int32_t *){self._pointer(place)}"

    def _state(self, slot: StateSlot) -> str:
        if slot.name in self.slots:
            return f"(void *)(slot + {self.slots[slot.name]})"
        size, offset = self.module.states[slot.name].type.bytes(), self.plan.state_offsets[slot.name]
        if slot.iteration is None:
            return f"(void *)(state + {offset} + (size_t)iteration * {size})"
        return f"(void *)(state + {offset + slot.iteration * size})"

    def _pointer(self, place: Place) -> str:
        match place:
            case Arena(offset):
                return f"(void *)(arena + {offset})"
            case Weight(name):
                return f"w[{self.section[name]}]"
            case StateSlot():
                return self._state(place)
            case Logits():
                return "(void *)call->logits"
            case Argument(index):
                return f"call->inputs[{index}]"
            case Result(index):
                return f"call->results[{index}]"
            case LastRow(base, row_bytes):
                return f"(void *)((uint8_t *){self._pointer(base)} + (size_t)(n - 1) * {row_bytes})"
            case Row(base, row_bytes, scan):
                return f"(void *)((uint8_t *){self._pointer(base)} + (size_t)row{scan} * {row_bytes})"
            case Kept(offset, stride):
                copy = f" + (size_t)iteration * {stride}" if self.in_loop else ""
                return f"(void *)(call->kept + {offset}{copy})"
            case Input("tokens"):
                return "call->tokens"
        raise InternalError(f"no pointer to {place}", stage="driver")
