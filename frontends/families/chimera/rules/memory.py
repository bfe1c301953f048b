"""Semantic memory and what self-evolution writes to it."""

from __future__ import annotations

import math

from chimerac.frontends.families.chimera.rules.base import Facts, Found, Rule, number_in, planned
from chimerac.frontends.families.chimera.sizes.stores import MIB, memory_bytes

RECALL_DISTANCE = 0.25  #: share of bits in which a vector differs from a bundle of three that holds it
MIN_RECALL = 0.9


def memory_plan(facts: Facts) -> Found | None:
    """The memory's budget must hold it, however relations and hot entries are stored."""
    memory, needed = facts.config.semantic_memory, memory_bytes(facts.config)
    if memory.memory_mb is None:
        return None
    room = memory.memory_mb * MIB
    if needed.compact <= room and (needed.copied <= room or not facts.open("relations")):
        return None
    return planned(
        f"{memory.memory_mb:g} MiB",
        f"{needed.compact / MIB:.1f} MiB with relations as {16}-byte triples and hot entries as an index, "
        f"{needed.copied / MIB:.1f} MiB with both as vectors",
        "triples and an index",
    )


def recall(distance: float, tables: int, bits: int) -> float:
    """Chance that bit-sampling hashes find a vector at a distance (share of differing bits)."""
    hit: float = (1 - distance) ** bits
    return 1 - (1 - hit) ** tables


def hash_recall(facts: Facts) -> Found | None:
    """The hash tables must find the members of a bundle."""
    memory = facts.config.semantic_memory
    if not memory.capacity or not memory.lsh_tables:
        return None
    found = recall(RECALL_DISTANCE, memory.lsh_tables, memory.lsh_bits_per_table)
    if found >= MIN_RECALL:
        return None
    far = recall(0.35, memory.lsh_tables, memory.lsh_bits_per_table)
    return planned(
        f"{memory.lsh_tables} tables of {memory.lsh_bits_per_table} bits",
        f"they find {found:.0%} of entries at distance {RECALL_DISTANCE} (a bundle of three) and {far:.0%} at 0.35",
        "tables first, then a scan of 1024-bit prefixes",
        "semantic_memory.lsh_bits_per_table",
    )


def forgetting_policies(facts: Facts) -> Found | None:
    """One pool must have one way of forgetting."""
    growth = facts.config.self_evolution.tier1.memory_growth
    policies = {growth.forgetting, growth.pruning, facts.config.semantic_memory.forgetting_policy} - {None}
    if len(policies) < 2:
        return None
    return planned(
        ", ".join(sorted(str(policy) for policy in policies)),
        f"{len(policies)} ways of forgetting for one pool",
        "draw twice as many unpinned entries as must go, drop the weaker half; user facts are pinned",
        "semantic_memory.forgetting_policy",
    )


def fixed_pool_grows(facts: Facts) -> Found | None:
    """A pool of fixed size can't grow."""
    config = facts.config
    fixed = config.semantic_memory.pool_size_fixed or config.self_evolution.tier1.memory_growth.pool_fixed
    growth = config.self_evolution.safety.max_growth_mb.memory
    if not fixed or growth <= 0 or not facts.open("memory_growth"):
        return None
    return planned(
        f"a fixed pool, and {growth:g} MiB of growth",
        "a pool of fixed size doesn't grow",
        "the shipped pool is fixed; what a session adds is an overlay in the state file",
        "self_evolution.safety.max_growth_mb.memory",
    )


def surprise_rate(facts: Facts) -> Found | None:
    """The threshold of surprise must not use up a session's writes in a few answers."""
    growth, generation = facts.config.self_evolution.tier1.memory_growth, facts.config.generation
    tokens = 0 if generation is None else generation.max_new_tokens
    sigma = number_in(r"above_(\d+(?:\.\d+)?)_sigma", growth.surprise_threshold)
    if not growth.enabled or sigma is None or not tokens:
        return None
    triggers = tokens * 0.5 * math.erfc(sigma / math.sqrt(2))
    if growth.max_per_session >= 100 * triggers:
        return None
    return planned(
        f"surprise above {sigma:g} sigma, {growth.max_per_session} writes per session",
        f"about {triggers:.0f} tokens in {tokens} are above it: the session is full after "
        f"{growth.max_per_session / triggers:.0f} answers",
        "triggers within 32 tokens are one; at most 16 writes per answer",
        "self_evolution.tier1.memory_growth.surprise_threshold",
    )


def state_versions(facts: Facts) -> Found | None:
    """What persists and can be reset needs a file with a version."""
    evolution = facts.config.self_evolution
    kept = [
        name
        for name, part in (
            ("memory", evolution.tier1.memory_growth),
            ("spans", evolution.tier3.span_bank_expansion),
            ("loop counts", evolution.tier3.loop_depth_learning),
        )
        if part.enabled and part.persistent
    ]
    if not kept or not evolution.safety.state_file or not facts.open("state_file"):
        return None
    return planned(
        f"{', '.join(kept)} persist in {evolution.safety.state_file}",
        "nothing defines versions, rollback or reset of that file",
        "a snapshot and a journal with checksums; a reset is a record",
        "self_evolution.safety.state_file",
    )


RULES = (
    Rule("I20", "B", "self_evolution.safety.max_growth_mb.memory", fixed_pool_grows, also=("R24",)),
    Rule("R21", "C", "semantic_memory.memory_mb", memory_plan),
    Rule("R22", "B", "semantic_memory.lsh_bits_per_table", hash_recall),
    Rule("R23", "B", "semantic_memory.forgetting_policy", forgetting_policies),
    Rule("R25", "B", "self_evolution.tier1.memory_growth.surprise_threshold", surprise_rate),
    Rule("R63", "C", "self_evolution.safety.state_file", state_versions),
)
