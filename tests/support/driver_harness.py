"""Runs a generated driver as C: gcc compiles it with kernels that call the numpy references back.

So what is tested is the driver and the memory plan alone: which memory each kernel gets, copies, states and loops.
Kernels that threads share run at the last moment, the last one first. What a kernel writes must overlap nothing that it
reads, each kernel must find the operands that the interpreter has, and the step that the driver names before a kernel
must be that of its op.
"""

from __future__ import annotations

import ctypes as ct
import itertools
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from chimerac.compiler.ir.interpreter import Session
from chimerac.compiler.ir.module import Module, Op, Value
from chimerac.compiler.ir.ops import OPS
from chimerac.compiler.ir.types import TensorType
from chimerac.runtime.bundle_format import C_FLAGS, NATIVE_DIRECTORY
from chimerac.targets.code.descriptor import Identity
from chimerac.targets.code.driver import (
    kernel_specs,
    profile_steps,
    used_sections,
    write_driver,
)
from chimerac.targets.code.memory_planning import plan_memory
from chimerac.targets.kernel_spec import KernelSpec

IDENTITY = Identity("test", "00" * 32, "11" * 32, "22" * 32)
WARNINGS = ("-Wall", "-Wextra", "-Werror")
POISON = 0xA5
WITHOUT_LOGITS, WITHOUT_STATES = 1, 2  #: of chm_model.h
_Kernel = ct.CFUNCTYPE(None, ct.c_int, ct.POINTER(ct.c_ssize_t), ct.c_int32)
_COUNTER = itertools.count()


class _Call(ct.Structure):
    """``chm_call`` of chm_model.h."""

    _fields_ = (
        ("weights", ct.c_void_p),
        ("state", ct.c_void_p),
        ("arena", ct.c_void_p),
        ("tokens", ct.c_void_p),
        ("logits", ct.c_void_p),
        ("n", ct.c_int32),
        ("position", ct.c_int32),
        ("loops", ct.c_int32),
        ("exit_threshold", ct.c_float),
        ("iterations", ct.c_int32),
        ("pool", ct.c_void_p),
        ("profile", ct.c_void_p),
        ("paths", ct.c_void_p),
        ("parents", ct.c_void_p),
        ("kept", ct.c_void_p),
        ("n_paths", ct.c_int32),
        ("span", ct.c_int32),
        ("inputs", ct.c_void_p),
        ("results", ct.c_void_p),
        ("without", ct.c_int32),
    )


