"""Grammar, obligations and generation."""

from __future__ import annotations

from chimerac.frontends.families.chimera.rules.base import Facts, Findings, Found, Rule, listing, planned
from chimerac.runtime.bundle_format import OBLIGATIONS

STACK_FRAMES = 64  #: of a grammar in a bundle (passes/grammar_fst)

_NESTING = ("balanced_brackets", "valid_json_in_json_mode", "fence_closure")
_LANGUAGES = ("python", "javascript", "sql", "shell", "json", "math_latex")
_WORD_CLASSES = ("resolve_pronoun", "maintain_tense")


def finite_state_nesting(facts: Facts) -> Findings:
    """A finite-state automaton can't balance brackets."""
    grammar = facts.config.grammar
    nesting = [name for name in grammar.hard_constraints if name in _NESTING]
    if grammar.enabled and "fst" in grammar.representation and nesting:
        yield Found(
            f"{grammar.representation} for {listing(nesting)}",
            "nesting of any depth needs a stack",
            "a deterministic automaton with a stack over bytes, and a weighted finite one",
        )


def stack_depth(facts: Facts) -> Findings:
    """A stack of few frames holds open constructs, not the symbols of a parser."""
    grammar, slots = facts.config.grammar, facts.config.braid_state.grammar_stack.slots
    languages = [name for name in grammar.modes if name in _LANGUAGES]
    if grammar.enabled and languages and slots <= 256:
        yield Found(
            f"{slots} frames for {', '.join(languages)}",
            "a table-driven parser pushes several symbols per open bracket and would run out at modest nesting",
            f"one frame per open construct; openers are masked at depth {STACK_FRAMES}, whatever the number here",
            "braid_state.grammar_stack.slots",
        )


def machine_code(facts: Facts) -> Findings:
    """Code can't be made at run time where the platform forbids it."""
    platforms = [name for name in facts.config.deployment.platforms if name.startswith(("wasm", "apple", "ios"))]
    if facts.config.grammar.jit_compilation and platforms:
        yield Found(
            "jit_compilation",
            f"no machine code can be made at run time on {listing(platforms)}",
            "the compiler turns grammars into tables, in a build or for a call from Python; a bundle makes neither",
        )


def grammar_storage(facts: Facts) -> Findings:
    """The storage of grammars should be of the size of their tables."""
    grammar, vocabulary = facts.config.grammar, facts.config.vocab_size
    if not grammar.enabled or grammar.storage_mb is None:
        return
    # per token: trie nodes 17 bytes, its bytes and length 8, order 4, class 1; per mode: about 0.6 MiB of masks
    needed = vocabulary * 30 / (1 << 20) + 0.6 * len(grammar.modes)
    if grammar.storage_mb > 4 * needed:
        yield Found(
            f"{grammar.storage_mb:g} MiB of grammar tables",
            f"{len(grammar.modes)} modes over {vocabulary:,} tokens need about {needed:.0f} MiB",
            "a limit: a build whose tables take more is refused (CHM287)",
        )


def two_mask_caches(facts: Facts) -> Findings:
    """One cache should have one switch."""
    spans, grammar = facts.config.span_inference.adaptive_mask_cache, facts.config.grammar.adaptive_mask_cache
    if spans is not None and grammar is not None:
        yield Found(
            f"adaptive_mask_cache {str(spans).lower()} for spans, {str(grammar).lower()} for the grammar",
            "it would be one cache",
            "a bundle has none: a mask is made anew for each token",
        )


def language_obligations(facts: Facts) -> Findings:
    """Obligations about words need word classes of a language."""
    words = [name for name in facts.config.debt_ledger.obligations if name in _WORD_CLASSES]
    if facts.config.debt_ledger.enabled and words:
        yield planned(
            listing(words),
            "nothing in the runtime knows pronouns or tenses",
            "tables of English word classes, as a bias only; off in other languages",
        )


def untold_obligations(facts: Facts) -> Findings:
    """What counts as an obligation must show in the text."""
    ledger = facts.config.debt_ledger
    others = [name for name in ledger.obligations if name not in OBLIGATIONS]
    if ledger.enabled and others:
        yield planned(listing(others), "nothing tells when they are open", "they count like the others")


def guard_lists(facts: Facts) -> Findings:
    """Guards of the output should be constraints of the grammar."""
    grammar, guards = facts.config.grammar, facts.config.safety.format_guards
    extra = [name for name in guards if name not in grammar.hard_constraints]
    if grammar.enabled and extra:
        yield planned(
            f"guards {listing(extra)}",
            "grammar.hard_constraints doesn't name them",
            "guards are part of the automaton; a second parser looks at the end",
        )


def penalised_structure(facts: Facts) -> Findings:
    """A repetition penalty must leave brackets and indentation alone."""
    generation = facts.config.generation
    penalty = 1.0 if generation is None else generation.repetition_penalty
    modes = [name for name in facts.config.grammar.modes if name in _LANGUAGES]
    if penalty != 1 and modes:
        yield Found(
            f"repetition_penalty {penalty:g}",
            f"it also weakens brackets and indentation in {', '.join(modes)}",
            "the bundle's default weakens every token of the recent text; not compiled yet: an exemption for structure",
        )


def refined_stream(facts: Facts) -> Findings:
    """An answer that is shown as it comes can't be refined first."""
    feedback, generation = facts.config.self_evolution.tier2.self_feedback, facts.config.generation
    if feedback.enabled and generation is not None and generation.stream:
        yield planned(
            "self_feedback and stream",
            "refining needs an answer that nobody has seen",
            "no refining while streaming",
        )


RULES = (
    Rule("R15", "B", "grammar.representation", finite_state_nesting),
    Rule("R16", "C", "braid_state.grammar_stack.slots", stack_depth, settled_by="grammar_stack"),
    Rule("R17", "B", "grammar.jit_compilation", machine_code),
    Rule("R18", "C", "grammar.storage_mb", grammar_storage),
    Rule("R19", "C", "grammar.adaptive_mask_cache", two_mask_caches),
    Rule("R37", "C", "debt_ledger.obligations", language_obligations, settled_by="language_obligations"),
    Rule("R37b", "B", "debt_ledger.obligations", untold_obligations),
    Rule("R42", "B", "self_evolution.tier2.self_feedback", refined_stream),
    Rule("R61", "C", "generation.repetition_penalty", penalised_structure),
    Rule("R62", "C", "safety.format_guards", guard_lists),
)
