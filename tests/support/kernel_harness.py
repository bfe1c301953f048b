"""Runs compiled kernels on numpy arrays, natively and in wasm, and compares them bit for bit with the references."""

from __future__ import annotations

import ctypes
import itertools
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from emulated import EmulatedKernels, emulator, link_server

from chimerac.compiler.ir.module import Attribute, Op, Value
from chimerac.compiler.ir.ops import OPS
from chimerac.compiler.ir.types import TOKENS, TensorType
from chimerac.runtime.bundle_format import NATIVE_DIRECTORY, WASM_C_FLAGS
from chimerac.targets.code.kernel_queue import compile_kernels
from chimerac.targets.code.link import link
from chimerac.targets.isa import ISAS, Isa, load_isa
from chimerac.targets.kernel_spec import KernelSpec
from chimerac.targets.registry import find_target

#: Compiling a kernel takes far longer than running it: all cases on every instruction set, or each set a share of them.
IN_TURN = pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow), 8], ids=["all", "in turn"])
GUARD = 64  #: bytes behind every result that a kernel must leave alone


AVX512 = "x86_64-avx512"


def native_isas() -> tuple[str, ...]:
    """Every ISA that this machine can run, if need be in an emulator."""
    return tuple(
        name
        for name in ISAS
        if name != AVX512
        and (name.startswith(("wasm", platform.machine())) or (name.endswith("neon") and emulator("aarch64")))
    )


def product_isas() -> tuple[str, ...]:
    """These and their variants, which differ in integer products, as does the one for AVX-512."""
    names = [AVX512] if processor_flags().issuperset(find_target(AVX512).cpu) else []
    for name in native_isas():
        machine = host_features() if name.startswith(platform.machine()) else None  # others run whatever there is
        names += [name, *(v.name for v in load_isa(name).variants if machine is None or machine >= set(v.needs))]
    return tuple(names)


def wide_isas() -> tuple[str, ...]:
    """The variants whose attention takes more rows at a time."""
    return tuple(name for name in product_isas() if load_isa(name).wide_lanes)


def emulated(isa: Isa) -> bool:
    """Whether the code is for another processor than this machine's."""
    return not isa.name.startswith(("wasm", platform.machine()))


@cache
def host_features() -> set[str]:
    """Features of this machine's processor, by the names of chm_cpu.h."""
    flags = {"avxvnni": "avx_vnni", "avx512vnni": "avx512_vnni", "dotprod": "asimddp"}
    return {name for name, flag in flags.items() if flag in processor_flags()}


def processor_flags() -> set[str]:
    """Features of this machine's processor, by the names that Linux has for them."""
    return set(Path("/proc/cpuinfo").read_text().split()) if Path("/proc/cpuinfo").exists() else set()


def kernel_op(
    name: str, operands: Sequence[TensorType], attributes: Mapping[str, Attribute], results: Sequence[TensorType] = ()
) -> Op:
    """An op with operands of these types; result types by the op's type rule unless given."""
    inferred = tuple(results) or OPS[name].infer(list(operands), attributes)
    return Op(
        name,
        tuple(Value(f"a{i}", t) for i, t in enumerate(operands)),
        tuple(Value(f"r{i}", t) for i, t in enumerate(inferred)),
        dict(attributes),
    )