def check_syntax(text: str, directory: Path) -> None:
    """Let gcc read a driver with all warnings as errors."""
    source = directory / "model.c"
    source.write_text(text)
    command = ["gcc", "-fsyntax-only", *C_FLAGS, *WARNINGS, f"-I{NATIVE_DIRECTORY}", str(source)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


class DriverSession:
    """One stream of tokens through the compiled driver of a module, as ``interpreter.Session``.

    The arena is filled with garbage before every call. Calls at every third position are whole, the others in two
    parts: the states, then the logits.
    """

    def __init__(
        self, module: Module, directory: Path, *, loops: int | None = None, exit_threshold: float = 0.0
    ) -> None:
        self.module, self.plan = module, plan_memory(module)
        self.loops = module.loops[0] if loops is None else loops
        self.exit_threshold = exit_threshold
        self.position = self.iterations = 0
        self.specs = kernel_specs(module)
        self._library = _compile(write_driver(module, self.plan, IDENTITY), self.specs, directory)
        self._steps = list(profile_steps(module))
        self._step = ct.c_int32.in_dll(self._library, "test_step")
        self._measured = False
        self._callback = _Kernel(self._kernel)
        ct.c_void_p.in_dll(self._library, "test_kernel").value = ct.cast(self._callback, ct.c_void_p).value
        self._weights = [np.ascontiguousarray(module.constants[n].data) for n in used_sections(module)]
        self._pointers = (ct.c_void_p * max(1, len(self._weights)))(*(w.ctypes.data for w in self._weights))
        self._state = np.zeros(self.plan.state_bytes + 64, np.uint8)
        self._arena = np.zeros(self.plan.arena_bytes + 64, np.uint8)
        for name, state in module.states.items():
            if state.initial is not None:
                self.state(name)[:] = module.constants[state.initial].data
        self._error: BaseException | None = None
        self.calls: list[tuple[str, list[bytes]]] = []  #: op and operands of each kernel of the last call

    def state(self, name: str) -> np.ndarray:
        """A view of all copies of a state."""
        state = self.module.states[name]
        start = self.plan.state_offsets[name]
        view = self._state[start : start + state.type.bytes() * state.iterations].view(state.type.numpy)
        return view.reshape(state.iterations, *(int(d) for d in state.type.shape))

    def check(self, calls: Sequence[Sequence[int]]) -> None:
        """Run calls here and in the interpreter: same operands of every kernel, logits, states and iterations."""
        theirs: list[tuple[str, list[bytes]]] = []

        def observe(op: Op, operands: Sequence[np.ndarray], results: Sequence[np.ndarray]) -> None:
            if OPS[op.name].has_kernel:
                theirs.append((op.name, [o.tobytes() for o in operands]))

        reference = Session(self.module, loops=self.loops, exit_threshold=self.exit_threshold, observe=observe)
        for number, tokens in enumerate(calls):
            theirs.clear()
            expected, logits = reference.forward(tokens), self.forward(tokens)
            assert sorted(name for name, _ in self.calls) == sorted(name for name, _ in theirs)
            for ours, other in zip(sorted(self.calls), sorted(theirs), strict=True):
                assert ours == other, f"call {number}: a kernel {ours[0]} finds other operands"
            assert logits.tobytes() == expected.tobytes(), f"call {number}: other logits"
            for name, copies in reference.states.items():
                assert self.state(name).tobytes() == copies.tobytes(), f"call {number}: other state {name}"
            assert self.iterations == reference.iterations

    def forward(self, tokens: Sequence[int]) -> np.ndarray:
        """Logits of the last token; the tokens must fit into one call."""
        ids = np.asarray(tokens, np.int32)
        logits = np.zeros(int(self.module.entry("decode").results[0].type.shape[-1]), np.float32)
        self._arena[:] = POISON
        self.calls.clear()
        call = _Call(
            weights=ct.addressof(self._pointers),
            state=self._state.ctypes.data,
            arena=self._arena.ctypes.data,
            tokens=ids.ctypes.data,
            logits=logits.ctypes.data,
            n=len(ids),
            position=self.position,
            loops=self.loops,
            exit_threshold=self.exit_threshold,
            profile=ct.addressof(self._step),  # what it points to does not matter here
        )
        self._step.value = -1
        self._measured = self.position % 2 == 0  # both compiled forms of a graph take turns
        name = "run_decode" if len(ids) == 1 else "run_prefill"
        for call.without in (0,) if self.position % 3 == 0 else (WITHOUT_LOGITS, WITHOUT_STATES):
            getattr(self._library, name + ("_measured" if self._measured else ""))(ct.byref(call))
        if self._error is not None:
            raise self._error
        assert (self._arena[self.plan.arena_bytes :] == POISON).all(), "wrote behind the arena"
        assert not self._state[self.plan.state_bytes :].any(), "wrote behind the states"
        self.position += len(ids)
        self.iterations = call.iterations
        return logits

    def _kernel(self, index: int, pointers: ct._Pointer[ct.c_ssize_t], n: int) -> None:
        try:
            self._run(self.specs[index], pointers, n)
        except BaseException as error:  # C cannot pass it on
            self._error = self._error or error

    def _run(self, spec: KernelSpec, pointers: ct._Pointer[ct.c_ssize_t], n: int) -> None:
        if self._measured:
            assert self._step.value >= 0, "a kernel runs before the first step"
            assert self._steps[self._step.value][1] == spec.op
        operand_types = [t.bind(n) for t in spec.operands]
        operands = [
            np.array(pointers[i], np.int32) if _is_scalar(t) else _view(pointers[i], t)
            for i, t in enumerate(operand_types)
        ]
        self.calls.append((spec.op, [o.tobytes() for o in operands]))
        places = {r: pointers[len(operands) + i] for i, r in enumerate(spec.separate_results)}
        in_place = OPS[spec.op].in_place
        places.update((result, pointers[operand]) for result, operand in in_place.items())
        written = [(places[r], places[r] + t.bind(n).bytes()) for r, t in enumerate(spec.results)]
        for i, type_ in enumerate(operand_types):
            if i in in_place.values() or _is_scalar(type_):
                continue
            start, end = pointers[i], pointers[i] + type_.bytes()
            assert all(end <= a or b <= start for a, b in written), f"{spec.op} overwrites its operand {i}"
        for (a, b), (c, d) in itertools.combinations(written, 2):
            assert b <= c or d <= a, f"results of {spec.op} overlap"
        values = [Value(f"a{i}", t) for i, t in enumerate(spec.operands)]
        op = Op(spec.op, tuple(values), (), dict(spec.attributes))
        reference = OPS[spec.op].reference
        assert reference is not None
        with np.errstate(all="ignore"):
            results = reference(op, [o.copy() for o in operands])
        for index, (result, type_) in enumerate(zip(results, spec.results, strict=True)):
            _view(places[index], type_.bind(n))[...] = result


def _is_scalar(kind: TensorType) -> bool:
    return kind.dtype == "i32" and kind.shape == ()


def _view(address: int, kind: TensorType) -> np.ndarray:
    memory = np.ctypeslib.as_array((ct.c_uint8 * kind.bytes()).from_address(address))
    return memory.view(kind.numpy).reshape([int(d) for d in kind.shape])


def _compile(text: str, specs: Sequence[KernelSpec], directory: Path) -> ct.CDLL:
    number = next(_COUNTER)  # a library of the same name would not be loaded again
    sources = [directory / f"model{number}.c", directory / f"kernels{number}.c"]
    sources[0].write_text(text)
    sources[1].write_text(_kernels(specs))
    output = directory / f"driver{number}.so"
    flags = [f"-I{NATIVE_DIRECTORY}", "-shared", "-fPIC", *C_FLAGS, *WARNINGS, "-O0", "-fvisibility=default"]
    command = ["gcc", *flags, *map(str, sources), "-o", str(output)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return ct.CDLL(str(output))


def _kernels(specs: Sequence[KernelSpec]) -> str:
    lines = [
        "#include <stdlib.h>",
        '#include "chm_model.h"',
        "void (*test_kernel)(int, const intptr_t *, int32_t);",
        "int32_t test_step;",
        "void chm_profile_step(chm_profile *profile, int32_t step) { (void)profile, test_step = step; }",
        "static struct {",
        "  chm_part part; const void *a[CHM_MOST_ARGUMENTS]; int32_t n, units; uint32_t back;",
        "} batch[256];",
        "static int32_t kernels;",
        "void chm_share(chm_pool *pool, chm_part part, const void *const *a, size_t count, int32_t n, int32_t units,",
        "               int32_t work) {",
        "  if (pool || n < 1 || units < 1 || work < 1 || kernels == 256) abort();",
        "  batch[kernels].part = part, batch[kernels].n = n, batch[kernels].units = units, batch[kernels].back = 0;",
        "  for (size_t i = 0; i < count; ++i) batch[kernels].a[i] = a[i];",
        "  ++kernels;",
        "}",
        "void chm_follow(chm_pool *pool, uint32_t back, chm_part part, const void *const *a, size_t count, int32_t n,",
        "                int32_t units, int32_t work) {",
        "  chm_share(pool, part, a, count, n, units, work);",
        "  batch[kernels - 1].back = back;",
        "}",
        "static void compute(int32_t k) { /* after what it follows, and once */",
        "  chm_part part = batch[k].part;",
        "  batch[k].part = 0;",
        "  for (int32_t i = 0; i < 32 && i < k; ++i)",
        "    if (batch[k].back >> i & 1) compute(k - 1 - i);",
        "  if (part) part(batch[k].a, batch[k].n, 0, batch[k].units);",
        "}",
        "void chm_join(chm_pool *pool) {",
        "  (void)pool;",
        "  while (kernels--) compute(kernels);",
        "  kernels = 0;",
        "}",
    ]
    for number, spec in enumerate(specs):
        kinds = ["int32_t" if _is_scalar(t) else "const void *" for t in spec.operands]
        kinds += ["void *"] * len(spec.separate_results)
        parameters = [f"{kind} p{i}" for i, kind in enumerate(kinds)] + (["int32_t n"] if spec.dynamic else [])
        parameters += ["int32_t begin", "int32_t end"] if spec.sharing is not None else []
        pointers = ", ".join(f"(intptr_t)p{i}" for i in range(len(kinds)))
        lines += [
            f"void {spec.symbol}({', '.join(parameters)}) {{",
            *([] if spec.sharing is None else [f"  if (begin || end != {spec.sharing.units}) abort();"]),
            f"  const intptr_t pointers[] = {{{pointers}}};",
            f"  test_kernel({number}, pointers, {'n' if spec.dynamic else 1});",
            "}",
        ]
    for index, role in enumerate(("decode", "prefill")):
        for suffix, function in (("", "run"), ("_measured", "measured")):
            call = f"chm_model.entries[{index}].{function}(call);"
            lines.append(f"void run_{role}{suffix}(chm_call *call) {{ {call} chm_join(0); }}")
    return "\n".join(lines) + "\n"
