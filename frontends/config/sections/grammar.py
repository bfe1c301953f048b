"""``grammar``, ``debt_ledger`` and ``safety``: what the text must and should obey."""

# ruff: noqa: RUF009  (key() makes a dataclasses.field)

from __future__ import annotations

from dataclasses import dataclass

from chimerac.frontends.config.fields import key
from chimerac.frontends.config.sections.common import count, names, one_of, papers, switch, text


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Answers of the default grammar that are too unlikely to be given; `chimerac calibrate` finds the numbers."""

    threshold: float = key("Least probability of an answer.", minimum=0, maximum=1, own=True, status="compiled")
    temperature: float = key(
        "What the sum of the log probabilities of its tokens is divided by.",
        default=1.0,
        minimum=0.01,
        maximum=1000,
        own=True,
        status="compiled",
    )
    answer: str = text(
        "What is said in place of an answer that is too unlikely.",
        default='{"intent":"OutOfDomain","slots":{}}',
        pattern=r"[^\x00-\x1f\x7f-\x9f]{1,4096}",
        own=True,
        status="compiled",
    )


@dataclass(frozen=True, kw_only=True)
class Grammar:
    """Token masks from grammars (arXiv 2411.15100)."""

    enabled: bool = switch("Mask tokens that the grammar of the mode forbids.", status="compiled")
    modes: tuple[str, ...] = names("Grammars in the bundle.", status="compiled")
    representation: str = one_of(
        "Kind of automaton.",
        "deterministic_pushdown_plus_weighted",
        "deterministic_fst_plus_weighted",
        status="checked",
    )
    schema: str | None = text(
        "JSON Schema, a file beside the config, that becomes the grammar `schema`.", own=True, status="compiled"
    )
    schema_whitespace: int = count(
        "Most blanks in a row in texts of the schema.", default=8, maximum=255, own=True, status="compiled"
    )
    default: str | None = text(
        "Grammar of a generation that names none: a mode, or `schema`.", own=True, status="compiled"
    )
    refusal: Refusal | None = key(
        "Refuse unlikely answers of the default grammar; absent: none.", default=None, own=True, status="compiled"
    )
    storage_mb: float | None = key(
        "Most memory of all grammar tables, in MiB.", default=None, minimum=0, claim=True, status="checked"
    )
    hard_constraints: tuple[str, ...] = names("Constraints that hold always, by masking.", status="checked")
    soft_constraints: tuple[str, ...] = names("Constraints that bias the choice.", status="compiled")
    adaptive_mask_cache: bool | None = switch("Cache token masks per automaton state.", default=None, status="checked")
    jit_compilation: bool = switch("Build tables for new schemas at run time; never machine code.", status="checked")
    papers: tuple[str, ...] = papers()


@dataclass(frozen=True, kw_only=True)
class DebtLedger:
    """Open obligations of the text: brackets to close, lists to finish."""

    enabled: bool = switch("Keep the ledger, of texts that follow a grammar (docs/ledger.md).", status="compiled")
    obligations: tuple[str, ...] = names("Kinds of obligations.", status="compiled")
    max_outstanding: int = count(
        "Most open obligations, of which 64 are possible.", default=64, maximum=65535, status="compiled"
    )
    pressure_weight: float = key(
        "Weight of the pressure in the bias of closing tokens.",
        default=0.3,
        minimum=0,
        maximum=63,
        status="compiled",
    )


@dataclass(frozen=True, kw_only=True)
class Safety:
    """Guards of the output and of memory."""

    format_guards: tuple[str, ...] = names("Checks of the finished text.")
    memory_limit_enforced: bool = switch("Refuse to run over the memory budget.")
    crash_only_allocator: bool = switch("Allocate at load only; on corruption stop and start again.")
    user_facts_override_weak_memory: bool = switch("What the user said outranks what the memory guesses.")
    state_uncertainty_when_unsure: bool = switch("Mark answers the model is unsure of.")
