"""What the parameters of RWKV-7 are called in folders of flash-linear-attention and in GGUF files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from chimerac.frontends.published.parameter import Parameter, Stored, Use
from chimerac.frontends.published.shape import MIXED, LlamaShape, RwkvShape

#: Products of low rank: name in the module → in folders, in GGUF files, and how its matrices are used.
_LOW_RANK: dict[str, tuple[str, str, Use]] = {
    "decay": ("w_lora", "time_mix_w", "gate"),
    "rate": ("a_lora", "time_mix_a", "gate"),
    "value": ("v_lora", "time_mix_v", "gate"),
    "gate": ("g_lora", "time_mix_g", "matrix"),
}
_UNUSED = re.compile(r"blk\.0\.time_mix_v[012]\.weight|model\.layers\.0\.attn\.v_lora\..*")


def unused(names: Iterable[str], shape: LlamaShape) -> dict[str, str]:
    """Of names of tensors those that converters put into the first layer, whose values there is nothing to mix with."""
    what = "what would mix the values of the first layer with themselves"
    return {name: what for name in names if shape.rwkv is not None and _UNUSED.fullmatch(name)}


def rwkv_model(shape: LlamaShape, rwkv: RwkvShape) -> Iterator[Parameter]:
    """All parameters of a model, in the order of its layers."""
    table = (shape.vocabulary, shape.hidden)
    head = Parameter("head.weight", Stored("lm_head.weight"), Stored("output.weight"), table, "matrix")
    also = (head.name, head.folder.name, head.gguf.name) if shape.tied else ()
    embedding = Stored("model.embeddings.weight"), Stored("token_embd.weight")
    yield Parameter("embedding.weight", *embedding, table, "table", also=also)
    yield from _norm("first_norm", "model.layers.0.pre_norm", "token_embd_norm", shape.hidden)
    for layer in range(shape.layers):
        mine, folder, gguf = f"layers.{layer}.", f"model.layers.{layer}.", f"blk.{layer}."
        yield from _norm(f"{mine}mixer_norm", f"{folder}attn_norm", f"{gguf}attn_norm", shape.hidden)
        yield from _time_mix(shape, rwkv, layer)
        yield from _norm(f"{mine}ffn_norm", f"{folder}ffn_norm", f"{gguf}attn_norm_2", shape.hidden)
        mix = Stored(f"{folder}ffn.x_k"), Stored(f"{gguf}channel_mix_lerp_k.weight")
        yield Parameter(f"{mine}ffn.mix", *mix, (shape.hidden,), "vector")
        for name, theirs, size in (
            ("up_proj", "key", (shape.inner, shape.hidden)),
            ("down_proj", "value", (shape.hidden, shape.inner)),
        ):
            stored = Stored(f"{folder}ffn.{theirs}.weight"), Stored(f"{gguf}channel_mix_{theirs}.weight")
            yield Parameter(f"{mine}ffn.{name}.weight", *stored, size, "matrix")
    yield from _norm("norm", "model.norm", "output_norm", shape.hidden)
    if not shape.tied:
        yield head


def _norm(mine: str, folder: str, gguf: str, size: int) -> Iterator[Parameter]:
    for what in ("weight", "bias"):
        yield Parameter(f"{mine}.{what}", Stored(f"{folder}.{what}"), Stored(f"{gguf}.{what}"), (size,), "vector")


def _time_mix(shape: LlamaShape, rwkv: RwkvShape, layer: int) -> Iterator[Parameter]:
    hidden, channels = shape.hidden, (shape.hidden,)
    mine, folder, gguf = f"layers.{layer}.mixer.", f"model.layers.{layer}.attn.", f"blk.{layer}."
    for row, letter in enumerate(MIXED):
        runs = ((row, 1),)
        own = Stored(f"{folder}x_{letter}", shape=(1, 1, hidden))
        together = Stored(f"{folder}x_x", runs, (len(MIXED), hidden))
        its = Stored(f"{gguf}time_mix_lerp_fused.weight", runs, (len(MIXED), 1, 1, hidden))
        yield Parameter(f"{mine}mix_{letter}", together if rwkv.stacked else own, its, channels, "vector")
    for name, its_name in (("r", "receptance"), ("k", "key"), ("v", "value"), ("o", "output")):
        stored = Stored(f"{folder}{name}_proj.weight"), Stored(f"{gguf}time_mix_{its_name}.weight")
        yield Parameter(f"{mine}{name}_proj.weight", *stored, (hidden, hidden), "matrix")
    ranks = {"decay": rwkv.decay_rank, "rate": rwkv.rate_rank, "value": rwkv.value_rank, "gate": rwkv.gate_rank}
    for name, (theirs, its_name, use) in _LOW_RANK.items():
        if name == "value" and layer == 0:
            continue
        rank = ranks[name]
        stored = Stored(f"{folder}{theirs}.lora.0.weight"), Stored(f"{gguf}{its_name}1.weight")
        yield Parameter(f"{mine}{name}.down.weight", *stored, (rank, hidden), use)
        stored = Stored(f"{folder}{theirs}.lora.2.weight"), Stored(f"{gguf}{its_name}2.weight")
        yield Parameter(f"{mine}{name}.up.weight", *stored, (hidden, rank), use)
        if name != "gate":
            stored = Stored(f"{folder}{theirs}.lora.2.bias"), Stored(f"{gguf}{its_name}0.weight")
            yield Parameter(f"{mine}{name}.up.bias", *stored, channels, "vector")
    for name in ("k_k", "k_a"):
        stored = Stored(f"{folder}{name}"), Stored(f"{gguf}time_mix_{name}.weight")
        yield Parameter(f"{mine}{name}", *stored, channels, "vector")
    bonus = Stored(f"{folder}r_k"), Stored(f"{gguf}time_mix_r_k.weight", shape=channels)
    yield Parameter(f"{mine}r_k", *bonus, (rwkv.heads, rwkv.width), "vector")
    for name, what in (("norm", "weight"), ("norm_bias", "bias")):
        stored = Stored(f"{folder}g_norm.{what}"), Stored(f"{gguf}time_mix_ln.{what}")
        yield Parameter(f"{mine}{name}", *stored, channels, "vector")
