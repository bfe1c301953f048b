"""``shape``: a config to the numbers a model is built from, or the reasons why none can be built."""

from __future__ import annotations

import typing
from typing import Literal

from chimerac.compiler.errors import UserError, UserErrors, did_you_mean
from chimerac.compiler.ir.ops.knots import MOST_BITS
from chimerac.frontends.config.model import ModelConfig
from chimerac.frontends.families.chimera.shape import ChimeraShape, MixerKind
from chimerac.frontends.layers.shapes import (
    DraftShape,
    EmbeddingFormat,
    KnotShape,
    LoopShape,
    MoeShape,
    QuantizationShape,
    RouterShape,
    TitansShape,
)

LEAST_TEMPERATURE = 0.01  #: above 0 that the runtime takes

_KINDS: tuple[str, ...] = typing.get_args(MixerKind)


def shape(config: ModelConfig) -> ChimeraShape:
    """The shape of the model that a config describes.

    Raises:
        UserErrors: CHM120, one for each contradiction that leaves no model to build, with its place.
    """
    errors = _Errors(config)
    mixers = _mixers(config, errors)
    _widths(config, mixers, errors)
    moe = _moe(config, len(mixers), errors)
    loop = _loop(config, len(mixers), errors)
    _generation(config, errors)
    errors.finish()
    knot, titans = config.tsp_knot, config.titans
    terms, usual = knot.energy_terms, KnotShape()
    return ChimeraShape(
        vocabulary=config.vocab_size,
        hidden=config.hidden_size,
        width=config.intermediate_size,
        heads=config.num_heads,
        head_width=config.hidden_size // config.num_heads,
        mixers=mixers,
        moe=moe,
        loop=loop,
        titans=TitansShape(
            persistent_slots=titans.persistent_memory_slots,
            window=titans.local_window_size,
            chunk=titans.chunk,
            rope_theta=titans.rope_theta,
        ),
        knot=KnotShape(
            sketch_bits=config.semantic_memory.vector_bits,
            max_iterations=knot.relaxation_phase2_max_iters,
            flip_fraction=knot.relaxation_phase2_flip_fraction,
            early_exit=knot.early_exit_delta_e,
            memory_weight=terms.memory_coherence[0] if terms.memory_coherence else usual.memory_weight,
            reads_memory=config.semantic_memory.read_at_every_knot and "tsp_span_knot" in mixers,
            binding_weight=terms.binding_fidelity[0] if terms.binding_fidelity else usual.binding_weight,
        ),
        quantization=QuantizationShape(config.quantization.group_size, config.quantization.activation_block_size),
        embedding_format=_embedding_format(config.quantization.embedding_format),
        norm_eps=config.rms_norm_eps,
        init_std=config.initializer_range,
        conv_size=config.gated_deltanet.conv_size,
        efla=config.efla.enabled,
        seed=config.seed,
        router=_router(config, loop),
        draft=_draft(config),
    )


class _Errors:
    def __init__(self, config: ModelConfig) -> None:
        self.config = config
        self.found: list[UserError] = []

    def add(self, path: str, message: str, hint: str | None = None) -> None:
        self.found.append(UserError("CHM120", message, span=self.config.place(path), hint=hint))

    def finish(self) -> None:
        if self.found:
            raise UserErrors(self.found) if len(self.found) > 1 else self.found[0]


def _mixers(config: ModelConfig, errors: _Errors) -> tuple[MixerKind, ...]:
    backbone = config.backbone
    pattern = backbone.layer_pattern.split()
    kinds: list[MixerKind] = []
    for alias in pattern:
        kind = backbone.layer_aliases.get(alias)
        if kind is None:
            hint = did_you_mean(alias, backbone.layer_aliases) or f"known: {', '.join(sorted(backbone.layer_aliases))}"
            errors.add("backbone.layer_pattern", f"the layer pattern names {alias!r}, which has no alias", hint)
            return ()
        kinds.append(_kind(kind))
    layers = len(pattern) * backbone.layer_pattern_repeat
    if not layers.is_integer():
        message = f"a pattern of {len(pattern)} layers times {backbone.layer_pattern_repeat:g} is {layers:g} layers"
        errors.add("backbone.layer_pattern_repeat", message, "the product must be a whole number")
        return ()
    if layers > 4096:
        errors.add("backbone.layer_pattern_repeat", f"{layers:g} layers are more than the limit of 4096")
        return ()
    if config.num_hidden_layers not in (None, int(layers)):
        message = f"num_hidden_layers is {config.num_hidden_layers}, but the repeated pattern has {layers:g} layers"
        errors.add("num_hidden_layers", message, "change one of them, or leave num_hidden_layers away")
    return tuple(kinds[index % len(kinds)] for index in range(int(layers)))


def _kind(name: str) -> MixerKind:
    assert name in _KINDS
    kind: Literal["gated_deltanet", "xlstm_m", "titans_mac", "tsp_span_knot"] = name  # type: ignore[assignment]
    return kind


def _embedding_format(name: str) -> EmbeddingFormat:
    assert name in typing.get_args(EmbeddingFormat)
    chosen: EmbeddingFormat = name  # type: ignore[assignment]
    return chosen


