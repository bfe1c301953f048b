"""Span inference, tree checking and the knot's energy."""

from __future__ import annotations

from chimerac.frontends.families.chimera.rules.base import Facts, Findings, Found, Rule, listing, planned
from chimerac.frontends.families.chimera.sizes.stores import MIB, certificate_bytes

MAX_TREE_NODES = 64  #: nodes of a token tree that one forward call may hold


def certificate_memory(facts: Facts) -> Findings:
    """The bank's memory must hold its certificates."""
    claim, bank = facts.wrong("span_inference.bank_memory_mb"), facts.config.span_inference
    if claim is None or not bank.bank_entries:
        return
    room = (bank.bank_memory_mb or 0) * MIB / bank.bank_entries
    yield planned(
        f"{claim.claimed:g} MiB for {bank.bank_entries:,} spans, {room:.0f} bytes each",
        f"a packed certificate is {certificate_bytes(facts.config):,} bytes: {claim.computed:.1f} MiB for certificates",
        "the semantic delta is derived from the tokens, not stored",
    )


def reason_split(facts: Facts) -> Findings:
    """Reasoning mode must say how its candidates and scores are split."""
    bank = facts.config.span_inference
    if bank.candidates_reason in (None, sum(bank.candidate_sources)):
        return
    missing = []
    if bank.candidate_sources_reason is None:
        missing.append("shares of the sources")
    if bank.scoring_weights_fast and bank.scoring_weights_reason is None:
        missing.append("scoring weights")
    if missing:
        yield planned(
            f"{bank.candidates_reason} candidates in reasoning mode",
            f"without {listing(missing)} of that mode",
            "shares in proportion, weights of the fast mode",
        )


def spans_over_tree(facts: Facts) -> Findings:
    """A span longer than the tree is deep can't be checked in one knot."""
    bank, low = facts.config.span_inference, facts.config.entropy_valve.levels.low
    tree = bank.tree_verify
    if not bank.enabled or not tree.enabled:
        return
    found = []
    if bank.bank_max_tokens > tree.tree_depth:
        found.append(f"spans have up to {bank.bank_max_tokens} tokens, the tree {tree.tree_depth}")
    if low and low.min_span > bank.bank_avg_tokens:
        found.append(f"a least span of {low.min_span} leaves out most of a bank of {bank.bank_avg_tokens:g} on average")
    if found:
        yield planned(
            f"tree_depth {tree.tree_depth}",
            "; ".join(found),
            "long spans go on as chains; the least span counts tokens proposed per knot",
            "span_inference.tree_verify.tree_depth",
        )


def tree_nodes(tree_width: int, tree_depth: int) -> int:
    """Nodes of a full tree, its root not counted."""
    return sum(tree_width**level for level in range(1, tree_depth + 1))


def full_tree(facts: Facts) -> Findings:
    """A full tree must fit one forward call."""
    tree = facts.config.span_inference.tree_verify
    if not tree.enabled:
        return
    nodes = tree_nodes(tree.tree_width, tree.tree_depth)
    if nodes > MAX_TREE_NODES:
        yield planned(
            f"width {tree.tree_width}, depth {tree.tree_depth}",
            f"a full tree has {nodes:,} nodes, each with the recurrent state of its path",
            "width is the most children of a node; a tree has at most 20 nodes",
            "span_inference.tree_verify.tree_width",
        )


def diagonal_method(facts: Facts) -> Findings:
    """STree is for diagonal transitions, which delta-rule layers don't have."""
    tree = facts.config.span_inference.tree_verify
    dense = sorted(facts.mixers & {"gated_deltanet", "tsp_span_knot", "titans_mac"})
    if tree.enabled and tree.method == "STree" and dense:
        yield planned(
            "method STree",
            f"its masks are for diagonal transitions; those of {listing(dense)} are not",
            "rank-one corrections applied in depth order on states kept every 16 positions",
        )


def reachable_speed(facts: Facts) -> Findings:
    """A mode's tokens per knot must be within reach at the least accepted rate."""
    config = facts.config
    tree, rate = config.span_inference.tree_verify, config.diagnostics.thresholds.min_span_accept
    if not tree.enabled or rate is None:
        return
    expected = 1 + sum(rate**level for level in range(1, tree.tree_depth + 1))
    over = [f"{name} {mode.span_avg:g}" for name, mode in facts.modes.items() if mode.span_avg > expected]
    if over:
        yield planned(
            f"tokens per knot: {', '.join(over)}",
            f"a tree of depth {tree.tree_depth} gives {expected:.2f} on average when {rate:.0%} are accepted",
            "the speeds stay aims",
            "modes.fast.span_avg",
        )


