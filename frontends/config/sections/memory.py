"""``semantic_memory``, ``braid_state``, ``context_tiers``: what is remembered, per profile and per stream."""

# ruff: noqa: RUF009  (key() makes a dataclasses.field)

from __future__ import annotations

from dataclasses import dataclass

from chimerac.frontends.config.fields import key
from chimerac.frontends.config.sections.common import count, names, papers, size, switch, text


@dataclass(frozen=True, kw_only=True)
class SemanticMemory:
    """Hypervector memory: binary vectors, XOR binding, majority bundles."""

    vector_bits: int = key(
        "Bits of a vector and of the span-knot sketch; a power of two.",
        default=8192,
        minimum=64,
        maximum=1 << 17,
        status="compiled",
    )
    vector_storage: str | None = text(
        "Words of a vector, `uint64_x128` for 8192 bits.", pattern=r"uint64_x[1-9]\d{0,4}"
    )
    capacity: int = count("Vectors the pool holds.", default=0)
    relations: int = count("Subject, predicate, object triples.", default=0)
    memory_mb: float | None = key("Memory of all of it, in MiB.", default=None, minimum=0, claim=True)
    ops: tuple[str, ...] = names("Operations on vectors.")
    lsh_tables: int = count("Hash tables for lookup.", default=64, maximum=4096)
    lsh_bits_per_table: int = count("Bits each table looks at.", default=14, maximum=32)
    hot_cache_entries: int = count("Vectors kept close at hand.", default=0)
    read_at_every_knot: bool = switch("Span-knot layers read a memory.", status="compiled")
    write_policy: str | None = text("When something is written.")
    forgetting_policy: str | None = text("What is dropped when the pool is full.")
    pool_size_fixed: bool = switch("The pool never grows.")
    papers: tuple[str, ...] = papers()


@dataclass(frozen=True, kw_only=True)
class EntityTable:
    """Entities of the running text."""

    slots: int = count("Entities held.", default=256)
    slot_bits: int = count("Bits of an entity.", default=512)
    binding: str = text("How roles and fillers are bound.", default="xor_role_filler", status="described")


@dataclass(frozen=True, kw_only=True)
class GrammarStack:
    """Open constructs of the grammar."""

    slots: int = count("Deepest nesting.", default=64)
    width_bits: int = count("Bits of one frame.", default=128)


@dataclass(frozen=True, kw_only=True)
class BraidState:
    """The state of one stream beside the layers' recurrent state."""

    continuous_hidden: tuple[int, str] | None = size("Hidden vector: channels and type.", default=None)
    fast_hidden: tuple[int, str] | None = size("Hidden vector for lookups: channels and type.", default=None)
    semantic_sketch: tuple[int, str] | None = size("Sketch of the text: bits and storage.", default=None)
    entity_table: EntityTable = key("Entities of the running text.", factory=EntityTable)
    grammar_stack: GrammarStack = key("Open constructs of the grammar.", factory=GrammarStack)
    debt_ledger_slots: int = count("Slots for open obligations, 8 bytes each.", default=64)
    per_stream_mb: float | None = key("Claim: memory of one stream, in MB.", default=None, minimum=0, claim=True)
    kv_growth_per_token: int = count("Bytes a stream grows by per token.", default=0, maximum=0)


@dataclass(frozen=True, kw_only=True)
class ContextTier:
    """One store of the past."""

    name: str = key("Name of the store.")
    tokens: int | None = count("Tokens it holds.")
    entries: int | None = count("Entries it holds.")
    mb: float | None = key("Its memory, in MiB.", default=None, minimum=0, claim=True)
