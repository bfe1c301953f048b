"""The config.json of an RWKV-7 as flash-linear-attention writes it, as a shape; keys that are not known are refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from chimerac.compiler.errors import UserError
from chimerac.frontends.config.fields import fields_of, key
from chimerac.frontends.config.reader import Reader
from chimerac.frontends.config.tree import Array, Node, Object, Scalar
from chimerac.frontends.published.rotary import Rotary
from chimerac.frontends.published.shape import LlamaShape, RwkvShape
from chimerac.frontends.published.ssm_keys import ENDLESS
from chimerac.frontends.published.text_part import TextPart
from chimerac.frontends.published.unknown_keys import SILENT, refuse_unknown

RWKV7: Final = "rwkv7"  #: ``model_type`` of a config, and ``general.architecture`` of a GGUF file
_ATTENTION, _VALUES = "attn", "value_dim"
#: Keys of how the same is computed and trained, and a length that bounds nothing.
_SILENT: Final = SILENT | frozenset(
    {
        "attn_mode",
        "fuse_cross_entropy",
        "fuse_linear_cross_entropy",
        "fuse_norm",
        "max_position_embeddings",
        "use_l2warp",
    }
)


@dataclass(frozen=True, kw_only=True)
class RwkvKeys:
    """What configs of RWKV-7 say; defaults are those of flash-linear-attention."""

    vocab_size: int = key("Rows of the embedding.", default=32_000, minimum=1, maximum=1 << 24)
    hidden_size: int = key("Channels between layers.", default=2048, minimum=1, maximum=1 << 20)
    num_hidden_layers: int = key("Layers.", default=24, minimum=1, maximum=1 << 12)
    head_dim: int = key("Channels of a head.", default=64, minimum=1, maximum=1 << 12)
    num_heads: int | None = key("Heads, which follow from their channels.", default=None)
    hidden_ratio: float | None = key("Channels of the network, by those between.", default=None, above=0, maximum=64)
    intermediate_size: int | None = key("Channels of the network.", default=None, minimum=1, maximum=1 << 22)
    decay_low_rank_dim: int = key("Rank of decays.", default=64, minimum=1, maximum=1 << 14)
    a_low_rank_dim: int = key("Rank of rates.", default=64, minimum=1, maximum=1 << 14)
    v_low_rank_dim: int = key("Rank of how values are mixed.", default=16, minimum=1, maximum=1 << 14)
    gate_low_rank_dim: int = key("Rank of gates.", default=128, minimum=1, maximum=1 << 14)
    hidden_act: str = key("What is within the network.", default="sqrelu", choices=("sqrelu",))
    norm_first: bool = key("The embedding is normed.", default=True, only=True)
    norm_bias: bool = key("Norms have biases.", default=True, only=True)
    norm_eps: float = key("Epsilon of layer norms; of heads by their channels.", default=1e-5, above=0, maximum=1)
    tie_word_embeddings: bool = key("Whether the embedding is the head.", default=False)


def shape_of_rwkv7(part: TextPart) -> LlamaShape:
    """The shape that a folder's config.json describes; errors as of ``config_keys.shape_of_config``."""
    tree = part.config
    known = _SILENT | {_ATTENTION, _VALUES} | {item.name for item in fields_of(RwkvKeys)}
    refuse_unknown(tree, known, RWKV7)
    reader = Reader()
    keys: RwkvKeys = reader.read(RwkvKeys, tree.without(*_SILENT, _ATTENTION, _VALUES))
    hidden, width = keys.hidden_size, keys.head_dim
    if hidden % width or keys.num_heads not in (None, hidden // width):
        heads = "" if keys.num_heads is None else f"{keys.num_heads} "
        message = f"config.json contradicts itself: {hidden} channels are not {heads}heads of {width}"
        raise UserError("CHM235", message, span=reader.places.get("head_dim", tree.span))
    _refuse_others(tree, hidden)
    inner = keys.intermediate_size
    if inner is None:
        inner = -(-int(hidden * (keys.hidden_ratio or 4)) // 32) * 32
    rwkv = RwkvShape(
        heads=hidden // width,
        width=width,
        epsilon=width * keys.norm_eps,
        decay_rank=keys.decay_low_rank_dim,
        rate_rank=keys.a_low_rank_dim,
        value_rank=keys.v_low_rank_dim,
        gate_rank=keys.gate_low_rank_dim,
    )
    sizes = keys.vocab_size, hidden, inner, keys.num_hidden_layers
    return shape_of_rwkv(rwkv, *sizes, epsilon=keys.norm_eps, tied=keys.tie_word_embeddings)


def shape_of_rwkv(
    rwkv: RwkvShape, vocabulary: int, hidden: int, inner: int, layers: int, *, epsilon: float, tied: bool
) -> LlamaShape:
    """That of a model of such layers."""
    return LlamaShape(
        architecture=RWKV7,
        vocabulary=vocabulary,
        hidden=hidden,
        inner=inner,
        heads=0,
        kv_heads=0,
        head_width=0,
        epsilon=epsilon,
        context=ENDLESS,
        rotary=Rotary(10_000.0),
        rotated=(False,) * layers,
        rwkv=rwkv,
        tied=tied,
    )


def _refuse_others(tree: Object, hidden: int) -> None:
    """Raise UserError CHM234 for layers of attention, and for values of more channels than keys."""
    attention, values = tree.get(_ATTENTION), tree.get(_VALUES)
    if not _is(attention, None):
        message = "layers of attention beside those of RWKV-7 are not supported"
        raise UserError("CHM234", message, span=attention.span if attention else None)
    each = values.items if isinstance(values, Array) else (values,)
    if not _is(values, None) and not all(_is(item, hidden) for item in each):
        message = f"{_VALUES!r} other than the {hidden} channels between layers is not supported"
        raise UserError("CHM234", message, span=values.span if values else None)


def _is(node: Node | None, value: int | None) -> bool:
    """Whether this is said, or for None nothing is."""
    return node is None if value is None and node is None else isinstance(node, Scalar) and node.value == value
