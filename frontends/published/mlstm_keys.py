"""The config.json of an xLSTM as a shape; keys that are not known are refused, for they may mean anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from chimerac.compiler.errors import UserError
from chimerac.frontends.config.fields import fields_of, key
from chimerac.frontends.config.reader import Reader
from chimerac.frontends.published.rotary import Rotary
from chimerac.frontends.published.shape import LlamaShape, MlstmShape
from chimerac.frontends.published.ssm_keys import ENDLESS
from chimerac.frontends.published.text_part import TextPart
from chimerac.frontends.published.unknown_keys import SILENT, refuse_unknown

XLSTM: Final = "xlstm"  #: ``model_type``
#: Keys of how transformers computes the same.
_SILENT: Final = SILENT | frozenset(
    {
        "autocast_kernel_dtype",
        "chunk_size",
        "chunkwise_kernel",
        "inference_state_dtype",
        "max_inference_chunksize",
        "mode",
        "norm_reduction_force_float32",
        "return_last_states",
        "sequence_kernel",
        "step_kernel",
    }
)


@dataclass(frozen=True, kw_only=True)
class MlstmKeys:
    """What configs of xLSTM say; defaults are those of transformers."""

    vocab_size: int = key("Rows of the embedding.", minimum=1, maximum=1 << 24)
    hidden_size: int | None = key("Channels between layers.", default=None, minimum=1, maximum=1 << 20)
    embedding_dim: int | None = key("The same.", default=None, minimum=1, maximum=1 << 20)
    num_hidden_layers: int | None = key("Layers.", default=None, minimum=1, maximum=1 << 12)
    num_blocks: int | None = key("The same.", default=None, minimum=1, maximum=1 << 12)
    num_heads: int = key("Heads.", default=8, minimum=1, maximum=1 << 14)
    qk_dim_factor: float = key("Rows of all heads, by the channels.", default=0.5, above=0, maximum=64)
    v_dim_factor: float = key("Columns of all heads, by the channels.", default=1.0, above=0, maximum=64)
    ffn_proj_factor: float = key(
        "Channels of the network, by those between layers.", default=2.667, above=0, maximum=64
    )
    ffn_round_up_to_multiple_of: int = key("What they are a multiple of.", default=64, minimum=1, maximum=1 << 16)
    gate_soft_cap: float = key("Of the gates.", default=15.0, above=0, maximum=1e4)
    output_logit_soft_cap: float = key("Of the logits.", default=30.0, above=0, maximum=1e6)
    norm_eps: float = key("Epsilon of norms.", default=1e-6, above=0, maximum=1)
    eps: float = key("Added to what heads are divided by; left out.", default=1e-6, minimum=0, maximum=1e-6)
    use_bias: bool = key("Projections and norms have no biases.", default=False, only=False)
    add_out_norm: bool = key("There is a norm before the head.", default=True, only=True)
    weight_mode: str = key("Each projection is a tensor.", default="single", choices=("single",))
    tie_word_embeddings: bool = key("Whether the embedding is the head.", default=False)


def shape_of_xlstm(part: TextPart) -> LlamaShape:
    """The shape that a folder's config.json describes; errors as of ``config_keys.shape_of_config``."""
    refuse_unknown(part.config, _SILENT | {item.name for item in fields_of(MlstmKeys)}, XLSTM)
    reader = Reader()
    keys: MlstmKeys = reader.read(MlstmKeys, part.config.without(*_SILENT))
    hidden = _one(part, "hidden_size", keys.hidden_size, keys.embedding_dim)
    layers = _one(part, "num_hidden_layers", keys.num_hidden_layers, keys.num_blocks)
    rows, columns = (int(hidden * factor) for factor in (keys.qk_dim_factor, keys.v_dim_factor))
    if rows % keys.num_heads or columns % keys.num_heads or not rows or not columns:
        message = (
            f"config.json contradicts itself: {rows} rows and {columns} columns do not make {keys.num_heads} heads"
        )
        raise UserError("CHM235", message, span=reader.places.get("num_heads", part.config.span))
    step = keys.ffn_round_up_to_multiple_of
    return LlamaShape(
        architecture=XLSTM,
        vocabulary=keys.vocab_size,
        hidden=hidden,
        inner=int((hidden * keys.ffn_proj_factor + step - 1) // step * step),
        heads=0,
        kv_heads=0,
        head_width=0,
        epsilon=keys.norm_eps,
        context=ENDLESS,
        rotary=Rotary(10_000.0),
        rotated=(False,) * layers,
        mlstm=MlstmShape(keys.num_heads, rows // keys.num_heads, columns // keys.num_heads, keys.gate_soft_cap),
        logit_cap=keys.output_logit_soft_cap,
        tied=keys.tie_word_embeddings,
    )


def _one(part: TextPart, name: str, *said: int | None) -> int:
    """A size that has two names."""
    values = {value for value in said if value is not None}
    if len(values) > 1:
        message = f"config.json contradicts itself: {name} is there twice, with different values"
        raise UserError("CHM235", message, span=part.config.entries[name].span)
    if not values:
        raise UserError("CHM111", f"the key {name!r} is missing", span=part.config.span)
    return values.pop()
