"""The config.json of a Mamba-2 as a shape; keys that are not known are refused, for they may mean anything."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from chimerac.compiler.errors import Span, UserError
from chimerac.frontends.config.fields import fields_of, key
from chimerac.frontends.config.reader import Reader
from chimerac.frontends.config.tree import Array, Node, Object, Scalar
from chimerac.frontends.published.rotary import Rotary
from chimerac.frontends.published.shape import LlamaShape, SsmShape
from chimerac.frontends.published.text_part import TextPart
from chimerac.frontends.published.unknown_keys import SILENT, refuse_unknown

MAMBA2: Final = "mamba2"  #: ``model_type`` of a config, and ``general.architecture`` of a GGUF file
LIMIT: Final = "time_step_limit"
ENDLESS: Final = 1 << 30  #: tokens of a text that only ends because positions are 32 bits
#: Keys of how the first values are drawn, of how training cuts a text, and of what transformers does not read.
_SILENT: Final = SILENT | frozenset(
    {
        "chunk_size",
        "norm_before_gate",
        "rescale_prenorm_residual",
        "residual_in_fp32",
        "time_step_floor",
        "time_step_init_scheme",
        "time_step_max",
        "time_step_min",
        "time_step_rank",
        "time_step_scale",
    }
)


@dataclass(frozen=True, kw_only=True)
class SsmKeys:
    """What configs of Mamba-2 say; defaults are those of transformers."""

    vocab_size: int = key("Rows of the embedding.", minimum=1, maximum=1 << 24)
    hidden_size: int = key("Channels between layers.", minimum=1, maximum=1 << 20)
    num_hidden_layers: int = key("Layers.", minimum=1, maximum=1 << 12)
    num_heads: int = key("Heads.", minimum=1, maximum=1 << 14)
    head_dim: int = key("Channels of a head.", minimum=1, maximum=1 << 12)
    state_size: int = key("Rows of a head's state.", minimum=1, maximum=1 << 12)
    n_groups: int = key("Groups of heads that share B and C.", default=8, minimum=1, maximum=1 << 14)
    expand: float = key("Channels of all heads, by those between layers.", default=2.0, above=0, maximum=64)
    intermediate_size: int | None = key("Channels of all heads, again.", default=None)
    conv_kernel: int = key("Tokens that the convolution sees.", default=4, minimum=2, maximum=64)
    hidden_act: str = key("What follows the convolution.", default="silu", choices=("silu", "swish"))
    layer_norm_epsilon: float = key("Epsilon of all norms.", default=1e-5, above=0, maximum=1)
    use_bias: bool = key("Whether projections add a bias.", default=False)
    use_conv_bias: bool = key("Whether the convolution does.", default=True)
    rms_norm: bool = key("What heads give is normed.", default=True, only=True)
    tie_word_embeddings: bool = key("Whether the embedding is the head.", default=False)


def shape_of_mamba2(part: TextPart) -> LlamaShape:
    """The shape that a folder's config.json describes; errors as of ``config_keys.shape_of_config``."""
    tree = part.config
    refuse_unknown(tree, _SILENT | {LIMIT} | {item.name for item in fields_of(SsmKeys)}, MAMBA2)
    reader = Reader()
    keys: SsmKeys = reader.read(SsmKeys, tree.without(*_SILENT, LIMIT))
    inner = keys.num_heads * keys.head_dim
    if keys.expand * keys.hidden_size != inner or keys.intermediate_size not in (None, inner):
        said = keys.expand * keys.hidden_size if keys.intermediate_size in (None, inner) else keys.intermediate_size
        message = f"{keys.num_heads} heads of {keys.head_dim} channels are not {said:g}"
        raise _contradiction(message, reader.places.get("num_heads"))
    if keys.num_heads % keys.n_groups:
        message = f"{keys.num_heads} heads do not make {keys.n_groups} groups"
        raise _contradiction(message, reader.places.get("n_groups", tree.span))
    least, most = _limits(tree)
    ssm = SsmShape(
        heads=keys.num_heads,
        width=keys.head_dim,
        groups=keys.n_groups,
        state=keys.state_size,
        taps=keys.conv_kernel,
        bias=keys.use_bias,
        conv_bias=keys.use_conv_bias,
        least=least,
        most=most,
    )
    sizes = keys.vocab_size, keys.hidden_size, keys.num_hidden_layers
    return shape_with_states(ssm, *sizes, epsilon=keys.layer_norm_epsilon, tied=keys.tie_word_embeddings)


def shape_with_states(
    ssm: SsmShape, vocabulary: int, hidden: int, layers: int, *, epsilon: float, tied: bool
) -> LlamaShape:
    """That of a model all of whose layers are such state spaces."""
    return LlamaShape(
        architecture=MAMBA2,
        vocabulary=vocabulary,
        hidden=hidden,
        inner=0,
        heads=0,
        kv_heads=0,
        head_width=0,
        epsilon=epsilon,
        context=ENDLESS,
        rotary=Rotary(10_000.0),
        rotated=(False,) * layers,
        ssm=ssm,
        tied=tied,
    )


def _limits(tree: Object) -> tuple[float | None, float | None]:
    """Bounds of a step; a lower one of 0 and an upper one of infinity are none."""
    node = tree.get(LIMIT)
    if node is None or (isinstance(node, Scalar) and node.value is None):
        return None, None
    bounds = [_number(item) for item in node.items] if isinstance(node, Array) else []
    if len(bounds) != 2 or any(bound is None or math.isnan(bound) for bound in bounds):
        raise UserError("CHM112", f"{LIMIT!r} must be two numbers, the least and the most", span=node.span)
    least, most = bounds
    assert least is not None
    assert most is not None
    if not 0 <= least < most:
        raise _contradiction(f"steps of at least {least:g} and at most {most:g}", node.span)
    return least or None, None if math.isinf(most) else most


def _number(node: Node) -> float | None:
    """A number, or infinity in the way of transformers: ``{"__float__": "Infinity"}``."""
    if isinstance(node, Object):
        inner = node.get("__float__")
        infinite = isinstance(inner, Scalar) and inner.value == "Infinity" and len(node.entries) == 1
        return math.inf if infinite else None
    if isinstance(node, Scalar) and type(node.value) in (int, float):
        assert isinstance(node.value, (int, float))
        return float(node.value)
    return None


def _contradiction(what: str, span: Span | None) -> UserError:
    return UserError("CHM235", f"config.json contradicts itself: {what}", span=span)
