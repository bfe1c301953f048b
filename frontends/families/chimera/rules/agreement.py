"""Numbers that are written twice, or that are a sum or product of others, and must agree."""

from __future__ import annotations

from chimerac.frontends.families.chimera.rules.base import Facts, Findings, Found, Rule, listing, planned
from chimerac.frontends.families.chimera.sizes.stores import field_bits


def _differs(says: str, found: str, path: str | None = None, plan: str = "the larger structure decides") -> Found:
    """Numbers of a part that is not compiled yet."""
    return planned(says, found, plan, path)


def layer_counts(facts: Facts) -> Findings:
    """The counts of layer kinds must be those of the repeated pattern."""
    backbone = facts.config.backbone
    pattern = backbone.layer_pattern.split()
    real = dict.fromkeys(pattern, 0)
    for index in range(facts.shape.layers):
        real[pattern[index % len(pattern)]] += 1
    counted = backbone.layer_counts
    used = {name: n for name, n in real.items() if n}
    if counted is not None and {name: n for name, n in counted.items() if n} != used:
        yield Found(f"layer_counts {dict(counted)}", f"the pattern has {real}", "the pattern decides")


def candidate_sum(facts: Facts) -> Findings:
    """The candidates of fast mode must be the sum of their sources."""
    bank = facts.config.span_inference
    if bank.candidates_fast is None or bank.candidates_fast == sum(bank.candidate_sources):
        return
    found = f"the sources add up to {sum(bank.candidate_sources)}"
    yield _differs(f"candidates_fast {bank.candidates_fast}", found, plan="the sources decide")


def named_lists(facts: Facts) -> Findings:
    """Lists of names and of values must have the same length."""
    bank, budget = facts.config.span_inference, facts.config.memory_budget_mb
    for path, names, values in (
        ("span_inference.candidate_sources", bank.candidate_source_keys, bank.candidate_sources),
        ("span_inference.scoring_weights_fast", bank.scoring_keys, bank.scoring_weights_fast),
        ("memory_budget_mb._vals", budget.keys or (), budget.values or ()),
    ):
        if len(names) != len(values):
            says = f"{len(names)} names"
            yield Found(says, f"{len(values)} values", "names without a value are left out", path)


def mode_speeds(facts: Facts) -> Findings:
    """Tokens per second must be knots per second times tokens per knot."""
    for name, mode in facts.modes.items():
        if mode.tps and abs(mode.tps - mode.neural_hz * mode.span_avg) > 0.02 * mode.tps:
            product = f"{mode.neural_hz:g} x {mode.span_avg:g} is {mode.neural_hz * mode.span_avg:g}"
            says, does = f"{mode.tps:g} tokens per second", "both stay aims; `chimerac bench` measures"
            yield Found(says, product, does, f"modes.{name}.tps")


def budget_sums(facts: Facts) -> Findings:
    """The totals of the memory budget must be sums of its parts."""
    config, budget = facts.config, facts.config.memory_budget_mb
    growth = config.self_evolution.safety.max_growth_mb
    grown = growth.memory + growth.span_bank + growth.episodic + growth.guidelines
    weights = [facts.buckets[name] for name in ("ternary_weights", "moe_experts") if name in facts.buckets]
    sums: tuple[tuple[str, float | None, float | None], ...] = (
        ("memory_budget_mb.total", budget.total, sum(budget.values) if budget.values else None),
        ("memory_budget_mb.growth_ceiling", budget.growth_ceiling, grown),
        (
            "memory_budget_mb.max_with_growth",
            budget.max_with_growth,
            budget.total + budget.growth_ceiling
            if budget.total is not None and budget.growth_ceiling is not None
            else None,
        ),
        ("params.weight_mb", config.params.weight_mb, sum(weights) if len(weights) == 2 else None),
        ("params.total_mb", config.params.total_mb, budget.total),
    )
    for path, claimed, computed in sums:
        if claimed is not None and computed is not None and abs(claimed - computed) > 0.5:
            found = f"its parts add up to {computed:g} MB"
            yield Found(f"{claimed:g} MB", found, "`check` computes with the parts", path)


def sketch_bits(facts: Facts) -> Findings:
    """The bits of vectors must be the same everywhere."""
    config, bits = facts.config, facts.config.semantic_memory.vector_bits
    storage, braid = config.semantic_memory.vector_storage, config.braid_state.semantic_sketch
    words = f"uint64_x{bits // 64}"
    if storage is not None and storage != words:
        yield _differs(storage, f"{bits} bits are {words}", "semantic_memory.vector_storage", f"{bits} bits")
    if braid is not None and (braid[0] != bits or not braid[1].endswith(words)):
        found = f"vectors have {bits} bits in {words}"
        yield _differs(f"a sketch of {list(braid)}", found, "braid_state.semantic_sketch", f"{bits} bits")
    for name in config.span_inference.certificate_fields:
        if name.startswith("semantic_delta") and field_bits(name) != bits:
            yield _differs(name, f"vectors have {bits} bits", "span_inference.certificate_fields", f"{bits} bits")


def certificate_widths(facts: Facts) -> Findings:
    """Certificate fields must be as wide as what they change."""
    config = facts.config
    entity, debts = config.braid_state.entity_table.slot_bits, len(config.debt_ledger.obligations)
    stack = config.braid_state.grammar_stack.width_bits
    for name in config.span_inference.certificate_fields:
        bits = field_bits(name)
        if name.startswith("entity_delta") and bits != entity:
            yield _differs(name, f"an entity has {entity} bits", plan="the entity decides")
        if name.startswith("grammar_delta") and bits != stack:
            yield _differs(name, f"a frame has {stack} bits", plan="the frame decides")
        if name.startswith("debt_delta") and debts and bits % debts:
            found = f"{debts} kinds of obligations don't share {bits} bits evenly"
            yield _differs(name, found, plan="one byte per kind")


