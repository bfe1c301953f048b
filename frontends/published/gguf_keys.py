"""The metadata of a GGUF file of a Llama-like model as a shape; keys that are not known are refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from chimerac.compiler.errors import UserError
from chimerac.frontends.published.delta_keys import INTERVAL
from chimerac.frontends.published.gguf_numbers import HEAD, Numbers
from chimerac.frontends.published.kinds import KINDS, Kind
from chimerac.frontends.published.rotary import Factors, Linear, Rotary, Scaling, Yarn
from chimerac.frontends.published.rotation import PREFIX, rotation_of
from chimerac.frontends.published.rwkv_gguf import shape_of_rwkv7
from chimerac.frontends.published.rwkv_keys import RWKV7
from chimerac.frontends.published.shape import DeltaShape, ExpertShape, LlamaShape
from chimerac.frontends.published.ssm_gguf import shape_of_mamba2
from chimerac.frontends.published.ssm_keys import MAMBA2
from chimerac.frontends.sources.gguf import GgufFile

ROTARY_FACTORS: Final = "rope_freqs.weight"
MOST_HEADS: Final = 1 << 14  #: of gated delta rules


@dataclass(frozen=True)
class Architecture:
    """What ``general.architecture`` means.

    Attributes:
        interleaved: the rows of queries and keys have the halves of each head interleaved.
        scales: matrices of layers may have a number each that their products are multiplied with.
    """

    kind: Kind
    interleaved: bool = False
    scales: bool = False


#: BitNet as it was at first: llama.cpp calls the model of 3 billion weights so, which has another gate than that of 2.
_FIRST_BITNET: Final = replace(KINDS["bitnet"], activation="silu")
#: "llama" are also mistral, SmolLM2 and others whose converter calls them so.
ARCHITECTURES: Final[Mapping[str, Architecture]] = {
    "llama": Architecture(KINDS["llama"], interleaved=True),
    "qwen2": Architecture(KINDS["qwen2"]),
    "qwen3": Architecture(KINDS["qwen3"]),
    "smollm3": Architecture(KINDS["smollm3"], interleaved=True),
    "bitnet": Architecture(_FIRST_BITNET, scales=True),
    "bitnet-b1.58": Architecture(KINDS["bitnet"]),
    "lfm2": Architecture(KINDS["lfm2"]),
    "qwen3moe": Architecture(KINDS["qwen3_moe"]),
    "qwen3next": Architecture(KINDS["qwen3_next"]),
    "qwen35": Architecture(KINDS["qwen3_5_text"]),
    "qwen35moe": Architecture(KINDS["qwen3_5_moe_text"]),
    MAMBA2: Architecture(Kind()),
    RWKV7: Architecture(Kind()),
}
_KEYS: Final = frozenset(
    """
    vocab_size context_length embedding_length block_count feed_forward_length attention.head_count
    attention.head_count_kv attention.key_length attention.value_length attention.layer_norm_rms_epsilon
    attention.sliding_window rope.dimension_count rope.freq_base rope.scaling.type rope.scaling.factor
    rope.scaling.original_context_length rope.scaling.attn_factor rope.scaling.finetuned
    rope.scaling.yarn_beta_fast rope.scaling.yarn_beta_slow
    """.split()  # noqa: SIM905  (a list of so many words is read more easily so)
)
#: Those of gated delta rules. ``rope.dimension_sections`` are of places in pictures, which in texts are all the same.
_DELTA_KEYS: Final = frozenset(
    """
    ssm.conv_kernel ssm.state_size ssm.group_count ssm.time_step_rank ssm.inner_size full_attention_interval
    rope.dimension_sections nextn_predict_layers
    """.split()  # noqa: SIM905
)
_EXPERT_KEYS: Final = frozenset(
    """
    expert_count expert_used_count expert_feed_forward_length expert_shared_feed_forward_length
    """.split()  # noqa: SIM905
)
#: Architectures without attention, which share no key with the others.
_OWN: Final[Mapping[str, Callable[[GgufFile], LlamaShape]]] = {MAMBA2: shape_of_mamba2, RWKV7: shape_of_rwkv7}
_LAYER: Final = re.compile(r"blk\.(\d{1,9})\.")


def architecture(file: GgufFile) -> Architecture:
    """The architecture of a file; raises UserError CHM234 if it is not known."""
    name = file.architecture
    if name not in ARCHITECTURES:
        hint = f"supported are {', '.join(ARCHITECTURES)}"
        raise UserError("CHM234", f"{file.path}: models of the architecture {name[:80]!r} are not supported", hint=hint)
    return ARCHITECTURES[name]


def beyond(names: Iterable[str], shape: LlamaShape) -> dict[str, str]:
    """Of names of tensors those of layers behind a hybrid's last one, and what they are."""
    if shape.delta is None:
        return {}
    found = {name: _LAYER.match(name) for name in names}
    what = "what guesses further tokens"
    return {name: what for name, layer in found.items() if layer and int(layer[1]) >= shape.layers}


