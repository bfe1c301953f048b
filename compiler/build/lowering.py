"""A model's IR to what a target's kernels take, and the kernels of it, which are compiled meanwhile."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chimerac.compiler.build import pipeline
from chimerac.compiler.build.timings import TimingLog
from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.module import Module
from chimerac.compiler.packaging.package import Build
from chimerac.compiler.packaging.registry import package_of
from chimerac.passes.base import Pass, PassRecord
from chimerac.targets.code.driver import kernel_specs
from chimerac.targets.code.kernel_queue import KernelQueue
from chimerac.targets.code.library import code_files
from chimerac.targets.code.own_checks import check_own_kernels
from chimerac.targets.code.variants import kernels_of
from chimerac.targets.isa import ISAS
from chimerac.targets.limits import check_products
from chimerac.targets.registry import Target


@dataclass(frozen=True)
class LoweringOptions:
    """What a user may say of the lowering; as of ``build``."""

    loops: int | None = None
    without: Sequence[str] = ()
    trits: str | None = None
    dump_passes: str | Path | None = None
    speculate: bool = False


def lower(
    module: Module,
    target: Target,
    *,
    loops: int | None = None,
    without: Sequence[str] = (),
    trits: str | None = None,
    dump_passes: str | Path | None = None,
    speculate: bool = False,
) -> tuple[Module, list[PassRecord]]:
    """The module as the target's kernels take it, and what the passes did; parameters as of ``build``."""
    check_products(module, target)
    steps = passes_for(target, loops=loops, without=without, trits=trits, speculate=speculate)
    dump = None if dump_passes is None else pipeline.dump_to(Path(dump_passes) / target.name, module)
    return pipeline.run(module, steps, dump)


def passes_for(
    target: Target,
    *,
    loops: int | None = None,
    without: Sequence[str] = (),
    trits: str | None = None,
    speculate: bool = False,
) -> list[Pass]:
    """The passes of a build for a target; parameters and errors as of ``build``."""
    if speculate and target.isa not in ISAS:
        message = f"speculation for {target.name} is not compiled yet"
        raise UserError("CHM315", message, hint="build it without --speculate, or another target")
    packing = package_of(target).packing(target, trits)
    return pipeline.passes(loops=loops, packing=packing, without=without, speculate=speculate)


def start_build(
    module: Module, target: Target, queue: KernelQueue, log: TimingLog, options: LoweringOptions
) -> tuple[Build, float]:
    """Lower a module and have its kernels compiled by ``queue``; the build, and the seconds it took."""
    begun = time.perf_counter()
    lowered, records = lower(
        module,
        target,
        loops=options.loops,
        without=options.without,
        trits=options.trits,
        dump_passes=options.dump_passes,
        speculate=options.speculate,
    )
    log.of_target(target.name, "passes", f"{len(records)} passes, {records[-1].ops} ops", time.perf_counter() - begun)
    log.passes(target.name, records)
    kernels = {}
    if code_files(target):
        check_own_kernels(kernel_specs(lowered))
    for isa in {file.isa.name: file.isa for file in code_files(target)}.values():
        kernels[isa.name] = queue.submit(kernels_of(kernel_specs(lowered), isa))
    return Build(target, lowered, records, kernels), time.perf_counter() - begun
