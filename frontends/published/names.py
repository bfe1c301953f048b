"""What the parameters of ``model.LlamaLike`` are called in the files of others, and their sizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from chimerac.frontends.published.delta_names import delta_parameters
from chimerac.frontends.published.expert_names import expert_parameters
from chimerac.frontends.published.mlstm_names import mlstm_model
from chimerac.frontends.published.parameter import Parameter, Stored
from chimerac.frontends.published.rwkv_names import rwkv_model
from chimerac.frontends.published.shape import LlamaShape
from chimerac.frontends.published.short_conv_names import conv_parameters, renamed
from chimerac.frontends.published.ssm_names import ssm_model

#: Of a layer: name in the module → in folders, in GGUF files.
_MATRICES: Mapping[str, tuple[str, str]] = {
    "mixer.q_proj": ("self_attn.q_proj", "attn_q"),
    "mixer.k_proj": ("self_attn.k_proj", "attn_k"),
    "mixer.v_proj": ("self_attn.v_proj", "attn_v"),
    "mixer.o_proj": ("self_attn.o_proj", "attn_output"),
    "ffn.gate_proj": ("mlp.gate_proj", "ffn_gate"),
    "ffn.up_proj": ("mlp.up_proj", "ffn_up"),
    "ffn.down_proj": ("mlp.down_proj", "ffn_down"),
}


def parameters(shape: LlamaShape) -> Iterator[Parameter]:
    """All parameters of a model, in the order of its layers."""
    if shape.ssm is not None:
        return ssm_model(shape, shape.ssm)
    if shape.mlstm is not None:
        return mlstm_model(shape, shape.mlstm)
    if shape.rwkv is not None:
        return rwkv_model(shape, shape.rwkv)
    return map(renamed, _parameters(shape)) if shape.conv_taps else _parameters(shape)


def _parameters(shape: LlamaShape) -> Iterator[Parameter]:
    hidden = shape.hidden
    table = (shape.vocabulary, hidden)
    head = Parameter("head.weight", Stored("lm_head.weight"), Stored("output.weight"), table, "matrix")
    embedding = Stored("model.embed_tokens.weight"), Stored("token_embd.weight")
    also = (head.name, head.folder.name, head.gguf.name) if shape.tied else ()
    yield Parameter("embedding.weight", *embedding, table, "table", also=also)
    for layer in range(shape.layers):
        yield from _layer(shape, layer)
    yield _norm(shape, "norm.weight", "model.norm.weight", "output_norm.weight", hidden)
    if not shape.tied:
        yield head


def _norm(shape: LlamaShape, name: str, folder: str, gguf: str, size: int) -> Parameter:
    """A norm, whose weights llama.cpp's converter has made whole."""
    stored = Stored(folder, change="plus one" if shape.centred_norms else "")
    return Parameter(name, stored, Stored(gguf), (size,), "vector")


def _layer(shape: LlamaShape, layer: int) -> Iterator[Parameter]:
    mine, folder, gguf = f"layers.{layer}.", f"model.layers.{layer}.", f"blk.{layer}."
    behind = "ffn_norm" if shape.delta is None else "post_attention_norm"
    for name, theirs, its in (
        ("mixer_norm", "input_layernorm", "attn_norm"),
        ("ffn_norm", "post_attention_layernorm", behind),
    ):
        yield _norm(shape, f"{mine}{name}.weight", f"{folder}{theirs}.weight", f"{gguf}{its}.weight", shape.hidden)
    if shape.delta is not None and layer in shape.delta_layers:
        yield from delta_parameters(shape.delta, shape.hidden, f"{mine}mixer.", folder, gguf)
    elif layer in shape.conv_layers:
        yield from conv_parameters(shape.hidden, shape.conv_taps, f"{mine}mixer.", folder, gguf)
    else:
        yield from _attention(shape, mine, folder, gguf)
    if shape.experts is not None and layer in shape.expert_layers:
        yield from expert_parameters(shape.experts, shape.hidden, mine, folder, gguf)
        return
    sizes = {
        "ffn.gate_proj": (shape.inner, shape.hidden, shape.inner_bias, 0),
        "ffn.up_proj": (shape.inner, shape.hidden, shape.inner_bias, 0),
        "ffn.down_proj": (shape.hidden, shape.inner, shape.inner_bias, 0),
    }
    yield from _projections(shape, sizes, mine, folder, gguf)
    if shape.sub_norms:
        sub_norm = f"{mine}ffn.sub_norm.weight", f"{folder}mlp.ffn_sub_norm.weight", f"{gguf}ffn_sub_norm.weight"
        yield _norm(shape, *sub_norm, shape.inner)


def _attention(shape: LlamaShape, mine: str, folder: str, gguf: str) -> Iterator[Parameter]:
    queries, pairs = shape.heads * shape.head_width, shape.kv_heads * shape.head_width
    asked = queries * (1 + shape.output_gate)
    sizes = {
        "mixer.q_proj": (asked, shape.hidden, shape.qkv_bias, shape.heads),
        "mixer.k_proj": (pairs, shape.hidden, shape.qkv_bias, shape.kv_heads),
        "mixer.v_proj": (pairs, shape.hidden, shape.qkv_bias, 0),
        "mixer.o_proj": (shape.hidden, queries, shape.out_bias, 0),
    }
    yield from _projections(shape, sizes, mine, folder, gguf)
    sub_norms = [("sub_norm", "attn_sub_norm", "attn_sub_norm", queries)] if shape.sub_norms else []
    norms = [(f"{side}_norm", f"{side}_norm", f"attn_{side}_norm", shape.head_width) for side in "qk"]
    for name, theirs, its, size in (*(norms if shape.head_norms else ()), *sub_norms):
        names = f"{mine}mixer.{name}.weight", f"{folder}self_attn.{theirs}.weight", f"{gguf}{its}.weight"
        yield _norm(shape, *names, size)


def _projections(
    shape: LlamaShape, sizes: Mapping[str, tuple[int, int, bool, int]], mine: str, folder: str, gguf: str
) -> Iterator[Parameter]:
    """Matrices, with their biases and norms: rows, columns, whether there is a bias, and heads in the rows."""
    for name, (rows, columns, bias, heads) in sizes.items():
        theirs, its = _MATRICES[name]
        stored = Stored(f"{folder}{theirs}.weight"), Stored(f"{gguf}{its}.weight")
        yield Parameter(f"{mine}{name}.weight", *stored, (rows, columns), "matrix", heads)
        if bias:
            stored = Stored(f"{folder}{theirs}.bias"), Stored(f"{gguf}{its}.bias")
            yield Parameter(f"{mine}{name}.bias", *stored, (rows,), "vector", heads)
        if shape.product_norms is not None:
            stored = Stored(f"{folder}{theirs}.rms_norm.weight"), Stored(f"{gguf}{its}_norm.weight")
            yield Parameter(f"{mine}{name}.norm.weight", *stored, (columns,), "vector")
