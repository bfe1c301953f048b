"""What the parameters of models with short convolutions are called in the files of others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from chimerac.frontends.published.parameter import Parameter, Stored

#: Parts of names in folders of Llama → what they are here.
_FOLDER: Final[Mapping[str, str]] = {
    "self_attn.o_proj": "self_attn.out_proj",
    "self_attn.q_norm": "self_attn.q_layernorm",
    "self_attn.k_norm": "self_attn.k_layernorm",
    "mlp.gate_proj": "feed_forward.w1",
    "mlp.up_proj": "feed_forward.w3",
    "mlp.down_proj": "feed_forward.w2",
    "input_layernorm": "operator_norm",
    "post_attention_layernorm": "ffn_norm",
    "model.norm": "model.embedding_norm",
}
_LAST_NORM: Final = "output_norm.weight", "token_embd_norm.weight"  #: of Llama's GGUF files, and here


def renamed(parameter: Parameter) -> Parameter:
    """A parameter that Llama has, too, by the names that it has here."""
    folder, gguf = parameter.folder.name, parameter.gguf.name
    for theirs, ours in _FOLDER.items():
        folder = folder.replace(f"{theirs}.", f"{ours}.")
    gguf = _LAST_NORM[1] if gguf == _LAST_NORM[0] else gguf
    return replace(parameter, folder=replace(parameter.folder, name=folder), gguf=replace(parameter.gguf, name=gguf))


def conv_parameters(hidden: int, taps: int, mine: str, folder: str, gguf: str) -> Iterator[Parameter]:
    """Those of one layer's convolution.

    Args:
        hidden: channels between layers.
        mine, folder, gguf: what its names begin with in the module, in folders, and in GGUF files.
    """
    for name, theirs, rows in (("in_proj", "in_proj", 3 * hidden), ("o_proj", "out_proj", hidden)):
        stored = Stored(f"{folder}conv.{theirs}.weight"), Stored(f"{gguf}shortconv.{theirs}.weight")
        yield Parameter(f"{mine}{name}.weight", *stored, (rows, hidden), "matrix")
    stored = Stored(f"{folder}conv.conv.weight", shape=(hidden, 1, taps)), Stored(f"{gguf}shortconv.conv.weight")
    yield Parameter(f"{mine}conv", *stored, (hidden, taps), "vector")
