"""Kernel variants: one library holds the integer products for several kinds of processor and takes the best that runs.

Integers add up to the same in any order, so every variant computes the same bits. Other kernels differ only in how many
rows they take at a time (``OpDef.wide``), where registers are wider; each row keeps its order of sums. The processor is
asked once, when a bundle is opened (``runtime/native/chm_cpu.c``); the code here compiles the variants and writes the C
functions that choose among them by ``kernel_set``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from chimerac.targets.code.codegen import KernelObject
from chimerac.targets.code.kernel_queue import KernelQueue
from chimerac.targets.isa import CKernels, Isa
from chimerac.targets.kernel_spec import KernelSpec


@dataclass(frozen=True)
class KernelSet:
    """A variant as the runtime sees it: its name, and the features of ``chm_cpu.h`` that a processor must have.

    ``c_kernels`` if it has C functions in place of generated kernels; ``wide`` if it has kernels that take more rows;
    ``alone`` if the library has none of the others of its instruction set.
    """

    name: str
    needs: tuple[str, ...] = ()
    c_kernels: CKernels | None = None
    wide: bool = False
    alone: bool = False


def kernel_sets(isa: Isa, only: str = "") -> tuple[KernelSet, ...]:
    """The variants of a library, from plain to best; of one that is made for a single set, this one."""
    found = tuple(KernelSet(i.kernels, i.needs, i.c_kernels, i.wide_lanes > 0) for i in (isa, *isa.variants))
    return tuple(replace(one, alone=True) for one in found if one.name == only) if only else found


def kernels_of(specs: Iterable[KernelSpec], isa: Isa) -> list[tuple[list[KernelSpec], Isa]]:
    """What ``KernelQueue.submit`` compiles for a library: integer products for every variant, wide kernels for some.

    Where there are variants, the C names of their kernels, the plain ones among them, end in ``__<name>``.
    """
    distinct = list(dict.fromkeys(specs))
    if not isa.variants:
        return [(distinct, isa)]
    wide = any(i.wide_lanes for i in isa.variants)
    plain = [spec for spec in distinct if not _varies(spec, wide)]
    varied = [spec for spec in distinct if _varies(spec, wide)]
    products = [spec for spec in distinct if spec.integer_product]
    generated = [i for i in (isa, *isa.variants) if i.c_kernels is None]
    return [
        (plain, isa),
        *(
            (varied if i is isa or i.wide_lanes else products, replace(i, symbol_suffix=_suffix(i.kernels)))
            for i in generated
        ),
    ]


def _varies(spec: KernelSpec, wide: bool) -> bool:
    """Whether some variant has a kernel of its own, where one of them has wide kernels or none has."""
    return spec.integer_product or (spec.wide and wide)


def compile_variants(
    specs: Iterable[KernelSpec],
    isa: Isa,
    directory: Path,
    progress: Callable[[KernelObject, int, int], None] | None = None,
) -> list[KernelObject]:
    """As ``compile_kernels``, for ``kernels_of``."""
    with KernelQueue(1) as queue:
        return queue.submit(kernels_of(specs, isa)).finish(directory, progress)


def declaration(spec: KernelSpec, sets: Sequence[KernelSet]) -> Iterator[str]:
    """C declaration of a kernel; one that variants have becomes a function that calls the chosen one's."""
    types = spec.c_parameters
    dispatched = len(sets) > 1 or any(one.alone for one in sets)
    if not dispatched or not _varies(spec, any(one.wide for one in sets)):
        yield f"extern void {spec.symbol}({', '.join(types)});"
        return
    declared = ", ".join(f"{t}a{i}" if t.endswith("*") else f"{t} a{i}" for i, t in enumerate(types))
    passed = ", ".join(f"a{i}" for i in range(len(types)))
    symbols: list[str] = []  # of each set
    for one in sets:
        symbol = f"{spec.symbol}{_suffix(one.name)}"
        if one.c_kernels is None and (spec.integer_product or one.wide or not symbols):
            yield f"extern void {symbol}({', '.join(types)});"
        elif one.c_kernels is not None and (body := one.c_kernels.body(spec, symbols[-1])) is not None:
            yield from (f"static void {symbol}({declared}) {{", *(f"  {line}" for line in body), "}")
        else:
            symbol = symbols[-1]
        symbols.append(symbol)
    yield f"static void {spec.symbol}({declared}) {{"
    if len(sets) == 1:
        yield from (f"  {symbols[0]}({passed});", "}")
        return
    yield "  switch (__atomic_load_n(&kernel_set, __ATOMIC_RELAXED)) {"
    for index, symbol in enumerate(symbols[1:], start=1):
        yield f"    case {index}: {symbol}({passed}); break;"
    yield f"    default: {symbols[0]}({passed});"
    yield "  }"
    yield "}"


def choice(sets: Sequence[KernelSet]) -> Iterator[str]:
    """The C array ``kernel_sets`` of the descriptor, and ``kernel_set``, the index of the chosen one."""
    yield from (f'#include "{one.c_kernels.header}"' for one in sets if one.c_kernels is not None)
    if len(sets) > 1:
        yield "static int32_t kernel_set;"
    yield "static const chm_kernel_set kernel_sets[] = {"
    for one in sets:
        bits = " | ".join(f"CHM_CPU_{feature.upper()}" for feature in one.needs) or "0"
        yield f'  {{"{one.name}", {bits}}},'
    yield "};"


def _suffix(name: str) -> str:
    return f"__{name}"
