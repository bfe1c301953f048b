"""Claims on parameters and on memory, against what the shapes give."""

from __future__ import annotations

from chimerac.frontends.families.chimera.rules.base import Facts, Findings, Found, Rule, millions, planned
from chimerac.frontends.families.chimera.sizes.claims import MB, budget_total, default_state
from chimerac.frontends.families.chimera.sizes.state import stream_state
from chimerac.frontends.families.chimera.sizes.storage import ENTROPY, STORABLE_BITS, embedding_bytes, weight_bytes


def experts_total(facts: Facts) -> Findings:
    """The claimed number of expert parameters must be that of the expert shapes."""
    claim = facts.wrong("backbone.moe.total_params") or facts.wrong("params.moe_total")
    if claim is None:
        return
    counts, moe = facts.audit.counts, facts.config.backbone.moe
    if abs(claim.claimed - counts.routed) <= 0.02 * counts.routed:
        return
    if not claim.computed:
        says = f"{millions(claim.claimed)} expert parameters"
        yield Found(says, "no layer has experts", "the shapes decide", claim.path)
        return
    fitting = round(moe.moe_intermediate_size * claim.claimed / claim.computed / 64) * 64
    yield Found(
        f"{millions(claim.claimed)} expert parameters",
        f"{len(facts.expert_layers)} layers of {moe.n_routed_experts}+{moe.n_shared_experts} experts of width "
        f"{moe.moe_intermediate_size} hold {millions(counts.routed)} routed, {millions(claim.computed)} with shared",
        f"the shapes decide; a width of about {max(64, fitting)} would meet the claim",
        claim.path,
    )


def active_experts(facts: Facts) -> Findings:
    """The claimed number of expert parameters per token must be that of the experts a token uses."""
    claim, counts = facts.wrong("backbone.moe.active_params_per_tok"), facts.audit.counts
    if claim is not None and abs(claim.claimed - counts.active_routed) > 0.02 * counts.active_routed:
        yield Found(
            f"{millions(claim.claimed)} expert parameters per token",
            f"{millions(counts.active_routed)} routed, {millions(claim.computed)} with shared experts",
            "the computed number is reported",
        )


def base_parameters(facts: Facts) -> Findings:
    """params.base must be the parameters without routed experts."""
    claim, counts = facts.wrong("params.base"), facts.audit.counts
    if claim is None:
        return
    rest = counts.base - counts.embedding
    found = f"{millions(claim.computed)}: {millions(counts.embedding)} embedding and {millions(rest)} in layers"
    yield Found(millions(claim.claimed), found, "the computed number is reported")


def physical_parameters(facts: Facts) -> Findings:
    """params.physical must be all parameters."""
    claim = facts.wrong("params.physical")
    if claim is not None:
        yield Found(millions(claim.claimed), millions(claim.computed), "the computed number is reported")


def active_parameters(facts: Facts) -> Findings:
    """params.active_per_token must be the parameters one token uses in one iteration."""
    claim, params = facts.wrong("params.active_per_token"), facts.config.params
    if claim is None:
        return
    found = millions(claim.computed)
    experts = facts.config.backbone.moe.active_params_per_tok
    if params.base and experts and abs(params.base + experts - claim.claimed) > 0.01 * claim.claimed:
        found += f"; the config's own base and experts add up to {millions(params.base + experts)}"
    yield Found(millions(claim.claimed), found, "the computed number is reported")


def effective_parameters(facts: Facts) -> Findings:
    """The claimed numbers for two and six iterations must grow by the looped layers."""
    params, counts = facts.config.params, facts.audit.counts
    two, six = facts.wrong("params.effective_2loops"), facts.wrong("params.effective_6loops")
    claim = two or six
    if claim is None:
        return
    found = f"{millions(counts.effective(2))} and {millions(counts.effective(6))}"
    if params.physical and params.effective_2loops and params.effective_6loops:
        step = params.effective_2loops - params.physical
        steps = (params.effective_6loops - params.physical) / 5
        if abs(step - steps) > 0.02 * step:
            found += f"; the claims grow by {millions(step)} for the second iteration, {millions(steps)} on average"
    said = [millions(value) for value in (params.effective_2loops, params.effective_6loops) if value]
    yield Found(" and ".join(said), found, "the computed numbers are reported", claim.path)