def _widths(config: ModelConfig, mixers: tuple[MixerKind, ...], errors: _Errors) -> None:
    hidden, heads, width = config.hidden_size, config.num_heads, config.head_dim
    if width is None or heads * width != hidden:
        found = f"{heads} heads of {width or '?'}"
        errors.add("num_heads", f"hidden_size {hidden} is not {found} channels")
    if width is not None and width % 2:
        errors.add("head_dim", f"head_dim {width} is odd; rotary positions turn channels in pairs")
    if config.gated_deltanet.state_size not in (None, width):
        message = f"state_size {config.gated_deltanet.state_size} is not the head width {width}"
        errors.add("gated_deltanet.state_size", message)
    memory = config.xlstm.memory_size_per_head
    if memory is not None and memory != (width, width):
        message = f"memory_size_per_head {list(memory)} is not the head width {width} twice"
        errors.add("xlstm.memory_size_per_head", message)
    group, block = config.quantization.group_size, config.quantization.activation_block_size
    if group % block:
        errors.add("quantization.group_size", f"group_size {group} is not a multiple of the activation block {block}")
    bits = config.semantic_memory.vector_bits
    if "tsp_span_knot" in mixers and (bits & (bits - 1) or bits < 2 * hidden):
        message = f"span-knot layers can't sketch {hidden} channels in {bits} bits"
        hint = "vector_bits must be a power of two and at least twice hidden_size"
        errors.add("semantic_memory.vector_bits", message, hint)
    if config.semantic_memory.read_at_every_knot and "tsp_span_knot" in mixers and bits > MOST_BITS:
        message = f"span-knot layers that read a memory can't sketch in {bits} bits"
        errors.add("semantic_memory.vector_bits", message, f"vector_bits must be at most {MOST_BITS}")
    if not config.tie_word_embeddings:
        errors.add("tie_word_embeddings", "an output head apart from the embedding is not supported")
    for index, token in enumerate(config.token_ids):
        if token >= config.vocab_size:
            message = f"token id {token} is outside a vocabulary of {config.vocab_size}"
            errors.add(f"token_ids.{index}", message)
    if config.efla.enabled and config.backbone.layer_aliases.get(config.efla.target_layers) != "tsp_span_knot":
        errors.add("efla.target_layers", "the exact-flow update is for span-knot layers only")


def _moe(config: ModelConfig, layers: int, errors: _Errors) -> MoeShape | None:
    moe = config.backbone.moe
    if not moe.enabled:
        return None
    if not moe.layers:
        errors.add("backbone.moe", "experts are enabled but 'layers' names none", "list the layers or disable experts")
    for index, layer in enumerate(moe.layers):
        if layers and layer >= layers:
            message = f"layer {layer} of backbone.moe.layers doesn't exist; there are {layers}, counted from 0"
            errors.add(f"backbone.moe.layers.{index}", message)
        elif layer in moe.layers[:index]:
            errors.add(f"backbone.moe.layers.{index}", f"layer {layer} is in backbone.moe.layers twice")
    if moe.num_experts_per_tok > moe.n_routed_experts:
        message = f"a token can't use {moe.num_experts_per_tok} of {moe.n_routed_experts} experts"
        errors.add("backbone.moe.num_experts_per_tok", message)
    return MoeShape(
        layers=tuple(sorted(moe.layers)),
        experts=moe.n_routed_experts,
        shared_experts=moe.n_shared_experts,
        experts_per_token=moe.num_experts_per_tok,
        width=moe.moe_intermediate_size,
    )


def _router(config: ModelConfig, loop: LoopShape | None) -> RouterShape | None:
    """The router of a valve that has one; none where there is nothing to choose from."""
    valve, written = config.entropy_valve, config.entropy_valve.loop_depth_router
    if not valve.enabled or written is None or loop is None or loop.minimum == loop.maximum:
        return None
    target = written.accuracy_target
    return RouterShape(written.width) if target is None else RouterShape(written.width, target)


def _draft(config: ModelConfig) -> DraftShape | None:
    """The head of a description that has one, of no more tokens than there are."""
    written = config.span_inference.draft_head
    return None if written is None else DraftShape(written.width, min(written.tokens, config.vocab_size))


def _generation(config: ModelConfig, errors: _Errors) -> None:
    if config.generation is not None and 0 < config.generation.temperature < LEAST_TEMPERATURE:
        message = f"a temperature of {config.generation.temperature:g} is below {LEAST_TEMPERATURE:g}"
        errors.add("generation.temperature", message, "0 takes the likeliest token")


def _loop(config: ModelConfig, layers: int, errors: _Errors) -> LoopShape | None:
    looping = config.looping
    if not looping.enabled or not layers:
        return None
    prelude, loop, coda = looping.prelude, looping.loop, looping.coda
    if prelude is None or loop is None or coda is None:
        errors.add("looping", f"{layers} layers are too few for a prelude, a loop and a coda")
        return None
    for name, (first, last) in (("prelude", prelude), ("loop", loop), ("coda", coda)):
        if first > last:
            errors.add(f"looping.{name}", f"looping.{name} ends at layer {last}, before its start {first}")
    expected = 0
    for name, (first, last) in (("prelude", prelude), ("loop", loop), ("coda", coda)):
        if first != expected:
            errors.add(f"looping.{name}", f"looping.{name} starts at layer {first}, but layer {expected} comes next")
        expected = last + 1
    if expected != layers:
        errors.add("looping.coda", f"looping.coda ends at layer {coda[1]}, but the last layer is {layers - 1}")
    least, most = looping.loop_range
    if least > most:
        errors.add("looping.loop_range", f"loop_range [{least}, {most}] is empty")
    elif not least <= looping.loop_default <= most:
        errors.add("looping.loop_default", f"loop_default {looping.loop_default} is outside [{least}, {most}]")
    return LoopShape(
        first=loop[0],
        last=loop[1],
        minimum=least,
        maximum=most,
        default=looping.loop_default,
        exit_threshold=looping.adaptive_exit_threshold,
        exact_input=looping.zoh_input == "exact",
    )
