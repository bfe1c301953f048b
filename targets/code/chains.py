"""Kernels that threads compute together, part by part, although one needs what the other makes.

An element-wise kernel needs no more of a product's row than the elements that it computes itself. So who has computed a
part of the product's rows can go on with the same part of what follows, which is in its cache: no join lies between.
In prompts the same is true of norms, quantisation and element-wise kernels token by token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from chimerac.compiler.ir.module import Op, Value
from chimerac.compiler.ir.ops import OPS
from chimerac.compiler.ir.types import TOKENS, TensorType

LEAST_WORK = 1 << 12  #: of a token, from which on threads share the tokens of a prompt


def token_work(op: Op) -> int:
    """What a token costs an op that threads may share token by token, counted as ``Sharing.work``; 0 if they do not.

    Operands have tokens as their first axis, and nowhere else, or are the same for all of them; results have tokens.
    """
    operands, results = [v.type for v in op.operands], [v.type for v in op.results]
    each = OPS[op.name].work.element(operands, op.attributes)
    by_tokens = [t for t in (*operands, *results) if t.is_dynamic]
    if not each or not all(map(_is_of_tokens, by_tokens)) or not all(t.is_dynamic for t in results):
        return 0
    work = each * max(t.elements(1) for t in by_tokens)
    return work if work >= LEAST_WORK else 0


def _is_of_tokens(kind: TensorType) -> bool:
    return kind.shape[0] == TOKENS and kind.shape.count(TOKENS) == 1


def follows(op: Op, operand: Value, maker: Op) -> bool:
    """Whether a part of the units of ``op`` needs of ``operand``, the first result of ``maker``, the same part only.

    Units are as many elements of a token as some power of two, and tokens whole numbers of them: of any two kernels of
    a chain, one has as many units as the other, or a multiple (``chm_follow``).
    """
    shared = OPS[op.name].work.shared
    if not OPS[op.name].elementwise and not (shared is not None and shared.follows):
        return False
    made, needed = maker.results[0].type, op.results[0].type
    if operand.type != needed or (made.dtype, made.elements(1)) != (needed.dtype, needed.elements(1)):
        return False
    return all(n > 0 and n & (n - 1) == 0 for n in map(_elements, (op, maker)))


def _elements(op: Op) -> int:
    """Elements of a token of its first result that a unit of an op is; 0 if it is anything else."""
    shared, types = OPS[op.name].work.shared, [v.type for v in op.operands]
    made = op.results[0].type
    if shared is None or not shared.elements or made.shape[:1] != (TOKENS,) or made.shape.count(TOKENS) > 1:
        return 0
    units, row = shared.units(types, op.attributes), made.elements(1)
    each = shared.together(types, op.attributes) * row // units if units and row % units == 0 else 0
    return each if each and row % each == 0 else 0


def held_until(ops: Sequence[tuple[int, Op]], *, by_tokens: bool = False) -> dict[int, int]:
    """Of numbered ops: a kernel of a batch with others → the last one of its batch.

    Until then its operands must stay, for nothing that runs at the same time may be written over them. ``by_tokens``:
    whether threads share tokens, as in prompts.
    """
    found: dict[int, int] = {}
    for batch in _neighbours(ops) if by_tokens else _followers(ops):
        found.update(dict.fromkeys(batch, batch[-1]))
    return found


def _followers(ops: Sequence[tuple[int, Op]]) -> Iterator[list[int]]:
    """Kernels next to one another that follow others, with what they follow."""
    makers: dict[str, tuple[int, Op]] = {}
    run: list[int] = []
    for here, op in ops:
        made = [(v, *makers[v.name]) for v in op.operands if v.name in makers]
        if OPS[op.name].relabels == "all":  # another name of what was made
            makers |= {other.name: (number, maker) for other in op.results for _, number, maker in made}
        elif op.results:
            makers[op.results[0].name] = here, op
        followed = {number for value, number, maker in made if follows(op, value, maker)}
        if followed:
            run += [*followed, here]
        elif OPS[op.name].has_kernel:
            yield from [run] if run else []
            run = []
    yield from [run] if run else []


def _neighbours(ops: Sequence[tuple[int, Op]]) -> Iterator[list[int]]:
    """Kernels next to one another whose tokens threads share, or whose parts where none needs another one."""
    run: list[int] = []
    made: set[str] = set()  # by the run, under any name
    shared_before = None
    for here, op in ops:
        uses = any(v.name in made for v in op.operands)
        if not OPS[op.name].has_kernel:
            made.update(v.name for v in op.results if uses)
            continue
        shared = "tokens" if token_work(op) else "parts" if OPS[op.name].work.shared is not None else None
        if shared != shared_before or (uses and shared == "parts"):
            yield from [run] if len(run) > 1 else []
            run, made, shared_before = [], set(), shared
        if shared is not None:
            run.append(here)
            made.update(v.name for v in op.results)
    yield from [run] if len(run) > 1 else []