def weight_memory(facts: Facts) -> Findings:
    """The claimed weight memory must allow each claimed parameter the entropy of a ternary weight."""
    params = facts.config.params
    if params.weight_mb is None or not params.physical:
        return
    bits = params.weight_mb * MB * 8 / params.physical
    if bits >= ENTROPY * 0.98:
        return
    resident, routed = weight_bytes(facts.shape, facts.audit.counts)
    yield Found(
        f"{params.weight_mb:g} MB for {millions(params.physical)} parameters",
        f"that is {bits:.2f} bits a weight, below the {ENTROPY:.3f} bits that three values need; "
        f"the shapes need {(resident + routed) / MB:,.0f} MB in 1.6 bits with scales and embedding",
        _stored(facts),
    )


def _stored(facts: Facts) -> str:
    """What a bundle's weights take in the two forms there are."""
    two, base3 = (sum(weight_bytes(facts.shape, facts.audit.counts, name)) / MB for name in ("2 bit", "base 3"))
    return f"a bundle's weights take {two:,.0f} MB in 2 bits, {base3:,.0f} MB with --trits t5, experts included"


def weight_bucket(facts: Facts) -> Findings:
    """The bucket of ternary weights must hold them."""
    claim = facts.wrong("memory_budget_mb: ternary_weights")
    if claim is not None:
        yield Found(
            f"{claim.claimed:g} MB for ternary weights",
            f"{claim.computed:,.0f} MB in 1.6 bits, with scales, float parameters and the embedding",
            _stored(facts),
            "memory_budget_mb._vals",
        )


def total_memory(facts: Facts) -> Findings:
    """The total of the memory budget must include what the shapes need, the embedding above all."""
    total = facts.config.memory_budget_mb.total
    needed = budget_total(facts.config, facts.shape, facts.audit.counts)
    if total is None or total >= 0.98 * needed:
        return
    embedding = embedding_bytes(facts.shape, facts.shape.embedding_format) / MB
    yield Found(
        f"{total:g} MB in all",
        f"{needed:,.0f} MB with computed weights and all streams; "
        f"the {facts.shape.embedding_format} embedding alone is {embedding:,.0f} MB",
        "the computed size is reported; a bundle has no limit of its memory",
    )


def stored_bits(facts: Facts) -> Findings:
    """quantization.weight_bits must be a number of bits that a storage format has."""
    bits = facts.config.quantization.weight_bits
    if any(abs(bits - storable) < 0.0051 for storable in STORABLE_BITS):
        return
    listed = ", ".join(f"{storable:g}" for storable in STORABLE_BITS)
    yield Found(
        f"{bits:g} bits a weight",
        f"no storage format has that many; they have {listed}, and {16 / facts.shape.quantization.group_size:g} more "
        "for scales",
        "a bundle stores 2 bits or, where that is faster or --trits t5 asks for it, 1.6",
    )


def stream_memory(facts: Facts) -> Findings:
    """The claimed memory of a stream must hold its recurrent state at the default loop count."""
    claim = facts.wrong("braid_state.per_stream_mb") or facts.wrong("deployment.per_stream_mb")
    if claim is None:
        return
    state, one = default_state(facts.config, facts.shape), facts.audit.states[0]
    most = stream_state(facts.shape, facts.shape.loop.maximum if facts.shape.loop else 1)
    yield Found(
        f"{claim.claimed:g} MB per stream",
        f"{state.built / MB:.1f} MB at {state.iterations} iterations: {state.recurrent / MB:.1f} recurrent, "
        f"{state.anchors / MB:.1f} anchors, {state.ring / MB:.1f} window; one iteration without window takes "
        f"{one.recurrent / MB:.1f}, the fields of braid_state {braid_bytes(facts) / 1024:.1f} KiB",
        f"a bundle allocates {most.built / MB:.1f} MB, for {most.iterations} iterations; built with --loops "
        f"{state.iterations}, what those need",
        claim.path,
    )


