"""Kernels of an Apple instruction set with all their variants in one dylib, called in the emulator."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from amx_model import MATINT
from apple_machine import AppleMachine, Chip, Int32

from chimerac.runtime.bundle_format import APPLE_DIRECTORY, NATIVE_DIRECTORY
from chimerac.targets.code.link import link
from chimerac.targets.code.variants import KernelSet, choice, compile_variants, declaration, kernel_sets
from chimerac.targets.isa import Isa
from chimerac.targets.kernel_spec import KernelSpec

GUARD = 64  #: bytes behind the result that a kernel must leave alone


@dataclass
class AppleKernels:
    """A dylib with a function ``test_<symbol>`` per kernel, whose first argument is the kernel set to use."""

    path: Path
    sets: tuple[KernelSet, ...]
    machine: AppleMachine

    def on(self, chip: Chip) -> AppleKernels:
        """The same kernels on another chip."""
        return AppleKernels(self.path, self.sets, AppleMachine(self.path, chip))

    def run(
        self,
        spec: KernelSpec,
        operands: Sequence[np.ndarray],
        n: int,
        kernels: str,
        parts: Sequence[tuple[int, int]] = (),
    ) -> tuple[list[np.ndarray], int]:
        """The results of a kernel, and how many outer products AMX computed.

        Args:
            operands: as the kernel takes them.
            kernels: name of the set.
            parts: ranges of units, a call each; all units at once when empty.
        """
        machine = self.machine
        blocks = [machine.allocate(a.nbytes, np.ascontiguousarray(a).tobytes()) for a in operands]
        kinds = [t.bind(n) for t in spec.results]
        results = [machine.allocate(k.bytes() + GUARD, b"\xa5" * (k.bytes() + GUARD)) for k in kinds]
        before = machine.amx.executed[MATINT]
        index = [one.name for one in self.sets].index(kernels)
        whole = [()] if spec.sharing is None else [(0, spec.sharing.units)]
        for part in parts or whole:
            counts = map(Int32, (*([n] if spec.dynamic else []), *part))
            machine.call(f"test_{spec.symbol}", index, *blocks, *results, *counts, result="none")
        found = []
        for kind, result in zip(kinds, results, strict=True):
            data = machine.read(result, kind.bytes() + GUARD)
            assert data[kind.bytes() :] == b"\xa5" * GUARD, "written behind the result"
            shape = [int(d) for d in kind.shape]
            found.append(np.frombuffer(data[: kind.bytes()], kind.numpy).reshape(shape))
        for block, operand in zip(blocks, operands, strict=True):
            assert machine.read(block, operand.nbytes) == np.ascontiguousarray(operand).tobytes(), "an operand changed"
        for block in (*blocks, *results):
            machine.release(block)
        return found, machine.amx.executed[MATINT] - before


def build_kernels(specs: Iterable[KernelSpec], isa: Isa, folder: Path) -> AppleKernels:
    """Compile products; warnings in the generated C and in that of the coprocessor are errors."""
    sets = kernel_sets(isa)
    distinct = list(dict.fromkeys(specs))
    objects = compile_variants(distinct, isa, folder / "kernels")
    lines = ['#include "chm_driver.h"', *choice(sets)]
    for spec in distinct:
        lines += declaration(spec, sets)
        names = [f"a{i}" for i in range(len(spec.c_parameters))]
        named = ", ".join(f"{kind} {name}" for kind, name in zip(spec.c_parameters, names, strict=True))
        lines += [
            f'__attribute__((visibility("default"))) void test_{spec.symbol}(int32_t set, {named}) {{',
            "  (void)kernel_sets, kernel_set = set;",
            f"  {spec.symbol}({', '.join(names)});",
            "}",
        ]
    model = folder / "model.c"
    model.write_text("\n".join(lines) + "\n")
    path = folder / "kernels.dylib"
    sources = [model, APPLE_DIRECTORY / "chm_amx.c"]
    strict = ("-Wall", "-Wextra", "-Werror")
    link([o.object_path for o in objects], sources, isa, path, [], [NATIVE_DIRECTORY, APPLE_DIRECTORY], strict)
    return AppleKernels(path, sets, AppleMachine(path))
