"""What the parameters of experts are called in the files of others."""

from __future__ import annotations

from collections.abc import Iterator

from chimerac.frontends.published.parameter import Parameter, Stored
from chimerac.frontends.published.shape import ExpertShape


def expert_parameters(experts: ExpertShape, hidden: int, mine: str, folder: str, gguf: str) -> Iterator[Parameter]:
    """Those of one layer.

    Args:
        hidden: channels between layers.
        mine, folder, gguf: what its names begin with in the module, in folders, and in GGUF files.
    """
    mine, folder = f"{mine}ffn.", f"{folder}mlp."
    count, width = experts.count, experts.width
    router = Stored(f"{folder}gate.weight"), Stored(f"{gguf}ffn_gate_inp.weight")
    yield Parameter(f"{mine}router.weight", *router, (count, hidden), "gate")
    sides = {"gate": (width, hidden), "up": (width, hidden), "down": (hidden, width)}
    for side, size in sides.items():
        stored = Stored(f"{folder}experts.{{}}.{side}_proj.weight", shape=size)
        if experts.fused:
            stored = Stored(f"{folder}experts.down_proj")
        if experts.fused and side != "down":
            first = 0 if side == "gate" else width
            stored = Stored(f"{folder}experts.gate_up_proj", shape=(count, 2 * width, hidden), first=first)
        in_gguf = Stored(f"{gguf}ffn_{side}_exps.weight")
        yield Parameter(f"{mine}{side}_proj.weight", stored, in_gguf, (count, *size), "experts")
    if not experts.shared:
        return
    shared = {"gate": (experts.shared, hidden), "up": (experts.shared, hidden), "down": (hidden, experts.shared)}
    for side, size in shared.items():
        places = Stored(f"{folder}shared_expert.{side}_proj.weight"), Stored(f"{gguf}ffn_{side}_shexp.weight")
        yield Parameter(f"{mine}shared.{side}_proj.weight", *places, size, "matrix")
    in_gguf = Stored(f"{gguf}ffn_gate_inp_shexp.weight", shape=(hidden,))
    yield Parameter(f"{mine}shared_gate", Stored(f"{folder}shared_expert_gate.weight"), in_gguf, (1, hidden), "vector")