def braid_bytes(facts: Facts) -> int:
    """Bytes of the fields that braid_state lists."""
    braid = facts.config.braid_state
    widths = {"float32": 4, "float16": 2, "bfloat16": 2, "int8": 1}
    total = braid.entity_table.slots * braid.entity_table.slot_bits // 8
    total += braid.grammar_stack.slots * braid.grammar_stack.width_bits // 8 + braid.debt_ledger_slots * 8
    for hidden in (braid.continuous_hidden, braid.fast_hidden):
        total += hidden[0] * widths.get(hidden[1], 4) if hidden else 0
    return total + (braid.semantic_sketch[0] // 8 if braid.semantic_sketch else 0)


def streams_in_budget(facts: Facts) -> Findings:
    """The budget's bucket for streams must hold all of them."""
    config = facts.config
    bucket, each, streams = facts.buckets.get("braid"), config.deployment.per_stream_mb, config.deployment.max_streams
    if bucket is not None and each is not None and bucket < each * streams * 0.98:
        yield Found(
            f"{bucket:g} MB for streams, {streams} streams of {each:g} MB",
            f"{streams} streams take {each * streams:,.0f} MB",
            "the total that `check` computes counts every stream",
            "memory_budget_mb._vals",
        )


def headroom(facts: Facts) -> Findings:
    """What is left of 8 GB must be 8000 or 8192 MB less the total."""
    budget = facts.config.memory_budget_mb
    if budget.headroom_8gb is None or budget.total is None:
        return
    whole = budget.total + budget.headroom_8gb
    if whole not in (8000, 8192):
        yield Found(
            f"{budget.headroom_8gb:g} MB left of 8 GB",
            f"{budget.headroom_8gb:g} and the total of {budget.total:g} are {whole:g} MB, neither 8000 nor 8192",
            f"read as: {whole:g} MB of 8 GB are usable; a bundle has no limit of its memory",
        )


def tiers_in_budget(facts: Facts) -> Findings:
    """Every context tier with a size must have a line in the memory budget."""
    keys = facts.config.memory_budget_mb.keys
    if not keys:
        return
    aliases = {"braid_state": "braid", "semantic_memory": "semantic_mem", "episodic_cases": "episodic"}
    missing = [t for t in facts.config.context_tiers if t.mb and aliases.get(t.name, t.name) not in keys]
    if missing:
        yield planned(
            f"tiers {', '.join(tier.name for tier in missing)} of {sum(tier.mb or 0 for tier in missing):g} MB",
            "the memory budget has no line for them",
            "they are counted in its line for evolution",
            "context_tiers",
        )


def queue_memory(facts: Facts) -> Findings:
    """The bucket of the render queue should be of the size of the queues."""
    config = facts.config
    bucket = facts.buckets.get("render_queue")
    needed = config.deployment.max_streams * config.span_inference.render_queue_max * 64 / MB
    if bucket is not None and bucket > max(1.0, 4 * needed):
        yield planned(
            f"{bucket:g} MB for render queues",
            f"{config.deployment.max_streams} queues of {config.span_inference.render_queue_max} slots of 64 bytes "
            f"take {needed:.1f} MB",
            "the line is read as a ceiling",
            "memory_budget_mb._vals",
        )


RULES = (
    Rule("I1", "A", "backbone.moe.total_params", experts_total, also=("R54",)),
    Rule("I8", "B", "params.base", base_parameters),
    Rule("I9", "B", "params.physical", physical_parameters),
    Rule("I10", "B", "params.active_per_token", active_parameters),
    Rule("I11", "B", "backbone.moe.active_params_per_tok", active_experts),
    Rule("I12", "B", "params.effective_2loops", effective_parameters),
    Rule("I13", "B", "params.weight_mb", weight_memory),
    Rule("I14", "B", "memory_budget_mb.total", total_memory),
    Rule("I15", "B", "quantization.weight_bits", stored_bits),
    Rule("I16", "B", "braid_state.per_stream_mb", stream_memory, also=("R31", "R32")),
    Rule("I21", "B", "memory_budget_mb.headroom_8gb", headroom, also=("R50",)),
    Rule("R11", "C", "memory_budget_mb._vals", queue_memory),
    Rule("R51", "B", "memory_budget_mb._vals", streams_in_budget),
    Rule("R52", "B", "context_tiers", tiers_in_budget),
    Rule("R53", "B", "memory_budget_mb._vals", weight_bucket),
)
