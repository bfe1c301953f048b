"""Training phases, distillation, papers and the notes on speed."""

from __future__ import annotations

import math
import re

from chimerac.frontends.families.chimera.rules.base import (
    Facts,
    Findings,
    Found,
    Rule,
    listing,
    number_in,
    planned,
    sections_of,
)

#: Teacher to its hidden size, MLP width, layers and vocabulary.
TEACHERS = {"qwen-2.5-7b": (3584, 18944, 28, 152_064)}

_NOTES = "P3_ternary_compute.implemented_optimizations"


def other_teacher(facts: Facts) -> Findings:
    """A teacher must have the sizes of the model, or be projected."""
    config, start = facts.config, facts.config.training.distillation_init
    sizes = TEACHERS.get((start.teacher or "").lower())
    if sizes is None:
        return
    own = (config.hidden_size, config.intermediate_size, facts.shape.layers, config.vocab_size)
    names = ("hidden size", "MLP width", "layers", "vocabulary")
    differ = [
        f"{name} {theirs} and {ours}" for name, theirs, ours in zip(names, sizes, own, strict=True) if theirs != ours
    ]
    if not differ:
        return
    found = (f"start from {start.teacher}", f"its sizes are others: {', '.join(differ)}")
    if start.enabled:
        yield planned(*found, "a projection per layer, and texts tokenised again", "training.distillation_init.teacher")
    else:
        yield Found(*found, "disabled", "training.distillation_init.teacher")


def promised_length(facts: Facts) -> Findings:
    """The promised length should be one that training reaches."""
    promised = facts.config.max_position_embeddings
    lengths = [stage[0] for phase in facts.config.training.phases for stage in phase.stages]
    if promised is not None and lengths and promised > max(lengths):
        yield Found(
            f"{promised:,} positions",
            f"training ends at {max(lengths):,} tokens; no layer but the Titans window knows positions",
            "a bundle counts up to 2^31 - 1 positions; how well it reads that far is for the training to say",
        )


def ambiguous_sizes(facts: Facts) -> Findings:
    """A number of tokens per step should be written out."""
    for index, phase in enumerate(facts.config.training.phases):
        path = f"training.phases.{index}.batch_tokens"
        literal = facts.config.origin.literals.get(path)
        if literal and not literal.isdigit() and phase.batch_tokens:
            decimal = number_in(r"([\d.]+)", literal) or 0
            thousand = round(decimal * 1000 ** ("KMGT".index(literal[-1].replace("B", "G")) + 1))
            yield Found(
                f'batch_tokens "{literal}"',
                f"{phase.batch_tokens:,} or {thousand:,}",
                f"{phase.batch_tokens:,}, a power of two",
                path,
            )


def mixed_stages(facts: Facts) -> Findings:
    """Steps of a growing context should all have a number of steps."""
    for index, phase in enumerate(facts.config.training.phases):
        for place, stage in enumerate(phase.stages):
            if len(stage) == 2:
                yield Found(
                    f"stage {list(stage)}",
                    "a length and a name, where other stages have a length, steps and a learning rate",
                    "left out: the phases before it end at that length",
                    f"training.phases.{index}.stages.{place}",
                )


def unused_papers(facts: Facts) -> Findings:
    """Every paper should be named by a section, and every name should be a paper."""
    config = facts.config
    used: set[str] = set(config.ternary_compute.paradigm_papers)
    for _, section in sections_of(config):
        used |= set(getattr(section, "papers", ()))
    unused, unknown = sorted(set(config.references) - used), sorted(used - set(config.references))
    found = []
    if unused:
        found.append(f"no section names {listing(unused)}")
    if unknown:
        found.append(f"{listing(unknown)} is in no entry")
    if not found:
        return
    path = f"§.{unused[0]}" if unused else "§"
    yield Found(f"{len(config.references)} papers", "; ".join(found), "kept as a bibliography", path)


def mezo_memory(facts: Facts) -> Findings:
    """Forward-only training that draws its noise from a seed needs the model once."""
    note = facts.config.ternary_compute.implemented_optimizations.mezo_optimizer
    times = number_in(r"(\d+(?:\.\d+)?)\s*[×x]\s*model size", note.benefit if note else None)
    if times is not None and times > 1:
        yield Found(
            f"{times:g} times the model's memory",
            "the noise is drawn again from its seed, so one copy is enough",
            "one copy",
            f"{_NOTES}.mezo_optimizer.benefit",
        )


