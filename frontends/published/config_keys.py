"""The config.json of a Llama-like model as a shape; keys that are not known are refused, for they may mean anything."""

# ruff: noqa: RUF009  (key() makes a dataclasses.field)

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from chimerac.compiler.errors import Span, UserError
from chimerac.frontends.config.fields import fields_of, key
from chimerac.frontends.config.reader import Reader, nearest_place
from chimerac.frontends.config.tree import Object
from chimerac.frontends.published.delta_keys import ATTENTION, DELTA, DeltaKeys, delta_layers
from chimerac.frontends.published.expert_keys import ExpertKeys, expert_layers
from chimerac.frontends.published.kinds import KINDS, PARTICULAR, Kind
from chimerac.frontends.published.mlstm_keys import XLSTM, shape_of_xlstm
from chimerac.frontends.published.rotary import Linear, Llama3, Rotary, Scaling, Yarn, yarn_attention
from chimerac.frontends.published.rotary_keys import RotaryKeys
from chimerac.frontends.published.rwkv_keys import RWKV7, shape_of_rwkv7
from chimerac.frontends.published.shape import Activation, DeltaShape, ExpertShape, LlamaShape
from chimerac.frontends.published.short_conv_keys import CONV, ConvKeys, conv_layers
from chimerac.frontends.published.ssm_keys import MAMBA2, shape_of_mamba2
from chimerac.frontends.published.text_part import WHOLES, TextPart
from chimerac.frontends.published.unknown_keys import SILENT, refuse_unknown
from chimerac.frontends.sources.recognised import CONFIG


@dataclass(frozen=True, kw_only=True)
class LlamaKeys(DeltaKeys, ExpertKeys, ConvKeys):
    """What Llama-like configs say; a default that differs between them is None here."""

    vocab_size: int = key("Rows of the embedding.", minimum=1, maximum=1 << 24)
    hidden_size: int = key("Channels between layers.", minimum=2, maximum=1 << 20)
    intermediate_size: int | None = key("Channels of the gated network.", default=None, minimum=1, maximum=1 << 22)
    num_hidden_layers: int = key("Layers.", minimum=1, maximum=1 << 12)
    num_attention_heads: int = key("Heads of queries.", minimum=1, maximum=1 << 14)
    num_key_value_heads: int | None = key("Heads of keys and values.", default=None, minimum=1, maximum=1 << 14)
    head_dim: int | None = key("Channels of a head.", default=None, minimum=2, maximum=1 << 12)
    hidden_act: str | None = key("What the gate goes through.", default=None)
    max_position_embeddings: int = key("Positions the model was made for.", default=2048, minimum=1, maximum=1 << 30)
    rms_norm_eps: float | None = key("Epsilon of all norms.", default=None, above=0, maximum=1)
    tie_word_embeddings: bool | None = key("Whether the embedding is the head.", default=None)
    attention_bias: bool | None = key("Whether projections of attention add a bias.", default=None)
    mlp_bias: bool = key("Whether the gated network's do.", default=False)
    rope_theta: float | None = key("Base of the frequencies.", default=None, above=1)
    rope_scaling: RotaryKeys | None = key("How positions are scaled.", default=None)
    rope_parameters: RotaryKeys | None = key("Base and scaling.", default=None)
    rope_interleaved: bool = key("Pairs are the two halves of a head.", default=False, only=False)
    is_encoder_decoder: bool = key("The model is a decoder.", default=False, only=False)
    use_sliding_window: bool | None = key("Whether some layers see a window only.", default=None)
    sliding_window: int | None = key("Positions of the window.", default=None, minimum=1)
    layer_types: tuple[str, ...] | None = key("What each layer is.", default=None)
    no_rope_layers: tuple[int, ...] | None = key("0 for layers whose heads do not turn.", default=None)
    no_rope_layer_interval: int | None = key("Every so many layers one does not turn.", default=None, minimum=2)


