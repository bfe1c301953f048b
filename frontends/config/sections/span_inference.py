"""``span_inference`` and ``tsp_knot``: whole spans proposed from a bank, checked by the model, ranked by an energy."""

# ruff: noqa: RUF009  (key() makes a dataclasses.field)

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chimerac.frontends.config.fields import key
from chimerac.frontends.config.sections.common import count, fraction, names, one_of, papers, size, switch


@dataclass(frozen=True, kw_only=True)
class TreeVerify:
    """Several continuations checked in one forward call."""

    enabled: bool = switch("Check trees of tokens instead of one token at a time.")
    method: str = one_of(
        "`STree` is made for diagonal transitions, `block_canonical` for rank-one corrections.",
        "STree",
        "block_canonical",
        default="block_canonical",
    )
    tree_width: int = size("Most children of a node.", default=2, maximum=64)
    tree_depth: int = size("Most tokens on a path.", default=4, maximum=64)
    hardware_aware: bool = switch("Choose the size of the tree from measured cost; speed only, never the text.")
    papers: tuple[str, ...] = papers()


@dataclass(frozen=True, kw_only=True)
class DraftHead:
    """A small head that guesses the tokens after the next one (docs/spans.md)."""

    width: int = key(
        "Hidden channels of its network.", default=512, minimum=1, maximum=65536, own=True, status="compiled"
    )
    tokens: int = key(
        "Tokens that it may guess, the most frequent ones of what it is trained with.",
        default=4096,
        minimum=2,
        maximum=262144,
        own=True,
        status="compiled",
    )


@dataclass(frozen=True, kw_only=True)
class SpanInference:
    """Speculative decoding by spans."""

    enabled: bool = switch("Guess by the shares and weights below in bundles that speculate.", status="compiled")
    bank_entries: int = count("Spans in the bank.", default=32768)
    bank_avg_tokens: float = key("Mean length of a span, in tokens.", default=5.0, above=0)
    bank_max_tokens: int = size("Longest span, in tokens.", default=64, maximum=65536)
    bank_memory_mb: float | None = key("Memory of the bank, in MiB.", default=None, minimum=0, claim=True)
    candidate_sources: tuple[int, ...] = key(
        "Candidates taken from each source at most, in the order of `candidate_source_keys`.",
        default=(),
        minimum=0,
        maximum=256,
        status="compiled",
    )
    candidate_source_keys: tuple[str, ...] = names(
        "Names of the candidate sources: `semantic_lsh`, `grammar_allowed`, `cache_hits`, `neural_novel`.",
        status="compiled",
    )
    candidates_fast: int | None = count("Candidates per knot in fast mode: the sum of `candidate_sources`.")
    candidates_reason: int | None = count(
        "Candidates per knot in reasoning mode, split as `candidate_sources` are where that mode does not say how.",
        status="compiled",
    )
    candidate_sources_reason: tuple[int, ...] | None = count(
        "Candidates taken from each source in reasoning mode, 256 at most.", own=True, status="compiled"
    )
    lsh_tables: int | None = count("Hash tables of the bank's context keys.", maximum=1024, own=True)
    lsh_bits_per_table: int | None = count("Key bits of each hash table.", maximum=64, own=True)
    tree_verify: TreeVerify = key("Checking of token trees.", factory=TreeVerify)
    draft_head: DraftHead | None = key(
        "Source of the candidates `neural_novel`; there is none unless it is written.", default=None, own=True
    )
    certificate_fields: tuple[str, ...] = names(
        "Fields of a span's certificate; the end of a name is its width: u32, 8192b (bits), i16, u8.",
        pattern=r"[a-z][a-z0-9_]*_(?:[ui](?:8|16|32|64)|f(?:16|32)|[1-9]\d{0,6}b)",
    )
    certificate_verify_max_us: int | None = count("Longest check of a certificate, in microseconds.", status="checked")
    adaptive_mask_cache: bool | None = switch("Cache token masks; the same cache as the grammar's.", default=None)
    render_queue_target: int = count("Tokens to hold ready for display.", default=256)
    render_queue_max: int = count("Most tokens waiting for display.", default=2048)
    fallback_below_acceptance: float = fraction("Acceptance rate under which speculation is switched off.", default=0.5)
    scoring_keys: tuple[str, ...] = names(
        "Criteria that rank candidates, of which `semantic` and `boundary` differ between them.", status="compiled"
    )
    scoring_weights_fast: tuple[float, ...] = key(
        "Weight of each criterion, in every mode that has none of its own.",
        default=(),
        minimum=0,
        maximum=16,
        status="compiled",
    )
    scoring_weights_reason: tuple[float, ...] | None = key(
        "Weight of each criterion in reasoning mode.",
        default=None,
        minimum=0,
        maximum=16,
        own=True,
        status="compiled",
    )
    papers: tuple[str, ...] = papers()


_WEIGHT: dict[str, Any] = {"default": None}
_UNUSED: dict[str, Any] = {**_WEIGHT, "status": "not yet"}


@dataclass(frozen=True, kw_only=True)
class EnergyTerms:
    """Terms of the energy, each [weight, how it is measured]."""

    autoregressive: tuple[float, str] | None = key("Agreement of the hidden vector with the span.", **_UNUSED)
    memory_coherence: tuple[float, str] | None = key("Distance of the sketch to the memory read.", **_WEIGHT)
    binding_fidelity: tuple[float, str] | None = key("Distance of unbound entities to known fillers.", **_UNUSED)
    grammar: tuple[float, str] | None = key("Cost of the grammar transition.", **_UNUSED)
    debt: tuple[float, str] | None = key("Obligations opened less those met.", **_UNUSED)


@dataclass(frozen=True, kw_only=True)
class TspKnot:
    """The relaxation of a span-knot layer that reads a memory, and of the sketch (docs/model.md, docs/spans.md)."""

    energy_terms: EnergyTerms = key("Terms of the energy.", factory=EnergyTerms)
    relaxation_phase1: str = one_of("First half of the layer.", "gated_deltanet_update", status="checked")
    relaxation_phase2_max_iters: int = key("Most rounds of bit flips.", default=3, minimum=0, maximum=64)
    relaxation_phase2_flip_fraction: float = fraction(
        "Most bits flipped per round, as part of the sketch.", default=0.02
    )
    early_exit_delta_e: float = key("Stop when a round lowers the energy by less.", default=1e-4, minimum=0)
