"""Bytes of what is kept beside the weights: span certificates, hypervector memory, test-time training."""

from __future__ import annotations

import re
from dataclasses import dataclass

from chimerac.frontends.config.model import ModelConfig

MIB = 1 << 20

_WIDTH = re.compile(r"_(?:[uif](\d+)|(\d+)b)$")
METADATA_BYTES = 64  #: of a memory entry
PREFIX_BITS = 1024  #: of each vector, kept together for scans
TEXT_BYTES = 110  #: mean text of a memory entry
TRIPLE_BYTES = 16  #: a relation as ids


def field_bits(name: str) -> int:
    """Width of a certificate field from the end of its name: ``span_id_u32`` has 32 bits, ``debt_delta_64b`` 64."""
    match = _WIDTH.search(name)
    return int(match.group(1) or match.group(2)) if match else 0


def certificate_bytes(config: ModelConfig) -> int:
    """Bytes of one packed certificate."""
    return sum(field_bits(name) for name in config.span_inference.certificate_fields) // 8


@dataclass(frozen=True)
class MemoryBytes:
    """Bytes of the semantic memory, by how relations and hot entries are stored."""

    compact: int  #: relations as id triples, hot entries as an index
    copied: int  #: relations as vectors, hot entries as copies


def memory_bytes(config: ModelConfig) -> MemoryBytes:
    """Vectors, their prefixes, hash tables, metadata, texts, relations and hot entries."""
    memory = config.semantic_memory
    vector = memory.vector_bits // 8
    prefix = min(PREFIX_BITS // 8, vector)
    tables = memory.lsh_tables * (memory.capacity * 4 + ((1 << memory.lsh_bits_per_table) + 1) * 4)
    shared = memory.capacity * (vector + prefix + METADATA_BYTES + TEXT_BYTES) + tables
    return MemoryBytes(
        compact=shared + memory.relations * TRIPLE_BYTES + memory.hot_cache_entries * 16,
        copied=shared + (memory.relations + memory.hot_cache_entries) * vector,
    )


def ttt_parameters(config: ModelConfig) -> int:
    """Numbers that test-time training changes: the down matrices of its layers, the shared expert's where there is
    no dense MLP."""
    moe = config.backbone.moe
    with_experts = set(moe.layers) if moe.enabled else set()
    widths = (
        moe.moe_intermediate_size * moe.n_shared_experts if layer in with_experts else config.intermediate_size
        for layer in config.self_evolution.tier1.ttt.target_layers
    )
    return config.hidden_size * sum(widths)


def ttt_bytes(config: ModelConfig, format_name: str) -> int:
    """Bytes of the change: ``int8`` with a scale per group, or ``float32``."""
    numbers = ttt_parameters(config)
    return numbers * 4 if format_name == "float32" else numbers + 2 * numbers // config.quantization.group_size


def router_parameters(config: ModelConfig, width: int) -> int:
    """Parameters of a two-layer classifier of the loop count with ``width`` hidden channels."""
    classes = config.looping.loop_range[1] - config.looping.loop_range[0] + 1
    return config.hidden_size * width + width + width * classes + classes