def parts(spec: KernelSpec) -> list[list[int]]:
    """Calls that together compute a kernel: uneven parts of the units where threads can share them, last part first."""
    if spec.sharing is None:
        return [[]]
    units = spec.sharing.units
    cuts = sorted({0, units // 3, units // 3 + 1, units})
    return [[begin, end] for begin, end in itertools.pairwise(cuts)][::-1]


@dataclass
class Library:
    """Kernels linked together, ready to call."""

    isa: Isa
    path: Path
    specs: Sequence[KernelSpec] = ()  #: in the order of the server, if the code is emulated
    _native: Any = None
    _server: EmulatedKernels | None = None
    _wasm: dict[str, Any] = field(default_factory=dict)

    def run(self, spec: KernelSpec, arrays: Sequence[np.ndarray], n: int) -> list[np.ndarray]:
        """Results of one call; in-place results are what became of their operand, which the caller keeps."""
        in_place = OPS[spec.op].in_place
        copies = [np.array(a, copy=True, order="C") for a in arrays]
        outputs = [t.bind(n) for t in spec.results]
        fresh = {i: np.zeros(outputs[i].bytes() + GUARD, np.uint8) for i in spec.separate_results}
        for memory in fresh.values():
            memory[:] = 0xA5
        run = self._run_wasm if self.isa.suffix == ".wasm" else self._run_native
        run = self._run_emulated if emulated(self.isa) else run
        run(spec, copies, list(fresh.values()), n)
        for i, memory in fresh.items():
            assert (memory[outputs[i].bytes() :] == 0xA5).all(), f"{spec.op} wrote behind its result {i}"
        for j, (copy, array) in enumerate(zip(copies, arrays, strict=True)):
            if j not in in_place.values():
                assert copy.tobytes() == np.ascontiguousarray(array).tobytes(), f"{spec.op} changed its operand {j}"
        return [
            copies[in_place[i]]
            if i in in_place
            else fresh[i][: t.bytes()].view(t.numpy).reshape([int(d) for d in t.shape])
            for i, t in enumerate(outputs)
        ]

    def _run_native(self, spec: KernelSpec, operands: list[np.ndarray], results: list[np.ndarray], n: int) -> None:
        if self._native is None:
            self._native = ctypes.CDLL(str(self.path))
        arguments: list[Any] = [
            ctypes.c_int32(int(a)) if t.dtype == "i32" and t.shape == () else ctypes.c_void_p(a.ctypes.data)
            for a, t in zip(operands, spec.operands, strict=True)
        ]
        arguments += [ctypes.c_void_p(r.ctypes.data) for r in results]
        function = self._native[spec.symbol]
        function.restype = None
        for part in parts(spec):
            function(*arguments, *map(ctypes.c_int32, ([n] if spec.dynamic else []) + part))

    def _run_emulated(self, spec: KernelSpec, operands: list[np.ndarray], results: list[np.ndarray], n: int) -> None:
        if self._server is None:
            self._server = EmulatedKernels(self.path, self.isa)
        arguments: list[np.ndarray | int] = [
            int(a) if t.dtype == "i32" and t.shape == () else a for a, t in zip(operands, spec.operands, strict=True)
        ]
        for part in parts(spec):
            begin, end = part or (0, 0)
            self._server.call(self.specs.index(spec), [*arguments, *results], n, begin, end)

    def close(self) -> None:
        """End what runs the kernels."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def _run_wasm(self, spec: KernelSpec, operands: list[np.ndarray], results: list[np.ndarray], n: int) -> None:
        import wasmtime

        if not self._wasm:
            store = wasmtime.Store()
            module = wasmtime.Module.from_file(store.engine, str(self.path))
            self._wasm.update(store=store, exports=wasmtime.Instance(store, module, []).exports(store))
        store, exports = self._wasm["store"], self._wasm["exports"]
        memory = exports["memory"]
        place = exports["__heap_base"].value(store)
        tensors: list[np.ndarray] = []
        arguments: list[int] = []
        for array, type_ in zip((*operands, *results), (*spec.operands, *[None] * len(results)), strict=True):
            if type_ is not None and type_.dtype == "i32" and type_.shape == ():
                arguments.append(int(array))
                continue
            place = (place + 63) // 64 * 64
            arguments.append(place)
            tensors.append(array)
            place += array.nbytes
        missing = place + GUARD - memory.data_len(store)
        if missing > 0:
            memory.grow(store, -(-missing // 65536))
        places = [
            a
            for a, t in zip(arguments, (*spec.operands, *[None] * len(results)), strict=True)
            if not (t is not None and t.dtype == "i32" and t.shape == ())
        ]
        for array, start in zip(tensors, places, strict=True):
            memory.write(store, array.tobytes(), start)
        for part in parts(spec):
            exports[spec.symbol](store, *arguments, *([n] if spec.dynamic else []), *part)
        for array, start in zip(tensors, places, strict=True):
            data = np.frombuffer(memory.read(store, start, start + array.nbytes), array.dtype)
            array.reshape(-1)[:] = data


def build_library(specs: Sequence[KernelSpec], isa: Isa, directory: Path) -> Library:
    """All kernels in one library."""
    objects = compile_kernels(specs, isa, directory / isa.name)
    path = directory / isa.name / f"kernels{isa.suffix}"
    if emulated(isa):
        path = directory / isa.name / "kernels.server"
        link_server([o.object_path for o in objects], [o.spec for o in objects], isa, path)
        return Library(isa, path, [o.spec for o in objects])
    exports = [o.symbol for o in objects]
    if isa.suffix == ".wasm":
        exports.append("__heap_base")
        memory = [NATIVE_DIRECTORY / "chm_freestanding.c"]  # without vectors, kernels copy by memcpy
        link([o.object_path for o in objects], memory, isa, path, exports, [NATIVE_DIRECTORY], WASM_C_FLAGS)
    else:
        link([o.object_path for o in objects], [], isa, path, exports)
    return Library(isa, path)


def run_kernel(spec: KernelSpec, arrays: Sequence[np.ndarray], isa: Isa, n: int, directory: Path) -> list[np.ndarray]:
    """Compile, link and run one kernel; to run many, ``build_library`` once."""
    return build_library([spec], isa, directory).run(spec, arrays, n)


@dataclass(frozen=True)
class Case:
    """One call to check: an op with its types, the arrays the reference takes, and those the kernel takes.

    Attributes:
        types: operand types as compiled, with ``"T"`` where the tokens are.
        n: tokens of this call.
        packed: operand index → packed array that the kernel gets in place of the plain one; ``types`` has its type.
    """

    op: str
    types: tuple[TensorType, ...]
    arrays: tuple[np.ndarray, ...]
    attributes: Mapping[str, Attribute]
    n: int = 1
    results: tuple[TensorType, ...] = ()
    packed: Mapping[int, np.ndarray] = field(default_factory=dict)

    @property
    def ir_op(self) -> Op:
        return kernel_op(self.op, self.types, self.attributes, self.results)


def case(
    op: str,
    arrays: Sequence[np.ndarray],
    attributes: Mapping[str, Attribute] | None = None,
    *,
    tokens: Sequence[int] | Mapping[int, int],
) -> Case:
    """A case whose operands listed in ``tokens`` have the token dimension: as their first axis, or as that given."""
    types = []
    n = 1
    for i, array in enumerate(arrays):
        type_ = TensorType.of(array)
        if i in tokens:
            axis = tokens[i] if isinstance(tokens, Mapping) else 0
            n = array.shape[axis]
            type_ = type_.with_shape((*type_.shape[:axis], TOKENS, *type_.shape[axis + 1 :]))
        types.append(type_)
    return Case(op, tuple(types), tuple(arrays), dict(attributes or {}), n)


def check(cases: Sequence[Case], isas: Sequence[str], directory: Path) -> None:
    """Every case on every ISA against the numpy reference, bit for bit; NaNs may differ in sign and payload."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    ops = [c.ir_op for c in cases]
    specs = [KernelSpec.of(op) for op in ops]
    expected = []
    for c, op in zip(cases, ops, strict=True):
        reference = OPS[op.name].reference
        assert reference is not None
        with np.errstate(all="ignore"):
            expected.append(reference(op, [np.array(a, copy=True) for a in c.arrays]))
    for name in isas:
        library = build_library(specs, load_isa(name), directory)
        for c, spec, want in zip(cases, specs, expected, strict=True):
            arrays = [c.packed.get(i, a) for i, a in enumerate(c.arrays)]
            got = library.run(spec, arrays, c.n)
            for i, (a, b) in enumerate(zip(want, got, strict=True)):
                assert_same_bits(a, b, f"{name}: result {i} of {spec.op} {tuple(map(str, spec.operands))} n={c.n}")
        library.close()


def check_in_turn(cases: Sequence[Case], isas: Sequence[str], directory: Path, every: int) -> None:
    """``check`` with each ISA taking every so-many-th case, the next ISA beginning one further; 1: all on all."""
    for turn, name in enumerate(isas):
        if mine := cases[turn % every :: every]:
            check(mine, [name], directory)


def check_kernel(
    op: str,
    arrays: Sequence[np.ndarray],
    attributes: Mapping[str, Attribute],
    directory: Path,
    *,
    tokens: Sequence[int],
) -> None:
    """One case on every ISA of this machine; ``check`` takes many at once and is faster."""
    check([case(op, arrays, attributes, tokens=tokens)], native_isas(), directory)


def assert_same_bits(expected: np.ndarray, got: np.ndarray, what: str) -> None:
    """Equal shape, dtype and bits, any NaN being equal to any NaN."""
    assert expected.shape == got.shape, f"{what}: shape {got.shape}, expected {expected.shape}"
    assert expected.dtype == got.dtype, f"{what}: {got.dtype}, expected {expected.dtype}"
    unsigned = np.dtype(f"u{expected.dtype.itemsize}")
    a, b = np.ascontiguousarray(expected).view(unsigned), np.ascontiguousarray(got).view(unsigned)
    differ = a != b
    if expected.dtype.kind == "f":
        differ &= ~(np.isnan(expected) & np.isnan(got))
    if differ.any():
        place = tuple(int(i) for i in np.argwhere(differ)[0]) if differ.ndim else ()
        raise AssertionError(
            f"{what}: {int(differ.sum())} of {differ.size} elements differ, first at {place}:"
            f" {got[place]!r}, expected {expected[place]!r}"
        )
