"""``scale``: a config at another size, every size of it changed together."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chimerac.compiler.errors import Span, UserError
from chimerac.frontends.config.derive import resolve
from chimerac.frontends.config.fields import fields_of, is_section
from chimerac.frontends.config.model import ModelConfig
from chimerac.frontends.config.sections.directives import ScaleBlock


@dataclass(frozen=True)
class Preset:
    """Sizes of one scale. The last two are ceilings: a config that holds less stays as it is."""

    doc: str
    hidden_size: int
    head_dim: int
    intermediate_size: int
    moe_intermediate_size: int
    patterns: float  #: repeats of the layer pattern
    n_routed_experts: int
    n_shared_experts: int
    num_experts_per_tok: int
    vocab_size: int
    local_window_size: int
    persistent_memory_slots: int
    vector_bits: int
    bank_entries: int
    capacity: int  #: vectors of the semantic memory


PRESETS: Mapping[str, Preset] = {
    "nano": Preset(
        "about 2 M parameters: builds in seconds, for tests and for the embedded model",
        128, 32, 320, 96, 1, 4, 1, 2, 320, 48, 8, 1024, 4096, 1024,
    ),
    "tiny": Preset(
        "about 4.5 M parameters: small enough to train on a laptop",
        192, 32, 512, 96, 1, 8, 1, 2, 512, 128, 16, 1024, 8192, 4096,
    ),
    "small": Preset(
        "about 106 M parameters: a useful model of one domain",
        640, 64, 1664, 384, 2, 8, 1, 2, 8192, 512, 32, 2048, 65536, 32768,
    ),
}  # fmt: skip

#: Field of a scale block to the key it sets.
KEYS: Mapping[str, str] = {
    "hidden_size": "hidden_size",
    "head_dim": "head_dim",
    "num_heads": "num_heads",
    "intermediate_size": "intermediate_size",
    "moe_intermediate_size": "backbone.moe.moe_intermediate_size",
    "num_hidden_layers": "num_hidden_layers",
    "n_routed_experts": "backbone.moe.n_routed_experts",
    "n_shared_experts": "backbone.moe.n_shared_experts",
    "num_experts_per_tok": "backbone.moe.num_experts_per_tok",
    "vocab_size": "vocab_size",
    "local_window_size": "titans.local_window_size",
    "persistent_memory_slots": "titans.persistent_memory_slots",
    "vector_bits": "semantic_memory.vector_bits",
}

_WIDTH_STEP = 32  #: MLP widths that follow the hidden size are rounded up to a multiple of this


def scaled(config: ModelConfig, block: ScaleBlock, span: Span | None, fixed: frozenset[str]) -> ModelConfig:
    """``config`` at the size of ``block``. Values at the paths ``fixed`` stay, and the others follow them.

    Claims, i.e. numbers that follow from sizes (``params``, ``memory_budget_mb``, …), are dropped: they spoke of the
    model as it was.

    Raises:
        UserError: CHM116 when the sizes asked for don't go together.
    """
    given = {name: getattr(block, name) for name in KEYS if getattr(block, name) is not None}
    if block.preset == "full" and not given:
        return config
    config = resolve(config)
    if config.head_dim is None or config.num_hidden_layers is None:
        return config
    for name, path in KEYS.items():
        if path in fixed and name not in given:
            given[name] = _get(config, path)
    pattern = len(config.backbone.layer_pattern.split())
    if "backbone.layer_pattern_repeat" in fixed:
        given.setdefault("num_hidden_layers", round(config.backbone.layer_pattern_repeat * pattern))
    preset = PRESETS.get(block.preset) or _as_written(config)
    sizes = _sizes(preset, given, pattern, span)
    changes = _changes(config, preset, sizes, shrinks=block.preset in PRESETS)
    changes = {path: value for path, value in changes.items() if not _is_fixed(path, fixed)}
    result = _without_claims(config, "", fixed)
    places = dict(config.origin.places)
    for path, value in changes.items():
        result = _replace(result, path.split("."), value)
        if span:
            places[path] = span
    origin = dataclasses.replace(config.origin, scale=block.preset, places=places)
    finished: ModelConfig = dataclasses.replace(result, origin=origin)
    return finished


def _as_written(config: ModelConfig) -> Preset:
    moe, backbone = config.backbone.moe, config.backbone
    assert config.head_dim is not None
    return Preset(
        doc="as written",
        hidden_size=config.hidden_size,
        head_dim=config.head_dim,
        intermediate_size=config.intermediate_size,
        moe_intermediate_size=moe.moe_intermediate_size,
        patterns=backbone.layer_pattern_repeat,
        n_routed_experts=moe.n_routed_experts,
        n_shared_experts=moe.n_shared_experts,
        num_experts_per_tok=moe.num_experts_per_tok,
        vocab_size=config.vocab_size,
        local_window_size=config.titans.local_window_size,
        persistent_memory_slots=config.titans.persistent_memory_slots,
        vector_bits=config.semantic_memory.vector_bits,
        bank_entries=config.span_inference.bank_entries,
        capacity=config.semantic_memory.capacity,
    )


def _sizes(preset: Preset, given: Mapping[str, int], pattern: int, span: Span | None) -> dict[str, int]:
    sizes: dict[str, int] = {name: given.get(name, getattr(preset, name, 0)) for name in KEYS}
    hidden = sizes["hidden_size"]
    if "num_heads" in given and "head_dim" not in given:
        sizes["head_dim"] = hidden // given["num_heads"]
    elif "num_heads" not in given:
        sizes["num_heads"] = hidden // sizes["head_dim"]
    if sizes["num_heads"] * sizes["head_dim"] != hidden:
        message = f"hidden_size {hidden} is not {sizes['num_heads']} heads of {sizes['head_dim']}"
        hint = "hidden_size must be num_heads times head_dim; give two of the three"
        raise UserError("CHM116", f"the scale asked for is not possible: {message}", span=span, hint=hint)
    for name in ("intermediate_size", "moe_intermediate_size"):
        if name not in given and hidden != preset.hidden_size:
            steps = -(-getattr(preset, name) * hidden // (preset.hidden_size * _WIDTH_STEP))
            sizes[name] = steps * _WIDTH_STEP
    if "vector_bits" not in given:
        sizes["vector_bits"] = max(preset.vector_bits, 2 << (hidden - 1).bit_length())
    if "num_hidden_layers" not in given:
        sizes["num_hidden_layers"] = round(preset.patterns * pattern)
    return sizes


def _changes(config: ModelConfig, preset: Preset, sizes: Mapping[str, int], *, shrinks: bool) -> dict[str, Any]:
    """Dotted path to new value, for all that depends on the sizes."""
    pattern = len(config.backbone.layer_pattern.split())
    layers, hidden, bits = sizes["num_hidden_layers"], sizes["hidden_size"], sizes["vector_bits"]
    changes: dict[str, Any] = {path: sizes[name] for name, path in KEYS.items()}
    changes["backbone.layer_pattern_repeat"] = layers / pattern
    changes["gated_deltanet.state_size"] = sizes["head_dim"]
    changes["xlstm.memory_size_per_head"] = (sizes["head_dim"], sizes["head_dim"])
    if layers != config.num_hidden_layers:
        changes |= _layer_changes(config, layers, pattern)
    if sizes["vocab_size"] != config.vocab_size:
        first = sizes["vocab_size"] - len(config.token_ids)
        changes["token_ids"] = tuple(range(first, sizes["vocab_size"]))
    words = f"uint64_x{bits // 64}"
    if config.semantic_memory.vector_storage:
        changes["semantic_memory.vector_storage"] = words
    braid = config.braid_state
    if braid.semantic_sketch:
        changes["braid_state.semantic_sketch"] = (bits, words)
    if braid.continuous_hidden:
        changes["braid_state.continuous_hidden"] = (hidden, braid.continuous_hidden[1])
    if braid.fast_hidden:
        changes["braid_state.fast_hidden"] = (hidden, braid.fast_hidden[1])
    changes["span_inference.certificate_fields"] = tuple(
        re.sub(r"(?<=semantic_delta_)\d+(?=b$)", str(bits), name) for name in config.span_inference.certificate_fields
    )
    guidelines = config.self_evolution.tier2.meta_guidelines.format
    changes["self_evolution.tier2.meta_guidelines.format"] = re.sub(r"^\d+(?=bit_xor$)", str(bits), guidelines)
    memory, bank = config.semantic_memory, config.span_inference
    changes["span_inference.bank_entries"] = min(bank.bank_entries, preset.bank_entries)
    if memory.capacity > preset.capacity:
        shrink = preset.capacity / memory.capacity
        changes["semantic_memory.capacity"] = preset.capacity
        changes["semantic_memory.relations"] = round(memory.relations * shrink)
        changes["semantic_memory.hot_cache_entries"] = max(1, round(memory.hot_cache_entries * shrink))
    for name in ("vision", "audio"):
        if getattr(config.multimodal, name):
            changes[f"multimodal.{name}.out"] = hidden
    if shrinks:
        changes["multimodal.enabled"] = False
    return changes


def _layer_changes(config: ModelConfig, layers: int, pattern: int) -> dict[str, Any]:
    """Layer numbers in a stack of another depth: a layer keeps its place in the pattern."""
    inside = {layer % pattern for layer in config.backbone.moe.layers}
    targets = []
    for layer in config.self_evolution.tier1.ttt.target_layers:
        while layer >= layers and layer >= pattern:
            layer -= pattern
        if layer < layers and layer not in targets:
            targets.append(layer)
    quarter = max(1, layers // 4)
    loops = config.looping.enabled and layers >= 3
    experts = tuple(layer for layer in range(layers) if layer % pattern in inside)
    return {
        "backbone.moe.enabled": config.backbone.moe.enabled and bool(experts),
        "backbone.moe.layers": experts,
        "self_evolution.tier1.ttt.target_layers": tuple(targets),
        "looping.enabled": loops,
        "looping.prelude": (0, quarter - 1) if loops else None,
        "looping.loop": (quarter, layers - quarter - 1) if loops else None,
        "looping.coda": (layers - quarter, layers - 1) if loops else None,
    }


def _is_fixed(path: str, fixed: frozenset[str]) -> bool:
    return any(path == item or item.startswith(f"{path}.") or path.startswith(f"{item}.") for item in fixed)


def _get(section: Any, path: str) -> Any:
    for name in path.split("."):
        section = getattr(section, _attribute(section, name))
    return section


def _replace(section: Any, parts: list[str], value: Any) -> Any:
    head, *rest = parts
    attribute = _attribute(section, head)
    if rest:
        value = _replace(getattr(section, attribute), rest, value)
    return dataclasses.replace(section, **{attribute: value})


def _attribute(section: Any, name: str) -> str:
    return next(item.attribute for item in fields_of(type(section)) if item.name == name)


def _without_claims(section: Any, path: str, fixed: frozenset[str]) -> Any:
    if isinstance(section, tuple):
        return tuple(_without_claims(item, f"{path}.{index}", fixed) for index, item in enumerate(section))
    if not is_section(type(section)):
        return section
    values = {}
    for item in fields_of(type(section)):
        where = f"{path}.{item.name}" if path else item.name
        value = getattr(section, item.attribute)
        if not item.key.claim:
            values[item.attribute] = _without_claims(value, where, fixed)
        elif not _is_fixed(where, fixed):
            values[item.attribute] = None
    return dataclasses.replace(section, **values)