def shape_of_gguf(file: GgufFile) -> LlamaShape:
    """The shape that a file's metadata describe.

    Raises:
        UserError: CHM234, an architecture or a key that is not known, or a value that is not supported; CHM231, keys
            that are missing or of another type; CHM235, sizes that contradict each other.
    """
    found = architecture(file)
    own = _OWN.get(file.architecture)
    return own(file) if own is not None else _Reading(file, found.kind).shape()


class _Reading(Numbers):
    """One file being read."""

    def __init__(self, file: GgufFile, kind: Kind) -> None:
        super().__init__(file)
        self.kind, self.rotation = kind, rotation_of(file)
        keys = _KEYS | (_DELTA_KEYS if kind.delta else frozenset()) | (_EXPERT_KEYS if kind.experts else frozenset())
        keys |= {"shortconv.l_cache"} if kind.conv else frozenset()
        self.refuse_unknown(keys, (PREFIX,))

    def shape(self) -> LlamaShape:
        hidden, heads = self.size("embedding_length"), self.size("attention.head_count")
        pairs, conv_layers = self._pairs(heads)
        if heads % pairs:
            raise self.contradiction(f"{heads} heads do not share {pairs} keys equally")
        if hidden % heads and f"{self.prefix}attention.key_length" not in self.file.metadata:
            raise self.contradiction(f"{hidden} channels do not make {heads} heads")
        width = self.size("attention.key_length", hidden // heads)
        if width % 2:
            raise self.contradiction(f"heads of {width} channels have no pairs")
        delta, experts = self._delta(), self._experts()
        for key in ("attention.value_length", "rope.dimension_count")[: 2 if delta is None else 1]:
            if self.size(key, width) != width:
                raise self.unsupported(f"{self.prefix}{key} is {self.size(key)}, and heads have {width} channels")
        if self.kind.sub_norms and heads * width != hidden:
            raise self.contradiction(f"{heads} heads of {width} are not {hidden} channels")
        layers, every = self._layers(), self.kind.unrotated_every
        vocabulary = self.vocabulary()
        turning = self.size("rope.dimension_count", width)
        if turning > width or turning % 2:
            raise self.contradiction(f"{turning} channels of heads of {width} cannot turn")
        interval = self.size("full_attention_interval", INTERVAL)
        context = self.size("context_length", most=1 << 30)
        return LlamaShape(
            architecture=self.file.architecture,
            vocabulary=vocabulary,
            hidden=hidden,
            inner=self.size("feed_forward_length") if experts is None else 0,
            heads=heads,
            kv_heads=pairs,
            head_width=width,
            epsilon=self.number("attention.layer_norm_rms_epsilon", low=0.0, high=1.0),
            context=min(context, self.size("attention.sliding_window", context, most=1 << 30)),
            rotary=self._rotary(turning),
            rotated=tuple(not every or (layer + 1) % every != 0 for layer in range(layers)),
            activation=self.kind.activation,
            qkv_bias=self.kind.fixed_bias,
            head_norms=self.kind.head_norms,
            output_gate=delta is not None,
            rotary_width=None if delta is None else turning,
            delta=delta,
            delta_layers=() if delta is None else tuple(i for i in range(layers) if (i + 1) % interval),
            conv_taps=self.size("shortconv.l_cache", most=64) if self.kind.conv else 0,
            conv_layers=conv_layers,
            experts=experts,
            expert_layers=() if experts is None else tuple(range(layers)),
            sub_norms=self.kind.sub_norms,
            tied=HEAD not in self.file.tensors,
        )

    def _pairs(self, heads: int) -> tuple[int, tuple[int, ...]]:
        """Heads of keys of attention, and the layers that have none because they are convolutions."""
        if not self.kind.conv:
            return self.size("attention.head_count_kv", heads), ()
        said = self.file.metadata.need(f"{self.prefix}attention.head_count_kv", np.ndarray)
        if len(said) != self._layers():
            raise self.contradiction(f"attention.head_count_kv has {len(said)} of {self._layers()} layers")
        counts = [int(count) for count in said]
        some = {count for count in counts if count}
        if len(some) > 1 or min(counts) < 0:
            raise self.unsupported(f"{self.prefix}attention.head_count_kv has layers of {sorted(some)[:4]} heads")
        return next(iter(some), heads), tuple(layer for layer, count in enumerate(counts) if not count)

    def _layers(self) -> int:
        """Layers, without those behind them that guess further tokens."""
        layers = self.size("block_count", most=1 << 12)
        guessing = self.value("nextn_predict_layers", int, 0)
        if not 0 <= guessing < layers:
            raise self.contradiction(f"{guessing} of {layers} layers guess further tokens")
        return layers - guessing

    def _delta(self) -> DeltaShape | None:
        form = self.kind.delta
        if form is None:
            return None
        keys, values = (self.size(f"ssm.{key}", most=MOST_HEADS) for key in ("group_count", "time_step_rank"))
        inner = self.size("ssm.inner_size")
        if values % keys or inner % values:
            raise self.contradiction(f"{values} heads of {inner} channels do not share {keys} keys equally")
        taps = self.size("ssm.conv_kernel", most=64)
        if taps < 2:
            raise self.unsupported(f"{self.prefix}ssm.conv_kernel is {taps}")
        width = self.size("ssm.state_size", most=1 << 12)
        tiled, grouped = form == "apart", self.rotation is not None and self.rotation.grouped
        return DeltaShape(keys, values, width, inner // values, taps, form == "joint", tiled, tiled and not grouped)

    def _experts(self) -> ExpertShape | None:
        """llama.cpp lets the weights of a token's experts add up to one in all of these models."""
        form = self.kind.experts
        if form is None:
            return None
        count, chosen = self.size("expert_count", most=1 << 14), self.size("expert_used_count")
        if chosen > count:
            raise self.contradiction(f"a token visits {chosen} of {count} experts")
        shared = self.size("expert_shared_feed_forward_length") if form.shared else 0
        return ExpertShape(count, chosen, self.size("expert_feed_forward_length"), shared)

    def _rotary(self, width: int) -> Rotary:
        theta = self.number("rope.freq_base", 10_000.0, low=1.0)
        factors = self.file.tensors.get(ROTARY_FACTORS)
        scaling = self._scaling()
        if factors is None:
            return Rotary(theta, scaling)
        if scaling is not None:
            raise self.contradiction(f"it has {ROTARY_FACTORS} and {self.prefix}rope.scaling")
        if factors.shape != (width // 2,):
            shape = list(factors.shape)
            raise UserError("CHM241", f"{self.file.path}: {ROTARY_FACTORS} has shape {shape}, expected [{width // 2}]")
        numbers = factors.floats()
        if not np.isfinite(numbers).all() or (numbers <= 0).any():
            raise UserError("CHM242", f"{self.file.path}: {ROTARY_FACTORS} has numbers that do not stretch")
        return Rotary(theta, Factors(tuple(float(number) for number in numbers)))

    def _scaling(self) -> Scaling | None:
        kind = self.file.metadata.get(f"{self.prefix}rope.scaling.type", str)
        if kind in (None, "none"):
            return None
        factor = self.number("rope.scaling.factor", low=0.0)
        if kind == "linear":
            return Linear(factor)
        if kind == "yarn":
            original = self.size("rope.scaling.original_context_length", self.size("context_length", most=1 << 30))
            fast, slow = (
                self.number(f"rope.scaling.yarn_beta_{which}", default, low=0.0)
                for which, default in (("fast", 32.0), ("slow", 1.0))
            )
            given = self.number("rope.scaling.attn_factor", 1.0, low=0.0)
            scaling = Yarn(factor, float(original), fast, slow)
            return Yarn(factor, float(original), fast, slow, given * Rotary(2.0, scaling).attention)
        raise self.unsupported(f"positions of the type {kind[:80]!r}", "none, linear or yarn")