def unaudited(facts: Facts) -> Findings:
    """Tokens that the model doesn't check make a text that is not the model's."""
    below = {f"modes.{name}": mode.audit for name, mode in facts.modes.items() if mode.audit < 1}
    below |= {f"entropy_valve.levels.{name}": level.audit for name, level in facts.levels.items() if level.audit < 1}
    if below:
        yield planned(
            ", ".join(f"{path} audits {audit:g}" for path, audit in below.items()),
            "unchecked tokens are not lossless, and recurrent state can't skip them",
            "exact by default; an audited mode must be asked for and its results are labelled",
            f"{next(iter(below))}.audit",
        )


def draft_head(facts: Facts) -> Findings:
    """A source of neural candidates needs a draft head."""
    bank = facts.config.span_inference
    shares = dict(zip(bank.candidate_source_keys, bank.candidate_sources, strict=False))
    if bank.enabled and shares.get("neural_novel") and bank.draft_head is None:
        yield planned(
            f"{shares['neural_novel']} candidates from neural_novel",
            "no span_inference.draft_head is written",
            "without one the share goes to cache_hits",
            "span_inference.candidate_sources",
        )


def bank_hashes(facts: Facts) -> Findings:
    """Lookup of spans by hash needs the number of tables and bits."""
    bank = facts.config.span_inference
    shares = dict(zip(bank.candidate_source_keys, bank.candidate_sources, strict=False))
    if bank.enabled and shares.get("semantic_lsh") and (not bank.lsh_tables or not bank.lsh_bits_per_table):
        yield planned(
            f"{shares['semantic_lsh']} candidates from semantic_lsh",
            "no number of tables or bits for the span bank",
            "16 tables of 16 bits of a 256-bit context key",
            "span_inference.candidate_sources",
        )


def two_thresholds(facts: Facts) -> Findings:
    """Two thresholds on the acceptance rate should be one."""
    off, warn = (
        facts.config.span_inference.fallback_below_acceptance,
        facts.config.diagnostics.thresholds.min_span_accept,
    )
    if facts.config.span_inference.enabled and warn is not None and off != warn:
        yield planned(
            f"speculation off below {off:g}, warning below {warn:g}",
            "two thresholds on one rate",
            "the higher one warns, the lower one switches off",
            "span_inference.fallback_below_acceptance",
        )


def two_weightings(facts: Facts) -> Findings:
    """Criteria that are weighted twice must be weighted alike."""
    bank, terms = facts.config.span_inference, facts.config.tsp_knot.energy_terms
    scores = dict(zip(bank.scoring_keys, bank.scoring_weights_fast, strict=False))
    pairs = {"memory": terms.memory_coherence, "grammar": terms.grammar, "debt": terms.debt}
    differ = [
        f"{name} {scores[name]:g} and {term[0]:g}"
        for name, term in pairs.items()
        if term and name in scores and scores[name] != term[0]
    ]
    if differ:
        yield planned(
            ", ".join(differ),
            "the same criteria have one weight in the score and another in the energy",
            "the score selects candidates, the energy ranks those in the tree; neither changes logits",
            "span_inference.scoring_weights_fast",
        )


def memory_in_layers(facts: Facts) -> Findings:
    """A memory read inside a layer would stop the compiled model."""
    if not facts.config.semantic_memory.read_at_every_knot or not facts.has("tsp_span_knot"):
        return
    loop = facts.shape.loop
    visits = sum(
        loop.default if loop and loop.first <= index <= loop.last else 1
        for index, mixer in enumerate(facts.shape.mixers)
        if mixer == "tsp_span_knot"
    )
    yield Found(
        "the memory is read at every knot",
        f"{visits} calls out of the compiled model per token",
        "what is read is a state of the model, which the runtime writes every 16 tokens",
    )


RULES = (
    Rule("I17", "B", "span_inference.bank_memory_mb", certificate_memory, also=("R1",)),
    Rule("I29", "B", "span_inference.tree_verify.method", diagonal_method, also=("R7",)),
    Rule("R2", "C", "span_inference.candidates_reason", reason_split),
    Rule("R3", "B", "span_inference.tree_verify.tree_depth", spans_over_tree, settled_by="long_spans"),
    Rule("R4", "B", "span_inference.tree_verify.tree_width", full_tree),
    Rule("R5", "B", "modes.fast.span_avg", reachable_speed),
    Rule("R6", "B", "modes.fast.audit", unaudited, settled_by="unaudited_tokens"),
    Rule("R8", "C", "span_inference.candidate_sources", draft_head, settled_by="draft_head"),
    Rule("R9", "C", "span_inference.candidate_sources", bank_hashes),
    Rule("R10", "C", "span_inference.fallback_below_acceptance", two_thresholds),
    Rule("R12", "C", "span_inference.scoring_weights_fast", two_weightings),
    Rule("R13", "B", "semantic_memory.read_at_every_knot", memory_in_layers, settled_by="memory_reads"),
)
