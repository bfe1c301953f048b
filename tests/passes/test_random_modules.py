"""All passes on random modules: each pass alone, and the whole list without any of its optional passes."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ir_tools import trace
from random_modules import modules

from chimerac.compiler.build import pipeline
from chimerac.compiler.ir.module import Module
from chimerac.compiler.ir.text import parse, print_module
from chimerac.compiler.ir.verify import verify
from chimerac.passes.base import Pass
from chimerac.passes.common_subexpressions import CommonSubexpressions
from chimerac.passes.constant_folding import ConstantFolding
from chimerac.passes.dead_code import DeadCode
from chimerac.passes.entry_points import EntryPoints
from chimerac.passes.fuse_elementwise import FuseElementwise
from chimerac.passes.fuse_norm_quantize import FuseNormQuantize
from chimerac.passes.level_order import LevelOrder
from chimerac.passes.quantized_linear import QuantizedLinear
from chimerac.passes.scan_hoisting import ScanHoisting

ALONE: list[Pass] = [
    CommonSubexpressions(),
    ConstantFolding(),
    DeadCode(),
    FuseElementwise(),
    FuseNormQuantize(),
    LevelOrder(),
    QuantizedLinear(),
    ScanHoisting(),
]
quick = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


def outcome(module: Module, states: Module, loops: int) -> list[bytes]:
    """Logits and those states that the other module has too."""
    found = trace(module, loops=min(loops, module.loops[1]))
    names = sorted(module.states)
    width = len(names) + 1
    wanted = [0, *(1 + i for i, name in enumerate(names) if name in states.states)]
    return [found[call + i] for call in range(0, len(found), width) for i in wanted]


@pytest.mark.parametrize("step", ALONE, ids=lambda step: step.name)
@quick
@given(module=modules(), loops=st.integers(1, 3))
def test_each_pass_alone_keeps_the_numbers(step: Pass, module: Module, loops: int) -> None:
    entry = EntryPoints().run(module).module
    verify(entry)
    changed = step.run(entry).module
    verify(changed)
    assert outcome(changed, changed, loops) == outcome(entry, changed, loops)
    again = step.run(module).module
    verify(again)
    assert outcome(EntryPoints().run(again).module, changed, loops) == outcome(entry, changed, loops)


@quick
@given(modules(), st.sets(st.sampled_from(sorted(pipeline.OPTIONAL))), st.integers(1, 3))
def test_any_choice_of_passes_keeps_the_numbers(module: Module, without: set[str], loops: int) -> None:
    entry = EntryPoints().run(module).module
    lowered, _ = pipeline.run(module, pipeline.passes(without=sorted(without)))
    assert outcome(lowered, lowered, loops) == outcome(entry, lowered, loops)


@quick
@given(modules(), st.integers(1, 3))
def test_unrolling_keeps_the_logits(module: Module, loops: int) -> None:
    loops = min(loops, module.loops[1])
    rolled, _ = pipeline.run(module, pipeline.passes())
    unrolled, _ = pipeline.run(module, pipeline.passes(loops=loops))
    for ours, theirs in zip(outcome(unrolled, unrolled, loops), outcome(rolled, unrolled, loops), strict=True):
        assert theirs.startswith(ours)


@quick
@given(modules())
def test_printing_and_parsing_are_inverse(module: Module) -> None:
    again = parse(print_module(module), {n: c.data for n, c in module.constants.items()})
    assert print_module(again) == print_module(module)
    assert again.graphs == module.graphs
