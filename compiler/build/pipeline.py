"""The passes of a build, in order, and the loop that runs them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence

from chimerac.compiler.errors import InternalError, UserError, did_you_mean
from chimerac.compiler.ir.module import Module, walk
from chimerac.compiler.ir.verify import verify
from chimerac.passes.base import Pass, PassRecord
from chimerac.passes.common_subexpressions import CommonSubexpressions
from chimerac.passes.constant_folding import ConstantFolding
from chimerac.passes.dead_code import DeadCode
from chimerac.passes.entry_points import EntryPoints
from chimerac.passes.fuse_elementwise import FuseElementwise
from chimerac.passes.fuse_norm_quantize import FuseNormQuantize
from chimerac.passes.loop_unrolling import LoopUnrolling
from chimerac.passes.moe_sort_dispatch import MoeSortDispatch
from chimerac.passes.quantized_linear import QuantizedLinear

#: Passes that change speed or size but never the numbers; any of them may be left out.
OPTIONAL = frozenset(
    {"constant_folding", "common_subexpressions", "fuse_norm_quantize", "fuse_elementwise", "dead_code"}
)


def passes(*, loops: int | None = None, packing: Sequence[Pass] = (), without: Sequence[str] = ()) -> list[Pass]:
    """The pass list of a build.

    Args:
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
        EntryPoints(),  # decode and prefill; the head sees one row
        *unroll,  # before lowering, so that every iteration is lowered alike
        MoeSortDispatch(),  # experts to sorted rows
        QuantizedLinear(),  # float weights to small integers
        ConstantFolding(),  # decay rates, reshaped parameters
        CommonSubexpressions(),  # one quantize for all layers that read the same input
        FuseNormQuantize(),  # before fuse_elementwise, which would not see through a norm
        FuseElementwise(),  # gates and residuals in one pass over memory
        *packing,  # the layout this target's kernels read
        DeadCode(),  # float weights, ops that fusion emptied
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
    checking = os.environ.get("CHIMERAC_VERIFY") == "1"
    for step in pass_list:
        started = time.perf_counter()
        try:
            rewritten = step.run(module)
            module = rewritten.module
            if checking:
                verify(module)
        except UserError:
            raise
        except Exception as error:
            raise InternalError(str(error), stage=step.name, before=[r.name for r in records]) from error
        ops = sum(1 for graph in module.graphs.values() for _ in walk(graph.ops))
        records.append(PassRecord(step.name, time.perf_counter() - started, ops, rewritten.notes))
        if on_pass is not None:
            on_pass(records[-1], module)
    try:
        verify(module, "lowered")
    except InternalError as error:
        raise InternalError(str(error), stage="the last check", before=[r.name for r in records]) from error
    return module, records