_COMMON: Final = frozenset(item.name for item in fields_of(LlamaKeys)) - PARTICULAR
PARTIAL: Final = 0.25  #: of a head turns, in kinds where a part does and nothing says how much
#: Kinds without attention, which share no key with the others.
_OTHERS: Final[Mapping[str, Callable[[TextPart], LlamaShape]]] = {
    MAMBA2: shape_of_mamba2,
    XLSTM: shape_of_xlstm,
    RWKV7: shape_of_rwkv7,
}
ACTIVATIONS: Mapping[str, Activation] = {"silu": "silu", "swish": "silu", "relu2": "relu2"}


def shape_of_config(part: TextPart, *, product_norms: float | None = None) -> LlamaShape:
    """The shape that a folder's config.json describes.

    Args:
        product_norms: epsilon of norms in projections, where its ``quantization_config`` has them.

    Raises:
        UserError: CHM234, a ``model_type`` or a key that is not known, or a value that is not supported; CHM111 to
            CHM113, keys that are missing, of another type or out of range; CHM235, sizes that contradict each other.
    """
    name = part.model_type
    if name in _OTHERS:
        return _OTHERS[name](part)
    if name not in KINDS:
        node = part.config.get("model_type")
        message = f"models of the type {name[:80]!r} are not supported"
        hint = f"supported are {', '.join([*KINDS, *WHOLES, *_OTHERS])}"
        raise UserError("CHM234", message, span=node.span if node else None, hint=hint)
    return _Reading(name, KINDS[name], part.config).shape(part.config, product_norms)


