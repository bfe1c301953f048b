"""What the parameters of models of state spaces are called in the files of others, and where rows are there."""

from __future__ import annotations

from collections.abc import Iterator

from chimerac.frontends.published.parameter import Parameter, Stored, Use
from chimerac.frontends.published.shape import LlamaShape, SsmShape

_FOLDER, _GGUF = "backbone.layers.{}.", "blk.{}."


def ssm_model(shape: LlamaShape, ssm: SsmShape) -> Iterator[Parameter]:
    """All parameters of a model whose layers are state spaces, in the order of its layers."""
    table = (shape.vocabulary, shape.hidden)
    head = Parameter("head.weight", Stored("lm_head.weight"), Stored("output.weight"), table, "matrix")
    also = (head.name, head.folder.name, head.gguf.name) if shape.tied else ()
    embedding = Stored("backbone.embeddings.weight"), Stored("token_embd.weight")
    yield Parameter("embedding.weight", *embedding, table, "table", also=also)
    for layer in range(shape.layers):
        mine, folder, gguf = f"layers.{layer}.", _FOLDER.format(layer), _GGUF.format(layer)
        norm = Stored(f"{folder}norm.weight"), Stored(f"{gguf}attn_norm.weight")
        yield Parameter(f"{mine}mixer_norm.weight", *norm, (shape.hidden,), "vector")
        yield from _layer(ssm, shape.hidden, f"{mine}mixer.", f"{folder}mixer.", gguf)
    last = Stored("backbone.norm_f.weight"), Stored("output_norm.weight")
    yield Parameter("norm.weight", *last, (shape.hidden,), "vector")
    if not shape.tied:
        yield head


def _layer(ssm: SsmShape, hidden: int, mine: str, folder: str, gguf: str) -> Iterator[Parameter]:
    """Of z, of x, B and C, and of steps there is one projection: their rows one after the other."""
    rows = {"z_proj": ssm.inner, "xbc_proj": ssm.channels, "dt_proj": ssm.heads}
    first, whole = 0, sum(rows.values())
    for name, count in rows.items():
        use: Use = "gate" if name == "dt_proj" else "matrix"
        runs = ((first, count),)
        theirs, its = f"{folder}in_proj", f"{gguf}ssm_in"
        stored = Stored(f"{theirs}.weight", runs, (whole, hidden)), Stored(f"{its}.weight", runs, (whole, hidden))
        yield Parameter(f"{mine}{name}.weight", *stored, (count, hidden), use)
        if ssm.bias:
            stored = Stored(f"{theirs}.bias", runs, (whole,)), Stored(f"{its}.bias", runs, (whole,))
            yield Parameter(f"{mine}{name}.bias", *stored, (count,), "vector")
        first += count
    taps = (ssm.channels, ssm.taps)
    conv = Stored(f"{folder}conv1d.weight", shape=(ssm.channels, 1, ssm.taps)), Stored(f"{gguf}ssm_conv1d.weight")
    yield Parameter(f"{mine}conv", *conv, taps, "vector")
    heads = (ssm.heads,)
    vectors = {
        "dt_bias": (Stored(f"{folder}dt_bias"), Stored(f"{gguf}ssm_dt.bias"), heads),
        "decay": (Stored(f"{folder}A_log", change="minus exp"), Stored(f"{gguf}ssm_a", shape=(ssm.heads, 1)), heads),
        "skip": (Stored(f"{folder}D"), Stored(f"{gguf}ssm_d", shape=(ssm.heads, 1)), heads),
    }
    if ssm.conv_bias:
        vectors["conv_bias"] = Stored(f"{folder}conv1d.bias"), Stored(f"{gguf}ssm_conv1d.bias"), (ssm.channels,)
    groups = Stored(f"{gguf}ssm_norm.weight", shape=(ssm.groups, ssm.inner // ssm.groups))
    vectors["norm"] = Stored(f"{folder}norm.weight"), groups, (ssm.inner,)
    for name, (in_folder, in_gguf, size) in vectors.items():
        yield Parameter(f"{mine}{name}", in_folder, in_gguf, size, "vector")
    out = Stored(f"{folder}out_proj.weight"), Stored(f"{gguf}ssm_out.weight")
    yield Parameter(f"{mine}o_proj.weight", *out, (hidden, ssm.inner), "matrix")
    if ssm.bias:
        bias = Stored(f"{folder}out_proj.bias"), Stored(f"{gguf}ssm_out.bias")
        yield Parameter(f"{mine}o_proj.bias", *bias, (hidden,), "vector")
