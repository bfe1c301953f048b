"""Small random models with every kind of kernel: the ops of ``random_modules`` and whole layers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st
from ir_tools import draw as numbers
from random_modules import CONSTANTS, HEAD, HEADS, MATRICES, ROWS, STATES, WIDTH, Maker, build_module

from chimerac.compiler.ir.module import Module, State, Value
from chimerac.compiler.ir.types import f32

WIDE, EXPERTS, EXPERT_WIDTH, PERSISTENT, RING = 40, 3, 20, 2, 9
CACHE = 9  #: rows: a window of 5 and a block
QUANTISED = {"group": 32, "block": 16}  #: 40 columns end in a short group and a short block
HEAD_ROWS = f32("T", HEADS, HEAD)

MODEL_CONSTANTS = {
    **CONSTANTS,
    "up": numbers(10, WIDE, WIDTH, scale=0.5),
    "down": numbers(11, WIDTH, WIDE, scale=0.5),
    "gates": numbers(12, HEADS, WIDTH),
    "persistent_k": numbers(13, PERSISTENT, HEADS, HEAD),
    "persistent_v": numbers(14, PERSISTENT, HEADS, HEAD),
    "router": numbers(15, EXPERTS, WIDTH),
    "router_bias": numbers(16, EXPERTS, scale=0.1),
    "expert_gate": numbers(17, EXPERTS, EXPERT_WIDTH, WIDTH),
    "expert_up": numbers(18, EXPERTS, EXPERT_WIDTH, WIDTH),
    "expert_down": numbers(19, EXPERTS, WIDTH, EXPERT_WIDTH),
    "expert_norm": numbers(20, EXPERTS, EXPERT_WIDTH),
}
MODEL_STATES = {
    **STATES,
    "delta": State(f32(HEADS, HEAD, HEAD), 3),
    "generalized": State(f32(HEADS, HEAD, HEAD), 2),
    "cell": State(f32(HEADS, HEAD, HEAD), 1),
    "normaliser": State(f32(HEADS, HEAD), 1),
    "maximum": State(f32(HEADS), 1),
    "momentum": State(MATRICES, 1),
    "ring_k": State(f32(RING, HEADS, HEAD), 1),
    "ring_v": State(f32(RING, HEADS, HEAD), 1),
    "cache_k": State(f32(1, CACHE, HEAD), 1),
    "cache_v": State(f32(1, CACHE, HEAD), 1),
}
LAYERS = ("ternary", "int8", "delta", "generalized", "mlstm", "titans", "attention", "cached", "experts")


class ModelMaker(Maker):
    """Draws ops and layers."""

    constants, states, quantised = MODEL_CONSTANTS, MODEL_STATES, QUANTISED

    def step(self, *, in_loop: bool) -> None:
        if self.draw(st.booleans()):
            super().step(in_loop=in_loop)
        else:
            getattr(self, f"_{self.draw(st.sampled_from(LAYERS))}")()

    def _read_state(self, name: str) -> Value:
        return self.append("state.read", (), (self.states[name].type,), {"name": name})[0]

    def _write_state(self, name: str, value: Value) -> None:
        self.append("state.write", (value,), (), {"name": name})

    def _heads(self) -> Value:
        """A row of some value as heads, of moderate size."""
        normed = self.emit("rms_norm", self.pick(self.of(ROWS)), self.constant("row"), eps=1e-6)[0]
        return self.emit("reshape", normed, shape=f"T,{HEADS},{HEAD}")[0]

    def _gate(self) -> Value:
        return self.emit("linear", self.pick(self.of(ROWS)), self.constant("gates"))[0]

    def _bounded_gate(self) -> Value:
        return self.emit("sigmoid", self._gate())[0]

    def _flag(self) -> Value:
        return self.flags[-1] if len(self.flags) > 1 else self.constant(str(self.draw(st.sampled_from(["yes", "no"]))))

    def _flat(self, value: Value) -> None:
        self.emit("reshape", value, shape=f"T,{WIDTH}")

    def _norm(self) -> None:
        self.emit("rms_norm", self.pick(self.of(ROWS)), self.constant("row"), eps=1e-6)
        if self.draw(st.booleans()):
            self.emit("ternary_linear", self.values[-1], self.constant("weight"), **QUANTISED)

    def _ternary(self) -> None:
        wide = self.emit("ternary_linear", self.pick(self.of(ROWS)), self.constant("up"), **QUANTISED)[0]
        active = self.emit("silu", wide)[0]
        self.emit("ternary_linear", active, self.constant("down"), **QUANTISED)

    def _int8(self) -> None:
        wide = self.emit("linear", self.pick(self.of(ROWS)), self.constant("up"))[0]
        self.emit("int8_linear", wide, self.constant("down"), **QUANTISED)

    def _delta(self) -> None:
        q, k, v = self._heads(), self.emit("l2_norm", self._heads(), eps=1e-6)[0], self._heads()
        decay = self.emit("neg", self.emit("softplus", self._gate())[0])[0]
        operands = (q, k, v, decay, self._bounded_gate(), self._read_state("delta"))
        y, state = self.emit("gated_delta", *operands, scale=0.5)
        self._write_state("delta", state)
        self._flat(y)

    def _generalized(self) -> None:
        r, k, v = (self._heads() for _ in range(3))
        removed = self.emit("l2_norm", self._heads(), eps=1e-6)[0]
        decay, rate = (self.emit("sigmoid", self._heads())[0] for _ in range(2))
        back = self.emit("mul", removed, rate)[0]
        operands = (r, decay, k, v, self.emit("neg", removed)[0], back, self._read_state("generalized"))
        y, state = self.emit("generalized_delta", *operands)
        self._write_state("generalized", state)
        self._flat(y)

    def _mlstm(self) -> None:
        states = [self._read_state(name) for name in ("cell", "normaliser", "maximum")]
        heads = [self._heads() for _ in range(3)]
        y, *after = self.emit("mlstm", *heads, self._gate(), self._gate(), *states, scale=0.5)
        for name, value in zip(("cell", "normaliser", "maximum"), after, strict=True):
            self._write_state(name, value)
        self._flat(y)

    def _titans(self) -> None:
        write = self._flag()
        anchor = self.emit(
            "titans_anchor", self._read_state("anchor"), self._read_state("memory"), self.flags[0], write, chunk=4
        )[0]
        self._write_state("anchor", anchor)
        gates = [self._bounded_gate() for _ in range(3)]
        k, v = self._heads(), self._heads()
        memories = (self._read_state("memory"), self._read_state("momentum"))
        memory, momentum = self.emit("titans_update", k, v, *gates, anchor, *memories, write)
        self._write_state("memory", memory)
        self._write_state("momentum", momentum)
        self._flat(self.emit("titans_apply", self._heads(), anchor)[0])

    def _attention(self) -> None:
        q, k = (self.emit("rope", self._heads(), self.flags[0], theta=100.0)[0] for _ in range(2))
        v, slot = self._heads(), self._heads()
        persistent = [self.constant(f"persistent_{side}") for side in "kv"]
        rings = [self._read_state(f"ring_{side}") for side in "kv"]
        operands = (q, k, v, *persistent, slot, *rings, self.flags[0], self._flag())
        y, *after = self.emit("window_attention", *operands, window=5, scale=0.5)
        for side, value in zip("kv", after, strict=True):
            self._write_state(f"ring_{side}", value)
        self._flat(y)

    def _cached(self) -> None:
        """All heads of queries read one head of the cache."""
        k, v = (self.emit("slice", self._heads(), start=0, stop=1, axis=1)[0] for _ in range(2))
        caches = [self._read_state(f"cache_{side}") for side in "kv"]
        operands = (self._heads(), k, v, *caches, self.flags[0])
        y, *after = self.emit("cached_attention", *operands, scale=0.5, window=5)
        for side, value in zip("kv", after, strict=True):
            self._write_state(f"cache_{side}", value)
        self._flat(y)

    def _experts(self) -> None:
        names = ("router", "router_bias", "expert_gate", "expert_up", "expert_down", "expert_norm")
        weights = [self.constant(name) for name in names]
        self.emit("moe", self.pick(self.of(ROWS)), *weights, top_k=2, eps=1e-6, **QUANTISED)


@st.composite
def models(draw: Callable[..., object], most: int = 6) -> Module:
    """As ``modules``, with layers among the ops."""
    return build_module(ModelMaker(draw), most)


def same_numbers(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal bits, any NaN being equal to any NaN: processors choose sign and payload of a NaN as they like."""
    bits = np.dtype(f"u{a.dtype.itemsize}")
    equal = a.view(bits) == b.view(bits)
    if a.dtype.kind == "f":
        equal |= np.isnan(a) & np.isnan(b)
    return bool(equal.all())
