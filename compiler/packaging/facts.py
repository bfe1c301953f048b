"""What a model is made of, read off its IR: the same for any module, whatever it came from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from chimerac.compiler.ir.context import ATTENTION, cache_axes, context_of
from chimerac.compiler.ir.costs import decode_costs
from chimerac.compiler.ir.module import Module, Op, walk
from chimerac.compiler.ir.ops import OPS
from chimerac.compiler.ir.ops.cached_rows import CODE_BLOCK
from chimerac.compiler.model import Model
from chimerac.runtime.bundle_format import Generation

#: Element type of caches → how far what they hold may be from what was put in.
_ROUNDED = {
    "f16": "float16, each within 1/2,048 of itself",
    "i8": f"codes of 8 bits, each within 1/250 of the largest of its {CODE_BLOCK} channels",
    "u8": f"codes of 4 bits, in blocks of {CODE_BLOCK} channels that are transformed first",
}


@dataclass(frozen=True)
class Facts:
    """Numbers of a lowered module.

    Attributes:
        vocabulary: entries of the logits; 0 of a module that is no language model.
        carrying: op that changes state → how many the model has (those of a loop once).
        experts: of each mixture, how many there are and how many a token uses.
        loops: (default, maximum) iterations.
        block: most tokens of a call.
        state_bytes: of one stream.
        multiply_adds, weight_bytes: of a decoded token, with the default number of iterations; or of a call of tensors,
            for one element of the axis that varies.
        constant_bytes: of all weights.
        context: most tokens of a sequence; 0 for any number.
        cache_bytes: of the keys and values that attention keeps, all of them and those of one token.
        cache_type: element type of these; empty where there are none.
    """

    vocabulary: int
    carrying: dict[str, int]
    experts: tuple[tuple[int, int], ...]
    loops: tuple[int, int]
    block: int
    state_bytes: int
    multiply_adds: int
    weight_bytes: int
    constant_bytes: int
    context: int = 0
    cache_bytes: tuple[int, int] = (0, 0)
    cache_type: str = ""

    def lines(self) -> Iterator[str]:
        """The same as short sentences."""
        if self.vocabulary:
            yield f"vocabulary of {self.vocabulary:,} tokens"
        if self.carrying:
            yield "ops with state: " + ", ".join(f"{count} × {name}" for name, count in self.carrying.items())
        for (experts, chosen), count in Counter(self.experts).items():
            yield f"{count} mixtures of {experts} experts, {chosen} a token"
        if self.loops != (1, 1):
            yield f"looped layers run {self.loops[0]} times by default, {self.loops[1]} at most"
        yield f"{self.constant_bytes:,} bytes of weights, {self.state_bytes:,} bytes of state for each stream"
        whole, row = self.cache_bytes
        filled = bool(self.context) and whole == row * self.context
        if whole:
            room = f"a context of {self.context:,} tokens" if filled else "the windows"
            yield f"{row:,} bytes of keys and values per token, {whole:,} bytes for {room}"
        if self.cache_type in _ROUNDED:
            yield f"keys and values are kept as {_ROUNDED[self.cache_type]}"
        if self.context and not filled:
            yield f"texts of up to {self.context:,} tokens"
        unit = "token" if self.vocabulary else "call"
        yield f"{self.multiply_adds:,} multiply–adds per {unit}"
        yield f"{self.weight_bytes:,} bytes of weights per {unit}, those that a loop reads again counted once"


def facts_of(module: Module) -> Facts:
    """The facts of a lowered module."""
    graph = module.usual
    ops = list(walk(graph.ops))
    costs = decode_costs(module)
    carrying = Counter(op.name for op in ops if OPS[op.name].in_place)
    return Facts(
        vocabulary=int(graph.results[0].type.shape[-1]) if module.has_tokens else 0,
        carrying=dict(carrying),
        experts=tuple(_mixture(op) for op in ops if op.name == "sort_pairs"),
        loops=module.loops,
        block=module.block,
        state_bytes=sum(s.type.bytes() * s.iterations for s in module.states.values()),
        multiply_adds=sum(c.multiply_adds for c in costs),
        weight_bytes=sum(c.weight_bytes for c in costs),
        constant_bytes=sum(c.type.bytes() for c in module.constants.values()),
        context=context_of(module),
        cache_bytes=_cache_bytes(module),
        cache_type=next((op.operands[3].type.dtype for op in ops if op.name in ATTENTION), ""),
    )


def _cache_bytes(module: Module) -> tuple[int, int]:
    """Of all caches of attention, and of their rows for one token."""
    whole = row = 0
    for name, axis in cache_axes(module).items():
        state = module.states[name]
        size = state.type.bytes() * state.iterations
        whole, row = whole + size, row + size // int(state.type.shape[axis - (state.iterations > 1)])
    return whole, row


def generation_of(model: Model, module: Module) -> Generation | None:
    """The defaults of a bundle's generations; those of loops only where the lowered module still has one."""
    looped = any(op.name == "loop" for op in module.usual.ops)
    if model.generation is None or looped:
        return model.generation
    left = replace(model.generation, exit_threshold=None, modes={}, valve=None)
    return None if left == Generation() else left


def _mixture(op: Op) -> tuple[int, int]:
    return op.integer("experts"), int(op.operands[0].type.shape[1])
