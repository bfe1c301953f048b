"""Layer kinds, quantisation, loop and token ids."""

from __future__ import annotations

from chimerac.frontends.families.chimera.generation import loops_in_range
from chimerac.frontends.families.chimera.rules.base import Facts, Findings, Found, Rule, listing, megabytes, planned
from chimerac.frontends.families.chimera.sizes.state import BLOCK


def ragged_groups(facts: Facts) -> Findings:
    """The inputs of every ternary matrix should be whole groups of channels with one scale."""
    group, shape = facts.shape.quantization.group_size, facts.shape
    widths = {"hidden_size": shape.hidden}
    if len(facts.expert_layers) < shape.layers:
        widths["intermediate_size"] = shape.width
    if shape.moe:
        widths["backbone.moe.moe_intermediate_size"] = shape.moe.width
    ragged = [path for path, width in widths.items() if width > group and width % group]
    if not ragged:
        return
    parts = [f"{path} {widths[path]} is {widths[path] / group:g} groups" for path in ragged]
    yield Found(f"groups of {group} channels", listing(parts), "the last group of a row is the shorter one", ragged[-1])


def window_without_attention(facts: Facts) -> Findings:
    """A stack without attention and without a cache can't have a Titans window."""
    backbone, window = facts.config.backbone, facts.shape.titans.window
    denied = [
        f"{key} {value}"
        for key, value in (("type", backbone.type), ("kv_cache", backbone.kv_cache))
        if value in ("hybrid_recurrent_no_attention", "none")
    ]
    if not denied or not facts.has("titans_mac"):
        return
    ring = megabytes((window + BLOCK) * 2 * facts.shape.hidden * 4)
    yield Found(
        listing(denied),
        f"memory as context is attention over a window of {window} tokens: {ring} a Titans layer in float32",
        "a ring of bounded size, written in the first loop iteration; nothing grows with the text",
        "titans.local_window_size",
    )


def matrix_scale_kernel(facts: Facts) -> Findings:
    """A table-lookup kernel with one scale per matrix can't serve scales per group and block."""
    quantization = facts.config.quantization
    kernel, group, block = quantization.runtime_kernel, quantization.group_size, quantization.activation_block_size
    if not kernel.startswith(("TL1", "TL2", "I2_S")):
        return
    triples = f"; triples don't divide {block}" if kernel.startswith("TL2") and block % 3 else ""
    yield Found(
        f"kernel {kernel}, scales per {group} weights and {block} activations",
        f"that kernel has one scale per matrix{triples}",
        "own kernels that add up in integers per block and in float32 per group",
    )


def undefined_knot(facts: Facts) -> Findings:
    """Span-knot layers have no published definition, so the config must take one."""
    if facts.has("tsp_span_knot"):
        yield Found(
            f"{facts.shape.mixers.count('tsp_span_knot')} span-knot layers",
            "no paper and no key of the config says what they compute",
            "Gated DeltaNet; not compiled yet: a relaxation towards a memory behind it (docs/model.md)",
        )


def undefined_loop_state(facts: Facts) -> Findings:
    """Recurrent layers in a loop need a rule for their state."""
    loop = facts.shape.loop
    if loop is not None:
        yield Found(
            f"layers {loop.first} to {loop.last} run up to {loop.maximum} times a token",
            "nothing says which state an iteration reads, nor what an early exit leaves behind",
            "one state per layer and iteration; Titans is written in the first; skipped iterations leave theirs alone",
        )


def loop_controllers(facts: Facts) -> Findings:
    """When several parts set the loop count, one must outrank the other."""
    config, loop = facts.config, facts.shape.loop
    if loop is None:
        return
    controllers = []
    if facts.modes:
        controllers.append("modes")
    if config.entropy_valve.enabled:
        controllers.append("the entropy valve")
    if loop.exit_threshold > 0:
        controllers.append("the adaptive exit")
    if len(controllers) >= 2:
        yield Found(
            f"{listing(controllers)} set the loop count",
            "nothing says which one wins",
            "a call's mode or loops are the most, the valve picks up to that, the exit only shortens",
        )


def unreachable_loops(facts: Facts) -> Findings:
    """Every loop count of the range should be one that a mode or the valve asks for."""
    loop = facts.shape.loop
    if loop is None:
        return
    asked = {mode.loops for mode in facts.modes.values()} | {level.loops for level in facts.levels.values()}
    missing = sorted(set(range(loop.minimum, loop.maximum + 1)) - asked)
    if asked and missing:
        yield Found(
            f"between {loop.minimum} and {loop.maximum} iterations",
            f"modes and valve ask for {listing([str(n) for n in sorted(asked)])} only; "
            f"{listing([str(n) for n in missing])} can't be reached",
            "a call may ask for any of them",
            "looping.loop_range",
        )


def modes_in_range(facts: Facts) -> Findings:
    """The loop iterations of a mode must be in the range of the loop."""
    loop = facts.shape.loop
    outside = {n: m.loops for n, m in facts.modes.items() if m.loops != loops_in_range(m.loops, facts.shape)}
    if outside:
        yield Found(
            ", ".join(f"{name} loops {loops} times" for name, loops in outside.items()),
            f"the loop runs {loop.minimum} to {loop.maximum} times" if loop else "no layers are looped",
            "the nearest possible number",
            f"modes.{next(iter(outside))}.loops",
        )


