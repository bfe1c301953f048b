"""Semantic memory and what self-evolution writes to it."""

from __future__ import annotations

import math

from chimerac.frontends.families.chimera.rules.base import Facts, Findings, Rule, number_in, planned
from chimerac.frontends.families.chimera.sizes.stores import MIB, memory_bytes

RECALL_DISTANCE = 0.25  #: share of bits in which a vector differs from a bundle of three that holds it
MIN_RECALL = 0.9


def memory_plan(facts: Facts) -> Findings:
    """The memory's budget must hold it, however relations and hot entries are stored."""
    memory, needed = facts.config.semantic_memory, memory_bytes(facts.config)
    if memory.memory_mb is None:
        return
    room = memory.memory_mb * MIB
    if needed.compact > room or (needed.copied > room and facts.open("relations")):
        yield planned(
            f"{memory.memory_mb:g} MiB",
            f"{needed.compact / MIB:.1f} MiB with relations as {16}-byte triples and hot entries as an index, "
            f"{needed.copied / MIB:.1f} MiB with both as vectors",
            "triples and an index",
        )


def recall(distance: float, tables: int, bits: int) -> float:
    """Chance that bit-sampling hashes find a vector at a distance (share of differing bits)."""
    hit: float = (1 - distance) ** bits
    return 1 - (1 - hit) ** tables


def hash_recall(facts: Facts) -> Findings:
    """The hash tables must find the members of a bundle."""
    memory = facts.config.semantic_memory
    if not memory.capacity or not memory.lsh_tables:
        return
    found = recall(RECALL_DISTANCE, memory.lsh_tables, memory.lsh_bits_per_table)
    if found >= MIN_RECALL:
        return
    far = recall(0.35, memory.lsh_tables, memory.lsh_bits_per_table)
    yield planned(
        f"{memory.lsh_tables} tables of {memory.lsh_bits_per_table} bits",
        f"they find {found:.0%} of entries at distance {RECALL_DISTANCE} (a bundle of three) and {far:.0%} at 0.35",
        "tables first, then a scan of 1024-bit prefixes",
        "semantic_memory.lsh_bits_per_table",
    )


def forgetting_policies(facts: Facts) -> Findings:
    """One pool must have one way of forgetting."""
    growth = facts.config.self_evolution.tier1.memory_growth
    policies = {growth.forgetting, growth.pruning, facts.config.semantic_memory.forgetting_policy} - {None}
    if len(policies) >= 2:
        yield planned(
            ", ".join(sorted(str(policy) for policy in policies)),
            f"{len(policies)} ways of forgetting for one pool",
            "draw twice as many unpinned entries as must go, drop the weaker half; user facts are pinned",
            "semantic_memory.forgetting_policy",
        )


def fixed_pool_grows(facts: Facts) -> Findings:
    """A pool of fixed size can't grow."""
    config = facts.config
    fixed = config.semantic_memory.pool_size_fixed or config.self_evolution.tier1.memory_growth.pool_fixed
    growth = config.self_evolution.safety.max_growth_mb.memory
    if fixed and growth > 0:
        yield planned(
            f"a fixed pool, and {growth:g} MiB of growth",
            "a pool of fixed size doesn't grow",
            "the shipped pool is fixed; what a session adds is an overlay in the state file",
            "self_evolution.safety.max_growth_mb.memory",
        )


def surprise_rate(facts: Facts) -> Findings:
    """The threshold of surprise must not use up a session's writes in a few answers."""
    growth, generation = facts.config.self_evolution.tier1.memory_growth, facts.config.generation
    tokens = 0 if generation is None else generation.max_new_tokens
    sigma = number_in(r"above_(\d+(?:\.\d+)?)_sigma", growth.surprise_threshold)
    if not growth.enabled or sigma is None or not tokens:
        return
    triggers = tokens * 0.5 * math.erfc(sigma / math.sqrt(2))
    if growth.max_per_session < 100 * triggers:
        yield planned(
            f"surprise above {sigma:g} sigma, {growth.max_per_session} writes per session",
            f"about {triggers:.0f} tokens in {tokens} are above it: the session is full after "
            f"{growth.max_per_session / triggers:.0f} answers",
            "triggers within 32 tokens are one; at most 16 writes per answer",
            "self_evolution.tier1.memory_growth.surprise_threshold",
        )


def state_versions(facts: Facts) -> Findings:
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
    if kept and evolution.safety.state_file:
        yield planned(
            f"{', '.join(kept)} persist in {evolution.safety.state_file}",
            "nothing defines versions, rollback or reset of that file",
            "a snapshot and a journal with checksums; a reset is a record",
            "self_evolution.safety.state_file",
        )


RULES = (
    Rule(
        "I20",
        "B",
        "self_evolution.safety.max_growth_mb.memory",
        fixed_pool_grows,
        also=("R24",),
        settled_by="memory_growth",
    ),
    Rule("R21", "C", "semantic_memory.memory_mb", memory_plan),
    Rule("R22", "B", "semantic_memory.lsh_bits_per_table", hash_recall),
    Rule("R23", "B", "semantic_memory.forgetting_policy", forgetting_policies),
    Rule("R25", "B", "self_evolution.tier1.memory_growth.surprise_threshold", surprise_rate),
    Rule("R63", "C", "self_evolution.safety.state_file", state_versions, settled_by="state_file"),
)
