"""What the parameters of xLSTM are called in folders; no GGUF file has them."""

from __future__ import annotations

from collections.abc import Iterator

from chimerac.frontends.published.parameter import Parameter, Stored, Use
from chimerac.frontends.published.shape import LlamaShape, MlstmShape

_NOWHERE = Stored("")  #: in GGUF files


def mlstm_model(shape: LlamaShape, lstm: MlstmShape) -> Iterator[Parameter]:
    """All parameters of a model whose layers are matrix LSTMs, in the order of its layers."""
    table = (shape.vocabulary, shape.hidden)
    also = ("head.weight", "lm_head.weight") if shape.tied else ()
    yield _of("embedding.weight", "backbone.embeddings.weight", table, "table", also)
    for layer in range(shape.layers):
        yield from _layer(shape, lstm, f"layers.{layer}.", f"backbone.blocks.{layer}.")
    yield _of("norm.weight", "backbone.out_norm.weight", (shape.hidden,), "vector")
    if not shape.tied:
        yield _of("head.weight", "lm_head.weight", table, "matrix")


def _layer(shape: LlamaShape, lstm: MlstmShape, mine: str, folder: str) -> Iterator[Parameter]:
    hidden, keys, values = shape.hidden, lstm.heads * lstm.key_width, lstm.heads * lstm.value_width
    yield _of(f"{mine}mixer_norm.weight", f"{folder}norm_mlstm.weight", (hidden,), "vector")
    yield _of(f"{mine}ffn_norm.weight", f"{folder}norm_ffn.weight", (hidden,), "vector")
    matrices: dict[str, tuple[str, tuple[int, int], Use]] = {
        "mixer.q_proj": ("mlstm_layer.q", (keys, hidden), "matrix"),
        "mixer.k_proj": ("mlstm_layer.k", (keys, hidden), "matrix"),
        "mixer.v_proj": ("mlstm_layer.v", (values, hidden), "matrix"),
        "mixer.z_proj": ("mlstm_layer.ogate_preact", (values, hidden), "matrix"),
        "mixer.i_proj": ("mlstm_layer.igate_preact", (lstm.heads, hidden), "gate"),
        "mixer.f_proj": ("mlstm_layer.fgate_preact", (lstm.heads, hidden), "gate"),
        "mixer.o_proj": ("mlstm_layer.out_proj", (hidden, values), "matrix"),
        "ffn.gate_proj": ("ffn.proj_up_gate", (shape.inner, hidden), "matrix"),
        "ffn.up_proj": ("ffn.proj_up", (shape.inner, hidden), "matrix"),
        "ffn.down_proj": ("ffn.proj_down", (hidden, shape.inner), "matrix"),
    }
    for name, (theirs, size, use) in matrices.items():
        yield _of(f"{mine}{name}.weight", f"{folder}{theirs}.weight", size, use)
        if use == "gate":
            yield _of(f"{mine}{name}.bias", f"{folder}{theirs}.bias", (lstm.heads,), "vector")
    yield _of(f"{mine}mixer.norm", f"{folder}mlstm_layer.multihead_norm.weight", (values,), "vector")


def _of(name: str, folder: str, size: tuple[int, ...], use: Use, also: tuple[str, ...] = ()) -> Parameter:
    return Parameter(name, Stored(folder), _NOWHERE, size, use, also=also)