class _Reading:
    """One config.json being read."""

    def __init__(self, name: str, kind: Kind, tree: Object) -> None:
        self.name, self.kind = name, kind
        refuse_unknown(tree, SILENT | _COMMON | kind.keys, name)
        reader = Reader()
        self.keys: LlamaKeys = reader.read(LlamaKeys, tree.without(*SILENT))
        self.places = reader.places

    def shape(self, tree: Object, product_norms: float | None) -> LlamaShape:
        keys, kind = self.keys, self.kind
        heads = keys.num_attention_heads
        pairs = heads if keys.num_key_value_heads is None else keys.num_key_value_heads
        if heads % pairs:
            raise self._contradiction("num_key_value_heads", f"{heads} heads do not share {pairs} keys equally")
        if keys.head_dim is None and keys.hidden_size % heads:
            raise self._contradiction("hidden_size", f"{keys.hidden_size} channels do not make {heads} heads")
        if kind.delta is not None:
            self._need(keys.head_dim, "head_dim")
        width = keys.head_dim or keys.hidden_size // heads
        if width % 2:
            raise self._contradiction("head_dim", f"heads of {width} channels have no pairs")
        if kind.sub_norms and heads * width != keys.hidden_size:
            raise self._contradiction("head_dim", f"{heads} heads of {width} are not {keys.hidden_size} channels")
        rotary, bias, delta = self._rotary(), bool(keys.attention_bias), self._delta()
        experts = self._experts()
        with_experts = () if experts is None else expert_layers(keys, keys.num_hidden_layers)
        if len(with_experts) < keys.num_hidden_layers and keys.block_ff_dim is None:
            self._need(keys.intermediate_size, "intermediate_size")
        return LlamaShape(
            architecture=self.name,
            vocabulary=keys.vocab_size,
            hidden=keys.hidden_size,
            inner=self._inner(),
            heads=heads,
            kv_heads=pairs,
            head_width=width,
            epsilon=self._same("norm_eps", {keys.rms_norm_eps, keys.norm_eps}, kind.epsilon),
            context=self._context(tree),
            rotary=rotary,
            rotated=self._rotated(),
            activation=self._activation(),
            qkv_bias=kind.fixed_bias or bias,
            out_bias=bias and not kind.fixed_bias,
            inner_bias=keys.mlp_bias,
            head_norms=kind.head_norms,
            centred_norms=kind.delta is not None,
            output_gate=kind.delta is not None,
            rotary_width=self._rotary_width(width),
            delta=delta,
            delta_layers=() if delta is None else delta_layers(keys, keys.layer_types, keys.num_hidden_layers),
            conv_taps=int(self._need(keys.conv_L_cache, "conv_L_cache")) if kind.conv else 0,
            conv_layers=conv_layers(keys, keys.layer_types, keys.num_hidden_layers) if kind.conv else (),
            experts=experts if with_experts else None,
            expert_layers=with_experts,
            sub_norms=kind.sub_norms,
            product_norms=product_norms,
            tied=self._tied(),
        )

    def _same(self, path: str, said: set[float | None], default: float) -> float:
        """A number that may be said under several names."""
        values = said - {None}
        if len(values) > 1:
            raise self._contradiction(path, "it is there twice, with different values")
        return next((value for value in values if value is not None), default)

    def _inner(self) -> int:
        given = self.keys.intermediate_size or 0
        return self.keys.inner(given) if self.kind.conv else given

    def _tied(self) -> bool:
        said = self.keys.tie_word_embeddings if self.keys.tie_embedding is None else self.keys.tie_embedding
        return self.kind.tied if said is None else said

    def _activation(self) -> Activation:
        given = self.keys.hidden_act or self.kind.activation
        if given not in ACTIVATIONS:
            raise self._unsupported("hidden_act", f"the activation {given[:80]!r}", f"one of {', '.join(ACTIVATIONS)}")
        return ACTIVATIONS[given]

    def _context(self, tree: Object) -> int:
        """Positions up to which every layer sees all tokens before: those of the model, or of its window."""
        keys = self.keys
        for number, kind in enumerate(keys.layer_types or ()):
            other = DELTA if self.kind.delta is not None else CONV if self.kind.conv else "sliding_attention"
            if kind not in (ATTENTION, other):
                raise self._unsupported(f"layer_types.{number}", f"a layer of the type {kind[:80]!r}")
        if keys.layer_types is not None and len(keys.layer_types) != keys.num_hidden_layers:
            raise self._contradiction(
                "layer_types", f"it has {len(keys.layer_types)} of {keys.num_hidden_layers} layers"
            )
        window = keys.sliding_window if "sliding_window" in tree.entries else self.kind.window
        if window is None or keys.use_sliding_window is False:
            return keys.max_position_embeddings
        return min(window, keys.max_position_embeddings)

    def _rotated(self) -> tuple[bool, ...]:
        layers, given = self.keys.num_hidden_layers, self.keys.no_rope_layers
        if given is not None:
            if len(given) != layers:
                raise self._contradiction("no_rope_layers", f"it has {len(given)} of {layers} layers")
            return tuple(bool(turns) for turns in given)
        every = self.keys.no_rope_layer_interval or self.kind.unrotated_every
        return tuple(not every or (layer + 1) % every != 0 for layer in range(layers))

    def _rotary(self) -> Rotary:
        keys = self.keys
        path = "rope_scaling" if keys.rope_parameters is None else "rope_parameters"
        given = (keys.rope_scaling if keys.rope_parameters is None else keys.rope_parameters) or RotaryKeys()
        theta = self._same("rope_theta", {given.rope_theta, keys.rope_theta, keys.theta}, self.kind.theta)
        if given.type is not None and given.rope_type is not None and given.type != given.rope_type:
            raise self._contradiction(path, f"it is of the type {given.type!r} and {given.rope_type!r}")
        return Rotary(theta, self._scaling(given, path))

    def _rotary_width(self, width: int) -> int | None:
        """Channels of a head that turn; None for all."""
        given = self.keys.rope_parameters or self.keys.rope_scaling or RotaryKeys()
        said = [s for s in (given.partial_rotary_factor, self.keys.partial_rotary_factor) if s is not None]
        if len(set(said)) > 1:
            raise self._contradiction("partial_rotary_factor", "it is there twice, with different values")
        if self.kind.delta is None:
            if said and said[0] != 1:
                path = "rope_parameters.partial_rotary_factor"
                raise self._unsupported(path, f"a partial_rotary_factor of {said[0]:g}", "all channels of a head turn")
            return None
        turning = int(width * (said[0] if said else PARTIAL))
        if turning < 2 or turning % 2:
            raise self._contradiction("partial_rotary_factor", f"{turning} channels of {width} make no pairs")
        return turning

    def _delta(self) -> DeltaShape | None:
        keys, form = self.keys, self.kind.delta
        if form is None:
            return None
        pairs, values, width, value_width, taps = (
            int(self._need(getattr(keys, f"linear_{name}"), f"linear_{name}"))
            for name in ("num_key_heads", "num_value_heads", "key_head_dim", "value_head_dim", "conv_kernel_dim")
        )
        if values % pairs:
            message = f"{values} heads of values do not share {pairs} of keys equally"
            raise self._contradiction("linear_num_value_heads", message)
        if self._activation() != "silu":
            raise self._unsupported("hidden_act", "another activation than silu")
        return DeltaShape(pairs, values, width, value_width, taps, joint=form == "joint")

    def _experts(self) -> ExpertShape | None:
        keys, form = self.keys, self.kind.experts
        said = {count for count in (keys.num_experts, keys.num_local_experts) if count is not None}
        if form is None or said == {0}:
            return None
        if len(said) > 1:
            raise self._contradiction("num_experts", "it is there twice, with different values")
        count = int(self._need(said.pop() if said else None, "num_experts"))
        chosen = int(self._need(keys.num_experts_per_tok, "num_experts_per_tok"))
        if chosen > count:
            raise self._contradiction("num_experts_per_tok", f"a token visits {chosen} of {count} experts")
        if self._activation() != "silu":
            raise self._unsupported("hidden_act", "another activation than silu in experts")
        width = int(self._need(keys.moe_intermediate_size, "moe_intermediate_size"))
        name = "shared_expert_intermediate_size"
        shared = int(self._need(keys.shared_expert_intermediate_size, name)) if form.shared else 0
        normalised = form.normalised if keys.norm_topk_prob is None else keys.norm_topk_prob
        return ExpertShape(count, chosen, width, shared, normalised)

    def _scaling(self, given: RotaryKeys, path: str) -> Scaling | None:
        kind = given.rope_type or given.type or "default"
        if kind == "default":
            return None
        if kind == "linear":
            return Linear(self._need(given.factor, f"{path}.factor"))
        if kind == "llama3":
            low = self._need(given.low_freq_factor, f"{path}.low_freq_factor")
            high = self._need(given.high_freq_factor, f"{path}.high_freq_factor")
            if low >= high:
                raise self._contradiction(path, f"low_freq_factor {low:g} is not below high_freq_factor {high:g}")
            return Llama3(self._need(given.factor, f"{path}.factor"), low, high, self._original(given))
        if kind == "yarn":
            return self._yarn(given, path)
        raise self._unsupported(path, f"positions of the type {kind[:80]!r}", "default, linear, llama3 or yarn")

    def _original(self, given: RotaryKeys) -> float:
        return given.original_max_position_embeddings or float(self.keys.max_position_embeddings)

    def _yarn(self, given: RotaryKeys, path: str) -> Yarn:
        factor = self._need(given.factor, f"{path}.factor")
        attention = given.attention_factor
        if attention is None and given.mscale and given.mscale_all_dim:
            attention = yarn_attention(factor, given.mscale) / yarn_attention(factor, given.mscale_all_dim)
        return Yarn(
            factor, self._original(given), given.beta_fast or 32.0, given.beta_slow or 1.0, attention, given.truncate
        )

    def _need(self, value: float | None, path: str) -> float:
        """A number that must be there."""
        if value is None:
            raise UserError("CHM111", f"the key {path!r} is missing", span=self._place(path))
        return value

    def _place(self, path: str) -> Span | None:
        return nearest_place(self.places, path)

    def _unsupported(self, path: str, what: str, hint: str | None = None) -> UserError:
        return UserError("CHM234", f"{what} is not supported", span=self._place(path), hint=hint)

    def _contradiction(self, path: str, what: str) -> UserError:
        return UserError("CHM235", f"{CONFIG} contradicts itself: {what}", span=self._place(path))