def hidden_sizes(facts: Facts) -> Findings:
    """The hidden size must be the same everywhere."""
    config, hidden = facts.config, facts.config.hidden_size
    braid, media = config.braid_state, config.multimodal
    for path, value in (
        ("braid_state.continuous_hidden", braid.continuous_hidden and braid.continuous_hidden[0]),
        ("braid_state.fast_hidden", braid.fast_hidden and braid.fast_hidden[0]),
        ("multimodal.vision.out", media.vision and media.vision.out),
        ("multimodal.audio.out", media.audio and media.audio.out),
    ):
        if value is not None and value != hidden:
            yield Found(f"{value} channels", f"hidden_size is {hidden}", "hidden_size decides", path)


def twice_written(facts: Facts) -> Findings:
    """A number that is written in two places must be the same in both."""
    config = facts.config
    memory, cases = config.semantic_memory, config.self_evolution.tier2.episodic_cases
    tiers = {tier.name: tier for tier in config.context_tiers}
    tier_memory, tier_cases = tiers.get("semantic_memory"), tiers.get("episodic_cases")
    pairs: tuple[tuple[str, object, str, object], ...] = (
        (
            "deployment.per_stream_mb",
            config.deployment.per_stream_mb,
            "braid_state.per_stream_mb",
            config.braid_state.per_stream_mb,
        ),
        (
            "context_tiers: semantic_memory",
            tier_memory and tier_memory.mb,
            "semantic_memory.memory_mb",
            memory.memory_mb,
        ),
        (
            "context_tiers: episodic_cases",
            tier_cases and tier_cases.entries,
            "episodic_cases.max_cases",
            cases.max_cases if cases.enabled else None,
        ),
        (
            "self_evolution.safety.state_file",
            config.self_evolution.safety.state_file,
            "files.evolution",
            config.files.evolution,
        ),
        (
            "braid_state.debt_ledger_slots",
            config.braid_state.debt_ledger_slots if config.debt_ledger.enabled else None,
            "debt_ledger.max_outstanding",
            config.debt_ledger.max_outstanding,
        ),
    )
    for path, one, other_path, other in pairs:
        if one is not None and other is not None and one != other:
            where = path.split(":")[0]
            yield _differs(
                f"{path} {one}", f"{other_path} is {other}", where, "the section of the thing itself decides"
            )


def case_bytes(facts: Facts) -> Findings:
    """The room for cases must hold them."""
    cases, room = (
        facts.config.self_evolution.tier2.episodic_cases,
        facts.config.self_evolution.safety.max_growth_mb.episodic,
    )
    needed = cases.max_cases * cases.case_bytes / (1 << 20)
    if cases.enabled and room and needed > room:
        yield _differs(
            f"{room:g} MiB for cases",
            f"{cases.max_cases} cases of {cases.case_bytes} bytes take {needed:.1f} MiB",
            "self_evolution.safety.max_growth_mb.episodic",
            "fewer cases",
        )


def mechanisms(facts: Facts) -> Findings:
    """The number of mechanisms must be that of the tiers."""
    evolution, count = facts.config.self_evolution, facts.config.self_evolution.num_mechanisms
    real = sum(
        part.enabled
        for part in (
            evolution.tier1.ttt,
            evolution.tier1.memory_growth,
            evolution.tier2.meta_guidelines,
            evolution.tier2.episodic_cases,
            evolution.tier2.self_feedback,
            evolution.tier3.span_bank_expansion,
            evolution.tier3.loop_depth_learning,
        )
    )
    if count is not None and count != real:
        yield _differs(f"{count} mechanisms", f"{real} are enabled", plan="those that are enabled")


def ttt_layers(facts: Facts) -> Findings:
    """Test-time training must be of layers that exist."""
    ttt = facts.config.self_evolution.tier1.ttt
    outside = [str(layer) for layer in ttt.target_layers if layer >= facts.shape.layers]
    if not ttt.enabled or not outside:
        return
    found = f"there are {facts.shape.layers} layers, counted from 0"
    yield _differs(f"layers {listing(outside)}", found, plan="left out")


def hash_bits(facts: Facts) -> Findings:
    """Hash tables must not look at more bits than a vector has."""
    memory = facts.config.semantic_memory
    used = memory.lsh_tables * memory.lsh_bits_per_table
    if used > memory.vector_bits:
        yield _differs(
            f"{memory.lsh_tables} tables of {memory.lsh_bits_per_table} bits", f"vectors have {memory.vector_bits}"
        )


RULES = (
    Rule("X1", "B", "backbone.layer_counts", layer_counts),
    Rule("X2", "B", "span_inference.candidates_fast", candidate_sum),
    Rule("X3", "A", "span_inference.candidate_sources", named_lists),
    Rule("X4", "B", "modes.fast.tps", mode_speeds),
    Rule("X5", "B", "memory_budget_mb.total", budget_sums),
    Rule("X6", "A", "semantic_memory.vector_storage", sketch_bits),
    Rule("X7", "B", "span_inference.certificate_fields", certificate_widths),
    Rule("X8", "A", "braid_state.continuous_hidden", hidden_sizes),
    Rule("X9", "B", "deployment.per_stream_mb", twice_written),
    Rule("X10", "B", "self_evolution.safety.max_growth_mb.episodic", case_bytes),
    Rule("X11", "C", "self_evolution.num_mechanisms", mechanisms),
    Rule("X12", "A", "self_evolution.tier1.ttt.target_layers", ttt_layers),
    Rule("X13", "B", "semantic_memory.lsh_bits_per_table", hash_bits),
)