def exact_depth(facts: Facts) -> Findings:
    """A loop count that depends on each token's own convergence can't be used where spans are checked."""
    loop = facts.shape.loop
    if (
        loop is not None
        and facts.config.span_inference.enabled
        and facts.config.looping.depth_selection == "stochastic_per_sequence"
        and loop.exit_threshold > 0
    ):
        yield planned(
            f"training draws one count per sequence; the exit at {loop.exit_threshold:g} picks one per token",
            "a checked span is exact only if a token's count depends on nothing but the tokens before it",
            "the count of a checked span is a function of committed tokens, and fixed in exact mode",
            "looping.adaptive_exit_threshold",
        )


def injection_bound(facts: Facts) -> Findings:
    """A bound on the spectral radius holds for the injected input only."""
    bound = facts.config.looping.spectral_radius_bound
    if bound is not None and facts.shape.loop is not None:
        yield Found(
            f"spectral radius at most {bound:g}",
            "that holds for the decay of the injection, not for the looped layers, which have a residual stream",
            "the decay is below 1 by construction; nothing more is promised",
        )


def doubled_norms(facts: Facts) -> Findings:
    """A norm before every linear and before every block would norm some inputs twice."""
    if facts.config.rms_norm_before_every_linear:
        yield Found(
            "a norm before every linear",
            "blocks start with a norm, so projections that read its result would norm twice",
            "one norm per input tensor",
        )


def chunk_over_state(facts: Facts) -> Findings:
    """A chunk longer than the state is wide only costs time."""
    chunk, width = facts.config.gated_deltanet.chunk_size, facts.shape.head_width
    if chunk > max(64, width) and facts.config.gated_deltanet.chunkwise_parallel:
        yield Found(
            f"chunks of {chunk} tokens",
            f"results don't depend on it; work per token grows with the chunk once it is over the state width {width}",
            "training takes chunks of 64, a bundle those of its call",
        )


def unnamed_tokens(facts: Facts) -> Findings:
    """token_ids must say which id is which."""
    ids = facts.config.token_ids
    if len(ids) >= 2:
        yield Found(f"token_ids {list(ids)}", "nothing says which is which", f"{ids[0]} ends a text, {ids[1]} pads")


#: Vocabulary size to ids that its tokenizer never makes: o200k_base with 54 agent tokens.
HOLES = {200_073: (199_998, *range(200_000, 200_018))}


def vocabulary_holes(facts: Facts) -> Findings:
    """Ids that no text produces must never be generated."""
    holes = HOLES.get(facts.config.vocab_size)
    if not holes:
        return
    silent = "" if facts.config.multimodal.enabled else ", and those of pictures and sound are unused"
    yield Found(
        f"a vocabulary of {facts.config.vocab_size}",
        f"that is o200k_base with 54 agent tokens: {len(holes)} ids stand for nothing{silent}",
        "they are never generated",
    )


def activation_name(facts: Facts) -> Findings:
    """The activation's name should be one that Transformers knows."""
    if facts.config.hidden_act == "swiglu":
        yield Found("hidden_act swiglu", "Transformers has no activation of that name", "down(silu(gate x) * up x)")


def no_cache(facts: Facts) -> Findings:
    """Recurrent layers can't run token by token without carrying state."""
    if not facts.config.use_cache:
        yield Found(
            "use_cache false",
            "without carried state every token would read the whole text again",
            "state is always carried, the keys and values of Titans windows included",
        )


def pinned_version(facts: Facts) -> Findings:
    """A config should not pin the version of a library that doesn't read it."""
    version = facts.config.transformers_version
    if version is not None:
        yield Found(f"Transformers {version}", "nothing here depends on it", "ignored")


def fenced_rows(facts: Facts) -> Findings:
    """A config's rows should not stand between table fences."""
    if facts.config.origin.fenced:
        yield Found("rows between '|'", "a table row is not JSON", "the fences are stripped")


RULES = (
    Rule("I2", "A", "backbone.moe.moe_intermediate_size", ragged_groups, settled_by="ragged_groups"),
    Rule("I4", "A", "titans.local_window_size", window_without_attention, also=("R33",)),
    Rule("I5", "A", "quantization.runtime_kernel", matrix_scale_kernel),
    Rule("I6", "A", "tsp_knot", undefined_knot, settled_by="knot_definition"),
    Rule("I7", "A", "looping", undefined_loop_state, settled_by="loop_state"),
    Rule("I32", "C", "looping", loop_controllers, settled_by="loop_control"),
    Rule("I33", "C", "token_ids", unnamed_tokens, also=("R57",), settled_by="token_roles"),
    Rule("I34", "C", "hidden_act", activation_name),
    Rule("I36", "C", "rms_norm_before_every_linear", doubled_norms, settled_by="norm_placement"),
    Rule("I37", "C", "gated_deltanet.chunk_size", chunk_over_state),
    Rule("I40", "C", "looping.spectral_radius_bound", injection_bound),
    Rule("I41", "C", "", fenced_rows),
    Rule("I42", "C", "transformers_version", pinned_version),
    Rule("R27", "C", "looping.loop_range", unreachable_loops, settled_by="loop_control"),
    Rule("X14", "A", "modes.fast.loops", modes_in_range),
    Rule("R30", "B", "looping.adaptive_exit_threshold", exact_depth, settled_by="loop_depth"),
    Rule("R34", "C", "use_cache", no_cache),
    Rule("R58", "C", "vocab_size", vocabulary_holes, settled_by="vocabulary_holes"),
)
