"""What the parameters of gated delta rules are called in the files of others, and in which order rows are there."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from chimerac.frontends.published.parameter import Parameter, Stored, Use
from chimerac.frontends.published.shape import DeltaShape
from chimerac.frontends.published.stored import Runs


def delta_parameters(delta: DeltaShape, hidden: int, mine: str, folder: str, gguf: str) -> Iterator[Parameter]:
    """Those of one layer.

    Args:
        hidden: channels between layers.
        mine, folder, gguf: what its names begin with in the module, in folders, and in GGUF files.
    """
    folder = f"{folder}linear_attn."
    projections = _joint(delta, hidden, folder, gguf) if delta.joint else _apart(delta, folder, gguf)
    rows = {"qkv_proj": delta.channels, "z_proj": delta.inner, "b_proj": delta.values, "a_proj": delta.values}
    for name, (stored, in_gguf) in projections.items():
        use: Use = "gate" if name in ("a_proj", "b_proj") else "matrix"
        yield Parameter(f"{mine}{name}.weight", stored, in_gguf, (rows[name], hidden), use)
    weight, taps = f"{folder}conv1d.weight", (delta.channels, 1, delta.taps)
    conv = Stored(f"{gguf}ssm_conv1d.weight", _of_values(delta, delta.value_width, behind_keys=True))
    yield Parameter(f"{mine}conv", Stored(weight, shape=taps), conv, (delta.channels, delta.taps), "vector")
    per_head = _of_values(delta, 1)
    decay = Stored(f"{folder}A_log", change="minus exp"), Stored(f"{gguf}ssm_a", per_head)
    yield Parameter(f"{mine}decay", *decay, (delta.values,), "vector")
    bias = Stored(f"{folder}dt_bias"), Stored(f"{gguf}ssm_dt.bias", per_head)
    yield Parameter(f"{mine}dt_bias", *bias, (delta.values,), "vector")
    norm = Stored(f"{folder}norm.weight"), Stored(f"{gguf}ssm_norm.weight")
    yield Parameter(f"{mine}norm.weight", *norm, (delta.value_width,), "vector")
    out = Stored(f"{folder}out_proj.weight"), Stored(f"{gguf}ssm_out.weight")
    yield Parameter(f"{mine}o_proj.weight", *out, (hidden, delta.inner), "matrix")


def _apart(delta: DeltaShape, folder: str, gguf: str) -> dict[str, tuple[Stored, Stored]]:
    """Four projections, each a tensor."""
    values, gates = _of_values(delta, delta.value_width), _of_values(delta, 1)
    qkv = Stored(f"{gguf}attn_qkv.weight", _of_values(delta, delta.value_width, behind_keys=True))
    return {
        "qkv_proj": (Stored(f"{folder}in_proj_qkv.weight"), qkv),
        "z_proj": (Stored(f"{folder}in_proj_z.weight"), Stored(f"{gguf}attn_gate.weight", values)),
        "b_proj": (Stored(f"{folder}in_proj_b.weight"), Stored(f"{gguf}ssm_beta.weight", gates)),
        "a_proj": (Stored(f"{folder}in_proj_a.weight"), Stored(f"{gguf}ssm_alpha.weight", gates)),
    }


def _joint(delta: DeltaShape, hidden: int, folder: str, gguf: str) -> dict[str, tuple[Stored, Stored]]:
    """Two in folders: for each head of keys its query, its key, its values and their z; for each its b and its a. GGUF
    files have the first taken apart."""
    qkv, z, b, a = _joint_runs(delta)
    whole, gates = (delta.channels + delta.inner, hidden), (2 * delta.values, hidden)
    name, gate_names = f"{folder}in_proj_qkvz.weight", (f"{folder}in_proj_ba.weight", f"{gguf}ssm_ba.weight")
    return {
        "qkv_proj": (Stored(name, qkv, whole), Stored(f"{gguf}attn_qkv.weight")),
        "z_proj": (Stored(name, z, whole), Stored(f"{gguf}attn_gate.weight")),
        "b_proj": (Stored(gate_names[0], b, gates), Stored(gate_names[1], b, gates)),
        "a_proj": (Stored(gate_names[0], a, gates), Stored(gate_names[1], a, gates)),
    }


@lru_cache(maxsize=4)
def _joint_runs(delta: DeltaShape) -> tuple[Runs, Runs, Runs, Runs]:
    """Where rows of all queries, keys and values are in the first; those of z; those of b and of a in the second."""
    share = delta.values // delta.keys
    width, inner = delta.key_width, share * delta.value_width
    size = 2 * (width + inner)
    queries, keys, values, z = (
        tuple((head * size + first, count) for head in range(delta.keys))
        for first, count in ((0, width), (width, width), (2 * width, inner), (2 * width + inner, inner))
    )
    b, a = (tuple((2 * head * share + first, share) for head in range(delta.keys)) for first in (0, share))
    return (*queries, *keys, *values), z, b, a


@lru_cache(maxsize=16)  # the same for all layers, of which there may be thousands
def _of_values(delta: DeltaShape, width: int, *, behind_keys: bool = False) -> Runs | None:
    """Where rows of heads of values are that files have tiled, ``width`` a head; None where they are in order.

    Args:
        behind_keys: the tensor has rows of all queries and keys before them, which are in order.
    """
    if not delta.tiled:
        return None
    before = 2 * delta.keys * delta.key_width if behind_keys else 0
    share = delta.values // delta.keys
    places = [other * delta.keys + head for head in range(delta.keys) for other in range(share)]
    return (*((0, before),) * behind_keys, *((before + place * width, width) for place in places))