def zero_share(facts: Facts) -> Findings:
    """Shares of zero weights should be those of normally distributed weights."""
    notes = facts.config.ternary_compute.implemented_optimizations
    mean = math.sqrt(2 / math.pi)  # mean of |w| in standard deviations, the weight scale
    found = []
    for note, pattern, limit, what in (
        (notes.ternary_mezo_sparse, r"~?(\d+(?:\.\d+)?)% of ternary weights", 0.5, "zero"),
        (notes.sparse_grad_w_masking, r"(\d+(?:\.\d+)?)% of grad_w", 0.3, "deep zero"),
    ):
        text = f"{note.description} {note.benefit}" if note else None
        claimed = number_in(pattern, text)
        computed = 100 * math.erf(limit * mean / math.sqrt(2))
        if claimed is not None and abs(claimed - computed) > 1.5:
            found.append(f"{computed:.1f}% {what}, not {claimed:g}%")
    if found:
        yield Found(
            "shares of zero weights",
            f"normally distributed weights have {listing(found)}",
            "`optimizer: MeZO-sparse` moves what is not zero after rounding, however much that is",
            f"{_NOTES}.ternary_mezo_sparse",
        )


def training_memory(facts: Facts) -> Findings:
    """Training keeps float weights, so packing saves nothing there."""
    notes = facts.config.ternary_compute
    times = number_in(r"(\d+)\s*[×x] less RAM", notes.thesis)
    latent = notes.implemented_optimizations.ternary_qat_ste or notes.implemented_optimizations.mezo_optimizer
    if times is None or latent is None:
        return
    packed = 32 / (2 + 16 / facts.shape.quantization.group_size)
    if times > packed or times > 1:
        yield Found(
            f"{times:g} times less memory",
            f"training keeps float32 weights; packed weights with scales are {packed:.1f} times smaller",
            "holds for packed weights at run time only",
            "P3_ternary_compute.thesis",
        )


def lookup_kernels(facts: Facts) -> Findings:
    """A lookup kernel must not be asked for here and missing there."""
    kernel = facts.config.quantization.runtime_kernel
    note = facts.config.ternary_compute.implemented_optimizations.zero_multiply_forward
    if kernel.startswith(("TL1", "TL2")) and note and re.search(r"LUT.*not implemented", note.note or ""):
        yield Found(
            f"runtime_kernel {kernel}",
            "the notes say that the lookup kernel is not implemented",
            "own kernels; `chimerac bench` measures them",
            f"{_NOTES}.zero_multiply_forward.note",
        )


def titans_without_gradient(facts: Facts) -> Findings:
    """A Titans layer that is implemented must have a memory learned by gradient."""
    note = facts.config.ternary_compute.implemented_optimizations.parallel_titans_mac
    if note is None or not (note.status or "").startswith("IMPLEMENTED") or "gradient" in (note.description or ""):
        return
    if facts.has("titans_mac") and "gradient" in facts.config.titans.surprise_metric:
        yield Found(
            f'"{note.description}"',
            f"that has no memory learned by {facts.config.titans.surprise_metric}",
            "the memory's gradient at an anchor every "
            f"{facts.config.titans.chunk} tokens, so that chunks and single tokens agree",
            f"{_NOTES}.parallel_titans_mac",
        )


def thread_noise(facts: Facts) -> Findings:
    """Noise drawn per thread depends on the number of threads."""
    note = facts.config.ternary_compute.implemented_optimizations.ternary_mezo_sparse
    if facts.config.deployment.deterministic and note and "per-thread" in (note.description or ""):
        yield Found(
            "noise from a generator per thread",
            "the draw depends on the number of threads, and the config is deterministic",
            "a counter-based generator keyed by tensor, counted by element",
            f"{_NOTES}.ternary_mezo_sparse.description",
        )


RULES = (
    Rule("I22", "B", f"{_NOTES}.mezo_optimizer", mezo_memory),
    Rule("I23", "B", f"{_NOTES}.ternary_mezo_sparse", zero_share),
    Rule("I24", "B", "P3_ternary_compute.thesis", training_memory),
    Rule("I25b", "B", f"{_NOTES}.ternary_mezo_sparse", thread_noise),
    Rule("I27", "B", f"{_NOTES}.zero_multiply_forward", lookup_kernels),
    Rule("I28", "B", f"{_NOTES}.parallel_titans_mac", titans_without_gradient),
    Rule("I30", "B", "training.distillation_init.teacher", other_teacher),
    Rule("I31", "C", "max_position_embeddings", promised_length, also=("R59",)),
    Rule("I35", "C", "training.phases", ambiguous_sizes),
    Rule("I35b", "C", "training.phases", mixed_stages),
    Rule("I39", "C", "§", unused_papers, also=("R65",)),
)
