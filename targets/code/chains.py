"""Kernels that threads compute together, part by part, although one needs what the other makes.

An element-wise kernel needs no more of a product's row than the elements that it computes itself. So who has computed a
part of the product's rows can go on with the same part of what follows, which is in its cache: no join lies between.
"""

from __future__ import annotations

from collections.abc import Sequence

from chimerac.compiler.ir.module import Op
from chimerac.compiler.ir.ops import OPS
from chimerac.compiler.ir.types import TOKENS


def follows(op: Op, maker: Op) -> bool:
    """Whether a part of the units of ``op`` needs of the first result of ``maker`` the same part of its units only.

    Units are as many elements of a row as some power of two, and rows whole numbers of them: of any two kernels of a
    chain, one has as many units as the other, or a multiple (``chm_follow``).
    """
    if not OPS[op.name].elementwise or op.results[0].type != maker.results[0].type:
        return False
    units = [_elements(each) for each in (op, maker)]
    return all(n > 0 and n & (n - 1) == 0 and int(op.results[0].type.shape[-1]) % n == 0 for n in units)


def _elements(op: Op) -> int:
    """Elements of a row [T, N] of its first result that a unit of an op is; 0 if it is anything else."""
    shared, types = OPS[op.name].work.shared, [v.type for v in op.operands]
    shape = op.results[0].type.shape
    if shared is None or not shared.elements or len(shape) != 2 or shape[0] != TOKENS:
        return 0
    return shared.together(types, op.attributes) if shared.units(types, op.attributes) == shape[1] else 0


def held_until(ops: Sequence[tuple[int, Op]]) -> dict[int, int]:
    """Of numbered ops: a kernel that others follow, or that does → the last one of its batch that follows others.

    Until then its operands must stay, for nothing that runs at the same time may be written over them.
    """
    makers = {op.results[0].name: (number, op) for number, op in ops if op.results}
    found: dict[int, int] = {}
    run: list[int] = []  # followers that are next to one another, and what they follow
    for here, op in ops:
        made = [makers[v.name] for v in op.operands if v.name in makers]
        followed = {number for number, maker in made if follows(op, maker)}
        if followed:
            run += [*followed, here]
            found.update(dict.fromkeys(run, here))
        elif OPS[op.name].has_kernel:
            run = []
    return found
