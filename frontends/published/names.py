"""What the parameters of ``model.LlamaLike`` are called in the files of others, and their sizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from chimerac.frontends.published.shape import LlamaShape

#: How a parameter is used: a matrix is multiplied, a table looked up, too; a vector is taken as it is.
Use = Literal["matrix", "table", "vector"]


@dataclass(frozen=True)
class Parameter:
    """A parameter of the module.

    Attributes:
        name: in the module.
        folder: in safetensors files of transformers.
        gguf: in GGUF files.
        heads: heads of queries or keys whose channels are its rows; 0 of others. Some GGUF files have them in another
            order.
    """

    name: str
    folder: str
    gguf: str
    shape: tuple[int, ...]
    use: Use
    heads: int = 0


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
    hidden = shape.hidden
    table = (shape.vocabulary, hidden)
    yield Parameter("embedding.weight", "model.embed_tokens.weight", "token_embd.weight", table, "table")
    for layer in range(shape.layers):
        yield from _layer(shape, layer)
    yield Parameter("norm.weight", "model.norm.weight", "output_norm.weight", (hidden,), "vector")
    if not shape.tied:
        yield Parameter("head.weight", "lm_head.weight", "output.weight", table, "matrix")


def _layer(shape: LlamaShape, layer: int) -> Iterator[Parameter]:
    mine, folder, gguf = f"layers.{layer}.", f"model.layers.{layer}.", f"blk.{layer}."

    def vector(name: str, in_folder: str, in_gguf: str, size: int, heads: int = 0) -> Parameter:
        return Parameter(mine + name, folder + in_folder, gguf + in_gguf, (size,), "vector", heads)

    queries, pairs = shape.heads * shape.head_width, shape.kv_heads * shape.head_width
    sizes = {
        "mixer.q_proj": (queries, shape.hidden, shape.qkv_bias, shape.heads),
        "mixer.k_proj": (pairs, shape.hidden, shape.qkv_bias, shape.kv_heads),
        "mixer.v_proj": (pairs, shape.hidden, shape.qkv_bias, 0),
        "mixer.o_proj": (shape.hidden, queries, shape.out_bias, 0),
        "ffn.gate_proj": (shape.inner, shape.hidden, shape.inner_bias, 0),
        "ffn.up_proj": (shape.inner, shape.hidden, shape.inner_bias, 0),
        "ffn.down_proj": (shape.hidden, shape.inner, shape.inner_bias, 0),
    }
    yield vector("mixer_norm.weight", "input_layernorm.weight", "attn_norm.weight", shape.hidden)
    yield vector("ffn_norm.weight", "post_attention_layernorm.weight", "ffn_norm.weight", shape.hidden)
    for name, (rows, columns, bias, heads) in sizes.items():
        theirs, its = _MATRICES[name]
        weight = (f"{mine}{name}.weight", f"{folder}{theirs}.weight", f"{gguf}{its}.weight")
        yield Parameter(*weight, (rows, columns), "matrix", heads)
        if bias:
            yield vector(f"{name}.bias", f"{theirs}.bias", f"{its}.bias", rows, heads)
        if shape.product_norms is not None:
            yield vector(f"{name}.norm.weight", f"{theirs}.rms_norm.weight", f"{its}_norm.weight", columns)
    if shape.head_norms:
        yield vector("mixer.q_norm.weight", "self_attn.q_norm.weight", "attn_q_norm.weight", shape.head_width)
        yield vector("mixer.k_norm.weight", "self_attn.k_norm.weight", "attn_k_norm.weight", shape.head_width)
    if shape.sub_norms:
        yield vector("mixer.sub_norm.weight", "self_attn.attn_sub_norm.weight", "attn_sub_norm.weight", queries)
        yield vector("ffn.sub_norm.weight", "mlp.ffn_sub_norm.weight", "ffn_sub_norm.weight", shape.inner)
