"""The passes of a build, in order, and the loop that runs them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from chimerac.compiler.errors import InternalError, UserError, did_you_mean
from chimerac.compiler.ir.module import Module, walk
from chimerac.compiler.ir.text import print_module
from chimerac.compiler.ir.verify import verify
from chimerac.passes.base import Pass, PassRecord
from chimerac.passes.common_subexpressions import CommonSubexpressions
from chimerac.passes.constant_folding import ConstantFolding
from chimerac.passes.dead_code import DeadCode
from chimerac.passes.entry_points import EntryPoints
from chimerac.passes.fuse_elementwise import FuseElementwise
from chimerac.passes.fuse_norm_quantize import FuseNormQuantize
from chimerac.passes.level_order import LevelOrder
from chimerac.passes.loop_unrolling import LoopUnrolling
from chimerac.passes.moe_sort_dispatch import MoeSortDispatch
from chimerac.passes.quantized_linear import QuantizedLinear
from chimerac.passes.scan_hoisting import ScanHoisting
from chimerac.passes.tree_walks import TreeWalks
from chimerac.runtime.bundle_format.regular import check_name

#: Passes that change speed or size but never the numbers; any of them may be left out.
OPTIONAL = frozenset(
    {
        "scan_hoisting",
        "constant_folding",
        "common_subexpressions",
        "fuse_norm_quantize",
        "fuse_elementwise",
        "dead_code",
        "level_order",
    }
)


def passes(
    *,
    loops: int | None = None,
    packing: Sequence[Pass] = (),
    without: Sequence[str] = (),
    speculate: bool = False,
) -> list[Pass]:
    """The pass list of a build.

    Args:
        speculate: make the entries that run trees of tokens, too.
        loops: unroll looped regions this many times; None keeps them as loops with a run-time count.
        packing: the target's weight packing, run near the end.
        without: optional passes to leave out.

    Raises:
        UserError: CHM311 when ``without`` names an unknown or an obligatory pass.
    """
    for name in without:
        if name not in OPTIONAL:
            hint = did_you_mean(name, OPTIONAL) or f"optional passes: {', '.join(sorted(OPTIONAL))}"
            raise UserError("CHM311", f"pass {name!r} cannot be left out", hint=hint)
    unroll: list[Pass] = [LoopUnrolling(loops)] if loops is not None else []
    ordered: list[Pass] = [
        EntryPoints(speculate),  # decode and prefill; the head sees one row
        *unroll,  # before lowering, so that every iteration is lowered alike
        MoeSortDispatch(),  # experts to sorted rows
        ScanHoisting(),  # before lowering, so that what is moved is lowered for all rows
        QuantizedLinear(),  # float weights to small integers
        ConstantFolding(),  # decay rates, reshaped parameters
        CommonSubexpressions(),  # one quantize for all layers that read the same input
        FuseNormQuantize(),  # before fuse_elementwise, which would not see through a norm
        FuseElementwise(),  # gates and residuals in one pass over memory
        *packing,  # the layout this target's kernels read
        DeadCode(),  # float weights, ops that fusion emptied
        *([TreeWalks()] if speculate else []),  # after all that looks at ops, and before they are put in order
        *([LevelOrder()] if packing else []),  # what threads can be given at once, where there are any
    ]
    return [p for p in ordered if p.name not in without]


def run(
    module: Module, pass_list: Sequence[Pass], on_pass: Callable[[PassRecord, Module], None] | None = None
) -> tuple[Module, list[PassRecord]]:
    """Run passes in order.

    With ``CHIMERAC_VERIFY=1`` in the environment the module is verified after every pass.

    Raises:
        InternalError: naming the pass that failed and those before it.
        UserError: as raised by a pass.
    """
    records: list[PassRecord] = []
    for step in pass_list:
        module, record = _run_pass(step, module, records)
        records.append(record)
        if on_pass is not None:
            on_pass(record, module)
    try:
        verify(module, "lowered")
    except InternalError as error:
        raise InternalError(str(error), stage="the last check", before=[r.name for r in records]) from error
    return module, records


def run_until(module: Module, pass_list: Sequence[Pass], last: str) -> Module:
    """The module after the pass called ``last`` and those before it.

    Raises:
        UserError: CHM313, no pass of the list has that name.
        InternalError: as ``run``.
    """
    place = require_pass(pass_list, last)
    records: list[PassRecord] = []
    for step in pass_list[: place + 1]:
        module, record = _run_pass(step, module, records)
        records.append(record)
    return module


def require_pass(pass_list: Sequence[Pass], name: str) -> int:
    """Where the pass of that name is in a list; raises UserError CHM313 if it is not."""
    names = [step.name for step in pass_list]
    if name not in names:
        hint = did_you_mean(name, names) or f"passes of this build: {', '.join(names)}"
        raise UserError("CHM313", f"this build has no pass {name!r}", hint=hint)
    return names.index(name)


def dump_to(folder: Path, imported: Module) -> Callable[[PassRecord, Module], None]:
    """What ``run`` calls to leave the text form after every pass: ``00_imported.ir``, ``01_<pass>.ir``, ….

    Args:
        folder: made if missing; files of an earlier dump in it are removed.

    Raises:
        UserError: CHM321, the folder cannot be written.
    """
    count = 0

    def write(name: str, module: Module) -> None:
        nonlocal count
        with _writing(folder):
            (folder / f"{count:02}_{name}.ir").write_text(print_module(module), "utf-8")
        count += 1

    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("[0-9][0-9]_*.ir"):
            old.unlink()
    write("imported", imported)
    return lambda record, module: write(record.name, module)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """An OSError inside as a UserError."""
    try:
        check_name(folder)
        yield
    except OSError as error:
        raise UserError("CHM321", f"cannot write {folder}: {error.strerror or error}") from None


def _run_pass(step: Pass, module: Module, before: Sequence[PassRecord]) -> tuple[Module, PassRecord]:
    """What a pass made of a module, and what it did."""
    started = time.perf_counter()
    try:
        rewritten = step.run(module)
        if os.environ.get("CHIMERAC_VERIFY") == "1":
            verify(rewritten.module)
    except UserError:
        raise
    except Exception as error:
        raise InternalError(str(error), stage=step.name, before=[r.name for r in before]) from error
    ops = sum(1 for graph in rewritten.module.graphs.values() for _ in walk(graph.ops))
    return rewritten.module, PassRecord(step.name, time.perf_counter() - started, ops, rewritten.notes)
